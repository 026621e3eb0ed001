"""Thin strokes of an image that stand out against what is around them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

WIDEST_STROKE_PIXELS = 8

TILE_PIXELS = 32
"""Noise and anatomy are told for parts of a slice of this size."""

SAMPLE_STEP = 4
QUIET_SHARE = 0.8
"""Text inks less than the rest of its tile."""

TIMES_QUIET = 2.5
"""By how much a stroke stands out, in what the quiet share of its tile does: about three standard deviations."""

PEN_PIXELS = 7
"""A square as large as this around a pixel of a stroke holds the stroke's brightest."""


def bright_strokes(image: NDArray[np.int16]) -> NDArray[np.int16]:
    """How far every pixel rises above its surroundings: the image minus its grey opening.

    Args:
        image: (rows, columns), values within 14 bits.
    """
    return image - _over_squares(image, WIDEST_STROKE_PIXELS + 1, np.minimum, np.maximum)


def standing_out(contrast: NDArray[np.int16], at_least: int) -> NDArray[np.bool_]:
    """Where a contrast exceeds a floor, what is usual in its part of the image by far, and a share of the stroke's.

    The last parts small smooth letters: between them the contrast falls to a third of theirs, not to nothing.

    Args:
        contrast: (rows, columns), both multiples of `TILE_PIXELS`; values within 15 bits.
        at_least: the floor.
    """
    rows, columns = (size // TILE_PIXELS for size in contrast.shape)
    tiles = contrast.reshape(rows, TILE_PIXELS, columns, TILE_PIXELS)
    sample = tiles[:, 1::SAMPLE_STEP, :, 1::SAMPLE_STEP].swapaxes(1, 2).reshape(rows, columns, -1)
    quiet = int(QUIET_SHARE * sample.shape[-1])
    usual = np.partition(sample, quiet, axis=-1)[..., quiet]
    needed = np.maximum(at_least, TIMES_QUIET * usual).astype(np.int16)
    bands = contrast.reshape(rows, TILE_PIXELS, -1)
    found: NDArray[np.bool_] = (bands > needed.repeat(TILE_PIXELS, axis=1)[:, None]).reshape(contrast.shape)
    peak = _over_squares(contrast, PEN_PIXELS, np.maximum)
    share = peak >> 2
    share += peak >> 3
    found &= contrast > share
    return found


def _over_squares(image: NDArray[np.int16], size: int, *extremes: Any) -> NDArray[np.int16]:
    """The extremes over squares around every pixel, one after the other.

    The image is taken as one long line, which makes whole passes of shifts; the squares of the outermost columns reach
    into the rows beside theirs, and a few pixels at either end of the line are left as they are.
    """
    margin = len(extremes) * (size - 1) // 2
    above, below = image[:1].repeat(margin, axis=0), image[-1:].repeat(margin, axis=0)
    line, spare = np.concatenate([above, image, below]).ravel(), np.empty(image.size + 2 * above.size, dtype=np.int16)
    length = line.size
    for extreme in extremes:
        for shift in (step * stride for stride in (image.shape[1], 1) for step in _steps(size)):
            length -= shift
            extreme(line[:length], line[shift : shift + length], out=spare[:length])
            line, spare = spare, line
    spread = image.copy()
    spread.ravel()[margin : image.size - margin] = line[:length]
    return spread


def _steps(size: int) -> Iterator[int]:
    """Shifts by which extremes of two, of four and in the end of so many values come from extremes of share as many."""
    reach = 1
    while reach < size:
        step = min(reach, size - reach)
        yield step
        reach += step
