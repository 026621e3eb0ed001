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
import imagecodecs
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.dicom.strokes import TILE_PIXELS, bright_strokes, standing_out
from pipeline.dicom.text_lines import has_text_line

MIN_COLUMNS = 12
"""How often a value must stand three in a column before its pixels are looked at: about five small letters."""

MAX_VALUES = 4
VALUES_AROUND = 6
"""Noise spreads anatomy over more values than this, on either side."""

MIN_SHARE_BELOW = 0.005
"""A value below which nearly nothing lies is where a scanner cuts off air, not a drawn one."""

MIN_CONTRAST = 60
"""Stored values by which drawn ink must stand out for its smooth edges to be sought; HU but for a few scanners."""

SMOOTH_EDGE = 0.45
"""Share of a letter's contrast above which its smoothed edge counts as stroke."""

MIN_STATIC_SLICES = 8
"""Over fewer slices anatomy stays in place too."""

MAX_STATIC_SLICES = 12
"""As many, spread over the series, tell whether something stays in place."""

MIN_SHARE_CHANGING = 0.5
"""Where fewer pixels change, slices are copies of one another, and staying in place says nothing."""

MIN_STATIC_CONTRAST = 30
MIN_ODD_CONTRAST = 30

AIR_PERCENTILE = 2
"""What is darker is air or padding, between which scanners change back and forth."""

OCTAVE = 64
STILLER = 48
"""Of an octave, by which a stroke changes less than what is around it: half covering ink leaves half of the change."""

LARGEST = (1 << 13) - 1
"""Values stay within 14 bits, so that differences and sums of two fit into 16."""

BRIGHT_PERCENTILE = 99.5
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
    stack = _comparable(slices)
    marked = tuple(
        number
        for number, values in enumerate(stack)
        if _has_drawn_strokes(values) or (len(stack) > 2 and _has_odd_strokes(stack, number))
    )
    return TextFinding(marked, is_static=len(stack) >= MIN_STATIC_SLICES and _has_static_strokes(stack))


def _comparable(slices: Sequence[NDArray[Any]]) -> list[NDArray[np.int16]]:
    """Slices as whole numbers within 14 bits, wide ranges halved until they fit, edges mirrored to whole tiles."""
    if not slices:
        return []
    highest = float(np.percentile(slices[len(slices) // 2][::4, ::4], BRIGHT_PERCENTILE))
    halvings = max(0, int(highest).bit_length() - LARGEST.bit_length())
    return [_padded(_within_14_bits(values, halvings)) for values in slices]


def _within_14_bits(values: NDArray[Any], halvings: int) -> NDArray[np.int16]:
    if values.dtype in (np.int16, np.uint16) and not halvings and -LARGEST <= values.min() <= values.max() <= LARGEST:
        return values.view(np.int16)
    whole = np.rint(values) if values.dtype.kind == "f" else values
    halved = whole // (1 << halvings) if halvings else whole
    lowest = 0 if values.dtype.kind == "u" else -LARGEST
    small: NDArray[np.int16] = np.clip(halved, lowest, LARGEST).astype(np.int16, copy=False)
    return small


def _padded(values: NDArray[np.int16]) -> NDArray[np.int16]:
    missing = [(0, -size % TILE_PIXELS) for size in values.shape]
    return np.pad(values, missing, mode="symmetric") if any(after for _, after in missing) else values


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


def _has_drawn_strokes(values: NDArray[np.int16]) -> bool:
    """True when pixels of exactly one value, with their smooth edges, form a line of letters."""
    overfull = _overfull_values(values)
    if not overfull:
        return False
    contrast = bright_strokes(values)
    cores = [values == value for value in overfull]
    return any(has_text_line(core, values) or has_text_line(_grown(core, contrast), contrast) for core in cores)


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


def _overfull_values(values: NDArray[np.int16]) -> list[int]:
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
    highest = ndimage.maximum_filter1d(counts, 2 * VALUES_AROUND + 1)
    overfull = np.flatnonzero((counts == highest) & (counts > 2 * _second_highest(counts, highest) + MIN_COLUMNS))
    ranked = [int(value + lowest) for value in overfull[np.argsort(-counts[overfull], kind="stable")]]
    return [value for value in ranked[:MAX_VALUES] if not _is_where_air_ends(value, values, lowest)]


def _is_where_air_ends(value: int, values: NDArray[np.int16], lowest: np.int16) -> bool:
    between = np.count_nonzero((values < value) & (values > lowest))
    return bool(between <= MIN_SHARE_BELOW * values.size)


def _second_highest(counts: NDArray[Any], highest: NDArray[Any]) -> NDArray[Any]:
    """The highest count around each value once the peaks are taken out."""
    lowered = np.where(counts == highest, 0, counts)
    second: NDArray[Any] = ndimage.maximum_filter1d(lowered, 2 * VALUES_AROUND + 1)
    return second


def _has_static_strokes(slices: Sequence[NDArray[np.int16]]) -> bool:
    """True when a line of letters stays in place over all slices.

    Bright ink keeps the darkest value of a pixel bright, dark ink the brightest dark, while moving anatomy fades from
    both. And whatever its own value, less changes beneath ink than beside it.
    """
    air = _air(slices[len(slices) // 2])
    some = [np.maximum(values, air) for values in slices[:: -(-len(slices) // MAX_STATIC_SLICES)]]
    darkest, brightest = functools.reduce(np.minimum, some), functools.reduce(np.maximum, some)
    if np.count_nonzero(darkest < brightest) < MIN_SHARE_CHANGING * np.count_nonzero(brightest > air):
        return False
    is_seen = _has_line(darkest, MIN_STATIC_CONTRAST) or _has_line(-brightest, MIN_STATIC_CONTRAST)
    return is_seen or _has_line(-_octaves_of_change(some), STILLER)


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


def _has_odd_strokes(slices: Sequence[NDArray[np.int16]], number: int) -> bool:
    """True when strokes of one slice, brighter or darker than in both of the nearest two, form a line of letters."""
    first = min(max(number - 1, 0), len(slices) - 3)
    one, other = (slices[near] for near in range(first, first + 3) if near != number)
    brighter, contrast = np.maximum(one, other), np.minimum(one, other)
    np.subtract(slices[number], brighter, out=brighter)
    contrast -= slices[number]
    np.maximum(brighter, contrast, out=contrast)
    return has_text_line(standing_out(contrast, MIN_ODD_CONTRAST), contrast)


def _has_line(image: NDArray[np.int16], at_least: int) -> bool:
    """True when strokes brighter than what is around them form a line of letters."""
    contrast = bright_strokes(image)
    return has_text_line(standing_out(contrast, at_least), contrast)
