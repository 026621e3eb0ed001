"""Thin strokes stand out as scipy's openings say, from what is usual around them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from pipeline.text.strokes import TILE_PIXELS, WIDEST_STROKE_PIXELS, bright_strokes, standing_out

WINDOW = WIDEST_STROKE_PIXELS + 1


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), rows=st.integers(20, 90), columns=st.integers(20, 90))
def test_inside_the_image_strokes_are_what_a_grey_opening_takes_away(seed, rows, columns):
    image = np.random.default_rng(seed).integers(-8191, 8192, (rows, columns)).astype(np.int16)
    inner = np.s_[WINDOW:-WINDOW, WINDOW:-WINDOW]
    expected = image - ndimage.grey_opening(image, WINDOW)
    assert np.array_equal(bright_strokes(image)[inner], expected[inner])


@pytest.mark.parametrize(("width", "stands_out"), [(1, True), (WIDEST_STROKE_PIXELS, True), (WINDOW, False)])
def test_a_bar_stands_out_up_to_the_widest_stroke(width, stands_out):
    image = np.zeros((64, 64), dtype=np.int16)
    image[20:50, 30 : 30 + width] = 500
    assert (bright_strokes(image)[35, 30] == 500) == stands_out


def test_a_stroke_must_exceed_the_noise_of_its_own_tile():
    rng = np.random.default_rng(3)
    contrast = np.abs(rng.normal(0, 5, (TILE_PIXELS, 2 * TILE_PIXELS))).astype(np.int16)
    contrast[:, TILE_PIXELS:] *= 20
    contrast[10:20, 8] = contrast[10:20, TILE_PIXELS + 8] = 120
    found = standing_out(contrast, at_least=30)
    assert found[10:20, 8].all()
    assert not found[10:20, TILE_PIXELS + 8].any()


def test_what_lies_between_two_strokes_is_no_stroke_when_it_is_much_fainter():
    contrast = np.zeros((TILE_PIXELS, TILE_PIXELS), dtype=np.int16)
    contrast[8:16, 10:15] = 300
    contrast[8:16, 10] = contrast[8:16, 14] = 1000
    assert np.flatnonzero(standing_out(contrast, at_least=30)[12]).tolist() == [10, 14]
