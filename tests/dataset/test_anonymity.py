"""Nobody stands alone in what is published once a k is asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import PrivacyError
from pipeline.dataset.anonymity import (
    age_band,
    anonymise,
    class_histogram,
    class_sizes,
    smallest_class,
    smallest_variety,
)

COLUMNS = ("age", "gender", "site")
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "patient_id": st.just("P"),
            "age": st.one_of(st.none(), st.just("90+"), st.integers(18, 89).map(str)),
            "gender": st.sampled_from(["M", "F"]),
            "site": st.sampled_from(["A", "B"]),
        }
    ),
    max_size=60,
)


def row(age: str | None, gender: str = "M", site: str = "A") -> dict[str, str | None]:
    return {"age": age, "gender": gender, "site": site}


def test_sizes_are_those_one_counts_on_paper():
    rows = [row("60"), row("60"), row("61"), row("60", "F")]
    assert class_sizes(rows, COLUMNS) == [2, 2, 1, 1]
    assert class_histogram(rows, COLUMNS) == {1: 2, 2: 2}
    assert smallest_class(rows, COLUMNS) == 1


def test_without_patients_there_is_no_class():
    assert (smallest_class([], COLUMNS), class_histogram([], COLUMNS), smallest_variety([], "x", COLUMNS)) == (0, {}, 0)
    assert anonymise([], 5, COLUMNS).rows == ()


@pytest.mark.parametrize(
    ("age", "width", "band"),
    [
        ("60", 10, "60-69"),
        ("69", 10, "60-69"),
        ("64", 5, "60-64"),
        ("89", 20, "80-89"),
        ("95", 5, "90+"),
        ("90+", 5, "90+"),
    ],
)
def test_ages_fall_in_their_bands(age, width, band):
    assert age_band(age, width) == band


def test_unreadable_age_is_refused_without_repeating_it():
    with pytest.raises(PrivacyError) as refused:
        age_band("born 1954", 5)
    assert "1954" not in str(refused.value)


def test_ages_are_widened_before_anyone_is_left_out():
    rows = [row(str(age)) for age in (60, 61, 62, 63, 64)]
    made = anonymise(rows, 5, COLUMNS)
    assert (made.k, made.age_band_years, made.suppressed) == (5, 5, 0)
    assert {one["age"] for one in made.rows} == {"60-64"}


def test_exact_ages_stay_where_they_already_are_alike():
    rows = [row("60")] * 5
    assert anonymise(rows, 5, COLUMNS).rows == tuple(rows)


def test_few_who_differ_are_left_out_together_with_enough_others():
    rows = [row("60")] * 6 + [row("25", "F", "B")]
    made = anonymise(rows, 3, COLUMNS)
    assert (made.suppressed, made.k) == (7, 0)
    rows += [row("30", "M", "B")] * 3
    made = anonymise(rows, 3, COLUMNS)
    assert (made.suppressed, made.k) == (4, 6)
    assert made.rows[6] == {"age": None, "gender": None, "site": None}


def test_class_with_one_diagnosis_tells_it():
    rows = [{**row("60"), "kind": "HCC"}, {**row("60"), "kind": "ICC"}, {**row("70"), "kind": "HCC"}]
    assert smallest_variety(rows, "kind", COLUMNS) == 1
    assert smallest_variety(rows[:2], "kind", COLUMNS) == 2


@given(ROWS, st.integers(2, 6))
def test_every_patient_shares_what_is_told_with_k_others_or_tells_nothing(rows, min_k):
    made = anonymise(rows, min_k, COLUMNS)
    assert len(made.rows) == len(rows)
    assert [one["patient_id"] for one in made.rows] == ["P"] * len(rows)
    for one, size in zip(made.rows, class_sizes(made.rows, COLUMNS), strict=True):
        tells_nothing = all(one[column] is None for column in COLUMNS)
        assert size >= min_k or tells_nothing
    assert made.k == 0 or made.k >= min_k
