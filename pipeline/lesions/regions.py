"""The separate lesions of a mask, and what lies safely inside them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from pipeline.core.geometry import Geometry
from pipeline.core.kinds import kind_name
from pipeline.core.labels import LabelScheme, Structure, largest_first, structure_mask
from pipeline.core.volume import LabelMap
from pipeline.image.components import Box, bounding_box, label_components


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """The voxels of one lesion.

    Attributes:
        box: the smallest that holds them, in the whole grid.
        mask: (slices, rows, columns) of the box.
    """

    box: Box
    mask: NDArray[np.bool_]

    @property
    def indices(self) -> NDArray[np.int64]:
        """(voxels, 3) places in the whole grid, in scan order."""
        indices: NDArray[np.int64] = np.argwhere(self.mask) + np.array([extent.start for extent in self.box])
        return indices


def axial_axis(geometry: Geometry) -> int:
    """The array's axis that runs most nearly from feet to head: 0 unless a mask was stored sagittal or coronal."""
    return int(np.argmax(np.abs(geometry.directions[:, 2])))


def lesion_regions(labels: LabelMap) -> tuple[Region, ...]:
    """The separate lesions of a mask, largest first, equal ones in scan order."""
    lesion = structure_mask(labels.voxels, Structure.LESION)
    outer = bounding_box(lesion)
    if outer is None:
        return ()
    numbered = label_components(lesion[outer])[0].astype(np.int64)
    order = np.argsort(-np.bincount(numbered.ravel())[1:], kind="stable") + 1
    boxes = find_objects(numbered)
    return tuple(
        Region(_shifted(boxes[number - 1], outer), numbered[boxes[number - 1]] == number) for number in order.tolist()
    )


def kinds_of(region: Region, labels: LabelMap, scheme: LabelScheme) -> tuple[str, ...]:
    """The lesion kinds marked in a region, that of most voxels first; empty where none is."""
    values = largest_first(labels.voxels[region.box][region.mask])
    return tuple(kind_name(value, scheme.kind_names) for value in values)


def eroded_in_slice(mask: NDArray[np.bool_], axis: int) -> NDArray[np.bool_]:
    """Voxels whose four neighbours in the slice lie inside the mask too; beyond the array is outside.

    Args:
        mask: (slices, rows, columns).
        axis: the one across slices.
    """
    inner = np.pad(mask, 1)
    kept = mask.copy()
    for other in {0, 1, 2} - {axis}:
        kept &= np.roll(inner, 1, other)[1:-1, 1:-1, 1:-1] & np.roll(inner, -1, other)[1:-1, 1:-1, 1:-1]
    return kept


def _shifted(inner: Box, outer: Box) -> Box:
    z, y, x = (slice(far.start + near.start, far.start + near.stop) for far, near in zip(outer, inner, strict=True))
    return z, y, x
