"""Overlap of two raters, from counts alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.agreement.joint import Joint
from pipeline.agreement.records import Overlap


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
