"""Text burned into a series: strokes that stand where anatomy moves, or that have one value where anatomy has noise.

Annotation is drawn: its strokes are thin, lie in lines of glyphs of one height, and either stay in place from slice to
slice or have exactly one value. Each test alone makes a series suspect; a person looks, nothing is blanked.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cc3d
import imagecodecs
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

MIN_GLYPHS = 4
"""Fewer marks in a line are as often rivets, electrodes or calcifications as text."""

GLYPH_HEIGHT_PIXELS = (4, 64)
FURTHEST_GAP_PIXELS = 96
"""What the gap above is for the highest letters."""

MAX_FILL = 0.75
"""Letters leave at least a quarter of their box free."""

MIN_CROSSINGS = 0.6
"""Strokes that a row meets in the width of one letter, at least; about two in print."""

MAX_GAP_IN_HEIGHTS = 1.5
"""Glyphs of one word stand closer than this; words of one line are found as several lines."""

STROKE_WINDOW_PIXELS = 9
"""Strokes up to half as wide stand out against the opening over this window."""

MIN_CONTRAST = 60
"""Stored values by which a static stroke must stand out: HU in all but a few scanners' files."""

MIN_PAIRS = 24
"""Equal neighbours that one value must have before its pixels are looked at: about five small glyphs."""

MAX_VALUES = 4
SMOOTH_EDGE = 0.45
"""Share of a letter's contrast above which its smoothed edge counts as stroke."""

MIN_STATIC_SLICES = 8
"""Over fewer slices anatomy stays in place too."""

MIN_SHARE_CHANGING = 0.5
"""Where fewer pixels change, slices are copies of one another, and staying in place says nothing."""

MIN_ODD_CONTRAST = 100
"""Stored values by which a stroke of one slice must exceed both slices beside it."""

SPREAD_OF_NOISE = 1.4826
"""Standard deviations in a median absolute deviation of normal noise."""

ODD_SPREADS = 5
"""Standard deviations by which it must: thin slices and sharp kernels have noise of 100 HU."""

MIN_STATIC_CONTRAST = 40
AIR_PERCENTILE = 2
"""What is darker is air or padding, between which scanners change back and forth."""

UNCHANGED = 2
"""Stored values by which ink may change from slice to slice: smooth letters are hardly ever fully inked."""

STEADY = 1.3
"""A static stroke stands out by more than it changes from slice to slice; anatomy over eight slices does not."""

SAME_INK = 60
"""Stored values by which the ink of two letters may differ: noise beneath it."""

SAME_INK_SHARE = 0.2
"""Share of its contrast by which it may: small smooth letters are not fully inked anywhere."""

MIN_SHARE_BELOW = 0.005
"""A value below which nearly nothing lies is where a scanner cuts off air, not a drawn one."""

WHOLE_RANGE = (-(1 << 15), (1 << 16) - 1)
"""What 16 bits can hold, signed or not."""

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


def find_text(slices: Sequence[NDArray[np.integer] | NDArray[np.floating]]) -> TextFinding:
    """What speaks for burned-in text in a series.

    Args:
        slices: stored values or HU, (rows, columns) each, all of one shape; an empty series has no text.
    """
    stack = [_as_whole_numbers(values) for values in slices]
    odd = {number for number in range(len(stack)) if len(stack) > 2 and _has_odd_strokes(stack, number)}
    marked = tuple(number for number, values in enumerate(stack) if number in odd or _has_drawn_strokes(values))
    return TextFinding(marked, is_static=len(stack) >= MIN_STATIC_SLICES and _has_static_strokes(stack))


def _as_whole_numbers(values: NDArray[Any]) -> NDArray[np.integer]:
    if values.dtype.kind != "f":
        return values
    whole: NDArray[np.integer] = np.clip(np.rint(values), *WHOLE_RANGE).astype(np.int32)
    return whole


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
    """True when pixels of exactly one value, with their smooth edges, form a line of letters."""
    overfull = _overfull_values(values)
    if not overfull:
        return False
    contrast = values - ndimage.grey_opening(values, STROKE_WINDOW_PIXELS)
    cores = [values == value for value in overfull]
    return any(_has_text_line(core) or _has_text_line(_grown(core, contrast)) for core in cores)


def _grown(core: NDArray[np.bool_], contrast: NDArray[np.integer]) -> NDArray[np.bool_]:
    """The core of strokes and the smooth edges around it, as far as they stand out half as much."""
    typical = float(np.median(contrast[core])) if core.any() else 0.0
    if typical <= MIN_CONTRAST:
        return core
    labels = cc3d.connected_components(contrast > SMOOTH_EDGE * typical, connectivity=8)
    has_core = np.zeros(int(labels.max()) + 1, dtype=np.bool_)
    has_core[labels[core]] = True
    has_core[0] = False
    grown: NDArray[np.bool_] = has_core[labels]
    return grown


def _overfull_values(values: NDArray[np.integer]) -> list[int]:
    """Values that have far more equal neighbours than the values around them, most striking first.

    Noise spreads anatomy over many values; padding and the value at which air is cut off are left out.
    """
    lowest = int(values.min())
    beside, below = values[:, 1:] == values[:, :-1], values[1:, :] == values[:-1, :]
    equal = np.concatenate([values[:, 1:][beside], values[1:, :][below]])
    pairs = np.bincount(equal[equal > lowest].astype(np.intp) - lowest, minlength=1)
    highest = ndimage.maximum_filter1d(pairs, 13)
    overfull = np.flatnonzero((pairs == highest) & (pairs > 2 * _second_highest(pairs, highest) + MIN_PAIRS))
    ranked = [int(value) + lowest for value in overfull[np.argsort(-pairs[overfull], kind="stable")]]
    return [value for value in ranked[:MAX_VALUES] if not _is_where_air_ends(value, values, lowest)]


def _is_where_air_ends(value: int, values: NDArray[np.integer], lowest: int) -> bool:
    between = np.count_nonzero((values < value) & (values > lowest))
    return bool(between <= MIN_SHARE_BELOW * values.size)


def _second_highest(counts: NDArray[Any], highest: NDArray[Any]) -> NDArray[Any]:
    """The highest count around each value once the peaks are taken out."""
    lowered = np.where(counts == highest, 0, counts)
    second: NDArray[Any] = ndimage.maximum_filter1d(lowered, 13)
    return second


def _has_static_strokes(slices: Sequence[NDArray[np.integer]]) -> bool:
    """True when thin strokes, brighter or darker than what is around them, stay in place over all slices."""
    darkest = functools.reduce(np.minimum, slices).astype(np.int32)
    brightest = functools.reduce(np.maximum, slices).astype(np.int32)
    typical = slices[len(slices) // 2]
    above_padding = typical[typical > typical.min()]
    air = int(np.percentile(above_padding, AIR_PERCENTILE)) if above_padding.size else int(typical.min())
    darkest, brightest = np.maximum(darkest, air), np.maximum(brightest, air)
    change = brightest - darkest
    if np.count_nonzero(change) < MIN_SHARE_CHANGING * np.count_nonzero(brightest > air):
        return False
    bright = darkest - ndimage.grey_opening(darkest, STROKE_WINDOW_PIXELS)
    dark = ndimage.grey_closing(brightest, STROKE_WINDOW_PIXELS) - brightest
    return any(
        _has_text_line(_grown(core & (contrast > MIN_STATIC_CONTRAST), contrast))
        for contrast in (bright, dark)
        for core in (change <= UNCHANGED, contrast > STEADY * change)
    )


def _has_odd_strokes(slices: Sequence[NDArray[np.integer]], number: int) -> bool:
    """True when strokes of one slice, brighter or darker than in the nearest two, form a line of letters."""
    first = min(max(number - 1, 0), len(slices) - 3)
    beside = [slices[other].astype(np.int32) for other in range(first, first + 3) if other != number]
    values = slices[number].astype(np.int32)
    return _stands_out(values - np.maximum(*beside)) or _stands_out(np.minimum(*beside) - values)


def _stands_out(contrast: NDArray[np.integer]) -> bool:
    """True when a line of letters exceeds the noise of a contrast."""
    sample = contrast[::4, ::4]
    spread = float(np.median(np.abs(sample - np.median(sample)))) * SPREAD_OF_NOISE
    strokes = contrast > max(MIN_ODD_CONTRAST, ODD_SPREADS * spread)
    return bool(strokes.sum() >= MIN_PAIRS) and _has_text_line(strokes, brightness=contrast)


def _has_text_line(strokes: NDArray[np.bool_], brightness: NDArray[np.integer] | None = None) -> bool:
    """True when marks of one height stand side by side like the letters of a word, at least four of them.

    With `brightness` (contrast to the slices beside), the letters of a line must be equally bright too, as ink is and
    anatomy is not.
    """
    glyphs = sorted(_glyphs(strokes, strokes if brightness is None else brightness), key=lambda glyph: glyph.left)
    longest: list[int] = []
    for number, glyph in enumerate(glyphs):
        near = (other for other in range(number) if -1 <= glyph.left - glyphs[other].right <= FURTHEST_GAP_PIXELS)
        before = [longest[other] for other in near if _are_neighbours(glyphs[other], glyph)]
        longest.append(glyph.letters + max(before, default=0))
    return max(longest, default=0) >= MIN_GLYPHS


@dataclass(frozen=True, slots=True)
class _Glyph:
    """The box of one mark, and how many letters it may be: smooth letters run together."""

    top: int
    bottom: int
    left: int
    right: int
    letters: int
    peak: float

    @property
    def height(self) -> int:
        return self.bottom - self.top


def _glyphs(strokes: NDArray[np.bool_], brightness: NDArray[Any]) -> Iterator[_Glyph]:
    """Marks of a letter's height that are strokes, not blots: they leave part of their box free."""
    labels = cc3d.connected_components(strokes, connectivity=8)
    found = cc3d.statistics(labels, no_slice_conversion=True)
    sizes = found["voxel_counts"].astype(np.int64)
    top, bottom, left, right = found["bounding_boxes"].astype(np.int64).T
    bottom, right = bottom + 1, right + 1
    height, width = bottom - top, right - left
    low, high = GLYPH_HEIGHT_PIXELS
    is_stroke = (sizes <= MAX_FILL * height * width) | (width <= np.maximum(height // 3, 2))
    fits = (low <= height) & (height <= high) & (sizes >= height) & is_stroke
    fits[0] = False
    for number in np.flatnonzero(fits).tolist():
        box = np.s_[top[number] : bottom[number], left[number] : right[number]]
        mark = labels[box] == number
        letters = 1 if width[number] <= 1.5 * height[number] else _letters_in(mark)
        if letters:
            rows, columns = (int(top[number]), int(bottom[number])), (int(left[number]), int(right[number]))
            yield _Glyph(*rows, *columns, letters, float(brightness[box][mark].max()))


def _letters_in(mark: NDArray[np.bool_]) -> int:
    """How many letters a wide mark may be; 0 for lines and curves, which rows cross once or twice."""
    height, width = mark.shape
    crossings = np.count_nonzero(mark[:, 1:] & ~mark[:, :-1]) / height
    return round(width / height) if crossings >= MIN_CROSSINGS * width / height else 0


def _are_neighbours(left: _Glyph, right: _Glyph) -> bool:
    """True when the second stands beside the first, on its line, and is about as high."""
    height = max(left.height, right.height)
    gap = right.left - left.right
    slack = max(1, height // 4)
    is_on_line = abs(left.bottom - right.bottom) <= slack or abs(left.top - right.top) <= slack
    is_alike = min(left.height, right.height) * 1.8 >= height and abs(left.peak - right.peak) <= max(
        SAME_INK, SAME_INK_SHARE * left.peak
    )
    return -1 <= gap <= MAX_GAP_IN_HEIGHTS * height and is_on_line and is_alike
