"""The slices that hold liver, and volumes cut down to them at their true place."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np

from pipeline.core.labels import Label
from pipeline.core.volume import LabelMap, Volume

_Image = TypeVar("_Image", Volume, LabelMap)

_ROUNDING_SLICES = 1e-6
"""A 5 mm margin on 5 mm slices is one slice, though float32 headers may say 5.0000001 mm."""


def liver_slices(labels: LabelMap, margin_mm: float) -> slice | None:
    """The range of slices (axis 0) with liver or lesion and those within a margin of them; None without any.

    Args:
        labels: the mask.
        margin_mm: a slice stays when its centre is no further than this from the first or last slice with liver.
    """
    filled = np.flatnonzero((labels.voxels != Label.BACKGROUND).any(axis=(1, 2)))
    if filled.size == 0:
        return None
    margin = int(margin_mm / labels.geometry.spacing_mm[0] + _ROUNDING_SLICES)
    return slice(max(0, int(filled[0]) - margin), min(labels.geometry.shape[0], int(filled[-1]) + margin + 1))


def crop_slices(image: _Image, kept: slice) -> _Image:
    """The image without the slices outside a range; the origin moves with the first slice kept."""
    start, stop, _ = kept.indices(image.geometry.shape[0])
    geometry = image.geometry.cropped((start, 0, 0), (stop - start, *image.geometry.shape[1:]))
    return replace(image, voxels=image.voxels[start:stop], geometry=geometry)
