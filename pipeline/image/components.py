"""Connected components of masks: count, largest, holes, dust.

All arrays are boolean (slice, row, column). Structures connect over faces, edges and corners (26 neighbours), the
background between them over faces only, so that no voxel belongs to both sides of a thin wall.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import cc3d
import numpy as np
from numpy.typing import NDArray

Mask: TypeAlias = NDArray[np.bool_]
Box: TypeAlias = tuple[slice, slice, slice]

STRUCTURE_NEIGHBOURS: Final = 26
BACKGROUND_NEIGHBOURS: Final = 6

_THINNEST_AXIS = 4
"""cc3d 4.1 makes its table of labels too short for some arrays thinner than this ("maximum length exception")."""


def bounding_box(mask: Mask) -> Box | None:
    """The smallest box that holds the mask, as slices to index with; None for an empty mask."""
    ranges = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        filled = np.flatnonzero(mask.any(axis=others))
        if filled.size == 0:
            return None
        ranges.append(slice(int(filled[0]), int(filled[-1]) + 1))
    return ranges[0], ranges[1], ranges[2]


def label_components(mask: Mask) -> tuple[NDArray[np.unsignedinteger], int]:
    """Components numbered from 1 in scan order, 0 elsewhere, and how many there are."""
    padded = min(mask.shape) < _THINNEST_AXIS
    numbered, count = cc3d.connected_components(
        np.pad(mask, 1) if padded else mask, connectivity=STRUCTURE_NEIGHBOURS, return_N=True
    )
    return numbered[1:-1, 1:-1, 1:-1] if padded else numbered, int(count)


def component_count(mask: Mask) -> int:
    """How many separate parts the mask has."""
    return label_components(mask)[1]


def largest_component(mask: Mask) -> Mask:
    """The largest part alone; the first one in scan order when two are equal, nothing when the mask is empty."""
    numbered, count = label_components(mask)
    if count == 0:
        return np.zeros_like(mask)
    return np.asarray(numbered == 1 + np.bincount(numbered.ravel())[1:].argmax())


def without_dust(mask: Mask, *, min_volume_mm3: float, voxel_volume_ml: float) -> Mask:
    """The mask without its parts smaller than a volume.

    Args:
        mask: any mask.
        min_volume_mm3: a part of exactly this volume stays.
        voxel_volume_ml: volume of one voxel, `Geometry.voxel_volume_ml`.
    """
    numbered, count = label_components(mask)
    volumes_mm3 = np.bincount(numbered.ravel(), minlength=count + 1) * (voxel_volume_ml * 1000.0)
    kept = volumes_mm3 >= min_volume_mm3 * (1 - 1e-9)
    kept[0] = False
    return np.asarray(kept[numbered])


def holes(mask: Mask) -> Mask:
    """Voxels outside the mask that no path over faces leads out of; the image's border counts as open."""
    enclosed = np.zeros_like(mask)
    box = bounding_box(mask)
    if box is None:
        return enclosed
    outside = np.pad(~mask[box], 1, constant_values=True)
    numbered = cc3d.connected_components(outside, connectivity=BACKGROUND_NEIGHBOURS)
    inner = (numbered != 0) & (numbered != numbered[0, 0, 0])
    enclosed[box] = inner[1:-1, 1:-1, 1:-1]
    return enclosed


def fill_holes(mask: Mask) -> Mask:
    """The mask together with its `holes`."""
    return mask | holes(mask)
