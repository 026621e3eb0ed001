"""Splits by patient: shares that come out even, strata that are spread, patients that never move."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.config import SplitsConfig
from pipeline.core.errors import ReleaseError
from pipeline.dataset.splits import Splits, assign_splits, nnunet_folds

CONFIG = SplitsConfig()


def cohort(count: int, kinds: tuple[str, ...] = ("HCC", "ICC"), first: int = 1) -> dict[str, dict[str, str | None]]:
    return {
        f"P{n:04d}": {"site": "AB"[n % 2], "cancer_type": kinds[n % len(kinds)], "manufacturer": "GS"[n % 3 == 0]}
        for n in range(first, first + count)
    }


def test_shares_come_out_even():
    places = Counter(assign_splits(cohort(100), CONFIG).places.values())
    assert places[("test", None)] == 20
    assert [places[("train", fold)] for fold in range(5)] == [16] * 5


def test_each_stratum_is_spread_over_all_places():
    patients = cohort(120, ("HCC", "ICC", "normal"))
    splits = assign_splits(patients, CONFIG)
    for site in "AB":
        for kind in ("HCC", "ICC", "normal"):
            members = [c for c, facts in patients.items() if (facts["site"], facts["cancer_type"]) == (site, kind)]
            test_share = sum(splits.places[c][0] == "test" for c in members) / len(members)
            assert 0.1 <= test_share <= 0.3
            assert len({splits.places[c][1] for c in members} - {None}) == 5


@given(st.integers(1, 60), st.integers(0, 40), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_nobody_ever_moves_and_shares_stay_within_two_patients(before, more, seed):
    config = SplitsConfig(seed=seed)
    old = assign_splits(cohort(before), config)
    new = assign_splits(cohort(before + more), config, old)
    assert {case_id: new.places[case_id] for case_id in old.places} == dict(old.places)
    places = Counter(new.places.values())
    assert abs(places[("test", None)] - 0.2 * (before + more)) < 2
    assert all(abs(places[("train", fold)] - 0.16 * (before + more)) < 2 for fold in range(5))


def test_order_of_patients_does_not_matter_and_the_seed_does():
    patients = cohort(40)
    backwards = dict(reversed(patients.items()))
    assert assign_splits(patients, CONFIG) == assign_splits(backwards, CONFIG)
    assert assign_splits(patients, CONFIG).places != assign_splits(patients, SplitsConfig(seed=8)).places


def test_one_vendor_is_held_out_whole():
    config = SplitsConfig(out_of_distribution={"manufacturer": "S"})
    patients = cohort(60)
    splits = assign_splits(patients, config)
    held_out = {case_id for case_id, place in splits.places.items() if place[0] == "test-ood"}
    assert held_out == {case_id for case_id, facts in patients.items() if facts["manufacturer"] == "S"}
    assert Counter(splits.places.values())[("test", None)] == 8


def test_json_goes_there_and_back():
    splits = assign_splits(cohort(12), CONFIG)
    assert Splits.from_json(splits.to_json()) == splits


def test_changed_folds_are_refused_because_patients_would_move():
    old = assign_splits(cohort(12), CONFIG)
    with pytest.raises(ReleaseError, match="patients never move"):
        assign_splits(cohort(12), SplitsConfig(folds=4), old)


def test_nnunet_folds_hold_each_training_volume_once_and_split_no_patient():
    splits = assign_splits(cohort(30), CONFIG)
    volumes = [(case_id, phase) for case_id in splits.places for phase in ("P", "C1")]
    folds = nnunet_folds(splits, volumes)
    training = {f"{c}_{p}" for c, p in volumes if splits.places[c][0] == "train"}
    assert sorted(name for fold in folds for name in fold["val"]) == sorted(training)
    for fold in folds:
        assert set(fold["train"]) | set(fold["val"]) == training
        assert not {name[:5] for name in fold["train"]} & {name[:5] for name in fold["val"]}


def test_a_small_cohort_has_test_patients_and_every_fold():
    places = Counter(assign_splits(cohort(12, ("HCC", "ICC", "normal")), CONFIG).places.values())
    assert places[("test", None)] in (2, 3)
    assert all(places[("train", fold)] >= 1 for fold in range(5))
