"""Drawn ink: marks of exactly one value with hard edges all around, where anatomy has noise and soft edges.

Neither script nor direction matters: letters, few or many, turned or stacked, and the modules of codes are alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from pipeline.text.lines import MAX_FILL, TextLine
from pipeline.text.shades import LARGEST

HARD_EDGE = 60
"""Shades by which ink differs from the pixel beside it; HU of a usual CT."""

EDGE_STEPS = 16
"""Steps of the stored picture that a hard edge has at least: in few shades of gray neighbours are equal by chance."""

MIN_PIXELS_OF_MARK = 6
MIN_HARD_SHARE = 0.8
LARGEST_MARK_PIXELS = 100
"""Height and width of a mark; what is larger is padding, a table or a frame."""

MIN_PIXELS = 10
"""Of the edges of all marks that belong together: about one small letter."""

MIN_SHARE_NEARBY = 0.4
"""Of the edges of its value in its box, that are ink: the noise of anatomy has the value elsewhere."""

MIN_SHARE_OF_FLAT = 0.2
"""Of all pixels of its value that lie three in a row or column: of padding and of air cut off hardly any are edges."""

MIN_SHARE_BELOW, MIN_SHARE_OF_LOWEST = 0.005, 0.5
"""A value below which hardly anything lies may be where air is cut off; ink is most of what has it then."""

REACH_PIXELS = 24
"""Between two marks that belong together."""

MIN_SIDE_PIXELS = 4
"""Of the box of ink."""

MIN_SHARE_WIDE = 0.5
"""Of the pixels of ink, that belong to marks wider than one pixel, as straight lines of equal values do not."""

MOST_MARKS = 400
MOST_VALUES = 4

MOST_ABOVE = 2e-4
"""Share of a slice that is brighter than the value at which metal, or what lies next to a coil, is cut off."""

SATURATED_EDGE = 400
MIN_SATURATED_PIXELS = 40
MIN_SATURATED_MARKS = 3
"""What ink at such a value has: edges far harder than those of metal, and several marks."""


@dataclass(frozen=True, slots=True, eq=False)
class InkMarks:
    """Marks of one value, one entry each.

    Attributes:
        top, bottom, left, right: their boxes; bottom and right lie one beyond.
        value: of all their pixels.
        pixels: how many there are.
        edge: by how much they differ from what is beside them, on average.
        flat: how many pixels of the slice have the value and lie three in a row or column.
    """

    top: NDArray[np.intp]
    bottom: NDArray[np.intp]
    left: NDArray[np.intp]
    right: NDArray[np.intp]
    value: NDArray[np.intp]
    pixels: NDArray[np.intp]
    edge: NDArray[np.float64]
    flat: NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Ink:
    """Marks of one value that lie together.

    Attributes:
        box: where.
        pixels: how many there are at their edges.
        is_sure: False where there is so little that only the same in many slices is ink.
    """

    box: TextLine
    pixels: int
    is_sure: bool


def find_ink(values: NDArray[np.int16], step: int) -> Ink | None:
    """What is drawn with one value; None where nothing is.

    Args:
        values: (rows, columns), shades of one slice.
        step: between two neighbouring values of the stored picture.
    """
    marks = ink_marks(values, max(HARD_EDGE, EDGE_STEPS * step))
    if marks is None:
        return None
    distinct, which = np.unique(marks.value, return_inverse=True)
    totals = np.bincount(which, weights=marks.pixels)
    ranked = distinct[np.argsort(-totals, kind="stable")[:MOST_VALUES]].tolist()
    found = [ink for value in ranked for ink in _drawn_together(values, marks, value)]
    return max(found, key=lambda ink: (ink.is_sure, ink.pixels), default=None)


def _drawn_together(values: NDArray[np.int16], marks: InkMarks, value: int) -> Iterator[Ink]:
    """Groups of marks of one value that are nearly all there is of it where they lie."""
    own = np.flatnonzero(marks.value == value)
    if _is_cut_off(values, value, marks.pixels[own].sum(), marks.flat[own[0]]):
        return
    is_highest = value >= LARGEST or np.count_nonzero(values > value) <= MOST_ABOVE * values.size
    for some in _groups(marks, own):
        lines = (marks.top[some].min(), marks.bottom[some].max(), marks.left[some].min(), marks.right[some].max())
        box, pixels = TextLine(*map(int, lines)), int(marks.pixels[some].sum())
        rows, columns = box.bottom - box.top, box.right - box.left
        around = values[box.top - 1 : box.bottom + 1, box.left - 1 : box.right + 1] == value
        is_wide = np.minimum(marks.bottom[some] - marks.top[some], marks.right[some] - marks.left[some]) > 1
        if min(rows, columns) < MIN_SIDE_PIXELS or marks.pixels[some][is_wide].sum() < MIN_SHARE_WIDE * pixels:
            continue
        if pixels < MIN_SHARE_NEARBY * np.count_nonzero(_rim(around)):
            continue
        is_solid = np.count_nonzero(around) > MAX_FILL * rows * columns
        if is_highest and (is_solid or np.median(marks.edge[some]) < SATURATED_EDGE):
            continue
        is_much = pixels >= MIN_SATURATED_PIXELS and some.size >= MIN_SATURATED_MARKS
        yield Ink(box, pixels, is_sure=is_much if is_highest else pixels >= MIN_PIXELS)


def _is_cut_off(values: NDArray[np.int16], value: int, pixels: int, flat: int) -> bool:
    """True for a value of padding, or at which air is cut off: most pixels that have it lie apart from the marks."""
    below = np.count_nonzero((values < value) & (values > values.min()))
    return pixels < (MIN_SHARE_OF_FLAT if below > MIN_SHARE_BELOW * values.size else MIN_SHARE_OF_LOWEST) * flat


def _groups(marks: InkMarks, own: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    """Which of some marks lie together; a page full of them is one group."""
    if own.size == 1 or own.size > MOST_MARKS:
        yield own
        return
    top, bottom, left, right = (line[own] for line in (marks.top, marks.bottom, marks.left, marks.right))
    across = np.maximum(left[:, None] - right, left - right[:, None])
    down = np.maximum(top[:, None] - bottom, top - bottom[:, None])
    count, group = connected_components(np.maximum(across, down) <= REACH_PIXELS, directed=False)
    yield from (own[group == number] for number in range(count))


def _rim(inked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of an area without its outermost line that have one beside them which is not of the area."""
    inner = inked[1:-1, 1:-1]
    rim: NDArray[np.bool_] = inner & ~(inked[:-2, 1:-1] & inked[2:, 1:-1] & inked[1:-1, :-2] & inked[1:-1, 2:])
    return rim


def ink_marks(values: NDArray[np.int16], hard: int) -> InkMarks | None:
    """Marks of exactly one value with hard edges; None where there is none. What reaches the border is padding."""
    flat, line = _flat(values), values.ravel()
    place = np.flatnonzero(flat & _has_hard_edge(values, hard))
    if place.size < MIN_PIXELS_OF_MARK:
        return None
    lowest = int(values.min())
    shade = line[place].astype(np.int32) - lowest
    marked = np.zeros(values.size, np.uint16)
    marked[place] = shade + 1
    labels = cc3d.connected_components(marked.reshape(values.shape), connectivity=8).ravel()[place].astype(np.intp) - 1
    pixels = np.bincount(labels)
    is_hard, edge = _edges(values, place, labels, hard)
    order, begins = np.argsort(labels, kind="stable"), np.concatenate([[0], np.cumsum(pixels)[:-1]])
    row, column = np.divmod(place[order], values.shape[1])
    top, left = (np.minimum.reduceat(lines, begins) for lines in (row, column))
    bottom, right = (np.maximum.reduceat(lines, begins) + 1 for lines in (row, column))
    is_small = np.maximum(bottom - top, right - left) <= LARGEST_MARK_PIXELS
    is_inside = (np.minimum(top, left) > 1) & (bottom < values.shape[0] - 1) & (right < values.shape[1] - 1)
    fits = np.flatnonzero((pixels >= MIN_PIXELS_OF_MARK) & is_hard & is_small & is_inside)
    if not fits.size:
        return None
    shade = shade[order][begins].astype(np.intp)[fits]
    flats = np.bincount(values[flat].astype(np.int32) - lowest)[shade]
    top, bottom, left, right = (lines[fits] for lines in (top, bottom, left, right))
    return InkMarks(top, bottom, left, right, shade + lowest, pixels[fits], edge[fits], flats)


def _flat(values: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Pixels that are one of three equal ones in a row or column, off the outermost line."""
    flat = np.zeros(values.shape, dtype=np.bool_)
    for lines, runs in ((values, flat), (values.T, flat.T)):
        equal = lines[1:] == lines[:-1]
        three = equal[1:] & equal[:-1]
        for start in range(3):
            runs[start : lines.shape[0] - 2 + start] |= three
    flat[0] = flat[-1] = flat[:, 0] = flat[:, -1] = False
    return flat


def _has_hard_edge(values: NDArray[np.int16], hard: int) -> NDArray[np.bool_]:
    """Pixels that differ by so much from one beside, above or below them."""
    found = np.zeros(values.shape, dtype=np.bool_)
    for lines, edges in ((values, found), (values.T, found.T)):
        differs = np.abs(lines[1:] - lines[:-1]) >= hard
        edges[1:] |= differs
        edges[:-1] |= differs
    return found


def _edges(
    values: NDArray[np.int16], place: NDArray[np.intp], labels: NDArray[np.intp], hard: int
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Which marks have hard edges nearly all around, and by how much they differ from what is beside them."""
    line, own, count = values.ravel(), values.ravel()[place].astype(np.int32), int(labels.max()) + 1
    found, edges, total = np.zeros(count), np.zeros(count), np.zeros(count)
    for step in (-values.shape[1], -1, 1, values.shape[1]):
        difference = np.abs(line[place + step] - own)
        edges += np.bincount(labels[difference > 0], minlength=count)
        found += np.bincount(labels[difference >= hard], minlength=count)
        total += np.bincount(labels, weights=difference, minlength=count)
    return found >= MIN_HARD_SHARE * edges, total / edges
