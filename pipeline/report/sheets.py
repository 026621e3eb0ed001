"""Contact sheets: the slices of a volume that matter, with outlines of liver, lesions and dispute drawn over them.

The picture holds the image alone. Outlines are vector paths above it, so that they stay sharp and can be switched off
to see what lies beneath.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.core.geometry import Geometry
from pipeline.core.labels import Label
from pipeline.core.volume import LabelMap, Unit, Volume
from pipeline.image.outlines import outline_of

_Scalar = TypeVar("_Scalar", bound=np.generic)

TILE_PX = 256
"""Edge of a tile; six fill the width of a screen."""

TILES = 6
MARGIN_MM = 12.0
"""Seen around the liver in the slice: ribs and vessels that tell where one is."""

JPEG_QUALITY = 65
"""About 6 kB a tile; vessels of 3 pixels stay visible. WebP would be half as large but takes 10 to 40 times as long."""

DISPLAY_HU = (-100.0, 240.0)
"""Abdominal window (level 70, width 340); images already clipped to another one keep their contrast inside it."""

PATH_UNITS = 4
"""Steps a pixel in outlines: whole numbers, so that paths are short and the same on every CPU."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One slice of a sheet and why it is shown."""

    slice: int
    why: str


@dataclass(frozen=True, slots=True)
class Frame:
    """What of each slice is shown, and how it is turned.

    Attributes:
        rows: kept rows.
        columns: kept columns.
        steps: -1 for an axis that must be turned round to have the front on top and the patient's left on the right.
        spacing_mm: of rows and columns.
    """

    rows: slice
    columns: slice
    steps: tuple[int, int]
    spacing_mm: tuple[float, float]

    def cut(self, plane: NDArray[_Scalar]) -> NDArray[_Scalar]:
        """The shown part of a slice, upright."""
        return plane[self.rows, self.columns][:: self.steps[0], :: self.steps[1]]

    def pixels_per_voxel(self, shape: tuple[int, ...]) -> tuple[float, float]:
        """Size on the tile of one row and one column; the longer edge fills the tile."""
        scale = TILE_PX / max(size * mm for size, mm in zip(shape, self.spacing_mm, strict=True))
        return self.spacing_mm[0] * scale, self.spacing_mm[1] * scale


def choose_tiles(labels: LabelMap, disagreement: Mapping[int, int], count: int = TILES) -> tuple[Tile, ...]:
    """The slices worth looking at, in order: most disputed, most lesion, ends and middle of the liver, then between.

    Args:
        labels: the mask.
        disagreement: slice to number of voxels the raters do not agree on.
        count: how many at most.
    """
    liver = np.flatnonzero((labels.voxels != Label.BACKGROUND).any(axis=(1, 2)))
    if not liver.size:
        return (Tile(labels.geometry.shape[0] // 2, "no liver"),)
    lesion = (labels.voxels == Label.LESION).sum(axis=(1, 2))
    wanted: dict[int, str] = {}
    disputed = sorted((index for index in disagreement if disagreement[index] > 0), key=lambda i: (-disagreement[i], i))
    for index in disputed[:2]:
        wanted.setdefault(index, "most disputed")
    if lesion.any():
        wanted.setdefault(int(lesion.argmax()), "most lesion")
    wanted.setdefault(int(liver[len(liver) // 2]), "middle")
    wanted.setdefault(int(liver[0]), "first with liver")
    wanted.setdefault(int(liver[-1]), "last with liver")
    for index in np.linspace(liver[0], liver[-1], 2 * count).round().astype(int).tolist():
        wanted.setdefault(index, "between")
    return tuple(Tile(index, wanted[index]) for index in sorted(list(wanted)[:count]))


def frame_of(labels: LabelMap) -> Frame:
    """The part of all slices around the liver, square in millimetres, so that every tile of a sheet has one scale."""
    geometry = labels.geometry
    row_mm, column_mm = geometry.spacing_mm[1:]
    shown = (labels.voxels != Label.BACKGROUND).any(axis=0)
    if not shown.any():
        return Frame(slice(None), slice(None), _turns(geometry), (row_mm, column_mm))
    rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
    edge_mm = max(np.ptp(rows) * row_mm, np.ptp(columns) * column_mm) + 2 * MARGIN_MM
    return Frame(
        _around(rows, edge_mm / row_mm, shown.shape[0]),
        _around(columns, edge_mm / column_mm, shown.shape[1]),
        _turns(geometry),
        (row_mm, column_mm),
    )


def contact_sheet(image: Volume, frame: Frame, slices: Sequence[int]) -> bytes:
    """The slices side by side as one JPEG, as a radiologist sees them: patient's right on the left, front on top.

    Args:
        image: the volume.
        frame: what of each slice is shown, from `frame_of`.
        slices: indices on the first axis.
    """
    low, high = _display_range(image)
    tiles = [_tile(frame.cut(image.voxels[index]).astype(np.float32), frame, low, high) for index in slices]
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(tiles, axis=1)).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def outlines(masks: Mapping[str, NDArray[np.bool_]], frame: Frame, slices: Sequence[int]) -> str:
    """The edges of structures on a sheet, as an SVG to lay over it.

    Args:
        masks: style class to the structure's voxels (slice, row, column).
        frame: as for the sheet.
        slices: as for the sheet.
    """
    edge = TILE_PX * PATH_UNITS
    paths = []
    for css, mask in masks.items():
        lines = [
            line
            for place, index in enumerate(slices)
            if mask[index].any()
            for line in _edge_lines(frame.cut(mask[index]), frame, place * edge)
        ]
        paths += [f'<path class="{css}" d="{"".join(lines)}"/>'] if lines else []
    return f'<svg class="outlines" viewBox="0 0 {edge * len(slices)} {edge}" aria-hidden="true">{"".join(paths)}</svg>'


def disputed_voxels(masks: Sequence[NDArray[np.uint8]]) -> NDArray[np.bool_]:
    """Voxels on which not all raters say the same.

    Args:
        masks: one a rater, on one grid.
    """
    return np.asarray(np.any([mask != masks[0] for mask in masks[1:]], axis=0))


def _around(found: NDArray[np.intp], length: float, limit: int) -> slice:
    """A range of about this length around what was found, moved to stay inside."""
    size = min(limit, max(1, round(length)))
    start = round((int(found[0]) + int(found[-1]) + 1 - size) / 2)
    start = max(0, min(start, limit - size))
    return slice(start, start + size)


def _turns(geometry: Geometry) -> tuple[int, int]:
    return -1 if geometry.orientation[1] == "A" else 1, -1 if geometry.orientation[2] == "R" else 1


def _display_range(image: Volume) -> tuple[float, float]:
    if image.unit is Unit.HU:
        return DISPLAY_HU
    low, high = np.percentile(image.voxels, [1, 99])
    return float(low), float(max(high, low + 1))


def _tile(plane: NDArray[np.float32], frame: Frame, low: float, high: float) -> NDArray[np.uint8]:
    """A slice with square pixels on a black tile."""
    row_px, column_px = frame.pixels_per_voxel(plane.shape)
    size = (max(1, round(plane.shape[1] * column_px)), max(1, round(plane.shape[0] * row_px)))
    gray = (np.clip((plane - low) / (high - low), 0, 1) * 255).round().astype(np.uint8)
    tile = Image.new("L", (TILE_PX, TILE_PX))
    tile.paste(Image.fromarray(np.ascontiguousarray(gray)).resize(size, Image.Resampling.BICUBIC))
    return np.asarray(tile)


def _edge_lines(mask: NDArray[np.bool_], frame: Frame, left: int) -> list[str]:
    """Closed SVG paths halfway between the voxel centres inside and outside."""
    row_px, column_px = frame.pixels_per_voxel(mask.shape)
    scale = np.array([column_px, row_px]) * PATH_UNITS
    return [_path((polygon[:, ::-1] + 0.5) * scale + (left, 0)) for polygon in outline_of(mask)]


def _path(points: NDArray[np.float64]) -> str:
    """A closed path of whole steps; steps that go on in the same direction become one."""
    whole = points.round().astype(int)
    steps = np.diff(whole, axis=0)
    steps = steps[np.any(steps != 0, axis=1)]
    merged: list[tuple[int, int]] = []
    for across, down in steps.tolist():
        before = merged[-1] if merged else (0, 0)
        goes_on = before[0] * down == before[1] * across and before[0] * across + before[1] * down > 0
        if goes_on:
            merged[-1] = (before[0] + across, before[1] + down)
        else:
            merged.append((across, down))
    return f"M{whole[0, 0]} {whole[0, 1]}l" + " ".join(f"{across} {down}" for across, down in merged) + "z"
