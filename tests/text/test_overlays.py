"""Ink shows in pictures of many slices: as plain arithmetic says, and more than the anatomy around it."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.text.overlays import FEWEST_COMPARED, differs, lasting, passing, shown


def noise(seed: int, count: int, side: int = 40) -> list[NDArray[np.int16]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(-500, 500, (side, side)).astype(np.int16) for _ in range(count)]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), count=st.integers(FEWEST_COMPARED, 6), number=st.integers(0, 5))
def test_a_slice_differs_by_what_lies_beyond_both_beside_it(seed, count, number):
    slices, number = noise(seed, count, 7), number % count
    beside = {0: (1, 2), count - 1: (count - 3, count - 2)}.get(number, (number - 1, number + 1))
    found = differs(slices, number)
    for place in np.ndindex(7, 7):
        own, (one, other) = int(slices[number][place]), (int(slices[near][place]) for near in beside)
        assert found[place] == max(own - max(one, other), min(one, other) - own)


def test_ink_of_one_slice_passes_and_ink_of_two_does_not():
    slices = [values // 20 for values in noise(1, 9)]
    slices[4][10:14, 10:14] = 900
    slices[2][30:34, 30:34] = slices[6][30:34, 30:34] = 900
    contrast = shown(passing(slices))
    assert contrast[10:14, 10:14].min() > 200
    assert contrast[30:34, 30:34].max() < 100


def test_dark_ink_passes_too():
    slices = [values // 20 for values in noise(2, 9)]
    slices[4][10:14, 10:14] = -900
    assert shown(passing(slices))[10:14, 10:14].min() > 200


def test_ink_of_all_slices_lasts_where_anatomy_moves():
    slices = noise(3, 12)
    for values in slices:
        values[10:12, 10:20] = 400
    mean = lasting(slices).astype(int)
    assert mean[10:12, 10:20].min() > np.percentile(mean, 95)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 100), offset=st.integers(-3000, 3000), count=st.integers(1, 30))
def test_brightness_of_a_whole_series_changes_no_picture_by_more_than_rounding(seed, offset, count):
    slices = noise(seed, count)
    brighter = [values + np.int16(offset) for values in slices]
    assert np.abs(lasting(slices).astype(int) - lasting(brighter)).max() <= 1
    if count >= FEWEST_COMPARED:
        assert np.array_equal(passing(slices), passing(brighter))
