"""Bodies with planted motion: slices displaced by known millimetres, as a whole or at the belly alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.core.volume import Volume

IN_THE_BODY_HU = -300.0


def shifted(volume: Volume, start: int, mm: float, *, axis: int = 1) -> Volume:
    """Every slice from `start` on moved along rows (1) or columns (2), as when the patient slides on the table."""
    pixels = mm / volume.geometry.spacing_mm[axis]
    offset = (pixels, 0.0) if axis == 1 else (0.0, pixels)
    moved = [
        ndimage.shift(slice_.astype(float), offset, order=1, cval=float(slice_.min()))
        for slice_ in volume.voxels[start:]
    ]
    return with_slices(volume, start, moved)


def breathed(volume: Volume, start: int, mm: float) -> Volume:
    """Every slice from `start` on stretched towards the first row: the belly rises by `mm`, the back stays."""
    moved = [raised(slice_.astype(float), mm / volume.geometry.spacing_mm[1]) for slice_ in volume.voxels[start:]]
    return with_slices(volume, start, moved)


def raised(slice_: NDArray[np.float64], pixels: float) -> NDArray[np.float64]:
    inside = np.flatnonzero((slice_ > IN_THE_BODY_HU).any(axis=1))
    front, back = inside[0], inside[-1]
    rows = np.arange(len(slice_), dtype=float)
    sources = rows + pixels * np.clip((back - rows) / (back - front), 0, 1)
    grid = np.meshgrid(sources, np.arange(slice_.shape[1]), indexing="ij")
    return ndimage.map_coordinates(slice_, grid, order=1, mode="nearest")


def with_slices(volume: Volume, start: int, slices: list[NDArray[np.float64]]) -> Volume:
    voxels = volume.voxels.astype(np.float32)
    voxels[start:] = slices
    return Volume(voxels, volume.geometry, volume.unit)
