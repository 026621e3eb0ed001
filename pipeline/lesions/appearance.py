"""How lesions look on an image: HU or intensity, whole and eroded, beside the liver around them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.files import finite
from pipeline.core.labels import Label
from pipeline.core.volume import LabelMap, Volume
from pipeline.image.components import bounding_box
from pipeline.lesions.regions import Region, axial_axis, eroded_in_slice


@dataclass(frozen=True, slots=True)
class Intensity:
    """Statistics of an image in a region, in the image's unit (HU in CT); NaN without voxels.

    Attributes:
        voxels: how many were looked at.
        mean: of these.
        sd: sample standard deviation; NaN for a single voxel.
        p5: 5th percentile.
        median: 50th percentile.
        p95: 95th percentile.
    """

    voxels: int
    mean: float
    sd: float
    p5: float
    median: float
    p95: float

    @classmethod
    def of(cls, values: NDArray[np.generic]) -> Intensity:
        """The statistics of some values."""
        if not len(values):
            return cls(0, *[math.nan] * 5)
        exact = values.astype(np.float64)
        sd = float(exact.std(ddof=1)) if len(exact) > 1 else math.nan
        p5, median, p95 = np.percentile(exact, [5, 50, 95]).tolist()
        return cls(len(exact), float(exact.mean()), sd, p5, median, p95)


@dataclass(frozen=True, slots=True)
class Appearance:
    """How a lesion looks on one image.

    Attributes:
        whole: over all its voxels.
        eroded: over the voxels whose neighbours in the slice lie inside too.
        liver: over the liver without lesions, eroded likewise.
    """

    whole: Intensity
    eroded: Intensity
    liver: Intensity

    @property
    def level(self) -> float:
        """Mean of the eroded lesion; of the whole lesion where erosion leaves nothing."""
        return self.eroded.mean if self.eroded.voxels else self.whole.mean

    @property
    def contrast(self) -> float:
        """Level of the lesion minus mean of the liver."""
        return self.level - self.liver.mean

    def to_json(self) -> dict[str, Any]:
        """All statistics; undefined is null."""
        return dict(finite(asdict(self) | {"level": self.level, "contrast": self.contrast}))


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
