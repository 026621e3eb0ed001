"""Text burned into a series: strokes that stand where anatomy moves, or that have one value where anatomy has noise.

Annotation is drawn: its strokes are thin, lie in lines of letters, and differ from anatomy in one of three ways. They
have exactly one value where the body has noise; they stay in place from slice to slice, hiding what moves beneath them;
or one slice alone has them. Each makes a series suspect; a person looks, nothing is blanked.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.text.lines import TextLine, find_text_line
from pipeline.text.shades import Shades, shades
from pipeline.text.strokes import TILE_PIXELS, bright_strokes, standing_out

MIN_COLUMNS = 12
"""How often a value must stand three in a column before its pixels are looked at: about five small letters."""

MAX_VALUES = 4
VALUES_AROUND = 6
"""Noise spreads anatomy over more values than this, on either side."""

MIN_SHARE_BELOW = 0.005
"""A value below which nearly nothing lies is where a scanner cuts off air, not a drawn one."""

MIN_CONTRAST = 60
"""Shades by which drawn ink must stand out for its smooth edges to be sought; HU of a usual CT."""

SMOOTH_EDGE = 0.45
"""Share of a letter's contrast above which its smoothed edge counts as stroke."""

MIN_ODD_SLICES = 3
"""A slice is odd against two others."""

MIN_STATIC_SLICES = 8
"""Over fewer slices anatomy stays in place too."""

MAX_STATIC_SLICES = 12
"""As many, spread over the series, tell whether something stays in place."""

MIN_SHARE_CHANGING = 0.5
"""Where fewer pixels change, slices are copies of one another, and staying in place says nothing."""

MIN_STATIC_STROKES = 5
"""A series is asked once and not for every slice; the best of 56 clean series had 4.7."""

MIN_STATIC_CONTRAST = 30
MIN_ODD_CONTRAST = 40

AIR_PERCENTILE = 2
"""What is darker is air or padding, between which scanners change back and forth."""

OCTAVE = 64
STILLER = 48
"""Of an octave, by which a stroke changes less than what is around it: half covering ink leaves half of the change."""

SEARCH_RULES = 2
"""Counts up whenever a series may be judged otherwise than before; kept with every verdict."""


@dataclass(frozen=True, slots=True)
class TextFinding:
    """Where a series looks as if it held text.

    Attributes:
        lines: a line of letters of one value, or of one slice alone, by the index of its slice, in the order given.
        static: a line that stays in place over all slices.
    """

    lines: tuple[tuple[int, TextLine], ...] = ()
    static: TextLine | None = None

    @property
    def is_suspect(self) -> bool:
        """True when a person must look before the series may go on."""
        return self.static is not None or bool(self.lines)

    @property
    def kinds(self) -> tuple[str, ...]:
        """What was found, in words."""
        slices = (f"letters on {len(self.lines)} slices",) if self.lines else ()
        return (*slices, "letters that stay in place") if self.static else slices


def find_text(slices: Sequence[NDArray[Any]]) -> TextFinding:
    """What speaks for burned-in text in a series; the same for the same picture, however it is stored.

    Args:
        slices: stored values, HU or intensities, (rows, columns), or (rows, columns, channels) of colours, all of one
            shape; an empty series has no text.
    """
    findings = [_find_in(layer) for layer in shades(slices)]
    lines = sorted({number: line for one in reversed(findings) for number, line in one.lines}.items())
    return TextFinding(tuple(lines), next((one.static for one in findings if one.static), None))


def _find_in(layer: Shades) -> TextFinding:
    stack = [_padded(values) for values in layer.slices]
    found = (
        (number, _drawn_line(values, layer.step) or _odd_line(stack, number)) for number, values in enumerate(stack)
    )
    return TextFinding(tuple((number, line) for number, line in found if line), _static_line(stack))


def _padded(values: NDArray[np.int16]) -> NDArray[np.int16]:
    missing = [(0, -size % TILE_PIXELS) for size in values.shape]
    return np.pad(values, missing, mode="symmetric") if any(after for _, after in missing) else values


def _drawn_line(values: NDArray[np.int16], step: int) -> TextLine | None:
    """A line of letters formed by pixels of exactly one value, with their smooth edges."""
    overfull = _overfull_values(values, step)
    if not overfull:
        return None
    contrast = bright_strokes(values)
    cores = [values == value for value in overfull]
    lines = (find_text_line(core, values) or find_text_line(_grown(core, contrast), contrast) for core in cores)
    return next(filter(None, lines), None)


def _grown(core: NDArray[np.bool_], contrast: NDArray[np.int16]) -> NDArray[np.bool_]:
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


def _overfull_values(values: NDArray[np.int16], step: int) -> list[int]:
    """Values that stand three in a column far more often than the values around them, most striking first.

    Noise spreads anatomy over many values; padding and the value at which air is cut off are left out.
    """
    lowest = values.min()
    above, middle, below = values[:-2], values[1:-1], values[2:]
    is_column = middle > lowest
    is_column &= above == middle
    is_column &= below == middle
    equal = middle[is_column]
    counts = np.bincount(equal.astype(np.intp) - lowest, minlength=1)
    if counts.max() <= MIN_COLUMNS:
        return []
    around = 2 * VALUES_AROUND * step + 1
    highest = ndimage.maximum_filter1d(counts, around)
    overfull = np.flatnonzero(
        (counts == highest) & (counts > 2 * _second_highest(counts, highest, around) + MIN_COLUMNS)
    )
    ranked = [int(value + lowest) for value in overfull[np.argsort(-counts[overfull], kind="stable")]]
    return [value for value in ranked[:MAX_VALUES] if not _is_where_air_ends(value, values, lowest)]


def _is_where_air_ends(value: int, values: NDArray[np.int16], lowest: np.int16) -> bool:
    between = np.count_nonzero((values < value) & (values > lowest))
    return bool(between <= MIN_SHARE_BELOW * values.size)


def _second_highest(counts: NDArray[Any], highest: NDArray[Any], around: int) -> NDArray[Any]:
    """The highest count around each value once the peaks are taken out."""
    lowered = np.where(counts == highest, 0, counts)
    second: NDArray[Any] = ndimage.maximum_filter1d(lowered, around)
    return second


def _static_line(slices: Sequence[NDArray[np.int16]]) -> TextLine | None:
    """A line of letters that stays in place over all slices.

    Bright ink keeps the darkest value of a pixel bright, dark ink the brightest dark, while moving anatomy fades from
    both. And whatever its own value, less changes beneath ink than beside it.
    """
    if len(slices) < MIN_STATIC_SLICES:
        return None
    air = _air(slices[len(slices) // 2])
    some = [np.maximum(values, air) for values in slices[:: -(-len(slices) // MAX_STATIC_SLICES)]]
    darkest, brightest = functools.reduce(np.minimum, some), functools.reduce(np.maximum, some)
    if np.count_nonzero(darkest < brightest) < MIN_SHARE_CHANGING * np.count_nonzero(brightest > air):
        return None
    seen = _line_in(darkest, MIN_STATIC_CONTRAST) or _line_in(-brightest, MIN_STATIC_CONTRAST)
    return seen or _line_in(-_octaves_of_change(some), STILLER)


def _air(values: NDArray[np.int16]) -> np.int16:
    """A value that nearly all of the body exceeds."""
    sample = values[::4, ::4]
    above_padding = sample[sample > sample.min()]
    return np.int16(np.percentile(above_padding, AIR_PERCENTILE) if above_padding.size else sample.min())


def _octaves_of_change(slices: Sequence[NDArray[np.int16]]) -> NDArray[np.int16]:
    """How much each pixel changes from slice to slice, on a scale on which ink that covers alike has one contrast."""
    change = np.zeros(slices[0].shape, dtype=np.float32)
    for before, after in itertools.pairwise(slices):
        change += np.abs(after - before)
    octaves: NDArray[np.int16] = np.rint(OCTAVE * np.log2(change / (len(slices) - 1) + 1)).astype(np.int16)
    return octaves


def _odd_line(slices: Sequence[NDArray[np.int16]], number: int) -> TextLine | None:
    """A line of letters formed by strokes of one slice, brighter or darker than in both of the nearest two."""
    if len(slices) < MIN_ODD_SLICES:
        return None
    first = min(max(number - 1, 0), len(slices) - 3)
    one, other = (slices[near] for near in range(first, first + 3) if near != number)
    brighter, contrast = np.maximum(one, other), np.minimum(one, other)
    np.subtract(slices[number], brighter, out=brighter)
    contrast -= slices[number]
    np.maximum(brighter, contrast, out=contrast)
    return find_text_line(standing_out(contrast, MIN_ODD_CONTRAST), contrast)


def _line_in(image: NDArray[np.int16], at_least: int) -> TextLine | None:
    """A line of letters formed by strokes brighter than what is around them, in an image of a whole series."""
    contrast = bright_strokes(image)
    return find_text_line(standing_out(contrast, at_least), contrast, min_strokes=MIN_STATIC_STROKES)
