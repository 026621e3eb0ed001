from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.agreement.consensus import vote
from pipeline.agreement.decision import UNDECIDED
from pipeline.core.config import AdjudicateConfig, ConsensusConfig
from pipeline.core.geometry import Geometry
from pipeline.core.labels import Structure
from pipeline.core.volume import LabelMap
from tests.agreement.brute import nested_vote, plurality_vote

GRID = Geometry.from_axes((4, 8, 8), spacing_mm=(5, 1, 1))
LENIENT = AdjudicateConfig(min_dice=0, max_tie_fraction=1, max_volume_difference_ml=1000)


def named(masks):
    return {f"R{n}": LabelMap(voxels, GRID) for n, voxels in enumerate(masks, start=1)}


def liver_with_lesion(*places):
    voxels = np.zeros(GRID.shape, np.uint8)
    voxels[:, 1:7, 1:7] = 1
    for place in places:
        voxels[place] = 2
    return voxels


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5).flatmap(lambda n: arrays(np.uint8, (n, *GRID.shape), elements=st.integers(0, 2))))
def test_the_vote_is_the_rule_in_words_at_every_voxel(masks):
    found = vote(named(masks), ConsensusConfig())
    flat = masks.reshape(len(masks), -1).T.tolist()
    assert found.labels.voxels.ravel().tolist() == [nested_vote(labels) for labels in flat]


@pytest.mark.parametrize("ties", ["down", "up", "undecided"])
@pytest.mark.parametrize("raters", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(("method", "rule"), [("nested-majority", nested_vote), ("plurality", plurality_vote)])
def test_every_pattern_of_labels_is_voted_as_the_rule_says(method, rule, raters, ties):
    patterns = list(itertools.product((0, 1, 2), repeat=raters))
    columns = np.array(patterns, np.uint8).reshape(-1, 1, 1, raters)
    grid = Geometry.from_axes(columns.shape[:3], spacing_mm=(5, 1, 1))
    ratings = {f"R{rater}": LabelMap(columns[..., rater], grid) for rater in range(raters)}
    found = vote(ratings, ConsensusConfig(method=method, ties=ties))
    assert found.labels.voxels.ravel().tolist() == [rule(pattern, ties) for pattern in patterns]


def test_maps_of_ties_votes_and_entropy_lie_on_the_masks_grid():
    a, b = liver_with_lesion(), liver_with_lesion((1, 3, 3))
    found = vote(named([a, a, b, b]), ConsensusConfig(ties="undecided"))
    assert np.argwhere(found.ties).tolist() == [[1, 3, 3]]
    assert np.argwhere(found.labels.voxels == UNDECIDED).tolist() == [[1, 3, 3]]
    assert found.votes(Structure.LESION)[1, 3, 3] == 2
    assert found.entropy[1, 3, 3] == 1.0
    assert found.entropy.sum() == 1.0


def test_full_agreement_needs_nobody():
    found = vote(named([liver_with_lesion((1, 3, 3))] * 3), ConsensusConfig())
    assert found.kind == "consensus"
    assert found.needs_adjudication == ()


def test_a_lesion_that_a_minority_saw_is_listed_though_the_vote_drops_it():
    seen, missed = liver_with_lesion((1, slice(3, 5), 3)), liver_with_lesion()
    found = vote(named([seen, missed, missed]), ConsensusConfig(adjudicate=LENIENT))
    assert not (found.labels.voxels == 2).any()
    assert [reason.rule for reason in found.needs_adjudication] == ["minority-lesion"]
    sentence = "lesion 1: 1 of 3 raters marked 0.01 ml on slice 2; the vote keeps nothing of it"
    assert found.needs_adjudication[0].sentence() == sentence
    lesion = found.explanation().to_json()["lesions"][0]
    assert (lesion["pattern"], lesion["kept_ml"], lesion["union_ml"]) == ("100", 0.0, pytest.approx(0.01))


def test_two_raters_who_differ_are_no_consensus_but_a_joint_review():
    found = vote(
        named([liver_with_lesion((1, 3, 3)), liver_with_lesion((1, 3, 4))]), ConsensusConfig(adjudicate=LENIENT)
    )
    assert "joint review" in found.kind
    assert not (found.labels.voxels == 2).any()
    assert "differ in 2 voxels" in found.needs_adjudication[0].sentence()
    assert found.explanation().to_json()["differing_slices"] == [
        {"structure": "lesion", "slice": 1, "disagreeing_voxels": 2, "union_voxels": 2}
    ]
    assert found.needs_adjudication[0].rule == "two-raters"


@pytest.mark.parametrize(
    ("limits", "rule"),
    [
        (LENIENT.model_copy(update={"min_dice": 0.9}), "low-dice"),
        (LENIENT.model_copy(update={"max_volume_difference_ml": 0.01}), "volume-difference"),
    ],
)
def test_a_volume_beyond_a_limit_goes_to_a_person(limits, rule):
    wide, narrow = liver_with_lesion((1, 3, slice(2, 6))), liver_with_lesion((1, 3, 2))
    found = vote(named([wide, wide, narrow]), ConsensusConfig(adjudicate=limits))
    assert [reason.rule for reason in found.needs_adjudication] == [rule]


def test_a_volume_difference_is_that_of_the_raters_not_their_volume():
    wide, narrow = liver_with_lesion((1, 3, slice(2, 6))), liver_with_lesion((1, 3, slice(2, 5)))
    limits = LENIENT.model_copy(update={"max_volume_difference_ml": 0.006})
    assert vote(named([wide, wide, narrow]), ConsensusConfig(adjudicate=limits)).needs_adjudication == ()


def test_what_two_raters_differ_on_is_for_joint_review_and_no_tie():
    strict = ConsensusConfig(adjudicate=LENIENT.model_copy(update={"max_tie_fraction": 0.0}))
    found = vote(named([liver_with_lesion((1, 3, slice(2, 6))), liver_with_lesion((1, 3, slice(2, 5)))]), strict)
    assert [reason.rule for reason in found.needs_adjudication] == ["two-raters"]


def test_ties_of_an_even_number_go_to_a_person_beyond_the_limit():
    a, b = liver_with_lesion((1, 3, 3)), liver_with_lesion()
    masks = named([a, a, b, b])
    strict = ConsensusConfig(adjudicate=LENIENT.model_copy(update={"max_tie_fraction": 0.0}))
    assert {reason.rule for reason in vote(masks, strict).needs_adjudication} == {"ties", "minority-lesion"}
    assert vote(masks, strict).explanation().to_json()["tied_slices"] == [{"slice": 1, "voxels": 1}]


def test_the_explanation_counts_every_vote_and_names_every_rating():
    masks = [liver_with_lesion((1, 3, 3)), liver_with_lesion(), liver_with_lesion((1, 3, 3))]
    content = vote(named(masks), ConsensusConfig()).explanation().to_json()
    assert content["votes"]["lesion"] == [GRID.shape[0] * 64 - 1, 0, 1, 0]
    assert content["voxels"] == {"0": 256 - 144, "1": 143, "2": 1}
    assert content["slices_to_look_at"] == [1]
    assert content["rating_sha256"]["R1"] == content["rating_sha256"]["R3"] != content["rating_sha256"]["R2"]
    json.dumps(content, allow_nan=False)


def test_one_rater_gives_his_own_mask():
    only = liver_with_lesion((2, 3, 3))
    found = vote(named([only]), ConsensusConfig())
    assert found.kind == "single rating"
    assert np.array_equal(found.labels.voxels, only)
    assert found.needs_adjudication == ()


@pytest.mark.parametrize("method", ["nested-majority", "instance-majority", "plurality", "staple"])
def test_every_method_keeps_what_all_raters_agree_on(method):
    mask = liver_with_lesion((1, slice(2, 5), slice(2, 5)))
    found = vote(named([mask] * 3), ConsensusConfig(method=method))
    assert np.array_equal(found.labels.voxels, mask)


@pytest.mark.parametrize("method", ["nested-majority", "instance-majority", "plurality", "staple"])
def test_masks_without_any_mark_give_an_empty_mask(method):
    found = vote(named(np.zeros((3, *GRID.shape), np.uint8)), ConsensusConfig(method=method))
    assert not found.labels.voxels.any()
    assert found.needs_adjudication == ()
    json.dumps(found.explanation().to_json(), allow_nan=False)


def test_staple_is_reported_beside_the_vote_and_knows_who_misses_lesions():
    seen, missed = liver_with_lesion((1, slice(2, 5), slice(2, 5))), liver_with_lesion()
    check = vote(named([seen, seen, missed]), ConsensusConfig()).explanation().to_json()["staple_check"]["lesion"]
    assert (check["voxels"], check["dice_with_mask"]) == (9, 1.0)
    assert check["sensitivity"]["R1"] > 0.99 > 0.01 > check["sensitivity"]["R3"]


def test_any_tie_goes_to_the_adjudicator_where_that_is_the_policy():
    a, b = liver_with_lesion(), liver_with_lesion((1, 3, 3))
    masks = named([a, a, b, b])
    lenient = AdjudicateConfig(min_dice=0.0, max_tie_fraction=1.0, max_volume_difference_ml=1e6)
    left = vote(masks, ConsensusConfig(ties="down", adjudicate=lenient))
    asked = vote(masks, ConsensusConfig(ties="adjudicator", adjudicate=lenient))
    assert "ties" not in {reason.rule for reason in left.needs_adjudication}
    assert "ties" in {reason.rule for reason in asked.needs_adjudication}
    np.testing.assert_array_equal(asked.labels.voxels, left.labels.voxels)
