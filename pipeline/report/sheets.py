"""Contact sheets: the slices of a volume that matter, with the outlines of liver and lesions."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.core.geometry import Geometry
from pipeline.core.labels import COLORS, Label
from pipeline.core.volume import LabelMap, Volume

TILE_PX = 232
"""Edge of a tile; six fill the width of a screen."""

TILES = 6
MARGIN_MM = 12.0
"""Seen around the liver in the slice: ribs and vessels that tell where one is."""

WEBP_QUALITY = 68
"""About 8 kB a tile, at which no vessel of 3 pixels is lost to the eye."""

DISPLAY_HU = (-100.0, 240.0)
"""Abdominal window (level 70, width 340); images already clipped to another one keep their contrast inside it."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One slice of a sheet and why it is shown."""

    slice: int
    why: str


def choose_tiles(labels: LabelMap, disagreement: Mapping[int, int], count: int = TILES) -> tuple[Tile, ...]:
    """The slices worth looking at, in order: most disputed, most lesion, ends and middle of the liver, then between.

    Args:
        labels: the mask.
        disagreement: slice to number of voxels the raters do not agree on.
        count: how many at most.
    """
    liver = np.flatnonzero((labels.voxels != Label.BACKGROUND).any(axis=(1, 2)))
    if not liver.size:
        middle = labels.geometry.shape[0] // 2
        return (Tile(middle, "no liver"),)
    lesion = (labels.voxels == Label.LESION).sum(axis=(1, 2))
    wanted: dict[int, str] = {}
    disputed = sorted((index for index in disagreement if disagreement[index] > 0), key=lambda i: (-disagreement[i], i))
    for index in disputed[:2]:
        wanted.setdefault(index, "most disputed")
    if lesion.any():
        wanted.setdefault(int(lesion.argmax()), "most lesion")
    wanted.setdefault(int(liver[len(liver) // 2]), "middle of the liver")
    wanted.setdefault(int(liver[0]), "first with liver")
    wanted.setdefault(int(liver[-1]), "last with liver")
    for index in np.linspace(liver[0], liver[-1], 2 * count).round().astype(int).tolist():
        wanted.setdefault(index, "between")
    return tuple(Tile(index, wanted[index]) for index in sorted(list(wanted)[:count]))


def contact_sheet(image: Volume, labels: LabelMap, slices: Sequence[int]) -> bytes:
    """The slices side by side as one WebP, as a radiologist sees them: patient's right on the left, front on top.

    Args:
        image: the volume.
        labels: on the same grid; liver outlined in green, lesions in red.
        slices: indices on the first axis.
    """
    rows, columns = _region(labels)
    tiles = [_tile(image, labels, index, rows, columns) for index in slices]
    return webp(np.concatenate(tiles, axis=1))


def webp(pixels: NDArray[np.uint8]) -> bytes:
    """An RGB picture as WebP bytes."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=WEBP_QUALITY, method=4)
    return buffer.getvalue()


def outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of a mask with a face neighbour outside it."""
    padded = np.pad(mask, 1)
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inside


def _region(labels: LabelMap) -> tuple[slice, slice]:
    """Rows and columns around the liver of all slices, square in millimetres, so that every tile has one scale."""
    shown = (labels.voxels != Label.BACKGROUND).any(axis=0)
    if not shown.any():
        return slice(0, shown.shape[0]), slice(0, shown.shape[1])
    _, row_mm, column_mm = labels.geometry.spacing_mm
    ends = [(int(found[0]), int(found[-1])) for axis in (1, 0) if len(found := np.flatnonzero(shown.any(axis=axis)))]
    (top, bottom), (left, right) = ends
    edge_mm = max((bottom - top) * row_mm, (right - left) * column_mm) + 2 * MARGIN_MM
    return (
        _around((top + bottom) / 2, edge_mm / row_mm, shown.shape[0]),
        _around((left + right) / 2, edge_mm / column_mm, shown.shape[1]),
    )


def _around(middle: float, length: float, limit: int) -> slice:
    start = round(middle - length / 2)
    start = max(0, min(start, limit - round(length)))
    return slice(start, min(limit, start + max(1, round(length))))


def _tile(image: Volume, labels: LabelMap, index: int, rows: slice, columns: slice) -> NDArray[np.uint8]:
    upright = _upright(image.geometry)
    low, high = _display_range(image)
    gray = np.clip((image.voxels[index, rows, columns].astype(np.float32) - low) / (high - low), 0, 1)
    spacing = image.geometry.spacing_mm[1:]
    pixels = np.repeat(_resized(gray[upright], spacing)[..., np.newaxis], 3, axis=2) * 255
    mask = labels.voxels[index, rows, columns][upright]
    for label, structure in ((Label.LIVER, mask != Label.BACKGROUND), (Label.LESION, mask == Label.LESION)):
        edge = outline(_resized(structure.astype(np.float32), spacing) >= 0.5)
        pixels[edge] = COLORS[label]
    return pixels.round().astype(np.uint8)


def _upright(geometry: Geometry) -> tuple[slice, slice]:
    """How to turn a slice so that the front is on top and the patient's left on the right."""
    row_step = -1 if geometry.orientation[1] == "A" else 1
    column_step = -1 if geometry.orientation[2] == "R" else 1
    return slice(None, None, row_step), slice(None, None, column_step)


def _display_range(image: Volume) -> tuple[float, float]:
    if image.unit == "HU":
        return DISPLAY_HU
    low, high = np.percentile(image.voxels, [1, 99])
    return float(low), float(max(high, low + 1))


def _resized(values: NDArray[np.float32], spacing_mm: tuple[float, float]) -> NDArray[np.float32]:
    """A slice with square pixels, `TILE_PX` at its longer edge, centred on black."""
    height_mm, width_mm = (size * mm for size, mm in zip(values.shape, spacing_mm, strict=True))
    scale = TILE_PX / max(height_mm, width_mm)
    size = (max(1, round(width_mm * scale)), max(1, round(height_mm * scale)))
    small = np.asarray(Image.fromarray(np.ascontiguousarray(values)).resize(size, Image.Resampling.BICUBIC))
    tile = np.zeros((TILE_PX, TILE_PX), dtype=np.float32)
    top, left = (TILE_PX - size[1]) // 2, (TILE_PX - size[0]) // 2
    tile[top : top + size[1], left : left + size[0]] = np.clip(small, 0, 1)
    return tile
