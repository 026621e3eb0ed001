"""Slices of any type and colour as the search takes them: whole numbers on one scale, equal for equal pictures.

What a person sees does not depend on how it is stored. The same picture as int8 to int32, unsigned, in fractional HU or
as floats between 0 and 1 comes out as the same numbers: the steps in which its values lie are found and counted, and
doubled or halved until the picture has as many shades as a usual CT.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST = (1 << 13) - 1
"""Values stay within 14 bits, so that differences and sums of two fit into 16."""

FEWEST_SHADES, MOST_SHADES = 1 << 10, 1 << 12
"""Between the darkest and brightest of a picture; a CT of the trunk has 1,300 HU between air and bone."""

FINEST_SHARE = 1 << 20
"""Values that lie in no steps, as after interpolation, are counted in this share of their range."""

DARK_PERCENT, BRIGHT_PERCENT = 0.5, 99.5
SAMPLE_STEP = 4

_INT16 = np.iinfo(np.int16)
_FAR = float(1 << 30)


@dataclass(frozen=True, slots=True, eq=False)
class Shades:
    """Gray slices on the scale of the search.

    Attributes:
        slices: (rows, columns), whole numbers within 14 bits.
        step: between two neighbouring values of the stored picture; 1 where it has as many or more.
    """

    slices: list[NDArray[np.int16]]
    step: int = 1


def shades(slices: Sequence[NDArray[Any]]) -> list[Shades]:
    """A series for the search: one gray series, or one for each channel of colour slices.

    Args:
        slices: (rows, columns) or (rows, columns, channels), all of one shape and type; what is not finite is dark.
    """
    if not slices:
        return []
    if slices[0].ndim == 3:
        return [_gray([values[..., channel] for values in slices]) for channel in range(slices[0].shape[-1])]
    return [_gray(slices)]


def _gray(slices: Sequence[NDArray[Any]]) -> Shades:
    dark, bright = _range(slices)
    step = max(_lattice_step(slices), (bright - dark) / FINEST_SHARE) or 1.0
    doublings = _doublings((bright - dark) / step)
    return Shades([_counted(values, dark, step, doublings) for values in slices], 1 << max(doublings, 0))


def _range(slices: Sequence[NDArray[Any]]) -> tuple[float, float]:
    """Two values of the series below and above which hardly any lie; the very lowest is padding and left out."""
    some = slices[:: -(-len(slices) // 8)]
    sample = np.concatenate([values[::SAMPLE_STEP, ::SAMPLE_STEP].ravel() for values in some])
    sample = sample[np.isfinite(sample)]
    above_padding = sample[sample > sample.min()] if sample.size else sample
    if not above_padding.size:
        only = float(sample[0]) if sample.size else 0.0
        return only, only
    dark, bright = np.percentile(above_padding, (DARK_PERCENT, BRIGHT_PERCENT), method="lower")
    return float(dark), float(bright)


def _lattice_step(slices: Sequence[NDArray[Any]]) -> float:
    """The step in which values lie: their range over how often the smallest gap goes into their gaps; 0 for one value.

    Of a lattice that was not met in full, what lies between its points is kept by the doublings.
    """
    some = slices[len(slices) // 4 :: len(slices) // 4 + 1]
    distinct = np.unique(np.concatenate([values[::2, ::2].ravel() for values in some]))
    distinct = distinct[np.isfinite(distinct)].astype(np.float64)
    if distinct.size < 2:
        return 0.0
    gaps = np.diff(distinct)
    return float((distinct[-1] - distinct[0]) / np.rint(gaps / gaps.min()).sum())


def _doublings(shades_there: float) -> int:
    """How often the range must be doubled, or halved where this is negative, to hold about as many shades as a CT."""
    doublings = 0
    while 0 < shades_there * 2.0**doublings < FEWEST_SHADES - 0.5:
        doublings += 1
    while shades_there * 2.0**doublings > MOST_SHADES + 0.5:
        doublings -= 1
    return doublings


def _counted(values: NDArray[Any], dark: float, step: float, doublings: int) -> NDArray[np.int16]:
    """Steps above the dark value, doubled or halved, cut off where 14 bits end."""
    if step == 1 and doublings == 0 and (plain := _as_int16(values)) is not None:
        low, high = max(int(dark) - LARGEST, _INT16.min), min(int(dark) + LARGEST, _INT16.max)
        cut: NDArray[np.int16] = np.clip(plain, low, high) - np.int16(dark)
        return cut
    precise = values if values.dtype == np.float32 else values.astype(np.float64)
    steps = np.nan_to_num((precise - dark) * (2.0 ** max(doublings, 0) / step), nan=0.0, posinf=_FAR, neginf=-_FAR)
    counted = np.rint(np.clip(steps, -_FAR, _FAR)).astype(np.int32) >> max(-doublings, 0)
    small: NDArray[np.int16] = np.clip(counted, -LARGEST, LARGEST).astype(np.int16)
    return small


def _as_int16(values: NDArray[Any]) -> NDArray[np.int16] | None:
    """The same numbers without a copy; None where there is no such view."""
    fits = values.dtype == np.int16 or (values.dtype == np.uint16 and values.max() <= _INT16.max)
    return values.view(np.int16) if fits else None
