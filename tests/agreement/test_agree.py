from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.agreement.agree import agree
from pipeline.core.geometry import Geometry
from pipeline.core.volume import LabelMap
from tests.agreement.brute import dice as brute_dice

GRID = Geometry.from_axes((3, 6, 7), spacing_mm=(5, 1, 1))
MEANT = {"whole_liver": (1, 2), "parenchyma": (1,), "lesion": (2,)}
ratings_of_three = st.lists(arrays(np.uint8, GRID.shape, elements=st.integers(0, 2)), min_size=3, max_size=3)


def named(masks):
    return {f"R{n}": LabelMap(voxels, GRID) for n, voxels in enumerate(masks, start=1)}


@settings(max_examples=30, deadline=None)
@given(ratings_of_three)
def test_dice_and_volumes_equal_sets_of_voxels(masks):
    found = agree(named(masks))
    assert len(found.pairs) == 9
    for pair in found.pairs:
        a, b = (np.isin(masks[int(rater[1]) - 1], MEANT[pair.structure]) for rater in pair.raters)
        assert pair.overlap.dice == pytest.approx(brute_dice(a, b), nan_ok=True)
        assert pair.volumes_ml == pytest.approx((a.sum() * 0.005, b.sum() * 0.005))
        union = (a | b).sum()
        assert pair.overlap.jaccard == pytest.approx((a & b).sum() / union if union else np.nan, nan_ok=True)


@settings(max_examples=20, deadline=None)
@given(ratings_of_three)
def test_the_order_in_which_raters_are_given_changes_nothing(masks):
    ratings = named(masks)
    turned = dict(reversed(list(ratings.items())))
    assert agree(ratings).to_json() == agree(turned).to_json()


@settings(max_examples=20, deadline=None)
@given(arrays(np.uint8, GRID.shape, elements=st.integers(0, 2)))
def test_identical_ratings_agree_wholly(voxels):
    for pair in agree(named([voxels, voxels])).pairs:
        if pair.empty == "none":
            assert (pair.overlap.dice, pair.distances.hd_mm, pair.distances.nsd) == (1.0, 0.0, 1.0)
        else:
            assert pair.empty == "both"


def test_a_missed_lesion_is_dice_0_and_stays_in_view():
    seen = np.ones(GRID.shape, np.uint8)
    seen[1, 2:4, 2:4] = 2
    missed = np.ones(GRID.shape, np.uint8)
    lesion = next(pair for pair in agree(named([seen, missed])).pairs if pair.structure == "lesion").to_json()
    assert (lesion["empty"], lesion["dice"], lesion["jaccard"], lesion["nsd"]) == ("one", 0.0, 0.0, 0.0)
    assert lesion["hd_mm"] is lesion["hd95_max_mm"] is lesion["assd_mm"] is None


def test_no_lesion_in_either_mask_is_undefined_not_perfect():
    healthy = np.ones(GRID.shape, np.uint8)
    lesion = next(pair for pair in agree(named([healthy, healthy])).pairs if pair.structure == "lesion").to_json()
    assert lesion["empty"] == "both"
    assert lesion["dice"] is lesion["jaccard"] is lesion["nsd"] is lesion["hd_mm"] is None


def test_volume_difference_has_a_sign_and_a_percentage_of_the_mean():
    a, b = np.zeros((2, *GRID.shape), np.uint8)
    a[0, :3], b[0, :1] = 1, 1
    pair = agree(named([a, b])).pairs[0]
    assert pair.volume_difference_ml == pytest.approx(14 * 0.005)
    assert pair.volume_difference_percent == pytest.approx(100 * 14 / 14)


def test_slices_tell_where_raters_differ_and_by_how_much():
    a = np.zeros(GRID.shape, np.uint8)
    a[1:] = 1
    b = a.copy()
    b[2, 0, :5] = 2
    found = [(s.structure, s.slice, s.disagreeing_voxels, s.union_voxels) for s in agree(named([a, b])).slices]
    assert found == [("parenchyma", 2, 5, 42), ("lesion", 2, 5, 5)]


def test_a_rater_agrees_better_with_a_vote_he_took_part_in():
    rng = np.random.default_rng(5)
    masks = [rng.integers(0, 2, GRID.shape, np.uint8) for _ in range(5)]
    for score in agree(named(masks), structures={"liver": (1,)}).against_vote:
        assert score.dice_with_vote > score.dice_with_vote_of_others
        rater = int(score.rater[1]) - 1
        others = sum(mask for n, mask in enumerate(masks) if n != rater) * 2 > 4
        assert score.dice_with_vote_of_others == pytest.approx(brute_dice(masks[rater] == 1, others))


def test_two_raters_have_no_vote_of_others(mask):
    found = agree(named(np.ones((2, *GRID.shape), np.uint8))).against_vote[0]
    assert np.isnan(found.dice_with_vote_of_others)


@pytest.mark.parametrize("raters", [1, 2, 3])
def test_json_is_finite_and_complete_whatever_the_masks(raters):
    for values in itertools.product((0, 1, 2), repeat=raters):
        masks = [np.full(GRID.shape, value, np.uint8) for value in values]
        content = agree(named(masks)).to_json()
        assert json.loads(json.dumps(content, allow_nan=False))["definitions"]["hd95_max_mm"]
        assert len(content["pairs"]) == 3 * raters * (raters - 1) // 2


def test_any_structures_can_be_compared_by_name():
    kidney, cyst = np.zeros((2, *GRID.shape), np.uint8)
    kidney[1], cyst[1] = 1, 3
    found = agree(named([kidney, cyst]), structures={"kidney": (1, 3), "cyst": (3,)})
    assert [(pair.structure, pair.empty) for pair in found.pairs] == [("kidney", "none"), ("cyst", "one")]


def test_a_vote_of_labels_that_are_not_nested_is_by_structure():
    kidney, cyst = np.full(GRID.shape, 1, np.uint8), np.full(GRID.shape, 3, np.uint8)
    found = agree(named([kidney, cyst, cyst]), structures={"kidney": (1,), "cyst": (3,)}).against_vote
    assert [(score.structure, score.rater, score.dice_with_vote) for score in found[:1] + found[4:5]] == [
        ("kidney", "R1", 0.0),
        ("cyst", "R2", 1.0),
    ]


def test_reliability_names_its_region_and_grows_with_the_background():
    a, b = np.zeros((2, *GRID.shape), np.uint8)
    a[1, 1:4, 1:4], b[1, 1:4, 2:5] = 1, 1
    liver, labels = agree(named([a, b, b]), structures={"liver": (1,)}).reliability
    assert liver.fleiss_kappa_whole_volume > liver.fleiss_kappa
    assert (labels.structure, labels.fleiss_kappa) == ("all_labels", liver.fleiss_kappa)
    assert labels.krippendorff_alpha == pytest.approx(liver.krippendorff_alpha)


def test_a_lesion_taken_for_background_weighs_more_than_one_taken_for_liver():
    liver, lesion, background = (np.full(GRID.shape, 1, np.uint8) for _ in range(3))
    lesion[1], background[1] = 2, 0
    near, far = (agree(named([lesion, other])).reliability[-1] for other in (liver, background))
    assert near.krippendorff_alpha > far.krippendorff_alpha


@settings(max_examples=20, deadline=None)
@given(ratings_of_three, st.sampled_from([0, 1, 2]))
def test_flipping_all_masks_changes_no_score(masks, axis):
    straight = agree(named(masks)).to_json()
    turned = agree(named([np.ascontiguousarray(np.flip(mask, axis)) for mask in masks])).to_json()
    for name in ("pairs", "against_vote", "reliability", "detections"):
        for row, twin in zip(straight[name], turned[name], strict=True):
            assert [twin[key] for key in sorted(twin)] == [
                pytest.approx(row[key], abs=1e-9) if isinstance(row[key], float) else row[key] for key in sorted(row)
            ]
    assert sorted(lesion["pattern"] for lesion in straight["lesions"]) == sorted(
        lesion["pattern"] for lesion in turned["lesions"]
    )
