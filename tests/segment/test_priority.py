"""The queue: what cannot be right first, then by doubt, and nothing declared free of lesions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.geometry import Geometry
from pipeline.core.volume import LabelMap
from pipeline.segment.phases import phase_disagreement
from pipeline.segment.priority import rank
from pipeline.segment.segmenter import LabelFacts, PostprocessedVoxels


def facts(entropy: float = 0.1, doubt_ml: float = 1.0, liver_ml: float = 1500.0, lesions: int = 1) -> LabelFacts:
    signals = {"entropy": entropy, "lesion_doubt_ml": doubt_ml, "folds": 0.0}
    untouched = PostprocessedVoxels(0, 0, 0, 0)
    return LabelFacts(liver_ml, 10.0 * lesions, lesions, "", untouched, signals, "cpu", {})


def test_more_doubtful_volumes_come_first():
    queue = rank({"calm": facts(0.05, 0.5), "wild": facts(0.4, 30.0), "middling": facts(0.2, 5.0)})
    assert [row.key for row in queue] == ["wild", "middling", "calm"]
    assert all(0.0 <= row.priority < 1.0 for row in queue)


def test_volume_without_a_liver_comes_before_any_doubt():
    queue = rank({"doubtful": facts(0.9, 99.0), "none": facts(0.0, 0.0, liver_ml=0.0, lesions=0)})
    assert queue[0].key == "none"
    assert "no liver found" in queue[0].reason


@pytest.mark.parametrize("odd_ml", [600.0, 3400.0])
def test_liver_twice_as_large_or_half_as_large_as_the_cohorts_is_named(odd_ml: float):
    cohort = {str(index): facts(liver_ml=1500.0 + index) for index in range(5)} | {"odd": facts(liver_ml=odd_ml)}
    first = rank(cohort)[0]
    assert first.key == "odd"
    assert f"{odd_ml:.0f} ml" in first.reason


def test_a_handful_of_livers_is_no_cohort():
    queue = rank({"small": facts(liver_ml=500.0), "large": facts(liver_ml=3000.0)})
    assert all(row.priority < 1.0 for row in queue)


def test_liver_unlike_that_of_the_other_phases_comes_first():
    queue = rank({"same": facts(0.9, 99.0), "other": facts()}, phase_disagreement={"same": 0.02, "other": 0.4})
    assert queue[0].key == "other"
    assert "Dice 0.60" in queue[0].reason


def test_no_lesion_found_is_never_told_as_lesion_free():
    reason = rank({"clear": facts(0.0, 0.0, lesions=0)})[0].reason
    assert "no lesion found, but there may be one" in reason


def test_volumes_without_difference_keep_their_order():
    assert [row.key for row in rank({"b": facts(), "a": facts()})] == ["b", "a"]
    assert rank({}) == ()


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 100)), min_size=1, max_size=12))
def test_every_volume_is_in_the_queue_once_and_doubt_in_both_signs_never_comes_later(signs: list[tuple[float, float]]):
    queue = rank({index: facts(entropy, doubt) for index, (entropy, doubt) in enumerate(signs)})
    assert sorted(row.key for row in queue) == list(range(len(signs)))
    place = {row.key: row.priority for row in queue}
    for first, one in enumerate(signs):
        for second, other in enumerate(signs):
            if one[0] >= other[0] and one[1] >= other[1]:
                assert place[first] >= place[second]


def box(start: tuple[int, int, int], *, origin: tuple[float, float, float] = (0, 0, 0), step: float = 5.0) -> LabelMap:
    voxels = np.zeros((40, 40, 40), dtype=np.uint8)
    voxels[tuple(slice(first, first + 20) for first in start)] = 1
    return LabelMap(voxels, Geometry.from_axes((40, 40, 40), spacing_mm=(step,) * 3, origin_lps_mm=origin))


def test_the_same_liver_after_a_breath_does_not_differ():
    found = phase_disagreement({"P": box((5, 5, 5)), "C1": box((9, 5, 5)), "C2": box((5, 5, 5), origin=(0, 0, 30))})
    assert found == pytest.approx({"P": 0.0, "C1": 0.0, "C2": 0.0})


def test_a_liver_of_half_the_size_differs_by_the_dice_of_its_volumes():
    half = box((5, 5, 5))
    voxels = half.voxels.copy()
    voxels[15:] = 0
    found = phase_disagreement({"P": box((5, 5, 5)), "C1": LabelMap(voxels, half.geometry)})
    assert found["P"] == pytest.approx(1 - 2 / 3, abs=0.05)


def test_a_phase_without_a_liver_differs_wholly_and_a_single_phase_from_nothing():
    empty = LabelMap(np.zeros((4, 4, 4), dtype=np.uint8), Geometry.from_axes((4, 4, 4), spacing_mm=(5, 5, 5)))
    assert phase_disagreement({"P": empty, "C1": box((5, 5, 5))}) == {"P": 1.0, "C1": 1.0}
    assert phase_disagreement({"P": empty}) == {}
