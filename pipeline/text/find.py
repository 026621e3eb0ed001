"""Text burned into a series: marks of one value where anatomy has noise, and whatever a reader of text can read.

Marks of exactly one value with hard edges are drawn, in any script, direction and number, and codes too. Smooth letters
have no one value: a reader of text looks for them in a few pictures of the whole series, and lines of strokes as dense
as print are found where the letters are too faint to be read. Each makes a series suspect; a person looks, nothing is
blanked.
"""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.text.ink import find_ink
from pipeline.text.lines import TextLine, find_text_line
from pipeline.text.overlays import FEWEST_COMPARED, Shade, differs, lasting, passing, shown
from pipeline.text.reading import read
from pipeline.text.shades import Shades, shades
from pipeline.text.strokes import TILE_PIXELS, bright_strokes, standing_out

MIN_LASTING = 4
"""Slices, and at least half of all, in which the same small mark is ink."""

MIN_STATIC_SLICES = 8
"""Over fewer slices anatomy stays in place too."""

MAX_STATIC_SLICES = 12
"""As many, spread over the series, tell whether something stays in place."""

MIN_STATIC_STROKES, MIN_ODD_STROKES = 5, 8
"""Of a line over all slices, which is asked for once, and of one slice: anatomy has six of these by chance."""

MIN_STATIC_CONTRAST = 30
MIN_ODD_CONTRAST = 40

AIR_PERCENTILE = 2
"""What is darker is air or padding, between which scanners change back and forth."""

OCTAVE = 64
STILLER = 48
"""Of an octave, by which a stroke changes less than what is around it: half covering ink leaves half of the change."""

MOST_COMPARED = 64
"""Slices in one picture of what a slice has alone."""

TIMES_NEXT = 2
"""How much more than any other slice the one differs that alone has what was read in the mean of all."""

SEARCH_RULES = 3
"""Counts up whenever a series may be judged otherwise than before; kept with every verdict."""

Place = tuple[int | None, TextLine]
"""Where something is, and on which slice; None where it stays in place."""


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
    layers = shades(slices)
    found = [place for layer in layers for place in (*_drawn(layer), *_printed(layer.slices))]
    found += _readable([layer.slices for layer in layers])
    largest = dict(sorted(found, key=lambda place: place[1].area))
    static = largest.pop(None, None)
    return TextFinding(tuple(sorted((number, line) for number, line in largest.items() if number is not None)), static)


def _drawn(layer: Shades) -> Iterator[Place]:
    """Marks of one value on a slice, and small ones that half of all slices have."""
    inks = [find_ink(values, layer.step) for values in layer.slices]
    yield from ((number, ink.box) for number, ink in enumerate(inks) if ink and ink.is_sure)
    often = Counter(ink.box for ink in inks if ink).most_common(1)
    yield from ((None, box) for box, times in often if times >= max(MIN_LASTING, len(inks) // 2))


def _printed(slices: Sequence[Shade]) -> Iterator[Place]:
    """Lines of strokes as print has them, along rows: bright ones over all slices, and those of one slice."""
    stack = [_padded(values) for values in slices]
    if len(stack) >= MIN_STATIC_SLICES and (static := _printed_on_all(stack)):
        yield None, static
    for number in range(len(stack) if len(stack) >= FEWEST_COMPARED else 0):
        contrast = differs(stack, number)
        line = find_text_line(standing_out(contrast, MIN_ODD_CONTRAST), contrast, min_strokes=MIN_ODD_STROKES)
        if line:
            yield number, line


def _printed_on_all(slices: Sequence[Shade]) -> TextLine | None:
    """A line of bright letters over all slices, where less changes beneath the strokes than between them."""
    air = _air(slices[len(slices) // 2])
    some = [np.maximum(values, air) for values in slices[:: -(-len(slices) // MAX_STATIC_SLICES)]]
    contrast = bright_strokes(functools.reduce(np.minimum, some))
    strokes = standing_out(contrast, MIN_STATIC_CONTRAST)
    line = find_text_line(strokes, contrast, min_strokes=MIN_STATIC_STROKES)
    if line is None:
        return None
    box = np.s_[line.top : line.bottom, line.left : line.right]
    change = _octaves_of_change([values[box] for values in some])
    beneath, between = change[strokes[box]], change[~strokes[box]]
    return line if change.any() and np.median(beneath) <= max(np.median(between) - STILLER, 0) else None


def _air(values: Shade) -> np.int16:
    """A value that nearly all of the body exceeds."""
    sample = values[::4, ::4]
    above_padding = sample[sample > sample.min()]
    return np.int16(np.percentile(above_padding, AIR_PERCENTILE) if above_padding.size else sample.min())


def _padded(values: Shade) -> Shade:
    missing = [(0, -size % TILE_PIXELS) for size in values.shape]
    return np.pad(values, missing, mode="symmetric") if any(after for _, after in missing) else values


def _octaves_of_change(slices: Sequence[Shade]) -> Shade:
    """How much each pixel changes from slice to slice, on a scale on which ink that covers alike has one contrast."""
    change = np.add.reduce([np.abs(after - before) for before, after in itertools.pairwise(slices)], dtype=np.float32)
    octaves: Shade = np.rint(OCTAVE * np.log2(change / (len(slices) - 1) + 1)).astype(np.int16)
    return octaves


def _readable(layers: Sequence[Sequence[Shade]]) -> Iterator[Place]:
    """Letters in the mean of all slices, and those that a slice has alone, in whichever channel shows most."""
    if not layers:
        return
    for box in read(np.maximum.reduce([lasting(slices) for slices in layers])):
        yield _only_slice_with(box, layers), box
    count = len(layers[0])
    parts = -(-count // MOST_COMPARED)
    for part in range(parts):
        first, last = part * count // parts, (part + 1) * count // parts
        if last - first >= FEWEST_COMPARED:
            some = [slices[first:last] for slices in layers]
            for box in read(np.maximum.reduce([shown(passing(slices)) for slices in some])):
                yield first + int(np.argmax(_differing(box, some))), box


def _only_slice_with(box: TextLine, layers: Sequence[Sequence[Shade]]) -> int | None:
    """The slice that differs in a box far more than all others; None where there is none."""
    if len(layers[0]) < FEWEST_COMPARED:
        return None
    differing = _differing(box, layers)
    next_most, most = np.partition(differing, -2)[-2:]
    return int(np.argmax(differing)) if most > TIMES_NEXT * next_most else None


def _differing(box: TextLine, layers: Sequence[Sequence[Shade]]) -> NDArray[np.int64]:
    """How much each slice differs in a box from the slices beside it."""
    part = np.s_[box.top : box.bottom, box.left : box.right]
    boxes = [[values[part] for values in slices] for slices in layers]
    return np.array([sum(int(np.maximum(differs(one, n), 0).sum()) for one in boxes) for n in range(len(boxes[0]))])
