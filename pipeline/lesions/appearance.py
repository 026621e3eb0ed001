"""How lesions look on an image: HU or intensity, whole and eroded, beside the liver around them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.core.labels import Label
from pipeline.core.volume import LabelMap, Volume
from pipeline.image.components import bounding_box
from pipeline.lesions.records import Appearance, Intensity
from pipeline.lesions.regions import Region, axial_axis, eroded_in_slice


def appearances(regions: Sequence[Region], labels: LabelMap, image: Volume) -> tuple[Appearance, ...]:
    """How each region looks on an image, beside the liver that `labels` leaves free of lesions.

    Args:
        regions: lesions, on the grid of both.
        labels: where the liver is.
        image: on the same grid.
    """
    axis = axial_axis(labels.geometry)
    liver = _liver_intensity(labels, image, axis)
    return tuple(
        Appearance(
            whole=Intensity.of(image.voxels[region.box][region.mask]),
            eroded=Intensity.of(image.voxels[region.box][eroded_in_slice(region.mask, axis)]),
            liver=liver,
        )
        for region in regions
    )


def _liver_intensity(labels: LabelMap, image: Volume, axis: int) -> Intensity:
    liver = labels.voxels == Label.LIVER
    box = bounding_box(liver)
    if box is None:
        return Intensity.of(np.empty(0))
    return Intensity.of(image.voxels[box][eroded_in_slice(liver[box], axis)])
