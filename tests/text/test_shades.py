"""The same picture has the same shades, whatever type, unit or colour it is stored in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.text.find import find_text
from pipeline.text.shades import FEWEST_SHADES, LARGEST, MOST_SHADES, Shades, shades
from tests.text.test_find import EVERY, drawn, letters, phantom


def picture(seed: int, brightest: int) -> list[NDArray[np.int64]]:
    """Whole numbers from 0 on with a bright mark, which any type holds that reaches so far."""
    rng = np.random.default_rng(seed)
    slices = [np.clip(rng.normal(brightest / 3, brightest / 40, (64, 64)), 0, brightest) for _ in range(4)]
    for values in slices:
        values[20:30, 20:22] = values[20:30, 26:28] = brightest
    return [np.rint(values).astype(np.int64) for values in slices]


STORED = {
    "int16": lambda values: values.astype(np.int16),
    "uint16": lambda values: values.astype(np.uint16),
    "uint16 beyond 32767": lambda values: (values + 60_000).astype(np.uint16),
    "int32": lambda values: (values * 1000 - 70_000).astype(np.int32),
    "uint32": lambda values: (values + (1 << 31)).astype(np.uint32),
    "HU with a slope of 2": lambda values: (2 * values - 1024).astype(np.int16),
    "HU with a fractional slope": lambda values: (values * 1.5346 - 1024).astype(np.float32),
    "between 0 and 1": lambda values: (values / 4096).astype(np.float32),
    "float64": lambda values: values * 0.1 + 7.0,
}


def only(found: list[Shades]) -> Shades:
    (one,) = found
    return one


@pytest.mark.parametrize("kind", STORED)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), brightest=st.sampled_from([120, 1500, 4000]))
def test_equal_pictures_have_equal_shades(kind, seed, brightest):
    stored = only(shades([STORED[kind](values) for values in picture(seed, brightest)]))
    plain = only(shades(picture(seed, brightest)))
    assert stored.step == plain.step
    assert np.array_equal(stored.slices, plain.slices)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), is_signed=st.booleans())
def test_eight_bits_have_the_shades_of_sixteen(seed, is_signed):
    wide = picture(seed, 120)
    narrow = [values.astype(np.int8 if is_signed else np.uint8) for values in wide]
    assert np.array_equal(only(shades(narrow)).slices, only(shades(wide)).slices)


@pytest.mark.parametrize("brightest", [60, 255, 1500, 4095, 30_000, 60_000])
def test_any_picture_has_about_as_many_shades_as_a_ct(brightest):
    slices = [np.linspace(0, brightest, 4096).round().astype(np.int64).reshape(64, 64)]
    found = only(shades(slices)).slices[0]
    assert FEWEST_SHADES * 0.9 <= int(found.max()) - int(found.min()) <= MOST_SHADES * 1.1


def test_each_channel_of_a_colour_is_a_picture_of_its_own():
    rng = np.random.default_rng(1)
    colour = [rng.integers(0, 256, (32, 32, 3)).astype(np.uint8) for _ in range(3)]
    found = shades(colour)
    assert len(found) == 3
    for channel, one in enumerate(found):
        assert np.array_equal(one.slices, only(shades([values[..., channel] for values in colour])).slices)


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_some_shade_and_changes_no_other(odd):
    slices = [values.astype(np.float32) for values in picture(3, 1500)]
    plain = only(shades(slices)).slices
    slices[2][0, 1] = odd
    found = only(shades(slices)).slices
    assert abs(int(found[2][0, 1])) <= LARGEST
    found[2][0, 1] = plain[2][0, 1]
    assert np.array_equal(found, plain)


@pytest.mark.parametrize("value", [0, -3000, 4000])
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_one_value_alone_has_one_shade(value, dtype):
    assert not np.any(only(shades([np.full((8, 8), value, dtype)] * 3)).slices)


@pytest.mark.parametrize("place", [(5, 5), (60, 90)])
@pytest.mark.parametrize("text", ["KOWALSKA 1954", "ID 0077", ""])
def test_a_slope_changes_no_verdict(text, place):
    slices = drawn(phantom(), letters(text, place, 12), 1200, EVERY)
    whole = find_text(slices)
    assert whole.is_suspect == bool(text)
    for slope in (0.001, 0.5, 1.5346, 2.0):
        assert find_text([(values * slope - 17.3).astype(np.float32) for values in slices]) == whole


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (5, 40), (33, 31), (16, 16, 3)])
@pytest.mark.parametrize("count", [1, 3, 9])
def test_slices_of_any_size_are_searched(dtype, shape, count):
    rng = np.random.default_rng(1)
    find_text([rng.integers(0, 100, shape).astype(dtype) for _ in range(count)])
