"""What raters get wrong between them, so that no two are wrong at one voxel.

All the mistakes of all raters on one image are drawn at once (a border too wide or too narrow, a lesion overdrawn to
one side, cut short, or missed beside a larger one), and each patch of mistakes is dealt to one rater. So at each voxel
at most one rater is wrong, and of three or more raters the nested majority is the planted mask, exactly, whatever is
dealt to whom.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from pipeline.core.labels import Label
from pipeline.core.volume import LabelMap
from pipeline.image.components import label_components

Mask = NDArray[np.bool_]

PATCH = (4, 12, 12)
"""Voxels of one patch of the liver's border, which one rater draws in one mood."""


class Mood(IntEnum):
    """How a rater draws a border."""

    EXACT = 0
    WIDE = 1
    NARROW = 2


class Slip(IntEnum):
    """How a rater treats a lesion."""

    NONE = 0
    WIDE = 1
    NARROW = 2
    MISSED = 3


SIDES = ((1, 1), (1, -1), (2, 1), (2, -1))
"""Axis and direction in which a lesion is overdrawn or cut short, within its slices."""

LEAST_NOTICED = 4
"""Only lesions with less than this fraction of the lesion volume, one in so many, are missed: a reader who has found a
large lesion stops searching (satisfaction of search, Berbaum et al. 1990). Two of three raters still see each."""


@dataclass(frozen=True, slots=True, eq=False)
class Mistakes:
    """What the raters of one image get wrong between them.

    Attributes:
        drawn: the mask with every mistake in it.
        dealt: which rater makes the mistake at each voxel, counted from 0.
    """

    drawn: NDArray[np.uint8]
    dealt: NDArray[np.uint8]

    def of(self, rater: int, truth: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The mask as one rater draws it: the truth, but for the patches dealt to this rater."""
        return np.where(self.dealt == rater, self.drawn, truth)


def rate(truth: LabelMap, *, key: str, rater: int, raters: int) -> LabelMap:
    """The mask one rater draws of an image.

    Of three or more raters with the same key, the majority at each voxel is the truth.

    Args:
        truth: the planted mask.
        key: hexadecimal digits that name the image and the sitting; chance hangs on nothing else.
        rater: which one, from 0.
        raters: how many read this image.
    """
    return LabelMap(draw_mistakes(truth.voxels, key, raters).of(rater, truth.voxels), truth.geometry)


def draw_mistakes(truth: NDArray[np.uint8], key: str, raters: int) -> Mistakes:
    """All mistakes on one image, dealt to its raters."""
    rng = np.random.default_rng([int(key[start : start + 8], 16) for start in range(0, 32, 8)])
    whole = truth > Label.BACKGROUND
    moods = _patches(rng, truth.shape, len(Mood))
    dealt = _patches(rng, truth.shape, raters)
    wide, narrow = _grown(whole), ~_grown(~whole)
    border = np.where(moods == Mood.WIDE, wide, np.where(moods == Mood.NARROW, narrow, whole))
    drawn = np.where(border, Label.LIVER, Label.BACKGROUND).astype(np.uint8)
    numbered, count = label_components(truth == Label.LESION)
    sizes = np.bincount(numbered.ravel(), minlength=count + 1)[1:]
    for number in range(1, count + 1):
        lesion = numbered == number
        slip = Slip(int(rng.integers(len(Slip))))
        if slip is Slip.MISSED and LEAST_NOTICED * sizes[number - 1] > sizes.sum():
            slip = Slip.NONE
        zone = _grown(lesion) & whole
        drawn[zone] = Label.LIVER
        drawn[_slipped(lesion, slip, *SIDES[int(rng.integers(len(SIDES)))]) & whole] = Label.LESION
        dealt[zone] = int(rng.integers(raters))
    return Mistakes(drawn, dealt)


def _slipped(lesion: Mask, slip: Slip, axis: int, step: int) -> Mask:
    """The lesion as somebody draws it who slips so, to one side."""
    beside = np.roll(lesion, step, axis=axis)  # no lesion reaches the edge of the scan
    if slip is Slip.WIDE:
        return lesion | beside
    if slip is Slip.NARROW:
        return lesion & beside
    return lesion if slip is Slip.NONE else np.zeros_like(lesion)


def _patches(rng: np.random.Generator, shape: tuple[int, ...], kinds: int) -> NDArray[np.uint8]:
    """A whole number below `kinds` for each voxel, the same throughout a patch."""
    counts = [-(-n // step) for n, step in zip(shape, PATCH, strict=True)]
    field = rng.integers(kinds, size=counts, dtype=np.uint8)
    for axis, step in enumerate(PATCH):
        field = np.repeat(field, step, axis=axis)
    return field[tuple(slice(n) for n in shape)].copy()


def _grown(mask: Mask) -> Mask:
    """The mask and its four neighbours within each slice."""
    grown = mask.copy()
    grown[:, 1:] |= mask[:, :-1]
    grown[:, :-1] |= mask[:, 1:]
    grown[:, :, 1:] |= mask[:, :, :-1]
    grown[:, :, :-1] |= mask[:, :, 1:]
    return grown
