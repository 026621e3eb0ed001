"""Exact largest diameters: only corners of the convex hull can be furthest apart.

Diameters run from voxel centre to voxel centre, so one voxel has 0 mm. They are exact on anisotropic and on sheared
grids, since the hull is found among indices (an affine map keeps it) and distances are taken in millimetres.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist, squareform

_FEW_POINTS = 64
"""Up to this many points all distances are cheaper than a hull."""

_FLAT = 1e-9
"""Below this share of the size two lengths are the same, and a direction holds nothing: rounding of float64."""


def max_diameter_mm(indices: NDArray[np.int64], steps_mm: NDArray[np.float64]) -> float:
    """The largest distance between two voxel centres, in mm; 0.0 for one voxel or none.

    Args:
        indices: (voxels, axes) of a region.
        steps_mm: (axes, 3), the way from a voxel to its next neighbour along each axis.
    """
    candidates = hull_corners(_row_ends(indices))
    return float(pdist(candidates @ steps_mm).max(initial=0.0))


def short_axis_mm(indices: NDArray[np.int64], steps_mm: NDArray[np.float64]) -> float:
    """The longest chord at right angles to the largest diameter, in mm; 0.0 for one voxel or a line.

    Chords run through the convex hull of the voxel centres. Of several largest diameters it is the longest of all.

    Args:
        indices: (voxels, axes) of a region within one slice.
        steps_mm: (axes, 3), the way from a voxel to its next neighbour along each axis.

    Source: Eisenhauer et al. 2009, RECIST 1.1, Eur J Cancer 45(2).
    """
    points = hull_corners(_row_ends(indices)) @ steps_mm
    centred = points - points[0]
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    if len(points) < 3 or sizes[1] <= sizes[0] * _FLAT:
        return 0.0
    flat = centred @ axes[:2].T
    corners = flat[ConvexHull(flat).vertices]
    apart = squareform(pdist(corners))
    first, second = np.nonzero(np.triu(apart >= apart.max() * (1 - _FLAT)))
    return max(_longest_chord(corners, way / np.linalg.norm(way)) for way in corners[second] - corners[first])


def _longest_chord(corners: NDArray[np.float64], way: NDArray[np.float64]) -> float:
    """The longest chord of a convex polygon at right angles to a unit vector: it starts or ends in a corner.

    Args:
        corners: (corners, 2), in order around the polygon.
        way: (2).
    """
    along, across = corners @ way, corners @ np.array([-way[1], way[0]])
    run, rise = np.roll(along, -1) - along, np.roll(across, -1) - across
    share = np.divide(along[:, np.newaxis] - along, run, out=np.zeros((len(along),) * 2), where=np.abs(run) > _FLAT)
    met = (share >= -_FLAT) & (share <= 1 + _FLAT) & ((np.abs(run) > _FLAT) | np.isclose(along[:, np.newaxis], along))
    heights = across + share * rise
    lengths = np.where(met, heights, -np.inf).max(axis=1) - np.where(met, heights, np.inf).min(axis=1)
    return float(lengths.max())


def hull_corners(points: NDArray[np.int64]) -> NDArray[np.int64]:
    """The corners of the convex hull among points, whether these fill space, a plane, a line or a spot."""
    if len(points) <= _FEW_POINTS:
        return points
    centred = (points - points[0]).astype(np.float64)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    rank = int(np.count_nonzero(sizes > sizes[0] * _FLAT))
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
