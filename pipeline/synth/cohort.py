"""The demo cohort: a hospital's export with known faults, written as DICOM, and the truth about it.

Everything hangs on one seed. Each patient has one body; every series shows it on its own grid, in its own phase, with
its own noise. Patients' data are invented, and planted wherever scanners put them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import time
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from pipeline.core.files import write_atomically, write_text
from pipeline.core.volume import Volume
from pipeline.image.nifti import content_sha256
from pipeline.synth.anatomy import Anatomy, Grid, make_anatomy
from pipeline.synth.dicom import (
    File,
    SeriesHeader,
    Study,
    ct_files,
    dose_report_files,
    dose_screen_files,
    localizer_files,
)
from pipeline.synth.encode import made_up_uid
from pipeline.synth.people import Person, make_person
from pipeline.synth.phantom import Phantom, render
from pipeline.synth.roster import PATHOLOGY_CODES, Bystander, Enrolled, PlannedSeries, Protocol, roster
from pipeline.synth.truth import (
    CohortTruth,
    LesionTruth,
    PatientTruth,
    SeriesTruth,
    SetAsideTruth,
    VolumeTruth,
)

DICOM_FOLDER = "dicom"
CLINICAL_NAME = "clinical.csv"

COPIED_SLICES = 3
"""How many slices of a series lie in the export twice."""

FIRST_SERIES_NUMBER = 2
"""The localizer is series 1."""


@dataclass(frozen=True, slots=True, eq=False)
class _Visit:
    """One enrolled patient with everything drawn for them."""

    number: int
    seed: int
    enrolled: Enrolled
    study: Study
    anatomy: Anatomy

    @property
    def person(self) -> Person:
        return self.study.person


@dataclass(frozen=True, slots=True, eq=False)
class _Written:
    """What one patient adds to the truth."""

    patient: PatientTruth
    series: tuple[SeriesTruth, ...]
    volumes: tuple[VolumeTruth, ...]
    set_aside: tuple[SetAsideTruth, ...]
    file_count: int


def make_cohort(folder: Path, *, seed: int = 7) -> CohortTruth:
    """The truth about a cohort, written below a folder as `dicom/` and `clinical.csv`.

    Args:
        folder: made if missing; what it holds besides stays.
        seed: everything hangs on it; the same seed gives the same bytes.

    Raises:
        StorageError: when the disk is full or the folder cannot be written.
    """
    visits = [_visit(number, enrolled, seed) for number, enrolled in enumerate(roster(), start=1)]
    written = [_write_visit(folder, visit) for visit in visits]
    loose = _write_loose_files(folder)
    write_text(folder / CLINICAL_NAME, _clinical_table(visits))
    return CohortTruth(
        patients=tuple(part.patient for part in written),
        series=tuple(series for part in written for series in part.series),
        volumes=tuple(volume for part in written for volume in part.volumes),
        set_aside=(*(item for part in written for item in part.set_aside), *loose),
        file_count=sum(part.file_count for part in written) + len(loose),
        secrets=tuple(sorted({secret for visit in visits for secret in visit.person.secrets})),
    )


def _visit(number: int, enrolled: Enrolled, seed: int) -> _Visit:
    rng = np.random.default_rng([seed, number])
    person = make_person(rng, number, enrolled.scanner, enrolled.age_years)
    injection = time(int(rng.integers(8, 17)), int(rng.integers(60)), int(rng.integers(60)))
    study = Study(person, enrolled.scanner, made_up_uid(seed, "study", number), injection)
    centre_um = (0, 1000 * int(rng.integers(-30, 31)), 1000 * int(rng.integers(-900, -300)))
    return _Visit(number, seed, enrolled, study, make_anatomy(rng, enrolled.kinds, centre_um=centre_um))


def _write_visit(folder: Path, visit: _Visit) -> _Written:
    home = PurePosixPath(DICOM_FOLDER, f"site-{visit.study.scanner.site.lower()}", _study_folder(visit))
    tissues: dict[Protocol, NDArray[np.uint8]] = {}
    series, volumes, set_aside, count = [], [], [], 0
    for number, planned in enumerate(visit.enrolled.series, start=FIRST_SERIES_NUMBER):
        phantom = _phantom(visit, planned, number, tissues)
        header = _header(visit, planned, number)
        files = list(ct_files(header, phantom.volume))
        count += _write_files(folder, home / _series_folder(visit, number), files)
        series.append(_series_truth(visit, header, planned, len(files)))
        if series[-1].kept:
            volumes.append(_volume_truth(visit, header, phantom))
        if number == FIRST_SERIES_NUMBER and Bystander.COPIES in visit.enrolled.bystanders:
            set_aside += _set_aside(folder, home / _series_folder(visit, 900), files[:COPIED_SLICES], Bystander.COPIES)
    for bystander in visit.enrolled.bystanders:
        files = list(_bystander_files(visit, bystander))
        set_aside += _set_aside(folder, home / _series_folder(visit, 990), files, bystander)
    return _Written(_patient_truth(visit), tuple(series), tuple(volumes), tuple(set_aside), count + len(set_aside))


def _study_folder(visit: _Visit) -> PurePosixPath:
    """Numbers at one site; at the other what no export should tell."""
    person = visit.person
    if visit.study.scanner.names_patients_in_folders:
        name = person.name.split("=")[0].replace("^", "_")
        return PurePosixPath(f"{name}_{person.patient_id}", f"{person.study_date:%Y-%m-%d} CT Abdomen")
    return PurePosixPath(f"PA{visit.number:06d}", "ST000001")


def _series_folder(visit: _Visit, number: int) -> str:
    if visit.study.scanner.names_patients_in_folders:
        return f"{number:03d} {visit.study.scanner.protocol}"
    return f"SE{number:06d}"


def _write_files(folder: Path, home: PurePosixPath, files: list[File]) -> int:
    for name, content in files:
        write_atomically(folder / home / name, content, durable=False)
    return len(files)


def _set_aside(folder: Path, home: PurePosixPath, files: list[File], code: str) -> list[SetAsideTruth]:
    _write_files(folder, home, files)
    return [SetAsideTruth(str(home / name), str(code)) for name, _ in files]


def _phantom(visit: _Visit, planned: PlannedSeries, number: int, tissues: dict[Protocol, NDArray[np.uint8]]) -> Phantom:
    """The patient's body as one series shows it; series on one grid share its tissues."""
    protocol = planned.protocol
    grid = Grid.around(visit.anatomy.centre_um, protocol.shape, protocol.spacing_um)
    if protocol not in tissues:
        tissues[protocol] = visit.anatomy.tissues(grid)
    noise = np.random.default_rng([visit.seed, visit.number, number])
    return render(visit.anatomy, tissues[protocol], grid, planned.phase, noise)


def _header(visit: _Visit, planned: PlannedSeries, number: int) -> SeriesHeader:
    return SeriesHeader(
        study=visit.study,
        uid=made_up_uid(visit.study.uid, number),
        number=number,
        phase=planned.phase,
        kernel=planned.kernel,
        thickness_um=planned.protocol.spacing_um[0],
        syntax=planned.syntax,
        left_out=planned.left_out,
    )


def _bystander_files(visit: _Visit, bystander: Bystander) -> Iterator[File]:
    uid = made_up_uid(visit.study.uid, str(bystander))
    if bystander is Bystander.LOCALIZER:
        yield from localizer_files(visit.study, uid, _scout(visit.anatomy))
    elif bystander is Bystander.DOSE_REPORT:
        yield from dose_report_files(visit.study, uid)
    elif bystander is Bystander.DOSE_SCREEN:
        yield from dose_screen_files(visit.study, uid, _screen())


def _scout(anatomy: Anatomy) -> NDArray[np.int16]:
    """A coronal look at the body, as dark and bright as a scout view."""
    grid = Grid.around(anatomy.centre_um, (96, 3, 128), (2500, 4000, 2800))
    return np.ascontiguousarray(anatomy.tissues(grid)[::-1, 1].astype(np.int16) * 20 - 200)


def _screen() -> NDArray[np.uint8]:
    """A dark page with bright bars where a dose page has its lines of text."""
    screen = np.zeros((64, 96), dtype=np.uint8)
    screen[8:56:8, 6:80] = 230
    return screen


def _patient_truth(visit: _Visit) -> PatientTruth:
    enrolled, person = visit.enrolled, visit.person
    return PatientTruth(
        person.patient_id, enrolled.scanner.site, person.age_years, person.sex, enrolled.diagnosis, enrolled.rules
    )


def _series_truth(visit: _Visit, header: SeriesHeader, planned: PlannedSeries, slice_count: int) -> SeriesTruth:
    return SeriesTruth(
        patient_id=visit.person.patient_id,
        series_uid=str(header.uid),
        phase=planned.phase,
        slice_count=slice_count,
        rules=planned.rules,
        kept=not planned.rules and not visit.enrolled.rules,
    )


def _volume_truth(visit: _Visit, header: SeriesHeader, phantom: Phantom) -> VolumeTruth:
    lesions = (
        LesionTruth(lesion.kind, _millimetres(lesion.shape.centre_um), voxels)
        for lesion, voxels in zip(visit.anatomy.lesions, phantom.lesion_voxels, strict=True)
    )
    return VolumeTruth(
        patient_id=visit.person.patient_id,
        phase=header.phase,
        series_uid=str(header.uid),
        image_sha256=content_sha256(Volume(phantom.volume.voxels, phantom.volume.geometry)),
        labels=phantom.labels,
        lesions=tuple(lesions),
    )


def _millimetres(point_um: tuple[int, int, int]) -> tuple[float, float, float]:
    x, y, z = (part / 1000 for part in point_um)
    return x, y, z


def _write_loose_files(folder: Path) -> list[SetAsideTruth]:
    """Files that lie in every real export and are no DICOM."""
    home = PurePosixPath(DICOM_FOLDER, "site-a")
    beginning = b"\0" * 128 + b"DICM" + b"\x02\x00\x00\x00UL\x04\x00"
    files = {
        "README.TXT": (b"Exported by the PACS. Not for distribution.\r\n", "not-dicom"),
        "Thumbs.db": (bytes(range(256)) * 8, "not-dicom"),
        "IM999998": (b"", "empty"),
        "IM999999": (beginning, "unreadable"),
    }
    for name, (content, _) in files.items():
        write_atomically(folder / home / name, content, durable=False)
    return [SetAsideTruth(str(home / name), code) for name, (_, code) in files.items()]


def _clinical_table(visits: list[_Visit]) -> str:
    """The hospital's table: one line a patient it knows."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["patient_id", "age", "sex", "diagnosis", "pathology_code", "site"])
    for visit in visits:
        if visit.enrolled.in_clinical:
            person, diagnosis = visit.person, visit.enrolled.diagnosis
            code = PATHOLOGY_CODES.get(diagnosis, "")
            table.writerow([person.patient_id, person.age_years, person.sex, diagnosis, code, visit.study.scanner.site])
    return text.getvalue()
