"""How often burned-in text is found, by its kind, and how often clean series are taken for text, by their source.

The corpus is a folder of public series, DICOM or NIfTI, and no part of this repository:
    CORPUS/tuning/<source>/**       on which the constants of the search were chosen
    CORPUS/held-back/<source>/**    which were not looked at before they stood
Text is drawn into series of both, seeded. Wilson intervals are 95 %.
    python benchmarks/burned_in.py CORPUS [cases [seed]]
"""

from __future__ import annotations

import math
import random
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from numpy.typing import NDArray

from benchmarks.lettering import LETTERINGS, SIZES, cover_of
from pipeline.core.config import Modality
from pipeline.core.errors import PipelineError
from pipeline.dicom.deid.admission import admit
from pipeline.dicom.group.series import frames_of
from pipeline.dicom.read.pixels import read_slice
from pipeline.dicom.read.scan import scan
from pipeline.image.nifti import read_nifti
from pipeline.text.find import TextFinding, find_text

PARTS = ("tuning", "held-back")
LEVELS = {"saturated": math.inf, "+75 %": 0.75, "+25 %": 0.25, "+12 %": 0.12, "dark": -0.5}
"""Ink above the middle of the picture, in shares of its range: of a CT of the trunk +1,000, +300 and +150 HU."""

MIN_CONTRAST = 0.06
"""Of the range, by which ink differs from what it covers: black on black is no text."""

PLACES = ("corner", "middle")
TYPES = ("int16", "float32", "uint8", "RGB")
MOST_SLICES = 60
"""Of a series that are searched; text is drawn into 24 of them."""

DRAWN_SLICES = 24
FEWEST_SLICES, FEWEST_PIXELS = 8, 128
Z = 1.96

Stack = list[NDArray[Any]]


@dataclass(frozen=True)
class Real:
    """A real series without text."""

    part: str
    source: str
    modality: str
    slices: Stack

    @property
    def name(self) -> str:
        """What the tables call it."""
        shape = "x".join(map(str, self.slices[0].shape))
        return f"{self.source} {self.modality} {len(self.slices)}x{shape} {self.slices[0].dtype}"


def real_series(corpus: Path) -> Iterator[Real]:
    """Every series of a corpus that may enter a dataset, the middle slices of long ones."""
    for part in PARTS:
        for folder in sorted(path for path in (corpus / part).iterdir() if path.is_dir()):
            for modality, slices in (*_of_dicom(folder), *_of_nifti(folder)):
                first = max(0, (len(slices) - MOST_SLICES) // 2)
                yield Real(part, folder.name, modality, slices[first : first + MOST_SLICES])


def _of_dicom(folder: Path) -> Iterator[tuple[str, Stack]]:
    groups: dict[tuple[str, ...], Stack] = defaultdict(list)
    for instance in sorted(scan([folder]).instances, key=lambda one: one.number("InstanceNumber") or 0):
        if all(admit(instance, modality=modality) for modality in (Modality.CT, Modality.MR)):
            continue
        try:
            for frame in frames_of(instance):
                values = read_slice(frame)
                key = (instance.text("SeriesInstanceUID"), str(values.shape), instance.text("Modality"))
                groups[key].append(values)
        except PipelineError:
            continue
    return ((modality, slices) for (_, _, modality), slices in sorted(groups.items()))


def _of_nifti(folder: Path) -> Iterator[tuple[str, Stack]]:
    for path in sorted((*folder.rglob("*.nii"), *folder.rglob("*.nii.gz"))):
        try:
            voxels = read_nifti(path)[0]
        except PipelineError:
            continue
        if min(voxels.shape[1:]) >= FEWEST_PIXELS // 2:
            yield "NIfTI", list(voxels)


def interval(hits: int, of: int) -> str:
    """A share with its Wilson interval."""
    if not of:
        return "none"
    share, weight = hits / of, Z * Z / of
    middle = (share + weight / 2) / (1 + weight)
    half = Z * math.sqrt(share * (1 - share) / of + weight / of / 4) / (1 + weight)
    return f"{hits}/{of} = {share:.1%} ({max(middle - half, 0):.1%} to {min(middle + half, 1):.1%})"


def found_in_words(finding: TextFinding) -> str:
    """What was found and where."""
    places = (f"slice {number + 1} {mark}" for number, mark in finding.lines[:3])
    return "; ".join((*places, f"in place {finding.static}" if finding.static else ""))


def print_clean(series: Iterable[Real]) -> None:
    """Alarms on clean series by source, each with its place, for a person to look at."""
    alarms: dict[str, list[bool]] = defaultdict(list)
    for one in series:
        finding = find_text(one.slices)
        for word in (one.source, one.modality, "all"):
            alarms[f"{one.part:10} {word}"].append(finding.is_suspect)
        if finding.is_suspect:
            print(f"    alarm: {one.part} {one.name}: {found_in_words(finding)}")
    for word, found in sorted(alarms.items()):
        print(f"{word:60} {interval(sum(found), len(found))}")


@dataclass(frozen=True)
class Case:
    """A kind of burned-in text."""

    lettering: str
    edges: str
    extent: str
    place: str
    level: str
    size: int
    type: str

    @classmethod
    def drawn_by(cls, rng: random.Random) -> Case:
        """A kind by chance."""
        lettering = rng.choice(tuple(LETTERINGS))
        edges, extent = rng.choice(("hard", "smooth")), rng.choice(("one slice", "all slices"))
        level, size = rng.choice(tuple(LEVELS)), rng.choice(SIZES[lettering])
        return cls(lettering, edges, extent, rng.choice(PLACES), level, size, rng.choice(TYPES))

    def into(self, clean: Stack, rng: random.Random) -> Stack | None:
        """A copy of a series with text drawn into it; None where the ink is hardly another than what it covers."""
        cover = cover_of(self.lettering, clean[0].shape[:2], self.size, self.place, rng, smooth=self.edges == "smooth")
        numbers = range(len(clean)) if self.extent == "all slices" else [rng.randrange(len(clean))]
        values = np.stack(clean).astype(np.float64)
        low, high = np.percentile(values, (0.5, 99.5))
        body = np.median(values[values > low + 0.3 * (high - low)])
        ink = min(values.max(), body + LEVELS[self.level] * (high - low))
        covered = values[numbers][:, cover > 0.5]
        if not covered.size or np.abs(covered - ink).mean() < MIN_CONTRAST * (high - low):
            return None
        for number in numbers:
            values[number] = np.round(values[number] * (1 - cover) + ink * cover)
        return stored_as(self.type, values, low, high, rng)


def stored_as(kind: str, values: NDArray[np.float64], low: float, high: float, rng: random.Random) -> Stack:
    """The same picture in another type of pixel."""
    if kind == "int16":
        return list(values.astype(np.int16))
    if kind == "float32":
        return list((values * 0.7321 - 300.7).astype(np.float32))
    gray = (np.clip((values - low) / (1.3 * (high - low)), 0, 1) * 255).astype(np.uint8)
    if kind == "uint8":
        return list(gray)
    tints = np.array(rng.choice(((1, 1, 1), (1, 1, 0.3), (0.4, 1, 0.4))))
    return list((gray[..., None] * tints).astype(np.uint8))


def drawn_cases(series: list[Real], cases: int, rng: random.Random) -> Iterator[tuple[Case, Real, Stack]]:
    """So many kinds by chance, each drawn into a series by chance."""
    while cases:
        case, one = Case.drawn_by(rng), rng.choice(series)
        first = rng.randrange(max(1, len(one.slices) - DRAWN_SLICES + 1))
        inked = case.into(one.slices[first : first + DRAWN_SLICES], rng)
        if inked is not None:
            cases -= 1
            yield case, one, inked


def print_found(series: list[Real], cases: int, seed: int) -> None:
    """How much of the drawn text is found, by everything that varies."""
    rng = random.Random(seed)
    hits: dict[str, list[bool]] = defaultdict(list)
    for case, one, inked in drawn_cases(series, cases, rng):
        found = find_text(inked).is_suspect
        words = (case.lettering, case.edges, case.extent, case.place, case.level, case.type, one.modality, one.source)
        for word in ("all", *words, f"{case.lettering}, {case.edges}, {case.extent}"):
            hits[word].append(found)
    for word, found_there in sorted(hits.items()):
        print(f"    {word:40} {interval(sum(found_there), len(found_there))}")


def print_speed(series: Iterable[Real]) -> None:
    """CPU time a slice of 512x512 on one core, the shortest of five."""
    for one in series:
        if one.slices[0].shape == (512, 512) and len(one.slices) >= 10:
            shortest = math.inf
            for _ in range(5):
                started = time.process_time()
                find_text(one.slices)
                shortest = min(shortest, time.process_time() - started)
            print(f"{1000 * shortest / len(one.slices):.2f} ms a slice: {one.name}")


def main() -> None:
    warnings.simplefilter("ignore")
    cases = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 7
    series = list(real_series(Path(sys.argv[1])))
    print_clean(series)
    for part in PARTS:
        pool = [one for one in series if one.part == part and _holds_text(one)]
        print(f"drawn into {len(pool)} series, {part}")
        print_found(pool, cases // 2, seed)
    print_speed(series)


def _holds_text(one: Real) -> bool:
    is_large = len(one.slices) >= FEWEST_SLICES and min(one.slices[0].shape) >= FEWEST_PIXELS
    return is_large and not _is_noise(one.slices[len(one.slices) // 2])


def _is_noise(values: NDArray[Any]) -> bool:
    """True for random numbers, which some public series hold in place of a person's pixels."""
    left, right = values[:, :-1].astype(np.float64).ravel(), values[:, 1:].astype(np.float64).ravel()
    return bool(np.corrcoef(left, right)[0, 1] < 0.5)


if __name__ == "__main__":
    main()
