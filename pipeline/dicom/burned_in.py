"""Text burned into a series: strokes that stand where anatomy moves, or that have one value where anatomy has noise.

Annotation is drawn: its strokes are thin, lie in lines of glyphs of one height, and either stay in place from slice to
slice or have exactly one value. Each test alone makes a series suspect; a person looks, nothing is blanked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

MIN_GLYPHS = 4
"""Fewer marks in a line are as often rivets, electrodes or calcifications as text."""

GLYPH_HEIGHT_PIXELS = (5, 64)
MAX_GAP_IN_HEIGHTS = 1.5
"""Glyphs of one word stand closer than this; words of one line are found as several lines."""

STROKE_WINDOW_PIXELS = 9
"""Strokes up to half as wide stand out against the opening over this window."""

MIN_CONTRAST = 60
"""Stored values by which a static stroke must stand out: HU in all but a few scanners' files."""

MIN_PAIRS = 24
"""Equal neighbours that one value must have before its pixels are looked at: about five small glyphs."""

MAX_VALUES = 4
MIN_STATIC_SLICES = 8
"""Over fewer slices anatomy stays in place too."""

MIN_SHARE_BELOW = 0.005
"""A value below which nearly nothing lies is where a scanner cuts off air, not a drawn one."""

MONTAGE_TILES = 16


@dataclass(frozen=True, slots=True)
class TextFinding:
    """Where a series looks as if it held text.

    Attributes:
        slices: indices of slices with strokes of one value, in the order given.
        is_static: True when strokes stay in place over all slices.
    """

    slices: tuple[int, ...] = ()
    is_static: bool = False

    @property
    def is_suspect(self) -> bool:
        """True when a person must look before the series may go on."""
        return self.is_static or bool(self.slices)


def find_text(slices: Sequence[NDArray[np.integer]]) -> TextFinding:
    """What speaks for burned-in text in a series.

    Args:
        slices: stored values, (rows, columns) each, all of one shape; an empty series has no text.
    """
    marked = tuple(number for number, values in enumerate(slices) if _has_drawn_strokes(values))
    return TextFinding(marked, is_static=len(slices) >= MIN_STATIC_SLICES and _has_static_strokes(slices))


def montage(slices: Sequence[NDArray[np.integer]], finding: TextFinding) -> bytes:
    """A PNG of the slices in question, or of some of all, side by side, for a person's eyes. Private."""
    numbers = finding.slices or range(0, len(slices), max(1, len(slices) // MONTAGE_TILES))
    tiles = [_as_gray(slices[number]) for number in tuple(numbers)[:MONTAGE_TILES]]
    across = int(np.ceil(np.sqrt(len(tiles))))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % across)
    rows = [np.hstack(tiles[start : start + across]) for start in range(0, len(tiles), across)]
    return bytes(imagecodecs.png_encode(np.vstack(rows)))


def _as_gray(values: NDArray[np.integer]) -> NDArray[np.uint8]:
    low, high = np.percentile(values, (1, 99.9))
    gray: NDArray[np.uint8] = (np.clip((values - low) / max(high - low, 1), 0, 1) * 255).astype(np.uint8)
    return gray


def _has_drawn_strokes(values: NDArray[np.integer]) -> bool:
    """True when pixels of exactly one value form a line of glyphs."""
    return any(_has_text_line(values == value) for value in _overfull_values(values))


def _overfull_values(values: NDArray[np.integer]) -> list[int]:
    """Values that have far more equal neighbours than the values around them, most striking first.

    Noise spreads anatomy over many values; padding and the value at which air is cut off are left out.
    """
    lowest = int(values.min())
    values = values.astype(np.int32)
    across, down = values[:, 1:], values[1:, :]
    equal = [across[across == values[:, :-1]], down[down == values[:-1, :]]]
    pairs = np.bincount(np.concatenate(equal).astype(np.int64) - lowest)
    around = ndimage.maximum_filter1d(pairs, 13)
    second = _second_highest(pairs, around)
    overfull = np.flatnonzero((pairs == around) & (pairs > 2 * second + MIN_PAIRS))
    ranked = overfull[np.argsort(-pairs[overfull], kind="stable")]
    counts = np.cumsum(np.bincount((values - lowest).ravel(), minlength=len(pairs)))
    below = np.concatenate(([0], counts[:-1] - counts[0]))
    return [int(value) + lowest for value in ranked if below[value] > MIN_SHARE_BELOW * values.size][:MAX_VALUES]


def _second_highest(counts: NDArray[Any], highest: NDArray[Any]) -> NDArray[Any]:
    """The highest count around each value once the peaks are taken out."""
    lowered = np.where(counts == highest, 0, counts)
    second: NDArray[Any] = ndimage.maximum_filter1d(lowered, 13)
    return second


def _has_static_strokes(slices: Sequence[NDArray[np.integer]]) -> bool:
    """True when thin strokes, brighter or darker than what is around them, stay in place over all slices."""
    darkest, brightest = slices[0].astype(np.int32), slices[0].astype(np.int32)
    for values in slices[1:]:
        darkest, brightest = np.minimum(darkest, values), np.maximum(brightest, values)
    bright = darkest - ndimage.grey_opening(darkest, STROKE_WINDOW_PIXELS)
    dark = ndimage.grey_closing(brightest, STROKE_WINDOW_PIXELS) - brightest
    change = brightest - darkest
    return any(_has_text_line((contrast > MIN_CONTRAST) & (change <= contrast / 2)) for contrast in (bright, dark))


def _has_text_line(strokes: NDArray[np.bool_]) -> bool:
    """True when at least four marks of one height stand side by side like the letters of a word."""
    labels, count = ndimage.label(strokes, np.ones((3, 3)))
    if count < MIN_GLYPHS:
        return False
    glyphs = sorted(_glyphs(labels), key=lambda glyph: glyph.left)
    longest: dict[int, int] = {}
    for number, glyph in enumerate(glyphs):
        before = [longest[other] for other in longest if _are_neighbours(glyphs[other], glyph)]
        longest[number] = 1 + max(before, default=0)
        if longest[number] >= MIN_GLYPHS:
            return True
    return False


@dataclass(frozen=True, slots=True)
class _Glyph:
    top: int
    bottom: int
    left: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top


def _glyphs(labels: NDArray[np.integer]) -> Iterator[_Glyph]:
    """Marks of a letter's size that are strokes, not blots: they leave part of their box free."""
    low, high = GLYPH_HEIGHT_PIXELS
    sizes = np.bincount(labels.ravel())
    for number, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        height, width = rows.stop - rows.start, columns.stop - columns.start
        is_stroke = sizes[number] <= 0.75 * height * width or width <= max(height // 3, 2)
        if low <= height <= high and width <= 2 * height and sizes[number] >= height and is_stroke:
            yield _Glyph(rows.start, rows.stop, columns.start, columns.stop)


def _are_neighbours(left: _Glyph, right: _Glyph) -> bool:
    """True when the second stands beside the first, on its line, and is about as high."""
    height = max(left.height, right.height)
    gap = right.left - left.right
    on_line = abs(left.bottom - right.bottom) <= max(1, height // 4) or abs(left.top - right.top) <= max(1, height // 4)
    return 0 <= gap <= MAX_GAP_IN_HEIGHTS * height and on_line and min(left.height, right.height) * 1.6 >= height
