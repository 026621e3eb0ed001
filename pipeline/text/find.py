"""Text burned into a series: marks of one value where anatomy has noise, and whatever a reader of text can read.

Marks of exactly one value with hard edges are drawn, in any script, direction and number, and codes too. Smooth letters
have no one value: a reader of text looks for them in a few pictures of the whole series. Each makes a series suspect; a
person looks, nothing is blanked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.text.ink import find_ink
from pipeline.text.lines import TextLine
from pipeline.text.overlays import FEWEST_COMPARED, Picture, Shade, differs, lasting, passing
from pipeline.text.reading import read
from pipeline.text.shades import Shades, shades

MIN_LASTING = 4
"""Slices, and at least half of all, in which the same small mark is ink."""

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
    found = [place for layer in layers for place in _drawn(layer)]
    found += _readable([layer.slices for layer in layers])
    lines = {number: line for number, line in reversed(found) if number is not None}
    static = next((line for number, line in found if number is None), None)
    return TextFinding(tuple(sorted(lines.items())), static)


def _drawn(layer: Shades) -> Iterator[Place]:
    """Marks of one value on a slice, and small ones that half of all slices have."""
    inks = [find_ink(values, layer.step) for values in layer.slices]
    yield from ((number, ink.box) for number, ink in enumerate(inks) if ink and ink.is_sure)
    often = Counter(ink.box for ink in inks if ink).most_common(1)
    yield from ((None, box) for box, times in often if times >= max(MIN_LASTING, len(inks) // 2))


def _readable(layers: Sequence[Sequence[Shade]]) -> Iterator[Place]:
    """Letters in the mean of all slices, and those that a slice has alone, in whichever channel shows most."""
    if not layers:
        return
    for box in read(_over(layers, lasting)):
        yield _only_slice_with(box, layers), box
    count = len(layers[0])
    parts = -(-count // MOST_COMPARED)
    for part in range(parts):
        first, last = part * count // parts, (part + 1) * count // parts
        some = [slices[first:last] for slices in layers]
        if last - first >= FEWEST_COMPARED:
            for box in read(_over(some, passing)):
                yield first + int(np.argmax(_differing(box, some))), box


def _over(layers: Sequence[Sequence[Shade]], picture: Callable[[Sequence[Shade]], Picture]) -> Picture:
    shown: Picture = np.maximum.reduce([picture(slices) for slices in layers])
    return shown


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
