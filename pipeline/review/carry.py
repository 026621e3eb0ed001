"""A mask of an earlier image laid over the label of the image that replaced it, by position."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.core.errors import GeometryError
from pipeline.core.volume import LabelMap
from pipeline.image.masks import place


@dataclass(frozen=True, slots=True, eq=False)
class CarriedOver:
    """A mask on the grid of the new image.

    Attributes:
        labels: the earlier mask where the earlier image lay, the label of the new one elsewhere.
        uncovered_slices: slices that the earlier image did not reach, from 0.
        lost_voxels: labelled voxels that the new image does not hold.
        shift_voxels: how far voxels were moved to the nearest ones, largest axis; 0.0 where the two lattices are one.
    """

    labels: LabelMap
    uncovered_slices: tuple[int, ...]
    lost_voxels: int
    shift_voxels: float

    @property
    def in_words(self) -> str:
        """How far it could be carried over, for a sentence about it."""
        words = ["it is carried over by position"]
        words += ["each voxel to the nearest one"] * (self.shift_voxels > 0)
        words += [f"{self.lost_voxels} labelled voxels lie outside the new image"] * (self.lost_voxels > 0)
        return ", ".join(words)


NOT_CARRIED = "it cannot be carried over, since the voxels of the new image have another size or direction"


def carried_over(earlier: LabelMap, label: LabelMap) -> CarriedOver | None:
    """An earlier mask on the grid of a new image; None where only resampling could bring it there.

    Args:
        earlier: on the whole grid of the earlier image.
        label: of the new image.
    """
    everywhere = LabelMap(np.ones(earlier.geometry.shape, np.uint8), earlier.geometry)
    try:
        covered = place(everywhere, label.geometry, what="the earlier image").labels.voxels.astype(bool)
        moved = place(earlier, label.geometry, what="the earlier mask")
    except GeometryError:
        return None
    voxels = np.where(covered, moved.labels.voxels, label.voxels)
    uncovered = np.flatnonzero(~covered.any(axis=(1, 2)))
    return CarriedOver(
        LabelMap(voxels, label.geometry), tuple(uncovered.tolist()), moved.lost_voxels, moved.shift_voxels
    )
