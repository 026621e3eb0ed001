"""Simulated readers: they open a package, recognise each image, and send back what a hurried reader would draw.

Nothing is known of a package but its layout: `cases/<item>/image.nii.gz` and the mask beside it.
"""

from __future__ import annotations

import csv
import hashlib
import io
import zipfile
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.core.errors import ReviewError
from pipeline.core.file_names import (
    ADJUDICATION_PACKAGE,
    EARLIEST_IN_ZIP,
    IMAGE_FILE,
    PACKAGE_CASES,
    ROUND_PACKAGE,
    STATUS_AGREE,
    WORKLIST,
    package_mask,
)
from pipeline.core.files import write_atomically
from pipeline.core.volume import LabelMap
from pipeline.image.nifti import decode_nifti, inflated
from pipeline.synth.mistakes import rate
from pipeline.synth.programs import PROGRAMS, Saved, as_itksnap_saves
from pipeline.synth.truth import CohortTruth


@dataclass(frozen=True, slots=True)
class PlantedReturn:
    """A returned mask that must not be accepted: in which package, for which item, and what is wrong with it."""

    package: str
    item: str
    fault: str


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
    packages = sorted(outbox.glob(f"{ROUND_PACKAGE}_*.zip"))
    planted: list[PlantedReturn] = []
    for number, package in enumerate(packages):
        answers = _answers(package, number, len(packages), truth)
        if plant_faults:
            planted += _spoil(answers, number, package)
        members = {**_kept_members(package), **_masks(answers)}
        if number % len(PROGRAMS) == len(PROGRAMS) - 1:
            _write_folder(inbox / package.stem, members)
        else:
            write_atomically(inbox / package.name, _zipped(members))
    return tuple(planted)


def answer_adjudication(outbox: Path, inbox: Path, truth: CohortTruth) -> None:
    """The lead radiologist's answer to every adjudication package: the planted mask, or a word where it is the vote's.

    Args:
        outbox: holds the packages, `adjudication_*.zip`.
        inbox: made if missing; an answer of the same name is replaced.
        truth: of the cohort whose images the packages hold.

    Raises:
        ReviewError: when a package holds an image that is none of the cohort's.
    """
    for package in sorted(outbox.glob(f"{ADJUDICATION_PACKAGE}_*.zip")):
        members = _kept_members(package)
        agreed = []
        for item, image_sha256 in _items(package):
            planted = _planted(truth, image_sha256, item, package)
            name = _member(item, ".nii.gz")
            sent = _member_bytes(package, name)
            voted, _ = decode_nifti(sent, name)
            is_right = np.array_equal(voted, planted.voxels)
            agreed += [item] * is_right
            members |= {name: sent} if is_right else _masks({item: as_itksnap_saves(planted)})
        if WORKLIST in members:
            members[WORKLIST] = _with_status(members[WORKLIST], agreed, STATUS_AGREE)
        write_atomically(inbox / package.name, _zipped(members))


def _answers(package: Path, number: int, raters: int, truth: CohortTruth) -> dict[str, Saved]:
    """What one rater sends back for each item of a package."""
    save = PROGRAMS[number % len(PROGRAMS)]
    seen: Counter[str] = Counter()
    answers = {}
    for item, image_sha256 in _items(package):
        planted = _planted(truth, image_sha256, item, package)
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
            if len(parts) == 3 and parts[0] == PACKAGE_CASES and parts[2] == IMAGE_FILE:
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


def _planted(truth: CohortTruth, image_sha256: str, item: str, package: Path) -> LabelMap:
    try:
        return truth.labels_of_image[image_sha256]
    except KeyError:
        raise ReviewError(
            f"{item} of {package.name} is no volume of the demo cohort; answer its own packages only"
        ) from None


def _member(item: str, suffix: str) -> str:
    return f"{PACKAGE_CASES}/{item}/{package_mask(item, suffix)}"


def _masks(answers: Mapping[str, Saved]) -> dict[str, bytes]:
    return {_member(item, suffix): content for item, (suffix, content) in answers.items()}


def _member_bytes(package: Path, name: str) -> bytes:
    with zipfile.ZipFile(package) as archive:
        return archive.read(name)


def _kept_members(package: Path) -> dict[str, bytes]:
    """What a reader leaves as it was: everything but images and masks."""
    with zipfile.ZipFile(package) as archive:
        names = sorted(name for name in archive.namelist() if not name.endswith((".nii.gz", "/")))
        return {name: archive.read(name) for name in names}


def _with_status(worklist: bytes, items: Collection[str], status: str) -> bytes:
    """The worklist with a word beside some items."""
    reader = csv.DictReader(io.StringIO(worklist.decode("utf-8-sig")))
    text = io.StringIO()
    table = csv.DictWriter(text, reader.fieldnames or [], lineterminator="\n")
    table.writeheader()
    table.writerows({**row, "status": status if row["item"] in items else row["status"]} for row in reader)
    return text.getvalue().encode("utf-8-sig")


def _zipped(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, EARLIEST_IN_ZIP), content)
    return buffer.getvalue()


def _write_folder(folder: Path, members: Mapping[str, bytes]) -> None:
    for name, content in members.items():
        write_atomically(folder / name, content)
