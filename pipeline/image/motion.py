"""Motion during a scan: how far the skin jumps from one slice to the next.

Breathing lifts the belly, a restless patient shifts: slices scanned before and after do not fit, and the body gets
steps along the scan. A body also widens and narrows by itself, but steadily; so only what differs from the steps before
and after counts. Nothing is asked of the organs inside, whatever disease they show.

What leaves the skin in its place is not seen: the beating heart, the bowel, breathing along the scan, double contours.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

from pipeline.core.volume import Unit, Volume

SKIN_HU = -300.0
"""Between air with blankets and foam (below -600) and skin with fat (above -150)."""

MIN_SLICES_FOR_MOTION = 4
"""Fewer slices have no steps before and after a step."""

_OPENING_PIXELS = 2
"""What is thinner than twice this (a sheet, a tube on the skin) is no body."""

_FEWEST_PLACES = 20
"""Places along the skin that two slices must share; their middle half makes the step, so that arms do not."""

_TREND_STEPS = 2
"""Steps before, and after, that tell how the body changes by itself."""


def skin_jump_mm(image: Volume) -> float:
    """The largest jump of the skin between neighbouring slices, beyond how the body changes around it.

    Seen from four sides: along the rows and columns, from either end. NaN where there is no body, or too few slices.
    """
    if len(image.voxels) < MIN_SLICES_FOR_MOTION:
        return math.nan
    level = SKIN_HU if image.unit is Unit.HU else float(threshold_otsu(image.voxels))
    bodies = [_body(slice_ > level) for slice_ in image.voxels]
    jumps = []
    for axis, spacing_mm in enumerate(image.geometry.spacing_mm[1:]):
        skins = np.stack([_skin(body, axis) for body in bodies])
        jumps += [spacing_mm * jump for side in (0, 1) for jump in _jumps(_steps(skins[:, side]))]
    return max(jumps, default=math.nan)


def _body(bright: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest part of a slice, thin things gone."""
    parts, count = ndimage.label(ndimage.binary_opening(bright, iterations=_OPENING_PIXELS))
    largest = np.bincount(parts.ravel())[1:].argmax() + 1 if count else 1
    return np.asarray(parts == largest)


def _skin(body: NDArray[np.bool_], axis: int) -> NDArray[np.float64]:
    """(2, places) first and last pixel of the body along an axis; NaN where there is none, or the picture ends."""
    size = body.shape[axis]
    ends = np.stack([body.argmax(axis), size - 1 - np.flip(body, axis).argmax(axis)]).astype(np.float64)
    ends[:, ~body.any(axis)] = np.nan
    ends[(ends == 0) | (ends == size - 1)] = np.nan
    return ends


def _steps(skins: NDArray[np.float64]) -> list[float]:
    """How far the skin moves from each slice (slices, places) to the next in pixels: mean of the middle half."""
    steps = []
    for moved in np.diff(skins, axis=0):
        places = np.sort(moved[np.isfinite(moved)])
        aside = len(places) // 4
        steps.append(float(places[aside : len(places) - aside].mean()) if len(places) >= _FEWEST_PLACES else math.nan)
    return steps


def _jumps(steps: list[float]) -> list[float]:
    """How much each step differs from the median of those around it; none where no two of them are known."""
    jumps = []
    for index, step in enumerate(steps):
        around = (*steps[max(0, index - _TREND_STEPS) : index], *steps[index + 1 : index + 1 + _TREND_STEPS])
        known = [other for other in around if not math.isnan(other)]
        if len(known) >= 2 and not math.isnan(step):
            jumps.append(abs(step - float(np.median(known))))
    return jumps
