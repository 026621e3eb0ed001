"""Which values of an image are shown as black and as white."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipeline.core.volume import Unit

Picture: TypeAlias = NDArray[np.uint8]
"""Shades of grey (rows, columns), or red, green and blue (rows, columns, 3)."""

ABDOMEN_HU = (-150.0, 250.0)
"""Level 50, width 400, the window for soft tissue of the abdomen (Radiopaedia, "Windowing (CT)").

It is the same for every CT, so that one HU has one shade in all phases. An image clipped to another window, such as
level 0, width 400, keeps its contrast: what the clipping kept has the shade it had before.
"""

INTENSITY_PERCENTILES = (1.0, 99.0)
"""Black and white where values have no scale of their own; the few voxels beyond are noise and inflow."""

SAMPLED_VOXELS = 1 << 20
"""About as many, evenly spread, give the percentiles of a large image to a hundredth of their distance."""


def display_range(
    voxels: NDArray[Any], unit: Unit = Unit.INTENSITY, *, percentiles: tuple[float, float] = INTENSITY_PERCENTILES
) -> tuple[float, float]:
    """Values shown as black and white: the abdominal window for HU, percentiles for everything else.

    NaN and infinity do not count. Where the percentiles are one value the lowest and the highest value are taken, and
    the second is larger than the first always.

    Args:
        voxels: a volume or a slice of any type.
        unit: what its numbers mean.
        percentiles: for intensities.
    """
    if unit is Unit.HU:
        return ABDOMEN_HU
    known = _sample(voxels)
    if not known.size:
        return 0.0, 1.0
    low, high = np.percentile(known, percentiles)
    if low == high:
        low, high = known.min(), known.max()
    return float(low), float(high if low < high else low + max(1.0, abs(low)))


def to_gray(plane: NDArray[Any], shown: tuple[float, float]) -> Picture:
    """A slice in shades of grey; a slice in 8-bit colour stays as it is.

    Args:
        plane: (rows, columns) of any type, NaN is shown black; or (rows, columns, 3) in colour.
        shown: values of black and white, from `display_range`.
    """
    if plane.ndim == 3 and plane.dtype == np.uint8:
        return plane
    low, high = shown
    known = np.nan_to_num(plane.astype(np.float64), nan=low, posinf=high, neginf=low)
    shades: Picture = np.rint((np.clip(known, low, high) - low) / (high - low) * 255).astype(np.uint8)
    return shades


def _sample(voxels: NDArray[Any]) -> NDArray[np.float64]:
    """Finite values on an even lattice through the image."""
    step = max(1, round((voxels.size / SAMPLED_VOXELS) ** (1 / voxels.ndim)))
    values = voxels[(slice(None, None, step),) * voxels.ndim].astype(np.float64)
    return values[np.isfinite(values)]
