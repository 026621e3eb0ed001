from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.agreement.detection import best_matching, detections, joint_lesions, lesion_maps
from pipeline.agreement.joint import join
from pipeline.core.geometry import Geometry
from pipeline.core.volume import LabelMap
from tests.agreement import brute

GRID = Geometry.from_axes((4, 9, 9), spacing_mm=(5, 1, 1))


def maps_of(*masks):
    ratings = {f"R{n}": LabelMap(mask, GRID) for n, mask in enumerate(masks, start=1)}
    return lesion_maps(join(ratings), (2,))


def lesions_at(*places):
    voxels = np.ones(GRID.shape, np.uint8)
    for place in places:
        voxels[place] = 2
    return voxels


A = np.s_[1, 1:4, 1:4]
B = np.s_[1, 6:8, 6:8]
BRIDGE = np.s_[1, 4:6, 3:7]


def test_the_pattern_says_who_saw_each_lesion():
    found = joint_lesions(maps_of(lesions_at(A, B), lesions_at(A), lesions_at(), lesions_at(B)))
    assert [(lesion.number, lesion.pattern, lesion.seen_by) for lesion in found] == [(1, "1100", 2), (2, "1001", 2)]
    assert found[0].volumes_ml == pytest.approx((0.045, 0.045, 0, 0))


def test_a_lesion_one_drew_whole_and_another_in_parts_is_flagged_for_both():
    found = joint_lesions(maps_of(lesions_at(A, B, BRIDGE), lesions_at(A, B), lesions_at(A)))
    assert len(found) == 1
    assert (found[0].merged_by, found[0].split_by) == (("R1",), ("R2",))
    assert found[0].components == (1, 2, 1)


def test_lesions_drawn_alike_are_neither_merged_nor_split():
    for lesion in joint_lesions(maps_of(lesions_at(A, B), lesions_at(A, B))):
        assert (lesion.merged_by, lesion.split_by) == ((), ())


def test_what_the_majority_keeps_of_a_lesion_is_told():
    wide, narrow = lesions_at(np.s_[1, 1, 1:5]), lesions_at(np.s_[1, 1, 1:3])
    (lesion,) = joint_lesions(maps_of(wide, narrow, narrow))
    assert (lesion.union_ml, lesion.kept_ml) == (pytest.approx(0.02), pytest.approx(0.01))
    assert (lesion.first_slice, lesion.last_slice) == (1, 1)
    assert lesion.centroid_lps_mm == pytest.approx((2.5, 1.0, 5.0))


def test_what_another_rule_keeps_is_what_is_kept():
    (lesion,) = joint_lesions(maps_of(lesions_at(A), lesions_at()), np.array([False, False, True]))
    assert lesion.kept_ml == lesion.union_ml


def test_half_of_the_raters_are_no_majority():
    (lesion,) = joint_lesions(maps_of(lesions_at(A), lesions_at()))
    assert (lesion.union_ml, lesion.kept_ml) == (pytest.approx(0.045), 0.0)


def test_detection_counts_what_touches_and_what_matches_well():
    shifted = lesions_at(np.s_[1, 1:4, 3:6], B)
    (found,) = detections(maps_of(lesions_at(A, B), shifted))
    assert (found.lesions_a, found.lesions_b, found.touching, found.well_matched) == (2, 2, 2, 1)
    assert (found.f1, found.f1_iou50) == (1.0, 0.5)
    assert found.matched_dice == pytest.approx((2 * 3 / 18 + 1) / 2)


def bars(*spans):
    voxels = np.ones((1, 1, 90), np.uint8)
    for start, stop in spans:
        voxels[0, 0, start:stop] = 2
    return LabelMap(voxels, Geometry.from_axes(voxels.shape, spacing_mm=(1, 1, 1)))


def detection_of(a, b):
    (found,) = detections(lesion_maps(join({"R1": a, "R2": b}), (2,)))
    return found


@pytest.mark.parametrize(("stop", "well_matched"), [(13, 1), (14, 0), (15, 0)])
def test_a_pair_counts_above_an_iou_of_one_half_not_at_it(stop, well_matched):
    """7 of 13, 7 of 14 and 7 of 15 voxels in common."""
    assert detection_of(bars((0, 7)), bars((0, stop))).well_matched == well_matched


def test_poorer_pairs_that_add_up_to_more_do_not_hide_a_good_one():
    """41 of 79 voxels are common to the second bars; matched crosswise, 18 of 60 and 18 of 60 sum to more."""
    found = detection_of(bars((0, 60), (61, 79)), bars((0, 18), (19, 79)))
    assert (found.touching, found.well_matched, found.f1_iou50) == (2, 1, 0.5)


def test_two_raters_without_lesions_have_an_undefined_f1():
    (found,) = detections(maps_of(lesions_at(), lesions_at()))
    assert np.isnan(found.f1)
    assert np.isnan(found.matched_dice)


def test_a_lesion_seen_by_one_alone_is_an_f1_of_0():
    (found,) = detections(maps_of(lesions_at(A), lesions_at()))
    assert (found.f1, found.lesions_a, found.lesions_b) == (0.0, 1, 0)


def best_matching_by_trying(a, b):
    """The largest sum of intersection over union of any one-to-one matching, by trying all."""
    smaller, larger = sorted((a, b), key=len)
    best = 0.0
    for chosen in itertools.permutations(larger, len(smaller)):
        total = sum(len(x & y) / len(x | y) for x, y in zip(smaller, chosen, strict=True))
        best = max(best, total)
    return best


few_blobs = arrays(np.bool_, GRID.shape, elements=st.booleans(), fill=st.just(False))


@settings(max_examples=40, deadline=None)
@given(st.lists(few_blobs, min_size=3, max_size=3))
def test_joint_lesions_are_the_components_of_the_union(masks):
    maps = maps_of(*(1 + mask.astype(np.uint8) for mask in masks))
    expected = brute.components(masks[0] | masks[1] | masks[2])
    found = joint_lesions(maps)
    assert sorted(round(lesion.union_ml / 0.005) for lesion in found) == sorted(map(len, expected))
    patterns = sorted(
        "".join("1" if any(mask[voxel] for voxel in group) else "0" for mask in masks) for group in expected
    )
    assert sorted(lesion.pattern for lesion in found) == patterns


@settings(max_examples=60, deadline=None)
@given(few_blobs, few_blobs)
def test_the_matching_is_the_best_there_is(a, b):
    groups_a, groups_b = brute.components(a), brute.components(b)
    assume(max(len(groups_a), len(groups_b)) <= 6)
    maps = maps_of(1 + a.astype(np.uint8), 1 + b.astype(np.uint8))
    shared = maps.shared(0, 1)
    iou = shared.voxels / (maps.sizes(0)[shared.first] + maps.sizes(1)[shared.second] - shared.voxels)
    chosen = best_matching(shared, iou)
    assert len(set(shared.first[chosen])) == len(set(shared.second[chosen])) == len(chosen)
    assert iou[chosen].sum() == pytest.approx(best_matching_by_trying(groups_a, groups_b))
    (found,) = detections(maps)
    assert (found.lesions_a, found.lesions_b, found.touching) == (len(groups_a), len(groups_b), len(chosen))
    assert found.well_matched == sum(2 * len(x & y) > len(x | y) for x in groups_a for y in groups_b)


def test_thousands_of_specks_are_matched_in_a_moment():
    grid = Geometry.from_axes((60, 120, 120), spacing_mm=(1, 1, 1))
    specks = np.zeros((2, *grid.shape), np.uint8)
    specks[:, ::2, ::3, ::3] = 2
    specks[1, 0, 0, 0] = 0
    maps = lesion_maps(join({f"R{n}": LabelMap(mask, grid) for n, mask in enumerate(specks)}), (2,))
    (found,) = detections(maps)
    assert (found.lesions_a, found.lesions_b, found.well_matched) == (48000, 47999, 47999)
