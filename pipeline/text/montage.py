"""What a person looks at before deciding about text: the slices in question, and each place enlarged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.boxes import Box, Span
from pipeline.core.words import slice_number
from pipeline.pictures.display import Picture, display_range, to_gray
from pipeline.pictures.sheets import CAPTION_COLOR, captioned, in_rows, png_bytes

MOST_TILES = 12
MOST_OF_ONE_BOX = 4

MIN_TILE_PIXELS = 400
"""Width to which a small slice is enlarged, by a whole number, so that its pixels stay visible."""

CAPTION_PIXELS = 24

SLICES_MEASURED = 16
AIR_PERCENTILES = (1.0, 99.0)
AIR_SHARE = 0.1
"""From the darkest to the brightest value; what is darker is air and would take the contrast."""

BODY_PERCENTILES = (2.0, 99.5)
ENLARGED_PERCENTILES = (0.0, 100.0)
"""Of an enlarged box every value is shown: ink may be its darkest or its brightest."""

SURROUND = 1.0
"""Of a box's height, shown around it enlarged: what the box does not cover must be seen."""


def montage(slices: Sequence[NDArray[Any]], boxes: Sequence[Box]) -> bytes:
    """A PNG of each box on some of its slices: the slice, and below it the box enlarged. Private.

    The slice is shown by the values of the body, the enlarged place by its own. What an outline encloses is what a mask
    would cover; slices, rows and columns are named as people count them.

    Args:
        slices: (rows, columns) of any type, or (rows, columns, 3) in 8-bit colour, all of one shape.
        boxes: places that look as if they held text, at least one.
    """
    shown = _body_range(slices, boxes)
    each = min(MOST_OF_ONE_BOX, max(1, MOST_TILES // len(boxes)))
    tiles = [_tile(slices, index, box, shown) for box in boxes for index in _some_slices(box, len(slices), each)]
    tallest = max(map(len, tiles))
    even = [np.pad(tile, [(0, tallest - len(tile)), (0, 0), (0, 0)]) for tile in tiles]
    return png_bytes(in_rows(even, math.ceil(math.sqrt(len(even)))))


def _some_slices(box: Box, count: int, most: int) -> list[int]:
    """Slices on which a box stands, at even distances."""
    first, beyond = box.slices or (0, count)
    numbers = np.linspace(first, beyond - 1, min(most, beyond - first))
    return [round(number) for number in numbers.tolist()]


def _body_range(slices: Sequence[NDArray[Any]], boxes: Sequence[Box]) -> tuple[float, float]:
    """Black and white from the values of the body, the boxes left out: ink in them may be far from any of it."""
    beside = np.ones(slices[0].shape[:2], np.bool_)
    for box in boxes:
        beside[slice(*box.rows), slice(*box.columns)] = False
    some = np.stack([plane[beside] for plane in slices[:: -(-len(slices) // SLICES_MEASURED)]]).astype(np.float64)
    known = some[np.isfinite(some)]
    if not known.size:
        return display_range(known)
    low, high = np.percentile(known, AIR_PERCENTILES)
    return display_range(known[known >= low + AIR_SHARE * (high - low)], percentiles=BODY_PERCENTILES)


def _tile(slices: Sequence[NDArray[Any]], index: int, box: Box, shown: tuple[float, float]) -> Picture:
    """A caption, one slice with the box outlined, and the box with what is around it, enlarged."""
    plane = slices[index]
    whole = _outlined(to_gray(plane, shown), box.rows, box.columns, max(1, math.ceil(MIN_TILE_PIXELS / plane.shape[1])))
    near = _enlarged(plane, box, whole.shape[1])
    caption = f"slice {slice_number(index)} of {len(slices)}, {Box(box.rows, box.columns)}"
    band = captioned(np.zeros((CAPTION_PIXELS, whole.shape[1], 3), np.uint8), [caption])
    below = captioned(np.zeros_like(band), ["the same place enlarged"])
    return np.concatenate([band, whole, below, near])


def _enlarged(plane: NDArray[Any], box: Box, width: int) -> Picture:
    """The box and its surroundings, as large as they fit into a width; black beside them."""
    margin = round(SURROUND * (box.rows[1] - box.rows[0]))
    rows, columns = (
        _widened(span, margin, size) for span, size in zip((box.rows, box.columns), plane.shape, strict=False)
    )
    part = plane[slice(*rows), slice(*columns)]
    gray = to_gray(part, display_range(part, percentiles=ENLARGED_PERCENTILES))
    zoom = max(1, width // (columns[1] - columns[0]))
    near = _outlined(gray, _moved(box.rows, rows[0]), _moved(box.columns, columns[0]), zoom)
    return np.pad(near, [(0, 0), (0, width - near.shape[1]), (0, 0)])


def _outlined(picture: Picture, rows: Span, columns: Span, zoom: int) -> Picture:
    """A picture in colour, enlarged by a whole number, with a line along the outside of a box."""
    colour = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)
    large = np.repeat(np.repeat(colour, zoom, axis=0), zoom, axis=1)
    (top, bottom), (left, right) = ((max(zoom * span[0] - 1, 0), zoom * span[1]) for span in (rows, columns))
    for row in (top, bottom):
        large[row : row + 1, left : right + 1] = CAPTION_COLOR
    for column in (left, right):
        large[top : bottom + 1, column : column + 1] = CAPTION_COLOR
    return large


def _widened(span: Span, margin: int, size: int) -> Span:
    return max(span[0] - margin, 0), min(span[1] + margin, size)


def _moved(span: Span, start: int) -> Span:
    return span[0] - start, span[1] - start
