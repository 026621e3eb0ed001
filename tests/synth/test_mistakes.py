"""What raters get wrong: different for each, plausible, and never twice at one voxel."""

from __future__ import annotations

import hashlib

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from pipeline.core.geometry import Geometry
from pipeline.core.volume import LabelMap
from pipeline.synth.mistakes import draw_mistakes, rate

RATERS = 3


def key_of(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def nested_majority(masks: list[np.ndarray]) -> np.ndarray:
    """Liver where most say liver or lesion; lesion where, of all, most say lesion. Written anew, by counting."""
    stack = np.stack(masks)
    half = len(masks) / 2
    return ((stack > 0).sum(axis=0) > half).astype(np.uint8) + ((stack == 2).sum(axis=0) > half)


@given(number=st.integers(0, 10**6), seed=st.integers(0, 10**6), raters=st.integers(3, 6))
@settings(max_examples=25, deadline=None)
def test_the_nested_majority_of_three_or_more_is_the_truth_exactly(number, seed, raters):
    """Whatever the mask looks like: here boxes of liver and lesion thrown about at random."""
    rng = np.random.default_rng(seed)
    voxels = np.zeros((6, 30, 30), dtype=np.uint8)
    for label in (1, 1, 2, 2):
        z, y, x = rng.integers(0, (4, 24, 24))
        voxels[z : z + 3, y : y + int(rng.integers(1, 20)), x : x + int(rng.integers(1, 20))] = label
    truth = LabelMap(voxels, Geometry.from_axes(voxels.shape, spacing_mm=(5, 2, 2)))
    masks = [rate(truth, key=key_of(number), rater=rater, raters=raters).voxels for rater in range(raters)]
    assert (nested_majority(masks) == voxels).all()
    wrong = np.stack([mask != voxels for mask in masks])
    assert wrong.sum(axis=0).max() <= 1


def test_raters_differ_from_the_truth_and_from_one_another(phantom):
    truth = phantom.labels.voxels
    masks = [rate(phantom.labels, key=key_of(1), rater=rater, raters=RATERS).voxels for rater in range(RATERS)]
    for mask in masks:
        dice = 2 * ((mask > 0) & (truth > 0)).sum() / ((mask > 0).sum() + (truth > 0).sum())
        assert 0.95 < dice < 0.999
    assert len({mask.tobytes() for mask in masks}) == RATERS


def test_slips_occur_and_only_small_lesions_are_missed():
    """Over many sittings: lesions drawn too wide, too narrow, and missed only beside much larger ones."""
    labels = np.zeros((9, 60, 60), dtype=np.uint8)
    labels[1:8, 5:55, 5:55] = 1
    labels[2:7, 10:28, 10:28] = 2
    labels[4:6, 40:45, 40:45] = 2
    large, small = sorted(lesions_of(labels), key=np.sum, reverse=True)
    seen = {(name, slip): 0 for name in ("large", "small") for slip in ("wide", "narrow", "missed")}
    for number in range(60):
        drawn = draw_mistakes(labels, key_of(number), RATERS).drawn
        for name, lesion in (("large", large), ("small", small)):
            kept = (drawn == 2) & lesion
            seen[name, "missed"] += not kept.any()
            seen[name, "narrow"] += kept.any() and (kept != lesion).any()
            seen[name, "wide"] += ((drawn == 2) & around(lesion) & ~lesion).any()
    assert seen.pop(("large", "missed")) == 0
    assert all(5 <= count <= 25 for count in seen.values()), seen


def test_a_lesion_alone_is_seen_by_everybody(phantom):
    only = np.where(phantom.labels.voxels == 2, 1, phantom.labels.voxels)
    lesion = max(lesions_of(phantom.labels.voxels), key=np.sum)
    only[lesion] = 2
    for number in range(20):
        drawn = draw_mistakes(only, key_of(number), RATERS).drawn == 2
        assert 2 * (drawn & lesion).sum() / (drawn.sum() + lesion.sum()) > 0.75


def lesions_of(truth: np.ndarray) -> list[np.ndarray]:
    numbered, count = ndimage.label(truth == 2, structure=np.ones((3, 3, 3)))
    return [numbered == number for number in range(1, count + 1)]


def around(lesion: np.ndarray) -> np.ndarray:
    return ndimage.binary_dilation(lesion, structure=np.ones((1, 3, 3)), iterations=2)


def test_the_same_sitting_gives_the_same_mask_and_another_one_another(phantom):
    first, again, other = (
        rate(phantom.labels, key=key_of(number), rater=0, raters=RATERS).voxels for number in (1, 1, 2)
    )
    assert (first == again).all()
    assert (first != other).any()
