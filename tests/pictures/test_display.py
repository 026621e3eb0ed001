"""Shades: known values of the abdominal window, any type of number without a warning, colour left alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from pipeline.core.volume import Unit
from pipeline.pictures.display import ABDOMEN_HU, display_range, to_gray

TYPES = [np.int16, np.uint16, np.int32, np.uint8, np.bool_, np.float32]


@st.composite
def planes(draw):
    dtype = draw(st.sampled_from(TYPES))
    return draw(arrays(dtype, array_shapes(min_dims=2, max_dims=2, max_side=8)))


def test_abdominal_window_is_level_50_width_400():
    values = np.array([[-1024, -150, -50, 50, 150, 250, 3071]], np.int16)
    shades = to_gray(values, display_range(values, Unit.HU))
    np.testing.assert_allclose(shades, [[0, 0, 63.75, 127.5, 191.25, 255, 255]], atol=0.5)


def test_an_image_clipped_to_another_window_keeps_its_contrast():
    values = np.arange(-1024, 1024, dtype=np.int16).reshape(32, 64)
    released = np.clip(values, -200, 200)
    kept = (values >= -150) & (values <= 200)
    shown = display_range(released, Unit.HU)
    whole = to_gray(values, display_range(values, Unit.HU))
    assert np.array_equal(to_gray(released, shown)[kept], whole[kept])
    assert np.ptp(whole[kept]) > 0.8 * 255


def test_intensities_are_shown_by_their_percentiles():
    ramp = np.arange(100, dtype=np.float32).reshape(1, 10, 10)
    assert display_range(ramp) == pytest.approx((0.99, 98.01))
    assert display_range(ramp, percentiles=(0, 100)) == (0, 99)
    assert display_range(ramp, Unit.HU) == ABDOMEN_HU


def test_percentiles_of_a_large_volume_are_nearly_those_of_all_its_voxels():
    rng = np.random.default_rng(3)
    smooth = np.add.outer(np.arange(96), np.add.outer(np.arange(160), np.arange(256))).astype(np.float32)
    voxels = (smooth + rng.normal(0, 9, smooth.shape)).astype(np.int16)
    low, high = np.percentile(voxels, (1, 99))
    np.testing.assert_allclose(display_range(voxels), (low, high), atol=(high - low) / 100)


def test_values_far_below_one_are_shown_in_all_shades():
    """A diffusion map in mm²/s ends near 0.003."""
    ramp = np.linspace(0, 0.003, 400, dtype=np.float32).reshape(20, 20)
    assert len(np.unique(to_gray(ramp, display_range(ramp)))) > 200


def test_a_few_bright_voxels_of_an_empty_image_are_seen():
    sparse = np.zeros((100, 100), np.uint16)
    sparse[50, 50] = 700
    shades = to_gray(sparse, display_range(sparse))
    assert shades[50, 50] == 255
    assert shades.sum() == 255


@given(planes())
def test_brighter_values_never_get_darker_shades(values):
    shades = to_gray(values, display_range(values))
    assert shades.dtype == np.uint8
    assert shades.shape == values.shape
    known = np.isfinite(values)
    order = np.argsort(values[known], kind="stable")
    assert (np.diff(shades[known][order].astype(int)) >= 0).all()
    assert not shades[np.isnan(values)].any()


@given(st.sampled_from(TYPES), st.integers(0, 1) | st.just(200))
def test_a_constant_slice_has_one_shade(dtype, value):
    values = np.full((4, 5), value, dtype)
    low, high = display_range(values)
    assert low < high
    assert np.ptp(to_gray(values, (low, high))) == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_slices_without_one_usable_value_have_one_shade(value):
    values = np.full((4, 5), value, np.float32)
    assert np.ptp(to_gray(values, display_range(values))) == 0


def test_infinity_is_brighter_and_minus_infinity_darker_than_everything():
    values = np.arange(64, dtype=np.float32).reshape(8, 8)
    values[0, 0], values[7, 7] = -np.inf, np.inf
    shades = to_gray(values, display_range(values))
    assert (shades[0, 0], shades[7, 7]) == (0, 255)
    assert 0 < np.median(shades) < 255


def test_colour_stays_colour():
    picture = np.random.default_rng(0).integers(0, 256, (6, 7, 3)).astype(np.uint8)
    assert np.array_equal(to_gray(picture, display_range(picture)), picture)
