"""`liverset convert`: a tree of DICOM files as volumes, with a table of series and a table of files.

Patients, studies, series and slices are named under a secret: an unkeyed digest of a UID would let anybody who holds
the UID find its patient's volume. No order tells anything of the source either; the way back is a table of its own.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

from pipeline.core.config import PATIENT_ID, PhasesConfig
from pipeline.core.errors import PipelineError
from pipeline.core.file_names import FILES_TABLE, LOOKUP_TABLE, SERIES_TABLE, SLICES_TABLE
from pipeline.core.files import PRIVATE_FILE_MODE, csv_text, make_private_folder, write_json, write_text
from pipeline.core.pseudonyms import Pseudonyms, normalised_patient_id
from pipeline.core.records import Fate, Instance, PhaseGuess, Problem, Series, Severity, SourceFile
from pipeline.core.volume import ColorImage, Volume
from pipeline.dicom.colour import is_colour_image, read_colour
from pipeline.dicom.convert import Conversion, read_series, safe_modality
from pipeline.dicom.deid.deidentify import patient_id_of, scanner_facts
from pipeline.dicom.describe import (
    FACT_COLUMNS,
    PLACE_COLUMNS,
    description_of,
    description_of_instance,
    place_in_table,
    starts_s,
    unique_stems,
    volume_stem,
)
from pipeline.dicom.group.people import contradicted_numbers
from pipeline.dicom.group.phase import recognise_phases
from pipeline.dicom.group.series import Grouping, group_series, slice_faults
from pipeline.dicom.read.names import SafeNames
from pipeline.dicom.read.patients import identified
from pipeline.dicom.read.pixels import SliceError
from pipeline.dicom.read.scan import ScanResult, scan
from pipeline.dicom.sidecar import sidecar
from pipeline.frames import Tabular

Progress: TypeAlias = Callable[[int, int], None]
"""Takes the number of slices done, and of all."""
Keep: TypeAlias = Callable[[Mapping[str, str], Series, Volume | ColorImage], str]
"""Takes a volume with its row and its series; gives back where it went."""

NIFTI = ".nii.gz"
SIDECAR = ".json"

_NAMED_FILES = 3
"""How many of the files that broke a series its row names; the table of files names them all."""

_COLOUR_NOTE = "colour: red, green and blue, without HU or MR intensity"
_NO_SITES = PhasesConfig()

SERIES_COLUMNS = (
    *(*PLACE_COLUMNS, "series", "status", "path", "phase", "kind", "modality", *FACT_COLUMNS, "reason", "warnings"),
    *("shape", "spacing", "affine", "vendor", "model", "kernel", "content_sha256"),
)
FILE_COLUMNS = ("file", "status", "reason", "series")
SLICE_COLUMNS = (
    *("series", "slice", "file", "frame", "instance", "position_lps_mm", "slope", "intercept"),
    "padded_pixels",
)
LOOKUP_COLUMNS = ("path", "series", "file", "source", "patient", "patient_id", "study_uid", "series_uid")
"""Of the private table that leads from every volume and every file of the tables back to the source."""


@dataclass(frozen=True, slots=True, repr=False)
class ConvertReport(Tabular):
    """What became of a tree of DICOM files.

    Attributes:
        series: rows of `series.csv`, by column.
        files: rows of `files.csv`, by column.
        slices: rows of `slices.csv`, by column: where each slice of each volume came from.
        lookup: rows of `lookup.csv`, by column: which file of the source each name stands for. Private.
        volumes: by the series' name, those that were kept in memory; none where they went to a folder.
    """

    columns = SERIES_COLUMNS

    series: tuple[Mapping[str, str], ...]
    files: tuple[Mapping[str, str], ...]
    slices: tuple[Mapping[str, str], ...]
    lookup: tuple[Mapping[str, str], ...] = field(default=(), repr=False)
    volumes: Mapping[str, Volume] = field(default_factory=dict)

    def rows(self) -> Sequence[Mapping[str, str]]:
        """One row a series."""
        return self.series

    @property
    def is_clean(self) -> bool:
        """True when something was converted, and nothing was flagged or refused."""
        found = {row["status"] for row in self.series}
        return "converted" in found and found.isdisjoint(("flagged", "refused"))

    def counts(self) -> dict[str, int]:
        """How many series and files have each status."""
        words = [row["status"] for row in (*self.series, *self.files)]
        return {word: words.count(word) for word in sorted(set(words))}


def convert_tree(
    src: Sequence[Path],
    out: Path,
    pseudonyms: Pseudonyms,
    *,
    write: Callable[[Path, Volume | ColorImage], None],
    content_sha256: Callable[[Volume | ColorImage], str],
    private: Path,
    phases: PhasesConfig = _NO_SITES,
    patient: str = PATIENT_ID,
    allow_tilt: bool = False,
    progress: Progress = lambda done, total: None,
) -> ConvertReport:
    """Every volume below some paths as `.nii.gz`, each with a JSON sidecar, and the tables of series, files and slices.

    Args:
        src: folders, files or archives.
        out: folder for the volumes and the tables.
        pseudonyms: for every name; the same secret gives the same names.
        write: writes one volume, such as `image.nifti.write_nifti`.
        content_sha256: of a volume's content, such as `image.nifti.content_sha256`.
        private: folder for the table that leads back to the source.
        phases: how sites name their phases.
        patient: where the patient stands, as `[source] patient`.
        allow_tilt: keep tilted series with their true, sheared grid.
        progress: called with the number of slices done, and of all.

    Raises:
        ConfigError: when the paths do not tell the patients.
        StorageError: when the disk is full or a folder cannot be written.
    """

    def keep(row: Mapping[str, str], series: Series, image: Volume | ColorImage) -> str:
        stem = row["path"]
        write(out / f"{stem}{NIFTI}", image)
        write_json(out / f"{stem}{SIDECAR}", sidecar(series, pseudonyms))
        return f"{stem}{NIFTI}"

    report = read_tree(
        src,
        pseudonyms,
        keep=keep,
        content_sha256=content_sha256,
        phases=phases,
        patient=patient,
        allow_tilt=allow_tilt,
        progress=progress,
    )
    write_text(out / SERIES_TABLE, csv_text(SERIES_COLUMNS, report.series))
    write_text(out / FILES_TABLE, csv_text(FILE_COLUMNS, report.files))
    write_text(out / SLICES_TABLE, csv_text(SLICE_COLUMNS, report.slices))
    table = make_private_folder(private) / LOOKUP_TABLE
    write_text(table, csv_text(LOOKUP_COLUMNS, report.lookup), mode=PRIVATE_FILE_MODE)
    return report


def read_tree(
    src: Sequence[Path],
    pseudonyms: Pseudonyms,
    *,
    keep: Keep,
    content_sha256: Callable[[Volume | ColorImage], str],
    phases: PhasesConfig = _NO_SITES,
    patient: str = PATIENT_ID,
    allow_tilt: bool = False,
    progress: Progress = lambda done, total: None,
) -> ConvertReport:
    """What `convert_tree` reports, without a file written: each volume is handed on as soon as it is read.

    Args: as `convert_tree`, and
        keep: takes each volume with its row, whose `path` has no ending yet; gives back where it went, "" for nowhere.
    """
    found = identified(scan(src), src, patient)
    grouping = group_series(found.instances, found.set_aside)
    names = _safe_names(src, found, pseudonyms)
    job = _Job(keep, content_sha256, names, pseudonyms, allow_tilt=allow_tilt)
    results: list[_Result] = []
    done, total = 0, sum(len(one.instances) for one in grouping.series)
    for series, row in _described(found.instances, grouping.series, phases, pseudonyms):
        results.append(job.convert(series, row))
        done += len(series.instances)
        progress(done, total)
    rows = [*(result.row for result in results), *_excluded_rows(found.instances, grouping, pseudonyms)]
    rows.sort(key=place_in_table)
    ranks = {row["series"]: rank for rank, row in enumerate(rows)}
    files = sorted(_file_rows(found, grouping, results, names), key=lambda row: _place_of_file(row, ranks))
    slices = [row for result in results for row in result.slices]
    lookup = _lookup_rows(found, results, names, pseudonyms)
    return ConvertReport(tuple(rows), tuple(files), tuple(slices), tuple(lookup))


def _safe_names(src: Sequence[Path], found: ScanResult, pseudonyms: Pseudonyms) -> SafeNames:
    """Names for all files found; the numbers of hidden ones are given in a keyed order, which tells nothing."""
    names = SafeNames(src, found.instances)
    sources = [*(one.source for one in found.instances), *(one.source for one in found.set_aside)]
    for source in sorted(sources, key=lambda one: pseudonyms.token("file", names.true_name(one))):
        names.of(source)
    return names


def _place_of_file(row: Mapping[str, str], ranks: Mapping[str, int]) -> tuple[int, str]:
    """Sorts files: in order of their series, then by the name that stands in the table."""
    return ranks.get(row["series"], len(ranks)), row["file"]


@dataclass(frozen=True, slots=True)
class _Result:
    """What became of one series: its row, its files, those that broke it, and rows of its slices."""

    row: dict[str, str]
    sources: tuple[SourceFile, ...]
    culprits: tuple[SourceFile, ...] = ()
    slices: tuple[dict[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class _Job:
    """What every series is converted with."""

    keep: Keep
    content_sha256: Callable[[Volume | ColorImage], str]
    names: SafeNames
    pseudonyms: Pseudonyms
    allow_tilt: bool = False

    def convert(self, series: Series, row: dict[str, str]) -> _Result:
        """A series with its volume handed on, or why it was refused."""
        sources = tuple(dict.fromkeys(slice_.source for slice_ in series.instances))
        try:
            is_colour = is_colour_image(series)
            found = read_colour(series) if is_colour else read_series(series, allow_tilt=self.allow_tilt)
        except PipelineError as error:
            culprits = _culprits(series, error)
            named = ", ".join(map(self.names.of, culprits[:_NAMED_FILES]))
            row |= {"status": "refused", "path": "", "reason": f"{named}: {error}" if named else str(error)}
            return _Result(row, sources, culprits)
        if isinstance(found, ColorImage):
            row |= {"status": "converted", "warnings": _COLOUR_NOTE}
            self._hand_on(row, series, found)
            return _Result(row, sources)
        row |= _verdict(found.problems)
        self._hand_on(row, series, found.volume)
        return _Result(row, sources, slices=tuple(self._slice_rows(row["series"], found)))

    def _hand_on(self, row: dict[str, str], series: Series, image: Volume | ColorImage) -> None:
        """Fill in what a row says of its image."""
        row |= {
            "path": self.keep(row, series, image),
            "shape": "x".join(map(str, image.geometry.shape)),
            "spacing": " ".join(f"{spacing:.6g}" for spacing in image.geometry.spacing_mm),
            "affine": json.dumps([[round(float(value), 6) + 0.0 for value in row] for row in image.geometry.affine]),
            "content_sha256": self.content_sha256(image),
        }

    def _slice_rows(self, series: str, conversion: Conversion) -> Iterator[dict[str, str]]:
        for number, record in enumerate(conversion.slices):
            yield {
                "series": series,
                "slice": str(number),
                "file": self.names.of(record.source),
                "frame": "" if record.frame is None else str(record.frame),
                "instance": self.pseudonyms.token("instance", record.sop_instance_sha256),
                "position_lps_mm": " ".join(f"{part:.6g}" for part in record.position_lps_mm),
                "slope": f"{record.slope:.12g}",
                "intercept": f"{record.intercept:.12g}",
                "padded_pixels": str(record.padded_pixels),
            }


def _culprits(series: Series, error: PipelineError) -> tuple[SourceFile, ...]:
    """The files that an error, or a fault of their own, makes unreadable."""
    if isinstance(error, SliceError):
        return (error.source,)
    return tuple(dict.fromkeys(slice_.source for slice_ in series.instances if slice_faults(slice_)))


def _verdict(problems: Iterable[Problem]) -> dict[str, str]:
    flags = _messages(problems, Severity.FLAG)
    return {
        "status": "flagged" if flags else "converted",
        "reason": flags,
        "warnings": _messages(problems, Severity.NOTE),
    }


def _messages(problems: Iterable[Problem], severity: Severity) -> str:
    return "; ".join(f"{problem.code}: {problem.message}" for problem in problems if problem.severity is severity)


def _described(
    instances: Sequence[Instance], series: Sequence[Series], phases: PhasesConfig, pseudonyms: Pseudonyms
) -> Iterator[tuple[Series, dict[str, str]]]:
    """Each series with its row as far as headers tell it; `path` is a name of its own, without an ending.

    They come in the order of the table, so that the times of the files written do not tell that of the source.
    """
    guesses = recognise_phases(series, phases)
    doubtful = contradicted_numbers(instances)
    starts = starts_s(series)
    rows = {
        one.key: _row(one, guesses[one.key], pseudonyms) | {"seconds_into_study": starts.get(one.key, "")}
        for one in series
    }
    stems = {one.key: volume_stem(rows[one.key], one, guesses[one.key]) for one in series}
    for key, stem in unique_stems(stems, pseudonyms).items():
        rows[key]["path"] = stem
    for one in sorted(series, key=lambda one: place_in_table(rows[one.key])):
        number = normalised_patient_id(one.first.text("PatientID"))
        against = doubtful.get(number) if number else None
        doubt = (Problem("patient-conflict", Severity.FLAG, f"one patient number, but {against}"),) if against else ()
        yield replace(one, problems=(*one.problems, *doubt)), rows[one.key]


def _row(series: Series, guess: PhaseGuess, pseudonyms: Pseudonyms) -> dict[str, str]:
    scanner = scanner_facts(series, pseudonyms)
    return {
        **dict.fromkeys(SERIES_COLUMNS, ""),
        **description_of(series, pseudonyms),
        "series": pseudonyms.token("series", series.key),
        "modality": safe_modality(series.first.text("Modality")),
        "phase": guess.phase.value if guess.phase else "?" if guess.needs_person else "",
        "kind": guess.kind,
        "vendor": scanner["manufacturer"],
        "model": scanner["model"],
        "kernel": scanner["kernel"],
    }


def _excluded_rows(instances: Sequence[Instance], grouping: Grouping, pseudonyms: Pseudonyms) -> list[dict[str, str]]:
    """One row a SeriesInstanceUID of which nothing is a slice: localizers, reports, captures."""
    with_slices = {slice_.text("SeriesInstanceUID") for series in grouping.series for slice_ in series.instances}
    codes = {fate.source: fate for fate in grouping.set_aside if fate.fate is Fate.EXCLUDED}
    rows: dict[str, dict[str, str]] = {}
    for instance in instances:
        fate, uid = codes.get(instance.source), instance.text("SeriesInstanceUID")
        if fate is not None and uid not in with_slices:
            row = dict.fromkeys(SERIES_COLUMNS, "") | description_of_instance(instance, pseudonyms)
            row.update(series=pseudonyms.token("series", uid), status="excluded")
            row.update(modality=safe_modality(instance.text("Modality")), reason=f"{fate.code}: {fate.reason}")
            rows.setdefault(uid, row)
    return list(rows.values())


def _lookup_rows(
    found: ScanResult, results: Sequence[_Result], names: SafeNames, pseudonyms: Pseudonyms
) -> Iterator[dict[str, str]]:
    """One row a file and volume, of every file found: what the name that stands in the tables stands for. Private."""
    used: dict[SourceFile, list[_Result]] = defaultdict(list)
    for result in results:
        for source in result.sources:
            used[source].append(result)
    for instance in found.instances:
        common = {
            "file": names.of(instance.source),
            "source": names.true_name(instance.source),
            "patient": pseudonyms.patient(patient_id_of(instance.header.get)),
            "patient_id": instance.text("PatientID"),
            "study_uid": instance.text("StudyInstanceUID"),
            "series_uid": instance.text("SeriesInstanceUID"),
        }
        for row in [result.row for result in used[instance.source]] or [{"path": "", "series": ""}]:
            yield {"path": row["path"], "series": row["series"], **common}
    for fate in found.set_aside:
        empty = dict.fromkeys(LOOKUP_COLUMNS, "")
        yield empty | {"file": names.of(fate.source), "source": names.true_name(fate.source)}


def _file_rows(
    found: ScanResult, grouping: Grouping, results: Sequence[_Result], names: SafeNames
) -> list[dict[str, str]]:
    """One row a file found: what it was used for, or why it was not."""
    rows = {}
    for result in results:
        refused = result.row["status"] == "refused"
        for source in result.sources:
            fate = Fate.UNREADABLE if source in result.culprits else Fate.EXCLUDED if refused else Fate.USED
            reason = f"its series is refused: {result.row['reason']}" if refused else ""
            rows[source] = _file_row(names.of(source), fate, reason, result.row["series"])
    for aside in (*found.set_aside, *grouping.set_aside):
        rows[aside.source] = _file_row(names.of(aside.source), aside.fate, f"{aside.code}: {aside.reason}")
    return list(rows.values())


def _file_row(file: str, fate: Fate, reason: str, series: str = "") -> dict[str, str]:
    return {"file": file, "status": fate.value, "reason": reason, "series": series}
