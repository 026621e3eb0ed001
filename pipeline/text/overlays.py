"""Pictures of many slices in one, in which ink shows and anatomy fades, for a reader of text.

Ink stands in the same place on all slices, so that their mean blurs what is around it; or it stands on one slice alone,
which differs there from the slices beside it as it does nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Picture = NDArray[np.uint8]
Shade = NDArray[np.int16]

MOST_AVERAGED = 12
"""Slices, spread over the series, whose mean is taken."""

NEIGHBOURHOOD_PIXELS = 31
"""Sides of the square in which brightness and contrast of the mean are made even."""

LEAST_SPREAD = 30
"""Shades that are shown as one usual spread at least, so that noise stays faint."""

MIDDLE_GRAY, GRAY_OF_SPREAD = 128, 50

FEWEST_COMPARED = 3
"""A slice differs from two others."""

DARKEST_PERCENT, BRIGHTEST_PERCENT = 50, 99.9
"""Of a contrast, which are shown black and white."""

PIXEL_STEP = 2


def lasting(slices: Sequence[Shade]) -> Picture:
    """The mean of some slices, with the same brightness and contrast everywhere."""
    some = slices[:: -(-len(slices) // MOST_AVERAGED)]
    mean = np.add.reduce(some, dtype=np.float32) / len(some)
    above = mean - ndimage.uniform_filter(mean, NEIGHBOURHOOD_PIXELS)
    squares = np.maximum(ndimage.uniform_filter(np.square(above), NEIGHBOURHOOD_PIXELS), LEAST_SPREAD**2)
    return _picture(MIDDLE_GRAY + GRAY_OF_SPREAD * above / np.sqrt(squares))


def passing(slices: Sequence[Shade]) -> Shade:
    """What one slice has alone: how far a pixel differs at most from the slices beside it, less the next most."""
    most, next_most = np.zeros_like(slices[0]), np.zeros_like(slices[0])
    for number in range(len(slices)):
        differing = differs(slices, number)
        np.maximum(next_most, np.minimum(most, differing), out=next_most)
        np.maximum(most, differing, out=most)
    return most - next_most


def shown(contrast: Shade) -> Picture:
    """A contrast from its median, which is shown black, to nearly its highest."""
    low, high = np.percentile(contrast[::PIXEL_STEP, ::PIXEL_STEP], (DARKEST_PERCENT, BRIGHTEST_PERCENT))
    return _picture(255 * (contrast.astype(np.float32) - low) / max(high - low, 1))


def differs(slices: Sequence[Shade], number: int) -> Shade:
    """How far each pixel of a slice is brighter, or darker, than in both of the nearest two; below 0 for neither."""
    first = min(max(number - 1, 0), len(slices) - FEWEST_COMPARED)
    one, other = (slices[near] for near in range(first, first + FEWEST_COMPARED) if near != number)
    brighter, darker = np.maximum(one, other), np.minimum(one, other)
    np.subtract(slices[number], brighter, out=brighter)
    darker -= slices[number]
    return np.maximum(brighter, darker, out=darker)


def _picture(shades: NDArray[np.float32]) -> Picture:
    return np.clip(shades, 0, 255).astype(np.uint8)
