from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.agreement.joint import box_of, join
from pipeline.core.errors import GeometryError, LabelError
from pipeline.core.geometry import Geometry
from pipeline.core.volume import LabelMap

GRID = Geometry.from_axes((4, 5, 6), spacing_mm=(5, 0.8, 0.7))


def some_masks(count):
    return st.lists(arrays(np.uint8, GRID.shape, elements=st.integers(0, 2)), min_size=count, max_size=count)


@settings(max_examples=40, deadline=None)
@given(some_masks(3))
def test_every_voxel_keeps_every_raters_label(masks):
    ratings = {f"R{n}": LabelMap(voxels, GRID) for n, voxels in enumerate(masks)}
    joint = join(ratings)
    for column, rater in enumerate(joint.raters):
        assert np.array_equal(joint.painted(joint.patterns[:, column]), ratings[rater].voxels)
    assert joint.counts.sum() == np.prod(GRID.shape)


@pytest.mark.parametrize(("raters", "highest"), [(1, 2), (5, 2), (6, 2), (11, 2), (3, 250), (20, 3)])
def test_any_number_of_raters_and_labels_is_told_apart(raters, highest):
    rng = np.random.default_rng(raters)
    ratings = {f"R{n:02}": LabelMap(rng.integers(0, highest + 1, GRID.shape, np.uint8), GRID) for n in range(raters)}
    joint = join(ratings)
    for column, rater in enumerate(joint.raters):
        assert np.array_equal(joint.painted(joint.patterns[:, column]), ratings[rater].voxels)
    assert np.unique(joint.patterns, axis=0).shape == joint.patterns.shape


def test_counts_of_slices_are_those_of_the_masks(mask):
    voxels = np.zeros((4, 3, 3), np.uint8)
    voxels[1], voxels[2, 0, 0] = 1, 2
    joint = join({"R1": mask(voxels), "R2": mask(np.minimum(voxels, 1))})
    assert joint.start == (1, 0, 0)
    assert joint.patterns.tolist() == [[0, 0], [1, 1], [2, 1]]
    assert joint.slice_counts.tolist() == [[0, 9, 0], [8, 0, 1]]
    assert joint.counts.tolist() == [26, 9, 1]


def test_masks_without_any_mark_give_an_empty_box_and_the_background_pattern(mask):
    joint = join({"R1": mask(np.zeros((2, 3, 4))), "R2": mask(np.zeros((2, 3, 4)))})
    assert joint.codes.size == 0
    assert joint.patterns.tolist() == [[0, 0]]
    assert joint.counts.tolist() == [24]
    assert not joint.painted(np.array([0], np.uint8)).any()


@pytest.mark.parametrize("corner", list(itertools.product((0, -1), repeat=3)))
def test_box_holds_a_voxel_in_each_corner(corner):
    voxels = np.zeros((3, 4, 5), np.uint8)
    voxels[corner] = 7
    assert voxels[box_of(voxels)].tolist() == [[[7]]]


def test_masks_on_different_grids_are_refused_with_the_rater(mask):
    with pytest.raises(GeometryError, match="the mask of R2 is up to 8"):
        join({"R1": mask(np.ones((3, 3, 3))), "R2": mask(np.ones((3, 3, 3)), spacing_mm=(5, 1, 1))})


def test_no_rating_is_refused():
    with pytest.raises(LabelError, match="no rating"):
        join({})


def test_more_than_can_be_told_apart_is_refused(mask):
    with pytest.raises(LabelError, match="too many"):
        join({f"R{n}": mask(np.full((1, 1, 1), 255)) for n in range(9)})
