"""The demo cohort: a hospital's export with known faults, written as DICOM, and the truth about it.

Everything hangs on one seed. Each patient has one body; every series shows it on its own grid, in its own phase, with
its own noise. Patients' data are invented, and planted wherever scanners put them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from itertools import chain
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from pipeline.core.file_names import CLINICAL_TABLE
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
from pipeline.synth.phantom import Phantom, coronal, render
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

COPIED_SLICES = 3
"""How many slices of a series lie in the export twice."""

FIRST_SERIES_NUMBER = 2
"""The localizer is series 1."""

FIRST_BYSTANDER_NUMBER = 990
"""Series numbers of what is no slice, as scanners count them."""

PRIOR_DAYS = 203
"""How long before the study of interest a patient was scanned already."""


@dataclass(frozen=True, slots=True, eq=False)
class _Subject:
    """One enrolled patient with everything drawn for them; the study of interest comes first."""

    number: int
    seed: int
    enrolled: Enrolled
    person: Person
    anatomy: Anatomy
    study: Study
    prior: Study


@dataclass(frozen=True, slots=True, eq=False)
class _Lot:
    """Files of one folder, and what is true of them: slices of a series, or set aside under a code."""

    home: PurePosixPath
    files: tuple[File, ...]
    series: tuple[SeriesTruth, ...] = ()
    volumes: tuple[VolumeTruth, ...] = ()
    code: str = ""

    @property
    def set_aside(self) -> tuple[SetAsideTruth, ...]:
        """Fates of the files where they are no slices."""
        return tuple(SetAsideTruth(str(self.home / name), str(self.code)) for name, _ in self.files if self.code)


def make_cohort(folder: Path, *, seed: int = 7) -> CohortTruth:
    """The truth about a cohort, written below a folder as `dicom/` and `clinical.csv`.

    Args:
        folder: made if missing; what it holds besides stays, and files that are right already are left alone.
        seed: everything hangs on it; the same seed gives the same bytes.

    Raises:
        StorageError: when the disk is full or the folder cannot be written.
    """
    subjects = [_subject(number, enrolled, seed) for number, enrolled in enumerate(roster(), start=1)]
    write_text(folder / CLINICAL_TABLE, _clinical_table(subjects))
    series: list[SeriesTruth] = []
    volumes: list[VolumeTruth] = []
    set_aside: list[SetAsideTruth] = []
    file_count = 0
    for lot in chain(chain.from_iterable(map(_lots, subjects)), _loose_lots()):
        _write(folder / lot.home, lot.files)
        series += lot.series
        volumes += lot.volumes
        set_aside += lot.set_aside
        file_count += len(lot.files)
    patients = tuple(_patient_truth(subject) for subject in subjects)
    secrets = {secret for subject in subjects for secret in _secrets(subject)}
    return CohortTruth(patients, tuple(series), tuple(volumes), tuple(set_aside), file_count, tuple(sorted(secrets)))


def _write(home: Path, files: Iterable[File]) -> None:
    """Files that lie there already, unchanged, keep their time, so that a second demo has nothing to scan again."""
    for name, content in files:
        path = home / name
        if not (path.is_file() and path.read_bytes() == content):
            write_atomically(path, content, durable=False)


def _subject(number: int, enrolled: Enrolled, seed: int) -> _Subject:
    rng = np.random.default_rng([seed, number])
    person = make_person(rng, number, enrolled.scanner, enrolled.age_years)
    injection = time(int(rng.integers(8, 17)), int(rng.integers(60)), int(rng.integers(60)))
    study, prior = (
        Study(
            person,
            enrolled.scanner,
            made_up_uid(seed, what, number),
            datetime.combine(person.study_date, injection) - timedelta(days=days),
        )
        for what, days in (("study", 0), ("prior", PRIOR_DAYS))
    )
    centre_um = (0, 1000 * int(rng.integers(-30, 31)), 1000 * int(rng.integers(-900, -300)))
    anatomy = make_anatomy(rng, enrolled.kinds, centre_um=centre_um)
    return _Subject(number, seed, enrolled, person, anatomy, study, prior)


def _lots(subject: _Subject) -> Iterator[_Lot]:
    """Everything the export holds of one patient, folder by folder."""
    tissues: dict[Protocol, NDArray[np.uint8]] = {}
    first: tuple[File, ...] = ()
    for study, series in ((subject.study, subject.enrolled.series), (subject.prior, subject.enrolled.prior)):
        for number, planned in enumerate(series, start=FIRST_SERIES_NUMBER):
            lot = _series_lot(subject, study, planned, number, tissues)
            first = first or lot.files
            yield lot
    for number, bystander in enumerate(Bystander, start=FIRST_BYSTANDER_NUMBER):
        if bystander in subject.enrolled.bystanders:
            files = tuple(_bystander_files(subject, bystander, first))
            yield _Lot(_home(subject, subject.study, number), files, code=bystander)


def _series_lot(
    subject: _Subject, study: Study, planned: PlannedSeries, number: int, tissues: dict[Protocol, NDArray[np.uint8]]
) -> _Lot:
    """One series; those on one grid share its tissues."""
    protocol = planned.protocol
    grid = Grid.around(subject.anatomy.centre_um, protocol.shape, protocol.spacing_um)
    if protocol not in tissues:
        tissues[protocol] = subject.anatomy.tissues(grid)
    noise = np.random.default_rng([subject.seed, subject.number, number, *([1] if study is subject.prior else [])])
    phantom = render(subject.anatomy, tissues[protocol], grid, planned.phase, noise)
    header = _header(study, planned, number)
    volume = coronal(phantom.volume) if planned.is_coronal else phantom.volume
    files = tuple(ct_files(header, volume))
    kept = not planned.rules and not subject.enrolled.rules
    series = SeriesTruth(subject.person.patient_id, str(header.uid), planned.phase, len(files), planned.rules, kept)
    volumes = (_volume_truth(subject, header, phantom),) if kept else ()
    return _Lot(_home(subject, study, number), files, (series,), volumes)


def _header(study: Study, planned: PlannedSeries, number: int) -> SeriesHeader:
    return SeriesHeader(
        study=study,
        uid=made_up_uid(study.uid, number),
        number=number,
        phase=planned.phase,
        kernel=planned.kernel,
        is_reformatted=planned.is_coronal,
        syntax=planned.syntax,
        left_out=planned.left_out,
    )


def _home(subject: _Subject, study: Study, number: int) -> PurePosixPath:
    """A series' folder: numbers at one site; at the other what no export should tell."""
    person, scanner = subject.person, study.scanner
    site = PurePosixPath(DICOM_FOLDER, f"site-{scanner.site.lower()}")
    if scanner.names_patients_in_folders:
        name = person.name.split("=")[0].replace("^", "_")
        day = f"{study.injection:%Y-%m-%d} CT Abdomen"
        return site / f"{name}_{person.patient_id}" / day / f"{number:03d} {scanner.protocol}"
    visit = 1 if study is subject.study else 2
    return site / f"PA{subject.number:06d}" / f"ST{visit:06d}" / f"SE{number:06d}"


def _bystander_files(subject: _Subject, bystander: Bystander, slices: Sequence[File]) -> Iterator[File]:
    """Files that lie beside the series, some of them made of its slices."""
    uid = made_up_uid(subject.study.uid, str(bystander))
    match bystander:
        case Bystander.LOCALIZER:
            yield from localizer_files(subject.study, uid, _scout(subject.anatomy))
        case Bystander.DOSE_REPORT:
            yield from dose_report_files(subject.study, uid)
        case Bystander.DOSE_SCREEN:
            yield from dose_screen_files(subject.study, uid, _screen())
        case Bystander.COPIES:
            yield from slices[:COPIED_SLICES]
        case Bystander.CUT_COPY:
            name, content = slices[COPIED_SLICES]
            yield name, content[: len(content) * 3 // 5]


def _scout(anatomy: Anatomy) -> NDArray[np.int16]:
    """A coronal look at the body, as dark and bright as a scout view."""
    grid = Grid.around(anatomy.centre_um, (96, 3, 128), (2500, 4000, 2800))
    return np.ascontiguousarray(anatomy.tissues(grid)[::-1, 1].astype(np.int16) * 20 - 200)


def _screen() -> NDArray[np.uint8]:
    """A dark page with bright bars where a dose page has its lines of text."""
    screen = np.zeros((64, 96), dtype=np.uint8)
    screen[8:56:8, 6:80] = 230
    return screen


def _patient_truth(subject: _Subject) -> PatientTruth:
    enrolled, person = subject.enrolled, subject.person
    return PatientTruth(
        person.patient_id, enrolled.scanner.site, person.age_years, person.sex, enrolled.diagnosis, enrolled.rules
    )


def _secrets(subject: _Subject) -> tuple[str, ...]:
    """What must be found nowhere in a dataset."""
    scanner = subject.enrolled.scanner
    places = (scanner.institution, scanner.address, scanner.station)
    days = (f"{subject.prior.injection:%Y%m%d}",) if subject.enrolled.prior else ()
    return (*subject.person.secrets, *places, *days)


def _volume_truth(subject: _Subject, header: SeriesHeader, phantom: Phantom) -> VolumeTruth:
    lesions = (
        LesionTruth(lesion.kind, _millimetres(lesion.shape.centre_um), voxels)
        for lesion, voxels in zip(subject.anatomy.lesions, phantom.lesion_voxels, strict=True)
    )
    return VolumeTruth(
        patient_id=subject.person.patient_id,
        phase=header.phase,
        series_uid=str(header.uid),
        image_sha256=content_sha256(Volume(phantom.volume.voxels, phantom.volume.geometry)),
        labels=phantom.labels,
        lesions=tuple(lesions),
    )


def _millimetres(point_um: tuple[int, int, int]) -> tuple[float, float, float]:
    x, y, z = (part / 1000 for part in point_um)
    return x, y, z


def _loose_lots() -> Iterator[_Lot]:
    """Files that lie in every real export and are no DICOM."""
    home = PurePosixPath(DICOM_FOLDER, "site-a")
    beginning = b"\0" * 128 + b"DICM" + b"\x02\x00\x00\x00UL\x04\x00"
    readme = ("README.TXT", b"Exported by the PACS. Not for distribution.\r\n")
    yield _Lot(home, (readme, ("Thumbs.db", bytes(range(256)) * 8)), code="not-dicom")
    yield _Lot(home, (("IM999998", b""),), code="empty")
    yield _Lot(home, (("IM999999", beginning),), code="unreadable")


def _clinical_table(subjects: list[_Subject]) -> str:
    """The hospital's table: one line a patient it knows."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["patient_id", "age", "sex", "diagnosis", "pathology_code", "site"])
    for subject in subjects:
        if subject.enrolled.in_clinical:
            person, diagnosis = subject.person, subject.enrolled.diagnosis
            code = PATHOLOGY_CODES.get(diagnosis, "")
            table.writerow(
                [person.patient_id, person.age_years, person.sex, diagnosis, code, subject.study.scanner.site]
            )
    return text.getvalue()
