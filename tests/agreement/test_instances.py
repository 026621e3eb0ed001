"""The vote lesion by lesion, beside the vote over instances that were saved one file each."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.agreement.consensus import vote
from pipeline.agreement.instances import RatedInstance, vote_instances
from pipeline.core.config import ConsensusConfig
from pipeline.core.geometry import Geometry
from pipeline.core.volume import LabelMap
from tests.agreement import brute

GRID = Geometry.from_axes((3, 9, 24), spacing_mm=(5, 1, 1))
LIVER = np.ones(GRID.shape, np.uint8)


def rated(spans):
    """One lesion a span of columns, in a liver that fills the image."""
    voxels = LIVER.copy()
    for start, stop in spans:
        voxels[1, 2:7, start:stop] = 2
    return LabelMap(voxels, GRID)


def voted(ratings, method="instance-majority", ties="down"):
    return vote(ratings, ConsensusConfig(method=method, ties=ties))


def test_a_gap_that_each_rater_left_elsewhere_stays_a_gap():
    ratings = {f"R{n}": rated([(2, gap), (gap + 1, 20)]) for n, gap in enumerate((10, 11, 12))}
    by_label = voted(ratings, "nested-majority").labels.voxels[1, 4]
    by_lesion = voted(ratings).labels.voxels[1, 4]
    assert np.flatnonzero(by_label[2:20] != 2).tolist() == []
    assert (np.flatnonzero(by_lesion[2:20] != 2) + 2).tolist() == [11]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(5, 9), st.integers(0, 2), st.integers(5, 9)), min_size=1, max_size=5
    )
)
def test_it_is_the_vote_over_instances_saved_one_file_each(drawn):
    """Two lesions a rater, left and right, that every pair of raters shares a part of."""
    raters = {f"R{n}": ((1 + a, b + 2), (12 + c, d + 13)) for n, (a, b, c, d) in enumerate(drawn)}
    found = voted({rater: rated(spans) for rater, spans in raters.items()})
    lesions = [{rater: rated([spans[side]]).voxels == 2 for rater, spans in raters.items()} for side in (0, 1)]
    masks = [(1, dict.fromkeys(raters, LIVER)), *((2, lesion) for lesion in lesions)]
    instances = [
        RatedInstance(label, {rater: LabelMap(mask.astype(np.uint8), GRID) for rater, mask in of.items()})
        for label, of in masks
    ]
    expected = vote_instances(instances, raters=len(raters))
    assert np.array_equal(found.labels.voxels, expected.voxels)


def best_sum(first, second):
    """The largest sum of intersection over union of any one-to-one matching, by trying all."""
    smaller, larger = sorted((first, second), key=len)
    sums = (
        sum(len(one & other) / len(one | other) for one, other in zip(smaller, chosen, strict=True))
        for chosen in itertools.permutations(larger, len(smaller))
    )
    return max(sums, default=0.0)


blobs = arrays(np.bool_, (2, 3, 7), elements=st.booleans(), fill=st.just(False))


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 4).flatmap(lambda n: st.lists(blobs, min_size=n, max_size=n)), st.sampled_from(["down", "up"]))
def test_no_voxel_is_lesion_that_too_few_marked_and_one_lesion_each_is_the_vote_over_labels(masks, ties):
    grid = Geometry.from_axes(masks[0].shape, spacing_mm=(5, 1, 1))
    ratings = {f"R{n}": LabelMap(1 + mask.astype(np.uint8), grid) for n, mask in enumerate(masks)}
    by_lesion, by_label = (voted(ratings, method, ties) for method in ("instance-majority", "nested-majority"))
    assert not ((by_lesion.labels.voxels == 2) & (by_label.labels.voxels != 2)).any()
    parts = [brute.components(mask) for mask in masks]
    if all(len(own) == 1 for own in parts) and set.intersection(*(own[0] for own in parts)):
        assert np.array_equal(by_lesion.labels.voxels, by_label.labels.voxels)


@settings(max_examples=60, deadline=None)
@given(blobs, blobs)
def test_of_two_raters_it_keeps_what_matched_lesions_share(first, second):
    grid = Geometry.from_axes(first.shape, spacing_mm=(5, 1, 1))
    ratings = {f"R{n}": LabelMap(1 + mask.astype(np.uint8), grid) for n, mask in enumerate((first, second))}
    found = {tuple(place) for place in np.argwhere(voted(ratings).labels.voxels == 2).tolist()}
    parts = brute.components(first), brute.components(second)
    assume(max(map(len, parts)) <= 6)
    kept = [(one, other) for one in parts[0] for other in parts[1] if one & other & found]
    assert found == {voxel for one, other in kept for voxel in one & other}
    assert len({id(one) for one, _ in kept}) == len({id(other) for _, other in kept}) == len(kept)
    assert sum(len(one & other) / len(one | other) for one, other in kept) == pytest.approx(best_sum(*parts))


@pytest.mark.parametrize("ties", ["down", "up", "undecided", "adjudicator"])
def test_ties_votes_and_counts_are_those_of_the_mask(ties):
    ratings = {f"R{n}": rated([span]) for n, span in enumerate(((2, 8), (2, 8), (4, 10), (4, 10)))}
    found = voted(ratings, ties=ties)
    tied = np.flatnonzero(found.ties[1, 4]).tolist()
    assert tied == [2, 3, 8, 9]
    expected = {"down": 1, "adjudicator": 1, "up": 2, "undecided": 255}[ties]
    assert set(found.labels.voxels[1, 4, tied].tolist()) == {expected}
    content = found.explanation().to_json()
    counted = {str(value): int((found.labels.voxels == value).sum()) for value in (0, *np.unique(found.labels.voxels))}
    assert content["voxels"] == counted
    assert content["votes"]["lesion"] == [GRID.shape[0] * 9 * 24 - 40, 0, 20, 0, 20]
