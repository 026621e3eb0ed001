"""The vote organ by organ and lesion by lesion, for masks that were drawn one file an instance (as KiTS does)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.core.errors import LabelError
from pipeline.core.geometry import require_same_space
from pipeline.core.volume import LabelMap


@dataclass(frozen=True, slots=True, eq=False)
class RatedInstance:
    """One organ or lesion as several raters drew it.

    Attributes:
        label: what the instance is painted with.
        masks: rater to mask, every value but 0 inside; a rater who did not see it has no entry.
    """

    label: int
    masks: Mapping[str, LabelMap]


def vote_instances(instances: Sequence[RatedInstance], *, raters: int) -> LabelMap:
    """Strict majority of each instance by itself, painted one over the other, lowest label first.

    A vote over instances keeps two touching lesions apart that a vote over labels would join.

    Args:
        instances: all of one volume, on one grid.
        raters: how many looked; an instance needs more than half of them.

    Raises:
        LabelError: when there is no instance.
        GeometryError: when two masks lie on different grids.
    """
    masks = [(rater, mask) for instance in instances for rater, mask in instance.masks.items()]
    if not masks:
        raise LabelError("no instance was given, expected at least one mask")
    geometry = masks[0][1].geometry
    for rater, mask in masks:
        require_same_space(geometry, mask.geometry, what=f"an instance outlined by {rater}")
    painted = np.zeros(geometry.shape, dtype=np.uint8)
    for instance in sorted(instances, key=lambda instance: instance.label):
        votes = np.zeros(geometry.shape, dtype=np.uint8)
        for mask in instance.masks.values():
            votes += mask.voxels > 0
        painted[votes > raters // 2] = instance.label
    return LabelMap(painted, geometry)
