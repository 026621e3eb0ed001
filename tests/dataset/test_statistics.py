"""Distributions of the small release against counts on paper."""

from __future__ import annotations

import csv

from pipeline.dataset.manifest import read_manifest
from pipeline.dataset.statistics import distributions, scanners


def by_title(released):
    return {one.title: one for one in distributions(read_manifest(released / "patient_data.csv"))}


def test_patients_are_counted_once(released):
    diagnosis = by_title(released)["Diagnosis by sex"]
    assert diagnosis.categories == ("HCC", "ICC", "normal")
    assert dict(diagnosis.counts) == {"F": (1, 1, 1), "M": (1, 1, 1)}


def test_ages_fall_into_groups_and_90_plus_is_the_last(released):
    age = by_title(released)["Age by diagnosis"]
    totals = dict(zip(age.categories, map(sum, zip(*age.counts.values(), strict=True)), strict=True))
    assert totals == {"50 to <60": 1, "60 to <70": 1, "70 to <80": 1, "80 to <90": 1, "90 and more": 2}


def test_sizes_fall_into_ranges_that_include_their_lower_end(released):
    found = by_title(released)
    assert found["Liver volume (ml)"].counts["all"] == (12, *[0] * 7)
    assert found["Lesions per volume"].counts["all"] == (4, 4, 0, 0, 0)
    assert sum(found["Largest lesion (cm)"].counts["all"]) == 8


def test_statistics_of_the_release_add_up(released):
    with (released / "statistics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for figure, total in (("Diagnosis by sex", 6), ("Phases by site", 12)):
        assert sum(int(row["count"]) for row in rows if row["figure"] == figure) == total


def test_scanners_are_listed_with_patients_and_volumes(released):
    (row,) = scanners(read_manifest(released / "patient_data.csv"))
    assert (row["manufacturer"], row["kvp"], row["patients"], row["volumes"]) == ("GE", 120.0, 6, 12)


def test_an_empty_cohort_has_no_figures():
    assert distributions([]) == ()
    assert scanners([]) == []
