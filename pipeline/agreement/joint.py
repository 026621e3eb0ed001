"""What all raters said, counted once: one small code a voxel, one histogram that every overlap measure follows from.

Two voxels on which every rater gave the same label are the same to Dice, votes, kappa, alpha, entropy and STAPLE. So
the voxels are read once, each combination of labels (a *pattern*) gets a code, and everything later works on the few
patterns and their counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import LabelError
from pipeline.core.geometry import Geometry, require_same_space
from pipeline.core.labels import Structure
from pipeline.core.volume import LabelMap

Structures: TypeAlias = Mapping[str, tuple[int, ...]]
"""Name of each structure to report, and the labels whose voxels together form it."""

LIVER_STRUCTURES: Structures = {structure.value: structure.values for structure in Structure}

_TABLE_CODES = 1 << 16
"""Up to this many combinations of labels are looked up in a table; more are sorted."""

_MOST_CODES = 1 << 63


@dataclass(frozen=True, slots=True, eq=False)
class Joint:
    """Several masks of one grid as one code a voxel, inside the smallest box that holds all that any rater marked.

    Attributes:
        raters: in alphabetical order.
        geometry: the whole grid.
        start: first voxel of the box.
        codes: (slices, rows, columns) of the box, a row number of `patterns` each.
        patterns: (patterns, raters), the label each rater gave; row 0 is background for all.
        slice_counts: (slices of the box, patterns), voxels of each slice that show each pattern.
    """

    raters: tuple[str, ...]
    geometry: Geometry
    start: tuple[int, int, int]
    codes: NDArray[np.unsignedinteger[Any]]
    patterns: NDArray[np.uint8]
    slice_counts: NDArray[np.int64]

    @property
    def counts(self) -> NDArray[np.int64]:
        """Voxels of the whole grid that show each pattern."""
        counts: NDArray[np.int64] = self.slice_counts.sum(axis=0)
        counts[0] += int(np.prod(self.geometry.shape)) - self.codes.size
        return counts

    @property
    def box(self) -> tuple[slice, slice, slice]:
        """Where `codes` lies in the whole grid."""
        z, y, x = (slice(first, first + n) for first, n in zip(self.start, self.codes.shape, strict=True))
        return z, y, x

    @property
    def outlines_liver(self) -> bool:
        """False when no rater marked liver, as in masks of lesions alone."""
        return bool(self.members(Structure.PARENCHYMA.values).any())

    def members(self, values: Sequence[int]) -> NDArray[np.bool_]:
        """(patterns, raters), True where the rater marked one of the values."""
        return np.isin(self.patterns, tuple(values))

    def marked(self, values: Sequence[int]) -> NDArray[np.bool_]:
        """Voxels of the box that any rater gave one of the values."""
        marked: NDArray[np.bool_] = self.members(values).max(axis=1)[self.codes]
        return marked

    def split(self, parts: NDArray[np.uint8], count: int) -> tuple[Joint, NDArray[np.int64]]:
        """The same ratings, each pattern once for every part it occurs in, and the part of each pattern.

        Args:
            parts: (slices, rows, columns) of the box, a number below `count` for each voxel; 0 where nobody marked any.
            count: of parts.
        """
        combinations = len(self.patterns) * count
        codes = self.codes.astype(np.min_scalar_type(combinations - 1))
        seen, codes = _compacted(codes * codes.dtype.type(count % combinations) + parts, combinations)
        return replace(
            self, codes=codes, patterns=self.patterns[seen // count], slice_counts=_counted(codes, len(seen))
        ), (seen % count).astype(np.int64)

    def painted(self, by_pattern: NDArray[Any]) -> NDArray[Any]:
        """The whole grid with each pattern's value in its voxels."""
        voxels = np.full(self.geometry.shape, by_pattern[0])
        voxels[self.box] = by_pattern[self.codes]
        return voxels


def join(ratings: Mapping[str, LabelMap], *, highest: int = 255) -> Joint:
    """All ratings of one volume as one code a voxel.

    Args:
        ratings: rater to mask, on one grid.
        highest: labels above count as this one, such as `Label.LESION` for lesions whatever their kind.

    Raises:
        GeometryError: when two masks lie on different grids.
        LabelError: when there is no rating, or more raters and labels than can be told apart.
    """
    if not ratings:
        raise LabelError("no rating was given, expected at least one mask")
    raters = tuple(sorted(ratings))
    geometry = ratings[raters[0]].geometry
    for rater in raters[1:]:
        require_same_space(geometry, ratings[rater].geometry, what=f"the mask of {rater}")
    box = _union_box([ratings[rater].voxels for rater in raters])
    codes, patterns = encoded([ratings[rater].voxels[box] for rater in raters], highest)
    z, y, x = box
    return Joint(raters, geometry, (z.start, y.start, x.start), codes, patterns, _counted(codes, len(patterns)))


def box_of(mask: NDArray[Any]) -> tuple[slice, slice, slice]:
    """The smallest box that holds every voxel that is not 0; a box without voxels when there is none."""
    z = _extent(mask.max(axis=(1, 2), initial=0))
    plane = mask[z].max(axis=0, initial=0)
    return z, _extent(plane.max(axis=1, initial=0)), _extent(plane.max(axis=0, initial=0))


def _extent(line: NDArray[Any]) -> slice:
    marked = np.flatnonzero(line)
    return slice(int(marked[0]), int(marked[-1]) + 1) if len(marked) else slice(0, 0)


def _union_box(masks: Sequence[NDArray[np.uint8]]) -> tuple[slice, slice, slice]:
    boxes = [box for box in map(box_of, masks) if box[0].stop > 0]
    if not boxes:
        return slice(0, 0), slice(0, 0), slice(0, 0)
    z, y, x = (slice(min(box[axis].start for box in boxes), max(box[axis].stop for box in boxes)) for axis in range(3))
    return z, y, x


def encoded(
    masks: Sequence[NDArray[np.uint8]], highest: int = 255
) -> tuple[NDArray[np.unsignedinteger[Any]], NDArray[np.uint8]]:
    """A code a voxel and the pattern behind each code; the raters' labels are the digits of one number.

    Args:
        masks: (slices, rows, columns), one a rater.
        highest: labels above count as this one.
    """
    largest = max(int(mask.max(initial=0)) for mask in masks)
    base = min(largest, highest) + 1
    combinations = base ** len(masks)
    if combinations > _MOST_CODES:
        raise LabelError(f"{len(masks)} masks with labels up to {base - 1} are too many to compare at once")
    codes = np.zeros(masks[0].shape, dtype=np.min_scalar_type(combinations - 1))
    for mask in masks:
        codes *= codes.dtype.type(base % combinations)
        codes += np.minimum(mask, np.uint8(highest)) if largest > highest else mask
    seen, codes = _compacted(codes, combinations)
    places = base ** np.arange(len(masks) - 1, -1, -1, dtype=object)
    digits = [(seen.astype(object) // place % base) for place in places]
    return codes, np.stack(digits, axis=1).astype(np.uint8)


def _counted(codes: NDArray[np.unsignedinteger[Any]], patterns: int) -> NDArray[np.int64]:
    """(slices, patterns) voxels that show each pattern."""
    counts = [np.bincount(plane.ravel(), minlength=patterns) for plane in codes]
    return np.array(counts, dtype=np.int64).reshape(len(codes), patterns)


def _compacted(
    codes: NDArray[np.unsignedinteger[Any]], combinations: int
) -> tuple[NDArray[np.integer[Any]], NDArray[np.unsignedinteger[Any]]]:
    """The combinations that occur, background first, and each voxel's place among them."""
    if combinations > _TABLE_CODES:
        seen, inverse = np.unique(np.append(codes.ravel(), codes.dtype.type(0)), return_inverse=True)
        return seen, inverse[:-1].reshape(codes.shape).astype(np.min_scalar_type(len(seen) - 1))
    occurs = np.zeros(combinations, dtype=bool)
    occurs[0] = True
    for plane in codes:
        occurs[plane.ravel()] = True
    seen = np.flatnonzero(occurs)
    places = (np.cumsum(occurs) - 1).astype(np.min_scalar_type(len(seen) - 1))
    return seen, places[codes]
