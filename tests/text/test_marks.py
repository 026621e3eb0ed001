"""Boxes cover every letter that the search finds, on every slice that has it."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.core.boxes import Box
from pipeline.text.marks import beside, find_boxes
from tests.text.test_find import DRAWN, EVERY, SIZE, drawn, letters, phantom


def covered(boxes: tuple[Box, ...], count: int = 12) -> np.ndarray:
    inside = np.zeros((count, SIZE, SIZE), np.bool_)
    for box in boxes:
        inside[slice(*(box.slices or (0, count))), slice(*box.rows), slice(*box.columns)] = True
    return inside


@pytest.mark.parametrize("case", DRAWN)
def test_every_letter_is_covered_on_every_slice_that_has_it(case: str):
    place, size, level, only, smooth = DRAWN[case]
    cover = letters("KOWALSKA 1954", place, size, smooth=smooth)
    inside = covered(find_boxes(drawn(phantom(), cover, level, only)))
    assert inside[sorted(only)][:, cover > 0].all()
    assert not inside[sorted(EVERY - only)].any()
    down, across = (np.ptp(np.nonzero(cover)[axis]) + 1 for axis in (0, 1))
    outlined = 1.6 * down  # a reader of text leaves room around letters
    assert inside[sorted(only)].mean() * SIZE**2 <= (2 * outlined + 5) * (across + 6 * outlined + 5)


@pytest.mark.parametrize("scale", [1.0, 0.37, 1e-6])
def test_floats_with_gaps_have_the_same_boxes(scale: float):
    slices = drawn(phantom(), letters("KOWALSKA 1954", (5, 5), 12), 3071, EVERY)
    floats = [(values * scale).astype(np.float32) for values in slices]
    for values in floats:
        values[150:] = np.nan
    (box,) = find_boxes(floats)
    assert covered((box,))[:, letters("KOWALSKA 1954", (5, 5), 12) > 0].all()


def test_colours_have_boxes_too():
    slices = drawn(phantom(), letters("KOWALSKA 1954", (5, 5), 12), 3071, EVERY)
    colour = [
        np.repeat(((values + 1000) // 17)[..., None], 3, axis=2).clip(0, 255).astype(np.uint8) for values in slices
    ]
    assert covered(find_boxes(colour))[:, letters("KOWALSKA 1954", (5, 5), 12) > 0].all()


def test_clean_slices_have_no_boxes():
    assert find_boxes(phantom()) == ()


def test_lines_below_one_another_are_all_covered():
    lines = [
        letters(text, (5, 5 + 16 * number), 12) for number, text in enumerate(("KOWALSKA", "12.05.1961", "CLINIC"))
    ]
    cover = np.maximum.reduce(lines)
    assert covered(find_boxes(drawn(phantom(), cover, 3071, EVERY)))[:, cover > 0].all()


def test_what_one_slice_has_does_not_hide_what_all_have():
    slices = [np.full((4, 5), number, np.int16) for number in range(3)]
    shown = np.stack(beside(slices, [Box((0, 2), (0, 2), (1, 2)), Box((2, 4), (0, 5))]))
    assert (shown[1, :2, :2] == 0).all()
    assert (shown[:, 2:] == 0).all()
    assert (shown[1, :2, 2:] == 1).all()
    assert (shown[2, :2] == 2).all()
    assert [plane.tolist() for plane in beside(slices, [])] == [plane.tolist() for plane in slices]
