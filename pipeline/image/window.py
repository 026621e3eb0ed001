"""HU windows: the part of the scale that a released image keeps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.core.config import WindowConfig
from pipeline.core.errors import GeometryError
from pipeline.core.volume import Unit, Volume


def window_bounds_hu(window: WindowConfig) -> tuple[float, float]:
    """Lowest and highest value a window keeps, level -+ half its width."""
    return window.level_hu - window.width_hu / 2, window.level_hu + window.width_hu / 2


def apply_window(volume: Volume, window: WindowConfig) -> Volume:
    """The volume with values outside the window moved to its bounds, int16, still in HU.

    Fractions are rounded to the nearest whole HU (halves to even) after clipping; NaN becomes the lower bound.

    Raises:
        GeometryError: for an MR volume, whose intensities are no HU.
    """
    if volume.unit is not Unit.HU:
        raise GeometryError("an HU window works for CT only; remove [image.window] for MR")
    low, high = window_bounds_hu(window)
    known = np.nan_to_num(volume.voxels, nan=low) if volume.voxels.dtype.kind == "f" else volume.voxels
    clipped = np.rint(np.clip(known.astype(np.float32, copy=False), low, high)).astype(np.int16)
    return replace(volume, voxels=clipped)
