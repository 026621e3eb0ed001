"""Where masks are laid over text: boxes around what the search finds, large enough for what stands at its edge."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.boxes import Box, blanked
from pipeline.text.find import TextFinding, find_text
from pipeline.text.lines import TextLine

MARGIN_ACROSS = 0.5
"""Of the letters' height, on both sides of a line: tails, accents and smooth edges."""

MARGIN_ALONG = 3.0
"""Of the letters' height, before and behind it: three letters, which the search may not find when they stand alone."""

MARGIN_PIXELS = 2

MOST_SEARCHES = 8
"""A search finds one line a slice; what stands below it is found when the line is covered."""


def find_boxes(slices: Sequence[NDArray[Any]], found: TextFinding | None = None) -> tuple[Box, ...]:
    """Boxes over everything that looks like text, searched again until nothing is left or no more is found.

    A line that stands in the same place of several slices is covered on all: whoever writes it on several writes it on
    each, and the search may miss it on some.

    Args:
        slices: as `find_text` takes them, at least one.
        found: what it found in them, where they were searched already.
    """
    boxes: list[Box] = []
    for _ in range(MOST_SEARCHES):
        found = found or find_text(beside(slices, boxes))
        if not found.is_suspect:
            break
        for box in _around(found, slices[0].shape):
            boxes = _joined(boxes, box)
        found = None
    return tuple(sorted(boxes, key=lambda box: (box.slices or (-1, -1), box.rows, box.columns)))


def beside(slices: Sequence[NDArray[Any]], boxes: Sequence[Box]) -> list[NDArray[Any]]:
    """Slices to search for what boxes do not cover.

    A box on some slices shows what the nearest other slice has there: a blank would hide from the search what stays in
    place on all others. A box on all slices shows the lowest value.

    Raises:
        PrivacyError: when a box does not lie within the slices.
    """
    if not boxes:
        return list(slices)
    voxels = np.stack(slices)
    shown = blanked(voxels, boxes, float(np.nanmin(voxels)))
    for box in boxes:
        first, beyond = box.slices or (0, len(voxels))
        others = [index for index in (first - 1, beyond) if 0 <= index < len(voxels)]
        if others:
            place = slice(*box.rows), slice(*box.columns)
            shown[first:beyond, *place] = shown[others[0], *place]
    return list(shown)


def _around(finding: TextFinding, shape: tuple[int, ...]) -> Iterator[Box]:
    """Boxes around lines; what stays in place is left to the next search where a slice has a line there."""
    own = [_grown(line, shape, (number, number + 1)) for number, line in finding.lines]
    yield from own
    still = None if finding.static is None else _grown(finding.static, shape, None)
    if still and not any(still.overlaps(box) for box in own):
        yield still


def _grown(line: TextLine, shape: tuple[int, ...], slices: tuple[int, int] | None) -> Box:
    height, width = line.bottom - line.top, line.right - line.left
    across, along = (int(share * min(height, width)) + MARGIN_PIXELS for share in (MARGIN_ACROSS, MARGIN_ALONG))
    above, beside = (across, along) if height <= width else (along, across)
    rows = max(line.top - above, 0), min(line.bottom + above, shape[0])
    columns = max(line.left - beside, 0), min(line.right + beside, shape[1])
    return Box(rows, columns, slices)


def _joined(boxes: Sequence[Box], new: Box) -> list[Box]:
    """All boxes with one more; those in the same place of different slices become one on all slices."""
    apart = [box for box in boxes if not box.overlaps(new)]
    alike = [box for box in boxes if box.overlaps(new)]
    if not alike:
        return [*apart, new]
    one = alike[0]
    rows = min(one.rows[0], new.rows[0]), max(one.rows[1], new.rows[1])
    columns = min(one.columns[0], new.columns[0]), max(one.columns[1], new.columns[1])
    whole = Box(rows, columns, new.slices if one.slices == new.slices else None)
    return _joined([*apart, *alike[1:]], whole)
