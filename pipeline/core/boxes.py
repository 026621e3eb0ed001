"""Boxes of voxels as a person writes them, "slices 3-5 rows 1-12 columns 4-60", and a volume with boxes blanked.

In words slices, rows and columns count from 1 and both ends belong to the box; in a record they are indices from 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from pipeline.core.errors import ConfigError, PrivacyError
from pipeline.core.file_names import DECISIONS
from pipeline.core.words import slice_number

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

_Array = TypeVar("_Array", bound="NDArray[Any]")

Span: TypeAlias = tuple[int, int]
"""First index and one beyond the last."""

BETWEEN_BOXES = "; "
EXPECTED = 'expected boxes such as "slices 3-5 rows 1-12 columns 4-60; rows 1-9 columns 1-80", counted from 1'
_SPAN = r"(\d+)(?:\s*-\s*(\d+))?"
_BOX = re.compile(rf"\s*(?:slices?\s+{_SPAN}\s+)?rows?\s+{_SPAN}\s+columns?\s+{_SPAN}\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle on some slices of a volume, or on all.

    Attributes:
        rows, columns: what it covers of a slice.
        slices: on which slices; None: on all.
    """

    rows: Span
    columns: Span
    slices: Span | None = None

    def __str__(self) -> str:
        on = "" if self.slices is None else f"slices {_words(self.slices)} "
        return f"{on}rows {_words(self.rows)} columns {_words(self.columns)}"

    def is_on(self, index: int) -> bool:
        """True when it covers something of a slice."""
        return self.slices is None or self.slices[0] <= index < self.slices[1]

    def overlaps(self, other: Box) -> bool:
        """True when both cover the same place of a slice, on whichever slices."""
        pairs = ((self.rows, other.rows), (self.columns, other.columns))
        return all(one[0] < two[1] and two[0] < one[1] for one, two in pairs)


def parse_boxes(text: str) -> tuple[Box, ...]:
    """Boxes from words, "; " between two; none in an empty text.

    Raises:
        ConfigError: when something is no box.
    """
    return tuple(_parsed(part) for part in text.split(BETWEEN_BOXES.strip()) if part.strip())


def boxes_text(boxes: Iterable[Box]) -> str:
    """Boxes in words, as `parse_boxes` reads them."""
    return BETWEEN_BOXES.join(map(str, boxes))


def blanked(voxels: _Array, boxes: Iterable[Box], value: float) -> _Array:
    """A copy with all boxes set to one value.

    Args:
        voxels: (slices, rows, columns) or (slices, rows, columns, channels).
        boxes: where.
        value: what is written.

    Raises:
        PrivacyError: when a box does not lie within the volume, so that nobody believes in a mask that covers nothing.
    """
    copy = voxels.copy()
    for box in boxes:
        spans = ((0, len(voxels)) if box.slices is None else box.slices, box.rows, box.columns)
        if any(beyond > size for (_, beyond), size in zip(spans, voxels.shape, strict=False)):
            slices, rows, columns = voxels.shape[:3]
            size = f"{slices} slices, {rows} rows and {columns} columns"
            raise PrivacyError(f"the box {box} does not lie within {size}; correct the boxes in {DECISIONS}")
        copy[tuple(slice(*span) for span in spans)] = value
    return copy


def _words(span: Span) -> str:
    first, last = slice_number(span[0]), span[1]
    return str(first) if first == last else f"{first}-{last}"


def _parsed(text: str) -> Box:
    found = _BOX.fullmatch(text)
    if found is None:
        raise ConfigError(EXPECTED)
    slices, rows, columns = (_span(found[place], found[place + 1]) for place in (1, 3, 5))
    if rows is None or columns is None:
        raise ConfigError(EXPECTED)
    return Box(rows, columns, slices)


def _span(first: str | None, last: str | None) -> Span | None:
    """Indices from numbers; None where nothing is said."""
    if first is None:
        return None
    span = int(first) - 1, int(last or first)
    if not 0 <= span[0] < span[1]:
        raise ConfigError(EXPECTED)
    return span
