"""What an export holds, looked at before there are settings for it: what `liverset init --from` writes them from."""

from __future__ import annotations

import math
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.config import FOLDER, PATIENT_ID, Config, DatasetConfig, InclusionConfig, Modality, SourceConfig
from pipeline.core.errors import ConfigError, DicomError
from pipeline.core.files import csv_text
from pipeline.core.pseudonyms import normalised_patient_id
from pipeline.core.records import Phase, Series
from pipeline.core.words import counted
from pipeline.stages.screen import screened_series
from pipeline.workspace import Workspace

if TYPE_CHECKING:
    from pipeline.cohort.inclusion import FlowStep
    from pipeline.cohort.rules import Candidate
    from pipeline.dicom.read.scan import ScanResult

CLINICAL_COLUMNS = ("patient_id", "age", "sex", "diagnosis")
HOSPITAL_COLUMNS = ("hospital", "series", "phase not recognised")

USUAL_SHARE = 0.5
"""A phase is required where so many of the patients have it; a limit stays where it lets so many volumes pass."""

LIMIT_STEP_MM = 0.5
"""Limits that are fitted to what was found are rounded outwards to this."""

_YEARS = re.compile(r"0*(\d{1,3})Y")


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """What an export holds.

    Attributes:
        path: the export as the settings name it, relative to the dataset folder.
        patient: value of `[source] patient`.
        without_number: files without PatientID, and all files.
        modality: of most volumes.
        series: everything that forms, or should form, a volume. Private.
        candidates: the same with what the rules ask. Private.
    """

    path: str
    patient: str
    without_number: tuple[int, int]
    modality: Modality
    series: tuple[Series, ...]
    candidates: tuple[Candidate, ...]

    @property
    def volumes(self) -> dict[tuple[str, Phase], Candidate]:
        """The thinnest volume of each patient and phase."""
        found: dict[tuple[str, Phase], Candidate] = {}
        for one in sorted(self.candidates, key=lambda one: (one.facts.slice_thickness_mm or math.inf, one.key)):
            if one.is_usable and one.phase.phase and one.facts.modality == self.modality:
                found.setdefault((one.case_id, one.phase.phase), one)
        return found

    def patients_of_phase(self) -> dict[Phase, int]:
        """How many patients have each phase, in the order of `Phase`."""
        counts = Counter(phase for _, phase in self.volumes)
        return {phase: counts[phase] for phase in Phase if counts[phase]}

    def patients(self) -> int:
        """How many patients have a volume of any phase."""
        return len({patient for patient, _ in self.volumes})

    def required(self) -> tuple[Phase, ...]:
        """The phases that most patients have; none where no phase was recognised."""
        return tuple(
            phase for phase, count in self.patients_of_phase().items() if count >= self.patients() * USUAL_SHARE
        )

    def measured(self, fact: Callable[[Candidate], float | None]) -> list[float]:
        """A fact of the thinnest volume of each patient and required phase, where it is known."""
        required = self.required()
        values = (fact(one) for (_, phase), one in self.volumes.items() if phase in required)
        return sorted(value for value in values if value is not None)

    def clinical_table(self) -> str:
        """One row a patient, with age and sex where headers tell them, for a person to fill in. Private."""
        firsts: dict[str, Series] = {}
        for one in sorted(self.series, key=lambda one: (one.first.text("StudyDate"), one.key)):
            firsts.setdefault(normalised_patient_id(one.first.text("PatientID")), one)
        rows = [(number, *_age_and_sex(first), "") for number, first in sorted(firsts.items()) if number]
        return csv_text(CLINICAL_COLUMNS, (dict(zip(CLINICAL_COLUMNS, row, strict=True)) for row in rows))

    def hospital_table(self) -> str:
        """How many series each hospital has, and of how many the phase is not recognised. Private."""
        counts: dict[str, Counter[bool]] = defaultdict(Counter)
        for one in self.candidates:
            counts[one.facts.institution][one.phase.phase is None] += 1
        rows = ((name, found.total(), found[True]) for name, found in sorted(counts.items()))
        return csv_text(HOSPITAL_COLUMNS, (dict(zip(HOSPITAL_COLUMNS, row, strict=True)) for row in rows))

    def hospitals(self) -> int:
        """How many hospitals have a name in the headers."""
        return len({one.facts.institution for one in self.candidates} - {""})


def survey(root: Path, source: Path) -> Survey:
    """What an export holds; headers are remembered in the dataset's private folder, nothing else is written.

    Args:
        root: the dataset folder to be.
        source: a folder, file, zip or tar.

    Raises:
        DicomError: when there is no DICOM image in it.
    """
    from pipeline.dicom.group.series import group_series
    from pipeline.stages.intake import scan_sources

    path = Path(os.path.relpath(source.resolve(), root.resolve())).as_posix()
    found = scan_sources(_workspace(root, SourceConfig(paths=(path,))))
    if not found.instances:
        raise DicomError(f"found {counted(len(found.set_aside), 'file')} but no DICOM image; expected a DICOM export")
    patient, found = _patients_told(root, found, path)
    series = group_series(found.instances, found.set_aside).series
    modality = _modality(series)
    ws = _workspace(root, SourceConfig(paths=(path,), patient=patient), modality)
    candidates, _ = screened_series(ws, series)
    missing = sum(not one.text("PatientID") for one in found.instances)
    return Survey(path, patient, (missing, len(found.instances)), modality, series, candidates)


def flow_of(root: Path, found: Survey, config: Config) -> tuple[FlowStep, ...]:
    """How many series and patients each rule of some settings would exclude; nothing is written.

    What a person has to fill in first is not known yet, so the clinical table is not asked.
    """
    from pipeline.cohort.inclusion import consort

    source = config.source.model_copy(update={"clinical": None})
    _, inclusion = screened_series(
        Workspace(root.resolve(), config.model_copy(update={"source": source})), found.series
    )
    return consort(inclusion)


def limits(found: Sequence[float], usual: tuple[float, float]) -> tuple[float, float]:
    """Bounds that most of what was found keeps: the usual ones where they do, else those of everything found."""
    low, high = usual
    inside = sum(low <= round(value, 3) <= high for value in found)
    if inside >= len(found) * USUAL_SHARE:
        return usual
    step = LIMIT_STEP_MM
    return math.floor(round(found[0], 3) / step) * step, math.ceil(round(found[-1], 3) / step) * step


def fewest_slices(found: Sequence[float], usual: int) -> int:
    """The usual limit where most volumes have so many slices, else the fewest found."""
    enough = sum(value >= usual for value in found)
    return usual if enough >= len(found) * USUAL_SHARE else int(found[0])


def _workspace(root: Path, source: SourceConfig, modality: Modality = Modality.CT) -> Workspace:
    """The dataset to be, with rules that keep everything."""
    open_rules = InclusionConfig(slice_thickness_mm=None, slice_spacing_mm=None, min_slices=1)
    dataset = DatasetConfig(name="survey", modality=modality)
    return Workspace(root.resolve(), Config(dataset=dataset, source=source, inclusion=open_rules))


def _modality(series: Iterable[Series]) -> Modality:
    counts = Counter(one.first.text("Modality") for one in series if one.is_usable)
    return Modality.MR if counts["MR"] > counts["CT"] else Modality.CT


def _patients_told(root: Path, found: ScanResult, path: str) -> tuple[str, ScanResult]:
    """Where the patient stands: the first folder where no file has a number and each such folder holds one study."""
    from pipeline.dicom.read.patients import identified

    if any(one.text("PatientID") for one in found.instances):
        return PATIENT_ID, found
    try:
        named = identified(found, [root.resolve() / path], FOLDER)
    except ConfigError:
        return PATIENT_ID, found
    studies: dict[str, set[str]] = defaultdict(set)
    for one in named.instances:
        studies[one.text("PatientID")].add(one.text("StudyInstanceUID"))
    is_clear = all(len(own) == 1 for own in studies.values())
    return (FOLDER, named) if is_clear else (PATIENT_ID, found)


def _age_and_sex(series: Series) -> tuple[str, str]:
    """What the header of a series tells of its patient, as the clinical table spells it."""
    years = _YEARS.fullmatch(series.first.text("PatientAge"))
    sex = series.first.text("PatientSex").upper()
    return years[1] if years else "", sex if sex in ("M", "F", "O") else ""
