"""Ink is one value with hard edges, in any script and direction; noise, soft edges, padding and metal are none."""

from __future__ import annotations

import random

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.lettering import LETTERINGS, cover_of
from pipeline.text.ink import (
    HARD_EDGE,
    LARGEST_MARK_PIXELS,
    MIN_PIXELS,
    MIN_SATURATED_PIXELS,
    find_ink,
)
from pipeline.text.lines import TextLine

SHAPE = (160, 160)
INK = 700


def tissue(seed: int = 1) -> NDArray[np.int16]:
    """A noisy body with a bone, over noisy air."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]] - 80
    means = np.where((rows / 60) ** 2 + (columns / 70) ** 2 < 1, 1050.0, 10.0)
    means[np.hypot(rows - 40, columns) < 6] = 2200
    return rng.normal(means, 12).astype(np.int16)


def inked(place: NDArray[np.bool_], level: int = INK) -> NDArray[np.int16]:
    values = tissue()
    values[place] = level
    return values


def bar(rows: int, columns: int = 4, top: int = 70, left: int = 70) -> NDArray[np.bool_]:
    """An open box as letters are: two uprights and a bar between them."""
    place = np.zeros(SHAPE, dtype=np.bool_)
    place[top : top + rows, [left, left + columns - 1]] = True
    place[top, left : left + columns] = True
    return place


@pytest.mark.parametrize("lettering", LETTERINGS)
@pytest.mark.parametrize("place", ["corner", "middle"])
@pytest.mark.parametrize("level", [300, INK, 1400])
def test_drawn_marks_of_every_kind_are_ink(lettering, place, level):
    size = 2 if "code" in lettering else 14
    cover = cover_of(lettering, SHAPE, size, place, random.Random(3), smooth=False) > 0.5
    found = find_ink(inked(cover, level), 1)
    assert found is not None
    assert found.is_sure
    rows, columns = np.flatnonzero(cover.any(1)), np.flatnonzero(cover.any(0))
    assert rows[0] <= found.box.top < found.box.bottom <= rows[-1] + 1
    assert columns[0] <= found.box.left < found.box.right <= columns[-1] + 1


@pytest.mark.parametrize("seed", range(8))
def test_noise_and_the_edge_of_a_body_are_no_ink(seed):
    assert find_ink(tissue(seed), 1) is None


def test_the_box_is_where_the_ink_is():
    found = find_ink(inked(bar(10)), 1)
    assert found is not None
    assert found.box == TextLine(70, 80, 70, 74)


def test_one_letter_is_ink_from_the_least_number_of_pixels_on():
    letter = bar(3)
    letter[70:73, 71:73] = False
    few = inked(letter)
    assert find_ink(few, 1) is None
    found = find_ink(inked(bar(5)), 1)
    assert found is not None
    assert found.pixels >= MIN_PIXELS
    assert found.is_sure


@pytest.mark.parametrize(("difference", "is_ink"), [(HARD_EDGE - 1, False), (HARD_EDGE, True)])
def test_ink_differs_from_what_is_beside_it(difference, is_ink):
    values = np.full(SHAPE, 1000, np.int16)
    values[:20] = np.random.default_rng(1).integers(0, 2000, (20, SHAPE[1]))
    values[bar(12)] = 1000 + difference
    assert (find_ink(values, 1) is not None) == is_ink


def test_in_few_shades_of_grey_edges_must_be_harder():
    values = np.full(SHAPE, 960, np.int16)
    values[:20] = np.random.default_rng(1).integers(0, 20, (20, SHAPE[1])) * 96
    values[bar(12)] = 960 + 96
    assert find_ink(values, 1) is not None
    assert find_ink(values, 32) is None


def test_soft_edges_are_no_ink():
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]] - 80
    values = tissue()
    blob = 900 - 50 * np.hypot(rows, columns)
    values = np.where(blob > 0, np.minimum(1050 + blob, 1750), values).astype(np.int16)
    assert find_ink(values, 1) is None


def test_padding_around_a_round_field_is_no_ink():
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]] - 80
    values = np.where(np.hypot(rows, columns) > 70, -2000, tissue()).astype(np.int16)
    assert find_ink(values, 1) is None


@pytest.mark.parametrize(("size", "is_ink"), [(LARGEST_MARK_PIXELS, True), (LARGEST_MARK_PIXELS + 1, False)])
def test_what_is_larger_than_any_letter_is_a_frame_or_a_table(size, is_ink):
    assert (find_ink(inked(bar(size, columns=30, top=30)), 1) is not None) == is_ink


def test_metal_at_the_highest_value_is_no_ink():
    values = tissue()
    values[60:68, 60:69] = values[110:116, 110:119] = 3071
    assert find_ink(values, 1) is None


def test_at_the_highest_value_only_several_marks_are_surely_ink():
    one, several = bar(8), bar(8)
    for left in (80, 90, 100):
        several |= bar(8, left=left)
    few, many = find_ink(inked(one, 3071), 1), find_ink(inked(several, 3071), 1)
    assert few is not None
    assert not few.is_sure
    assert many is not None
    assert many.pixels >= MIN_SATURATED_PIXELS
    assert many.is_sure


@pytest.mark.parametrize(("width", "is_ink"), [(1, False), (2, True)])
def test_lines_one_pixel_wide_alone_are_no_ink(width, is_ink):
    place = np.zeros(SHAPE, dtype=np.bool_)
    for top in (60, 66, 72):
        place[top : top + width, 60:75] = True
    assert (find_ink(inked(place), 1) is not None) == is_ink


@pytest.mark.parametrize(("first", "is_ink"), [(1, False), (2, True)])
def test_what_reaches_the_border_is_padding(first, is_ink):
    assert (find_ink(inked(bar(12, top=first)), 1) is not None) == is_ink


def test_a_page_full_of_letters_is_ink():
    place = np.zeros((640, 640), dtype=np.bool_)
    for top in range(20, 600, 14):
        for left in range(20, 600, 9):
            place[top : top + 8, [left, left + 4]] = place[top, left : left + 5] = True
    values = np.kron(tissue(), np.ones((4, 4), np.int16))
    values = (values + np.random.default_rng(2).normal(0, 12, values.shape)).astype(np.int16)
    values[place] = INK
    found = find_ink(values, 1)
    assert found is not None
    assert found.is_sure
