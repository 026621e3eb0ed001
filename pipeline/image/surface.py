"""The surface of a mask, and distances to it in millimetres.

A surface is the mask's edge: the voxels with a face neighbour outside, where beyond the image's border counts as
outside. Distances run from voxel centre to voxel centre.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import edt
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation
from scipy.spatial import KDTree

from pipeline.core.geometry import Geometry

DistanceTo: TypeAlias = Callable[[NDArray[np.int64]], NDArray[np.float32]]
"""Gives the distance in mm of flat voxel indices to a surface."""


def edge_voxels(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Flat indices of the voxels of a mask that have a face neighbour outside it; beyond the array is outside."""
    inner = mask.copy()
    for axis in range(mask.ndim):
        along = np.moveaxis(mask, axis, 0)
        core = np.moveaxis(inner, axis, 0)
        core[1:] &= along[:-1]
        core[:-1] &= along[1:]
        core[:1] = core[-1:] = False
    return np.flatnonzero(mask & ~inner)


def distance_to(edge: NDArray[np.int64], shape: tuple[int, ...], geometry: Geometry) -> DistanceTo:
    """What tells how far voxels are from a surface.

    One exact distance transform serves any number of questions. Where the axes are not at right angles the nearest
    voxel is searched in millimetres instead, which is slower.

    Args:
        edge: flat indices of the surface's voxels, at least one.
        shape: of the array they index.
        geometry: for spacing and directions; its own shape and place do not matter.

    Source: Felzenszwalb & Huttenlocher 2012, Theory of Computing 8(19), as the package edt has it.
    """
    if geometry.is_sheared:
        return _by_nearest_neighbour(edge, shape, geometry)
    away = np.ones(shape, dtype=bool)
    away.flat[edge] = False
    squared = edt.edtsq(away, anisotropy=geometry.spacing_mm, black_border=False, parallel=1).ravel()
    return lambda flat: np.sqrt(squared[flat])


def depth_mm(mask: NDArray[np.bool_], geometry: Geometry) -> NDArray[np.float32]:
    """How far each voxel of a mask is from the nearest voxel outside, 0 outside; beyond the array is outside.

    Args:
        mask: (slices, rows, columns).
        geometry: for the spacing.
    """
    deep: NDArray[np.float32] = edt.edt(np.pad(mask, 1), anisotropy=geometry.spacing_mm, parallel=1)[1:-1, 1:-1, 1:-1]
    return deep


def widened_in_slices(mask: NDArray[np.bool_], geometry: Geometry, border_mm: float) -> NDArray[np.bool_]:
    """The mask and all near it: within each slice what lies no further than a distance, then across as many slices.

    It reaches at least to the next voxel, over edges too, and to the next slice, however large they are.

    Args:
        mask: (slices, rows, columns).
        geometry: for the spacing.
        border_mm: the distance.
    """
    slice_mm, *in_plane_mm = geometry.spacing_mm
    widened = np.zeros_like(mask)
    for index in np.flatnonzero(mask.any(axis=(1, 2))):
        away_mm = edt.edt(~mask[index], anisotropy=tuple(in_plane_mm), parallel=1)
        widened[index] = (away_mm <= border_mm * (1 + 1e-6)) | binary_dilation(mask[index], np.ones((3, 3)))
    across = widened.copy()
    for step in range(1, max(1, int(border_mm / slice_mm)) + 1):
        across[step:] |= widened[:-step]
        across[:-step] |= widened[step:]
    return across


def _by_nearest_neighbour(edge: NDArray[np.int64], shape: tuple[int, ...], geometry: Geometry) -> DistanceTo:
    def points(flat: NDArray[np.int64]) -> NDArray[np.float64]:
        return geometry.to_lps_mm(np.stack(np.unravel_index(flat, shape), axis=-1))

    tree = KDTree(points(edge))
    return lambda flat: tree.query(points(flat))[0].astype(np.float32)
