"""What the voxels say against a volume: noise, metal, motion, a false HU scale, a liver that the scan cuts off.

Most need the liver's place, so they come after the network's label. They flag, they never exclude: the limits are our
proposals, not a published standard, and a person sees the volume on the quality page.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from pipeline.core.labels import Label
from pipeline.core.records import PixelFacts, Problem, Severity
from pipeline.core.volume import LabelMap, Unit, Volume
from pipeline.image.motion import skin_jump_mm

MAX_NOISE_HU = 40.0
"""Lesions differ from liver by 20 to 60 HU; with more noise than this most are not drawn reliably."""

METAL_HU = 2500.0
"""Above the densest bone (about 2000 HU): clips, coils, stents, implants, lead wires."""

MAX_MOTION_MM = 3.0
"""Sound scans stay below 2 mm (measured on real and invented bodies); a larger step moves small lesions by a third."""

MAX_METAL_ML = 0.1
"""Less than this is a few surgical clips, whose streaks end after millimetres."""

LIVER_HU = (0.0, 250.0)
"""Median of any liver, from severe steatosis without contrast to the brightest portal venous phase; outside it the HU
scale is wrong or the label is not liver."""

SOFT_TISSUE_HU = (0.0, 200.0)
"""Means of muscle, spleen, liver and enhanced blood, whatever the phase."""

_SOFT_TISSUE_PIXELS = 7
"""A square of so many pixels, whose mean tells soft tissue through the noise."""

_NOISE_LAG = 3
"""Pixels between the two voxels compared: reconstruction smooths neighbours, so that next ones differ too little."""

_MAD_TO_SD = 1.4826
"""Median absolute deviation to standard deviation, for a normal distribution."""

_FEWEST_PAIRS = 200


@dataclass(frozen=True, slots=True)
class ImageQuality:
    """What was measured of one volume.

    Attributes:
        noise_hu: standard deviation of the noise inside the liver; NaN when there is too little liver.
        liver_hu: median of the liver without lesions; NaN without liver.
        metal_ml: volume above `METAL_HU` on slices with liver.
        motion_mm: largest jump of the skin between slices; NaN where there is no body.
        cut: where the liver ends at the border of the scan: "first slice", "last slice", "field of view".
    """

    noise_hu: float
    liver_hu: float
    metal_ml: float
    motion_mm: float
    cut: tuple[str, ...]


def measure_quality(image: Volume, labels: LabelMap) -> ImageQuality:
    """Noise, metal, motion and coverage of a volume.

    Args:
        image: in full, before window and slice filter; CT in HU.
        labels: liver and lesions on the same grid.
    """
    liver = labels.voxels == Label.LIVER
    whole = labels.voxels != Label.BACKGROUND
    slices = whole.any(axis=(1, 2))
    metal = int((image.voxels[slices] > METAL_HU).sum()) * image.geometry.voxel_volume_ml
    return ImageQuality(
        noise_hu=_noise(image.voxels, liver),
        liver_hu=float(np.median(image.voxels[liver])) if liver.any() else math.nan,
        metal_ml=metal,
        motion_mm=skin_jump_mm(image),
        cut=_cut_sides(whole),
    )


def pixel_facts(image: Volume) -> PixelFacts:
    """What can be measured of a series before any label is there."""
    if image.unit is not Unit.HU:
        return PixelFacts(math.nan, math.nan, skin_jump_mm(image))
    means = np.stack([uniform_filter(slice_.astype(np.float32), _SOFT_TISSUE_PIXELS) for slice_ in image.voxels])
    low, high = SOFT_TISSUE_HU
    return PixelFacts(
        noise_hu=_noise(image.voxels, (means > low) & (means < high)),
        metal_ml=int((image.voxels > METAL_HU).sum()) * image.geometry.voxel_volume_ml,
        motion_mm=skin_jump_mm(image),
    )


def quality_problems(quality: ImageQuality, unit: Unit = Unit.HU) -> tuple[Problem, ...]:
    """What a person should look at; intensities of MR have no scale, so there only the coverage counts."""
    problems = [_look("liver-cut", f"the liver reaches the {side}: part of it may be missing") for side in quality.cut]
    if unit is not Unit.HU:
        return tuple(problems)
    if quality.noise_hu > MAX_NOISE_HU:
        problems.append(_look("noise", f"noise of {quality.noise_hu:.0f} HU, expected at most {MAX_NOISE_HU:.0f} HU"))
    if quality.metal_ml > MAX_METAL_ML:
        problems.append(
            _look("metal", f"{quality.metal_ml:.1f} ml of metal on liver slices, expected at most {MAX_METAL_ML:g} ml")
        )
    if quality.motion_mm > MAX_MOTION_MM:
        problems.append(
            _look("motion", f"the skin jumps by {quality.motion_mm:.1f} mm, expected at most {MAX_MOTION_MM:.0f} mm")
        )
    low, high = LIVER_HU
    if not math.isnan(quality.liver_hu) and not low <= quality.liver_hu <= high:
        problems.append(
            _look("liver-hu", f"median of the liver {quality.liver_hu:.0f} HU, expected {low:.0f} to {high:.0f} HU")
        )
    return tuple(problems)


def _noise(voxels: NDArray[np.int16] | NDArray[np.float32], liver: NDArray[np.bool_]) -> float:
    """Robust spread of differences along the rows: blind to slow changes of the liver and to its few vessels."""
    pairs = liver[..., _NOISE_LAG:] & liver[..., :-_NOISE_LAG]
    if int(pairs.sum()) < _FEWEST_PAIRS:
        return math.nan
    ahead, behind = voxels[..., _NOISE_LAG:][pairs], voxels[..., :-_NOISE_LAG][pairs]
    differences = ahead.astype(np.float64) - behind
    deviation = np.median(np.abs(differences - np.median(differences)))
    return float(_MAD_TO_SD * deviation / math.sqrt(2))


def _cut_sides(whole: NDArray[np.bool_]) -> tuple[str, ...]:
    """Where the liver reaches the border; a single voxel may, as on a slice that just begins."""
    sides = {
        "first slice": whole[0],
        "last slice": whole[-1],
        "field of view": np.concatenate([whole[:, [0, -1]].ravel(), whole[:, :, [0, -1]].ravel()]),
    }
    return tuple(name for name, border in sides.items() if int(border.sum()) > 1)


def _look(code: str, message: str) -> Problem:
    return Problem(code, Severity.FLAG, message)
