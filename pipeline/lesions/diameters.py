"""Exact largest diameters: only corners of the convex hull can be furthest apart.

Diameters run from voxel centre to voxel centre, so one voxel has 0 mm. They are exact on anisotropic and on sheared
grids, since the hull is found among indices (an affine map keeps it) and distances are taken in millimetres.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist

_FEW_POINTS = 64
"""Up to this many points all distances are cheaper than a hull."""


def max_diameter_mm(indices: NDArray[np.int64], steps_mm: NDArray[np.float64]) -> float:
    """The largest distance between two voxel centres, in mm; 0.0 for one voxel or none.

    Args:
        indices: (voxels, axes) of a region.
        steps_mm: (axes, 3), the way from a voxel to its next neighbour along each axis.
    """
    candidates = hull_corners(_row_ends(indices))
    return float(pdist(candidates @ steps_mm).max(initial=0.0))


def hull_corners(points: NDArray[np.int64]) -> NDArray[np.int64]:
    """The corners of the convex hull among points, whether these fill space, a plane, a line or a spot."""
    if len(points) <= _FEW_POINTS:
        return points
    centred = (points - points[0]).astype(np.float64)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    rank = int(np.count_nonzero(sizes > sizes[0] * 1e-9))
    flat = centred @ axes[:rank].T
    if rank == 1:
        return points[[int(flat.argmin()), int(flat.argmax())]]
    corners: NDArray[np.int64] = points[ConvexHull(flat).vertices]
    return corners


def _row_ends(indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first and the last voxel of every row along the last axis; nothing between them can be a corner."""
    if len(indices) <= _FEW_POINTS:
        return indices
    ordered = indices[np.lexsort(indices.T[::-1])]
    changes = np.any(ordered[1:, :-1] != ordered[:-1, :-1], axis=1)
    ends = np.append(changes, True) | np.append(True, changes)
    corners: NDArray[np.int64] = ordered[ends]
    return corners
