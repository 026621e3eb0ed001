"""Simulated raters: they open a review package, recognise each image, and send back what a hurried reader would draw.

All the mistakes of all raters on one image are drawn at once (a border too wide or too narrow, a lesion overdrawn to
one side, cut short, or missed beside a larger one), and each patch of mistakes is dealt to one rater. So at each voxel
at most one rater is wrong, and of three or more raters the nested majority is the planted mask, exactly, whatever is
dealt to whom.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import ReviewError
from pipeline.core.files import write_atomically
from pipeline.core.labels import Label
from pipeline.core.volume import LabelMap
from pipeline.image.components import label_components
from pipeline.image.nifti import inflated
from pipeline.synth.programs import PROGRAMS, Saved
from pipeline.synth.truth import CohortTruth

Mask = NDArray[np.bool_]

IMAGE_MEMBER = "image.nii.gz"
_EARLIEST = (1980, 1, 1, 0, 0, 0)

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


@dataclass(frozen=True, slots=True)
class PlantedReturn:
    """A returned mask that must not be accepted: in which package, for which item, and what is wrong with it."""

    package: str
    item: str
    fault: str


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


def answer_packages(
    outbox: Path, inbox: Path, truth: CohortTruth, *, plant_faults: bool = False
) -> tuple[PlantedReturn, ...]:
    """Answers to every package of a round, written to its inbox; what was planted wrong comes back.

    The first rater sends a zip as ITK-SNAP leaves it, the second one with masks turned by a script, the third an
    unpacked folder with segmentations of 3D Slicer, and so on in turn.

    Args:
        outbox: holds one zip a rater.
        inbox: made if missing; an answer of the same name is replaced.
        truth: of the cohort whose images the packages hold.
        plant_faults: the first rater sends one mask under another case's name, the second a mask cut short.

    Raises:
        ReviewError: when a package holds an image that is none of the cohort's.
    """
    packages = sorted(outbox.glob("*.zip"))
    planted: list[PlantedReturn] = []
    for number, package in enumerate(packages):
        answers = _answers(package, number, len(packages), truth)
        if plant_faults:
            planted += _spoil(answers, number, package)
        if number % len(PROGRAMS) == len(PROGRAMS) - 1:
            _write_folder(inbox / package.stem, answers, package)
        else:
            write_atomically(inbox / package.name, _zipped(answers, package))
    return tuple(planted)


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


def _answers(package: Path, number: int, raters: int, truth: CohortTruth) -> dict[str, Saved]:
    """What one rater sends back for each item of a package."""
    save = PROGRAMS[number % len(PROGRAMS)]
    seen: Counter[str] = Counter()
    answers = {}
    for item, image_sha256 in _items(package):
        planted = truth.labels_of_image.get(image_sha256)
        if planted is None:
            raise ReviewError(f"{item} of {package.name} is no volume of the demo cohort; answer its own packages only")
        # A volume that is sent twice is read twice, with other mistakes: the hidden repeats.
        key = hashlib.sha256(f"{image_sha256} {seen[image_sha256]}".encode()).hexdigest()
        seen[image_sha256] += 1
        answers[item] = save(rate(planted, key=key, rater=number, raters=raters))
    return answers


def _items(package: Path) -> Iterator[tuple[str, str]]:
    """Each item's name and the `content_sha256` of its image, in order of name."""
    with zipfile.ZipFile(package) as archive:
        for name in sorted(archive.namelist()):
            parts = name.split("/")
            if len(parts) == 3 and parts[0] == "cases" and parts[2] == IMAGE_MEMBER:
                yield parts[1], hashlib.sha256(inflated(archive.read(name), name)).hexdigest()


def _spoil(answers: dict[str, Saved], number: int, package: Path) -> list[PlantedReturn]:
    """What a rater got wrong on purpose, put into the answers."""
    first, last = min(answers), max(answers)
    if number == 0 and first != last:
        answers[first] = answers[last]
        return [PlantedReturn(package.name, first, "wrong-case")]
    if number == 1:
        suffix, content = answers[first]
        answers[first] = suffix, content[: len(content) * 3 // 5]
        return [PlantedReturn(package.name, first, "truncated")]
    return []


def _member(item: str, suffix: str) -> str:
    return f"cases/{item}/{item}_mask{suffix}"


def _kept_members(package: Path) -> Iterator[tuple[str, bytes]]:
    """What a rater leaves as it was: everything but masks and images, which are large."""
    with zipfile.ZipFile(package) as archive:
        for name in sorted(archive.namelist()):
            if not name.endswith((".nii.gz", "/")):
                yield name, archive.read(name)


def _zipped(answers: dict[str, Saved], package: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in _kept_members(package):
            archive.writestr(zipfile.ZipInfo(name, _EARLIEST), content)
        for item, (suffix, content) in answers.items():
            archive.writestr(zipfile.ZipInfo(_member(item, suffix), _EARLIEST), content)
    return buffer.getvalue()


def _write_folder(folder: Path, answers: dict[str, Saved], package: Path) -> None:
    for name, content in _kept_members(package):
        write_atomically(folder / name, content)
    for item, (suffix, content) in answers.items():
        write_atomically(folder / _member(item, suffix), content)
