"""Liver slices and their margin, counted on paper."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.geometry import Geometry
from pipeline.core.volume import LabelMap, Volume
from pipeline.image.slices import crop_slices, liver_slices


def stack(values_by_slice, spacing_mm=5.0) -> LabelMap:
    voxels = np.zeros((len(values_by_slice), 3, 4), dtype=np.uint8)
    voxels[:, 1, 2] = values_by_slice
    return LabelMap(voxels, Geometry.from_axes(voxels.shape, spacing_mm=(spacing_mm, 0.8, 0.8)))


@pytest.mark.parametrize(
    ("margin_mm", "expected"),
    [(0, slice(3, 6)), (4.9, slice(3, 6)), (5.0, slice(2, 7)), (9.9, slice(2, 7)), (100, slice(0, 9))],
)
def test_the_margin_takes_slices_whose_centre_is_near_enough(margin_mm, expected):
    assert liver_slices(stack([0, 0, 0, 1, 0, 2, 0, 0, 0]), margin_mm) == expected


def test_float32_spacing_does_not_lose_a_slice():
    labels = stack([0, 1, 0], spacing_mm=float(np.float32(1.1)) + 1e-8)
    assert liver_slices(labels, 1.1) == slice(0, 3)


def test_a_lesion_without_liver_counts_and_an_empty_mask_has_no_slices():
    assert liver_slices(stack([0, 2, 0]), 0) == slice(1, 2)
    assert liver_slices(stack([0, 0, 0]), 50) is None


@given(first=st.integers(0, 8), length=st.integers(1, 9))
def test_a_cropped_voxel_stays_where_it_was(first, length):
    labels = stack([1] * 9)
    image = Volume(np.arange(9 * 12, dtype=np.int16).reshape(9, 3, 4), labels.geometry)
    stop = min(9, first + length)
    cropped = crop_slices(image, slice(first, stop))
    assert cropped.geometry.shape == (stop - first, 3, 4)
    np.testing.assert_allclose(cropped.geometry.to_lps_mm((0, 1, 2)), labels.geometry.to_lps_mm((first, 1, 2)))
    assert cropped.voxels[0, 0, 0] == first * 12
    assert crop_slices(labels, slice(first, stop)).geometry.same_space(cropped.geometry)
