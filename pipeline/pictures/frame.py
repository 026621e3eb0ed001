"""Which part of the slices is shown, which way up, and where its voxels lie on a square tile."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.core.geometry import Geometry
from pipeline.pictures.display import Picture

_Scalar = TypeVar("_Scalar", bound=np.generic)

TILE_PX = 256
"""Edge of a tile; six fill the width of a screen."""

GAP_PX = 2
"""Black between neighbouring tiles."""

MARGIN_MM = 16.0
"""Seen around the liver: ribs and vessels that show where one is, and what an outline may have missed."""

_LEFT, _POSTERIOR, _INFERIOR = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, -1.0)
DOWN_AND_RIGHT = np.array([(_INFERIOR, _POSTERIOR), (_INFERIOR, _LEFT), (_POSTERIOR, _LEFT)])
"""Where rows and columns of an upright picture grow, by the axis of space (x, y, z) its slice lies across.

Sagittal: head up, front on the left. Coronal: head up, patient's right on the left. Axial: front up, patient's right on
the left.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """What of every slice of an image is shown; one frame for a whole sheet, so that its tiles have one scale.

    Attributes:
        geometry: the image's grid; slices lie along its first axis, whichever way that runs through the patient.
        rows: rows kept of a slice as stored.
        columns: columns kept.
    """

    geometry: Geometry
    rows: slice = field(default_factory=lambda: slice(None))
    columns: slice = field(default_factory=lambda: slice(None))

    def cut(self, plane: NDArray[_Scalar]) -> NDArray[_Scalar]:
        """The shown part of a slice, the way up radiologists look at it.

        Args:
            plane: (rows, columns) as stored, or (rows, columns, 3).
        """
        is_turned, down, right = _turn(self.geometry)
        part = plane[self.rows, self.columns]
        return (part.swapaxes(0, 1) if is_turned else part)[::down, ::right]

    def tile(self, picture: Picture) -> Picture:
        """What was cut, in shades or colours, with square pixels on a black tile."""
        height_px, width_px = self.voxel_px
        height, width = max(1, round(picture.shape[0] * height_px)), max(1, round(picture.shape[1] * width_px))
        shown = Image.fromarray(np.ascontiguousarray(picture)).resize((width, height), Image.Resampling.BICUBIC)
        tile = np.zeros((TILE_PX, TILE_PX, *picture.shape[2:]), np.uint8)
        tile[:height, :width] = np.asarray(shown)
        tile[:, -GAP_PX:] = 0
        return tile

    @property
    def voxel_px(self) -> tuple[float, float]:
        """Height and width of an upright voxel on the tile; the longer edge of what is shown fills the tile."""
        shape = self.cut(np.broadcast_to(np.False_, self.geometry.shape[1:])).shape
        is_turned, _, _ = _turn(self.geometry)
        row_mm, column_mm = self.geometry.spacing_mm[:0:-1] if is_turned else self.geometry.spacing_mm[1:]
        scale = TILE_PX / max(shape[0] * row_mm, shape[1] * column_mm)
        return row_mm * scale, column_mm * scale


def frame_around(footprint: NDArray[np.bool_], geometry: Geometry) -> Frame:
    """A frame square in millimetres around what is marked in any slice, moved to stay inside; all where nothing is.

    Args:
        footprint: (rows, columns) as stored.
        geometry: the image's grid.
    """
    rows, columns = np.flatnonzero(footprint.any(axis=1)), np.flatnonzero(footprint.any(axis=0))
    if not rows.size:
        return Frame(geometry)
    _, row_mm, column_mm = geometry.spacing_mm
    edge_mm = max((np.ptp(rows) + 1) * row_mm, (np.ptp(columns) + 1) * column_mm) + 2 * MARGIN_MM
    return Frame(
        geometry,
        _around(rows, edge_mm / row_mm, footprint.shape[0]),
        _around(columns, edge_mm / column_mm, footprint.shape[1]),
    )


def _around(found: NDArray[np.intp], length: float, limit: int) -> slice:
    """A range of about this length around what was found, moved to stay inside."""
    size = min(limit, max(1, round(length)))
    start = round((int(found[0]) + int(found[-1]) + 1 - size) / 2)
    start = max(0, min(start, limit - size))
    return slice(start, start + size)


@lru_cache(maxsize=8)
def _turn(geometry: Geometry) -> tuple[bool, int, int]:
    """Whether rows and columns change places in an upright picture, and the steps along its height and width then."""
    rows, columns = geometry.directions[1:]
    across = int(np.abs(np.cross(rows, columns)).argmax())
    along = DOWN_AND_RIGHT[across] @ np.stack([rows, columns], axis=1)
    is_turned = bool(np.abs(along).trace() < np.abs(along[:, ::-1]).trace())
    down, right = along[:, ::-1].diagonal() if is_turned else along.diagonal()
    return is_turned, -1 if down < 0 else 1, -1 if right < 0 else 1
