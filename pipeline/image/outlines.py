"""Outlines of masks as polygons, for drawing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skimage.measure import find_contours

HALF_WAY = 0.5
"""Between a voxel of the mask and one outside: the outline runs along the border."""


def outline_of(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """Closed polygons around the parts of a slice and their holes; none for an empty slice.

    Args:
        mask: (rows, columns).

    Returns:
        one array (points, 2) of (row, column) a polygon, in voxels; the border of the slice counts as outside.
    """
    padded = np.pad(mask, 1).astype(np.float64)
    return [polygon - 1 for polygon in find_contours(padded, HALF_WAY)]
