"""Overlap of two raters, from counts alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.agreement.joint import Joint


@dataclass(frozen=True, slots=True)
class Overlap:
    """Voxels two raters marked: each of them, and both."""

    voxels_a: int
    voxels_b: int
    voxels_both: int

    @property
    def dice(self) -> float:
        """Share of both masks that they have in common, 0.0 to 1.0; NaN when both are empty. Source: Dice 1945."""
        total = self.voxels_a + self.voxels_b
        return 2 * self.voxels_both / total if total else math.nan

    @property
    def jaccard(self) -> float:
        """Intersection over union, 0.0 to 1.0; NaN when both are empty. Source: Jaccard 1912."""
        union = self.voxels_a + self.voxels_b - self.voxels_both
        return self.voxels_both / union if union else math.nan


def overlaps(joint: Joint, members: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(columns, columns) voxels that two columns of `members` have in common; the diagonal holds each one's size.

    Args:
        joint: the ratings, counted.
        members: (patterns, columns), True where the mask of the column holds the voxels of a pattern.
    """
    weighted = members * joint.counts[:, np.newaxis]
    common: NDArray[np.int64] = weighted.T @ members.astype(np.int64)
    return common


def overlap_of(common: NDArray[np.int64], a: int, b: int) -> Overlap:
    """The overlap of two columns of `overlaps`."""
    return Overlap(int(common[a, a]), int(common[b, b]), int(common[a, b]))
