"""Voxels with a place: an image volume and a label map. Neither knows a file format."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import GeometryError, LabelError
from pipeline.core.geometry import Geometry
from pipeline.core.kinds import FIRST_KIND, LAST_KIND

_Scalar = TypeVar("_Scalar", bound=np.generic)

AIR_HU = -1024
"""What padding outside the scanner's field of view becomes in a CT volume."""


class Unit(StrEnum):
    """What a voxel's number means."""

    HU = "HU"
    INTENSITY = "intensity"


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """An image: CT in Hounsfield units, MR in arbitrary intensity.

    Attributes:
        voxels: (slices, rows, columns), int16 where lossless, else float32; read-only.
        geometry: the grid the voxels lie on.
        unit: what the numbers mean.
    """

    voxels: NDArray[np.int16] | NDArray[np.float32]
    geometry: Geometry
    unit: Unit = Unit.HU

    def __post_init__(self) -> None:
        if self.voxels.dtype not in (np.int16, np.float32):
            raise GeometryError(f"an image volume is int16 or float32, not {self.voxels.dtype}")
        _require_shape(self.voxels.shape, self.geometry, "image volume")
        object.__setattr__(self, "voxels", _read_only(self.voxels))
        object.__setattr__(self, "unit", Unit(self.unit))

    def __repr__(self) -> str:
        low, high = (reduce(self.voxels, axis=None) for reduce in (np.fmin.reduce, np.fmax.reduce))  # past any NaN
        return f"Volume({self.geometry}, {self.unit}, {low:.6g} to {high:.6g})"


@dataclass(frozen=True, slots=True, eq=False)
class LabelMap:
    """A mask: one label a voxel.

    Attributes:
        voxels: (slices, rows, columns), uint8; read-only.
        geometry: the grid the voxels lie on, the same as its image's.
    """

    voxels: NDArray[np.uint8]
    geometry: Geometry

    def __post_init__(self) -> None:
        if self.voxels.dtype != np.uint8:
            raise LabelError(f"a label map is uint8, not {self.voxels.dtype}")
        _require_shape(self.voxels.shape, self.geometry, "label map")
        object.__setattr__(self, "voxels", _read_only(self.voxels))

    @property
    def levels(self) -> LabelMap:
        """The same without lesion kinds: 0 background, 1 liver, 2 lesion."""
        is_kind = (self.voxels >= FIRST_KIND) & (self.voxels <= LAST_KIND)
        return replace(self, voxels=np.where(is_kind, np.uint8(FIRST_KIND - 1), self.voxels))

    def __repr__(self) -> str:
        marked = (plane for plane in self.voxels if plane.any())
        counts = [np.bincount(plane.ravel(), minlength=256) for plane in marked]  # all at once takes more memory
        volumes_ml = np.sum(counts, axis=0) * self.geometry.voxel_volume_ml
        found = [f"{value}: {volumes_ml[value]:,.1f} ml" for value in np.flatnonzero(volumes_ml) if value]
        return f"LabelMap({self.geometry}, {', '.join(found) or 'empty'})"


@dataclass(frozen=True, slots=True, eq=False)
class ColorImage:
    """A colour picture with a place, such as a fused or colour-coded map: to look at, with nothing to measure in it.

    Attributes:
        voxels: (slices, rows, columns, 3), uint8, red, green, blue; read-only.
        geometry: the grid the voxels lie on.
    """

    voxels: NDArray[np.uint8]
    geometry: Geometry

    def __post_init__(self) -> None:
        if self.voxels.dtype != np.uint8 or self.voxels.shape[3:] != (3,):
            raise GeometryError(f"a colour image is uint8 RGB, not {self.voxels.dtype} of shape {self.voxels.shape}")
        _require_shape(self.voxels.shape[:3], self.geometry, "colour image")
        object.__setattr__(self, "voxels", _read_only(self.voxels))

    def __repr__(self) -> str:
        return f"ColorImage({self.geometry})"


def _require_shape(shape: tuple[int, ...], geometry: Geometry, what: str) -> None:
    if shape != geometry.shape:
        raise GeometryError(f"{what} has shape {shape}, its grid {geometry.shape}")


def _read_only(voxels: NDArray[_Scalar]) -> NDArray[_Scalar]:
    view = voxels.view()
    view.setflags(write=False)
    return view
