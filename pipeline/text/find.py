"""Text burned into a series: strokes that stand where anatomy moves, or that have one value where anatomy has noise.

Annotation is drawn, and differs from anatomy in one of three ways. Its strokes have exactly one value and hard edges,
where the body has noise and soft ones: such marks are found in any script, direction and number. Or they lie in lines
of letters and stay in place from slice to slice, hiding what moves beneath them; or one slice alone has them. Each
makes a series suspect; a person looks, nothing is blanked.
"""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.text.ink import find_ink
from pipeline.text.lines import TextLine, find_text_line
from pipeline.text.shades import Shades, shades
from pipeline.text.strokes import TILE_PIXELS, bright_strokes, standing_out

MIN_ODD_SLICES = 3
"""A slice is odd against two others."""

MIN_STATIC_SLICES = 8
"""Over fewer slices anatomy stays in place too."""

MAX_STATIC_SLICES = 12
"""As many, spread over the series, tell whether something stays in place."""

NOISE_BITS = 3
"""Of a projection of many slices that are left out, so that what is left of noise beneath ink does not count."""

MIN_STATIC_PIXELS = 32
"""Of ink in such a projection, which shows smooth edges of anatomy too."""

MIN_LASTING = 4
"""Slices, and at least half of all, in which the same small mark is ink."""

MIN_STATIC_STROKES = 5
"""A series is asked once and not for every slice; the best of 56 clean series had 4.7."""

MIN_STATIC_CONTRAST = 30
MIN_ODD_CONTRAST = 40

AS_FAR, MIN_SHARE_OF_ODD = 0.6, 0.3
"""Of what differs from the slices beside it at least 0.6 times as far as the line, the line is a good part."""

AIR_PERCENTILE = 2
"""What is darker is air or padding, between which scanners change back and forth."""

OCTAVE = 64
STILLER = 48
"""Of an octave, by which a stroke changes less than what is around it: half covering ink leaves half of the change."""

SEARCH_RULES = 3
"""Counts up whenever a series may be judged otherwise than before; kept with every verdict."""


@dataclass(frozen=True, slots=True)
class TextFinding:
    """Where a series looks as if it held text.

    Attributes:
        lines: where marks of one value are, or a line of letters of one slice alone, by the index of its slice.
        static: where something stays in place over all slices.
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
        slices = (f"marks on {len(self.lines)} slices",) if self.lines else ()
        return (*slices, "marks that stay in place") if self.static else slices


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
    inks = [find_ink(values, layer.step) for values in layer.slices]
    found = ((number, ink.box if ink and ink.is_sure else _odd_line(stack, number)) for number, ink in enumerate(inks))
    lasting = Counter(ink.box for ink in inks if ink).most_common(1)
    stays = lasting[0][0] if lasting and lasting[0][1] >= max(MIN_LASTING, len(inks) // 2) else None
    return TextFinding(
        tuple((number, line) for number, line in found if line), stays or _static_mark(stack, layer.step)
    )


def _padded(values: NDArray[np.int16]) -> NDArray[np.int16]:
    missing = [(0, -size % TILE_PIXELS) for size in values.shape]
    return np.pad(values, missing, mode="symmetric") if any(after for _, after in missing) else values


def _static_mark(slices: Sequence[NDArray[np.int16]], step: int) -> TextLine | None:
    """A mark or a line of letters that stays in place over all slices.

    Bright ink keeps the darkest value of a pixel bright, dark ink the brightest dark, while moving anatomy fades from
    both. And whatever its own value, less changes beneath ink than beside it.
    """
    if len(slices) < MIN_STATIC_SLICES:
        return None
    air = _air(slices[len(slices) // 2])
    some = [np.maximum(values, air) for values in slices[:: -(-len(slices) // MAX_STATIC_SLICES)]]
    darkest, brightest = functools.reduce(np.minimum, some), functools.reduce(np.maximum, some)
    middle = np.partition(np.stack(some), len(some) // 2, axis=0)[len(some) // 2]
    inks = (find_ink(image >> NOISE_BITS << NOISE_BITS, step) for image in (darkest, middle))
    mark = next((ink.box for ink in inks if ink and ink.is_sure and ink.pixels >= MIN_STATIC_PIXELS), None)
    change = _octaves_of_change(some)
    if mark or not change.any():
        return mark
    seen = _line_in(darkest, MIN_STATIC_CONTRAST, change) or _line_in(-brightest, MIN_STATIC_CONTRAST, change)
    return seen or _line_in(-change, STILLER)


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
    strokes = standing_out(contrast, MIN_ODD_CONTRAST)
    line = find_text_line(strokes, contrast)
    return line if line and _stands_out_most(line, strokes, contrast) else None


def _stands_out_most(line: TextLine, strokes: NDArray[np.bool_], contrast: NDArray[np.int16]) -> bool:
    """True when not much else of a slice differs as far from the slices beside it as a line does."""
    box = np.s_[line.top : line.bottom, line.left : line.right]
    inside = strokes[box]
    as_far = strokes & (contrast >= AS_FAR * np.median(contrast[box][inside]))
    return bool(np.count_nonzero(inside) >= MIN_SHARE_OF_ODD * np.count_nonzero(as_far))


def _line_in(image: NDArray[np.int16], at_least: int, change: NDArray[np.int16] | None = None) -> TextLine | None:
    """A line of letters formed by strokes brighter than what is around them, in an image of a whole series.

    Args:
        image: (rows, columns), values within 14 bits.
        at_least: by which strokes stand out.
        change: how much each pixel changes; then less must change beneath the strokes than between them, which tells
            ink from anatomy that stays in place too, as in the phases of one slice.
    """
    contrast = bright_strokes(image)
    strokes = standing_out(contrast, at_least)
    line = find_text_line(strokes, contrast, min_strokes=MIN_STATIC_STROKES)
    if line is None or change is None:
        return line
    box = np.s_[line.top : line.bottom, line.left : line.right]
    beneath, between = change[box][strokes[box]], change[box][~strokes[box]]
    return line if np.median(beneath) <= max(np.median(between) - STILLER, 0) else None
