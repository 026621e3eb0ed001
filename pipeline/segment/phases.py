"""How far the coarse labels of one patient's phases differ once they lie on one another."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.core.labels import Label
from pipeline.core.volume import LabelMap

GRID_STEP_MM = 5.0
GRID_REACH_MM = 160.0
"""Half the grid's edge around the liver's centre: the largest livers reach 150 mm."""

_Key = TypeVar("_Key", bound=Hashable)


def phase_disagreement(labels: Mapping[_Key, LabelMap]) -> dict[_Key, float]:
    """One minus the mean Dice of each phase's liver with the others', 0.0 to 1.0; nothing for a single phase.

    The livers are laid on one another by their centres, since a patient breathes between phases. A phase without a
    liver differs wholly.

    Args:
        labels: coarse labels of one patient, by phase.
    """
    if len(labels) < 2:
        return {}
    seen = np.array([_around_centre(label_map) for label_map in labels.values()])
    common = (seen[:, None] & seen[None]).sum((2, 3, 4), dtype=np.int64)
    sizes = np.diagonal(common)
    both = sizes[:, None] + sizes[None]
    dice = np.where(both > 0, 2 * common / np.maximum(both, 1), 0.0)
    others = (dice.sum(1) - np.diagonal(dice)) / (len(labels) - 1)
    return {key: float(1 - value) for key, value in zip(labels, others, strict=True)}


def _around_centre(labels: LabelMap) -> NDArray[np.bool_]:
    """The liver on a cube of points in patient space around its own centre."""
    liver = labels.voxels != Label.BACKGROUND
    steps = np.arange(-GRID_REACH_MM, GRID_REACH_MM + 1e-6, GRID_STEP_MM)
    if not liver.any():
        return np.zeros((len(steps),) * 3, dtype=np.bool_)
    centre = labels.geometry.to_lps_mm(np.argwhere(liver).mean(0))
    points = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1) + centre
    index = np.rint(labels.geometry.to_index(points)).astype(np.int64)
    inside = ((index >= 0) & (index < liver.shape)).all(-1)
    clipped = np.clip(index, 0, np.array(liver.shape) - 1)
    found: NDArray[np.bool_] = liver[tuple(np.moveaxis(clipped, -1, 0))] & inside
    return found
