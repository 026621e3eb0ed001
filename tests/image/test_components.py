"""Components, holes and dust: drawn by hand, and held against scipy, which shares no code with cc3d."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from pipeline.image.components import (
    bounding_box,
    component_count,
    fill_holes,
    holes,
    label_components,
    largest_component,
    without_dust,
)

MASKS = arrays(np.bool_, st.tuples(*[st.integers(1, 6)] * 3))
ALL_NEIGHBOURS = np.ones((3, 3, 3))


def component_sizes(mask) -> np.ndarray:
    numbered, count = label_components(mask)
    return np.array([(numbered == number).sum() for number in range(1, count + 1)], dtype=int)


def shell_and_speck() -> np.ndarray:
    mask = np.zeros((7, 9, 9), dtype=bool)
    mask[1:6, 1:6, 1:6] = True
    mask[3, 3, 3] = False
    mask[0, 8, 8] = True
    return mask


def test_a_cube_with_a_hollow_and_a_speck_is_taken_apart():
    mask = shell_and_speck()
    assert component_count(mask) == 2
    assert component_sizes(mask).tolist() == [1, 124]
    assert bounding_box(mask) == (slice(0, 6), slice(1, 9), slice(1, 9))
    assert largest_component(mask).sum() == 124
    assert np.argwhere(holes(mask)).tolist() == [[3, 3, 3]]


def test_dust_goes_by_volume_and_the_limit_itself_stays():
    mask = shell_and_speck()
    voxel_volume_ml = 0.05
    assert without_dust(mask, min_volume_mm3=50.0, voxel_volume_ml=voxel_volume_ml).sum() == 125
    assert without_dust(mask, min_volume_mm3=50.1, voxel_volume_ml=voxel_volume_ml).sum() == 124
    assert without_dust(mask, min_volume_mm3=1e9, voxel_volume_ml=voxel_volume_ml).sum() == 0


def test_an_empty_mask_has_nothing():
    empty = np.zeros((2, 3, 4), dtype=bool)
    assert bounding_box(empty) is None
    assert component_count(empty) == 0
    assert component_sizes(empty).size == 0
    assert not largest_component(empty).any()
    assert not fill_holes(empty).any()
    assert not without_dust(empty, min_volume_mm3=0, voxel_volume_ml=1).any()


def test_a_hollow_open_to_the_border_is_no_hole():
    mask = np.ones((3, 3, 3), dtype=bool)
    mask[1, 1, :2] = False
    assert not holes(mask).any()


@given(mask=MASKS)
@settings(max_examples=60, deadline=None)
def test_scipy_finds_the_same_components_and_holes(mask):
    _, count = ndimage.label(mask, structure=ALL_NEIGHBOURS)
    assert component_count(mask) == count
    assert component_sizes(mask).sum() == mask.sum()
    np.testing.assert_array_equal(fill_holes(mask), ndimage.binary_fill_holes(mask))


@given(mask=MASKS)
@settings(max_examples=60, deadline=None)
def test_the_largest_part_is_one_part_and_none_is_larger(mask):
    largest = largest_component(mask)
    assert component_count(largest) == min(1, int(mask.any()))
    assert largest.sum() == component_sizes(mask).max(initial=0)
    assert not (largest & ~mask).any()
