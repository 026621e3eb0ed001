"""Lines of letters among strokes: what print has and anatomy has not, whatever the font, the script and the words.

Letters of a line have one height and one ink, stand side by side on one line, are crossed by a row about three times in
two letters, and leave the space above and below them free. Edges and vessels have one or two of these by chance.
Nothing is read: strokes are counted, so that letters that run together or are half drowned count for what is left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

MIN_STROKES = 6
"""Strokes that a row meets along a line, on average: four letters have six, anatomy hardly ever five."""

LETTER_HEIGHT_PIXELS = (4, 64)
FURTHEST_GAP_PIXELS = 96
"""What the gap below is for the highest letters."""

MAX_GAP_IN_HEIGHTS = 1.5
"""Letters of one word stand closer than this, and most words of one line."""

MAX_FILL = 0.75
"""Letters leave at least a quarter of their box free."""

MIN_STROKES_IN_WIDE_MARK = 0.6
"""Strokes that a row meets per letter's width of a mark wider than one letter; lines and arcs are met once or twice."""

STROKES_PER_HEIGHT = (0.9, 2.4)
"""Strokes that a row meets in as much of a line as it is high; prints of eight to 24 pixels have 0.9 to 2."""

MAX_CLUTTER = 0.3
"""How densely, compared with the line, the half heights above and below it may be inked."""

TALLER = 1.8
"""Capitals and letters with tails are up to this much higher than small letters."""

SAME_INK = 60
"""Contrast by which two letters may differ: noise beneath the ink."""

SAME_INK_SHARE = 0.35
"""Share of their contrast by which they may: small smooth letters are not fully inked anywhere."""


@dataclass(frozen=True, slots=True)
class _Marks:
    """Connected strokes that may be letters or words, one entry each, sorted by their left edge.

    Attributes:
        top, bottom, left, right: their boxes; bottom and right lie one beyond.
        strokes: how many strokes a row meets in them, on average.
        ink: the highest contrast in the middle of their strokes.
    """

    top: NDArray[np.intp]
    bottom: NDArray[np.intp]
    left: NDArray[np.intp]
    right: NDArray[np.intp]
    strokes: NDArray[np.float64]
    ink: NDArray[np.integer]

    @property
    def height(self) -> NDArray[np.intp]:
        return self.bottom - self.top


@dataclass(frozen=True, slots=True)
class TextLine:
    """Where a line of letters lies, in rows and columns; `bottom` and `right` lie one beyond."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def area(self) -> int:
        """Pixels that it covers."""
        return (self.bottom - self.top) * (self.right - self.left)


def find_text_line(
    strokes: NDArray[np.bool_], contrast: NDArray[np.integer], *, min_strokes: float = MIN_STROKES
) -> TextLine | None:
    """Where strokes form a line of letters, about four and more; None where they do not.

    Args:
        strokes: (rows, columns), True where ink may be.
        contrast: how far each pixel stands out; letters of one line do alike.
        min_strokes: what makes a line; the default suits a search of every slice.
    """
    runs = _runs(strokes)
    if runs.start.size < min_strokes * LETTER_HEIGHT_PIXELS[0]:
        return None
    marks = _marks(runs, contrast)
    met, before = _strokes_up_to(marks)
    for last in np.argsort(-met, kind="stable").tolist():
        if met[last] < min_strokes:
            break
        members = _line_ending_at(last, before)
        line = _box(members, marks)
        if _is_print(line, float(marks.strokes[members].sum()), strokes):
            return line
    return None


@dataclass(frozen=True, slots=True)
class _Runs:
    """Inked pixels side by side in one row, by their places in an image read row by row; `stop` lies one beyond."""

    start: NDArray[np.intp]
    stop: NDArray[np.intp]
    columns: int


def _runs(strokes: NDArray[np.bool_]) -> _Runs:
    """The runs of an image in reading order; the outermost columns, where rows would run together, are left out."""
    inked = strokes.copy()
    inked[:, 0] = inked[:, -1] = False
    flat = inked.ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    return _Runs(edges[::2], edges[1::2], strokes.shape[1])


def _marks(runs: _Runs, contrast: NDArray[np.integer]) -> _Marks:
    """Marks of a letter's height that are strokes, not blots: they leave part of their box free."""
    mark = _connected(runs)
    order = np.argsort(mark, kind="stable")
    begins = np.flatnonzero(np.diff(mark[order], prepend=-1))
    row, column = np.divmod(runs.start[order], runs.columns)
    length = (runs.stop - runs.start)[order]
    ink = contrast.ravel()[((runs.start + runs.stop) // 2)[order]]
    top, bottom = np.minimum.reduceat(row, begins), np.maximum.reduceat(row, begins) + 1
    left, right = np.minimum.reduceat(column, begins), np.maximum.reduceat(column + length, begins)
    met = np.diff(begins, append=mark.size) / (bottom - top)
    fits = np.flatnonzero(_may_be_lettering(bottom - top, right - left, np.add.reduceat(length, begins), met))
    fits = fits[np.argsort(left[fits], kind="stable")]
    return _Marks(
        top[fits],
        bottom[fits],
        left[fits],
        right[fits],
        met[fits],
        np.maximum.reduceat(ink, begins)[fits].astype(np.intp),
    )


def _connected(runs: _Runs) -> NDArray[np.integer]:
    """The number of the mark each run belongs to; runs that touch by a corner belong together."""
    first = np.searchsorted(runs.stop, runs.start + runs.columns)
    found = np.searchsorted(runs.start, runs.stop + runs.columns, side="right") - first
    _, below = _pairs(first, found)
    ends = np.concatenate([[0], np.cumsum(found)]).astype(np.int32)
    links = csr_array((np.ones(below.size), below.astype(np.int32), ends), shape=(first.size, first.size))
    mark: NDArray[np.integer] = connected_components(links, directed=False)[1]
    return mark


def _pairs(first: NDArray[np.intp], found: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Each number with the numbers found for it, which follow one another from the first."""
    one = np.repeat(np.arange(first.size), found)
    other = np.arange(one.size) + np.repeat(first - np.cumsum(found) + found, found)
    return one, other


def _may_be_lettering(
    height: NDArray[np.intp], width: NDArray[np.intp], size: NDArray[Any], met: NDArray[np.float64]
) -> NDArray[np.bool_]:
    low, high = LETTER_HEIGHT_PIXELS
    is_stroke = (size <= MAX_FILL * height * width) | (width <= np.maximum(height // 3, 2))
    is_lettering = (width <= 1.5 * height) | (met * height >= MIN_STROKES_IN_WIDE_MARK * width)
    return (low <= height) & (height <= high) & (size >= height) & is_stroke & is_lettering


def _strokes_up_to(marks: _Marks) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """How many strokes the best line ending at each mark has, and the mark before it there, -1 for none."""
    met, before = marks.strokes.copy(), np.full(marks.left.size, -1)
    for left, right in zip(*_neighbours(marks), strict=True):
        if met[left] + marks.strokes[right] > met[right]:
            met[right], before[right] = met[left] + marks.strokes[right], left
    return met, before


def _neighbours(marks: _Marks) -> tuple[list[int], list[int]]:
    """Pairs of marks of which the second stands beside the first, on its line, as high and as bright."""
    by_right = np.argsort(marks.right, kind="stable")
    ends = marks.right[by_right]
    first = np.searchsorted(ends, marks.left - FURTHEST_GAP_PIXELS)
    found = np.searchsorted(ends, marks.left + 1, side="right") - first
    right, left = _pairs(first, found)
    left = by_right[left]
    higher = np.maximum(marks.height[left], marks.height[right])
    lower = np.minimum(marks.height[left], marks.height[right])
    brighter = np.maximum(marks.ink[left], marks.ink[right])
    slack = np.maximum(1, higher // 4)
    is_on_line = np.abs(marks.bottom[left] - marks.bottom[right]) <= slack
    is_on_line |= np.abs(marks.top[left] - marks.top[right]) <= slack
    is_near = (marks.left[left] < marks.left[right]) & (
        marks.left[right] - marks.right[left] <= MAX_GAP_IN_HEIGHTS * higher
    )
    is_alike = (lower * TALLER >= higher) & (
        np.abs(marks.ink[left] - marks.ink[right]) <= np.maximum(SAME_INK, SAME_INK_SHARE * brighter)
    )
    pairs = np.flatnonzero(is_near & is_on_line & is_alike)
    return left[pairs].tolist(), right[pairs].tolist()


def _line_ending_at(last: int, before: NDArray[np.intp]) -> list[int]:
    line = [last]
    while before[line[-1]] >= 0:
        line.append(int(before[line[-1]]))
    return line


def _box(members: list[int], marks: _Marks) -> TextLine:
    """The box of a line, as high as most of its letters."""
    top, bottom = int(np.median(marks.top[members])), int(np.median(marks.bottom[members]))
    return TextLine(top, bottom, int(marks.left[members].min()), int(marks.right[members].max()))


def _is_print(line: TextLine, met: float, strokes: NDArray[np.bool_]) -> bool:
    """True when a line is as dense with strokes as print, and the space above and below it is free.

    Args:
        line: where it lies.
        met: strokes that a row meets in it, on average.
        strokes: (rows, columns), all of them.
    """
    height, columns = line.bottom - line.top, slice(line.left, line.right)
    low, high = STROKES_PER_HEIGHT
    margin = max(2, height // 2)
    above = strokes[max(line.top - margin, 0) : max(line.top - 1, 0), columns]
    below = strokes[line.bottom + 1 : line.bottom + margin, columns]
    around = np.concatenate([above.ravel(), below.ravel()])
    clutter = float(around.mean()) if around.size else 0.0
    is_dense = low <= met * height / (line.right - line.left) <= high
    return bool(is_dense and clutter <= MAX_CLUTTER * strokes[line.top : line.bottom, columns].mean())
