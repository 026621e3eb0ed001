"""`liverset convert`: a tree of DICOM files as volumes, with a table of series and a table of files."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.config import PhasesConfig
from pipeline.core.errors import PipelineError
from pipeline.core.files import write_text
from pipeline.core.records import Fate, FileFate, PhaseGuess, Problem, Series, Severity, SourceFile
from pipeline.core.volume import Volume
from pipeline.dicom.convert import Conversion, read_series, series_facts
from pipeline.dicom.names import SafeNames
from pipeline.dicom.phase import guess_phases
from pipeline.dicom.pixels import SliceError
from pipeline.dicom.scan import ScanResult, scan
from pipeline.dicom.series import group_series, slice_faults

SERIES_TABLE = "series.csv"
FILES_TABLE = "files.csv"
KEY_DIGITS = 12
"""Hexadecimal digits of a volume's name: two of a million series share one with a chance of 1 in 500."""

_NAMED_FILES = 3
"""How many of the files that broke a series its row names; the table of files names them all."""

_NO_SITES = PhasesConfig()

SERIES_COLUMNS = (
    *("series", "status", "path", "reason", "warnings", "modality", "phase", "shape", "spacing", "affine"),
    *("vendor", "model", "thickness", "kernel", "content_sha256"),
)
FILE_COLUMNS = ("file", "fate", "reason", "series")


@dataclass(frozen=True, slots=True)
class ConvertReport:
    """What became of a tree of DICOM files.

    Attributes:
        series: rows of `series.csv`, by column.
        files: rows of `files.csv`, by column.
    """

    series: tuple[Mapping[str, str], ...]
    files: tuple[Mapping[str, str], ...]

    @property
    def is_clean(self) -> bool:
        """True when nothing was flagged or refused."""
        return not any(row["status"] in ("flagged", "refused") for row in self.series)

    def counts(self) -> dict[str, int]:
        """How many series have each status, how many files each fate."""
        words = [row["status"] for row in self.series] + [row["fate"] for row in self.files]
        return {word: words.count(word) for word in sorted(set(words))}


def convert_tree(
    src: Sequence[Path],
    out: Path,
    *,
    write: Callable[[Path, Volume], None],
    content_sha256: Callable[[Volume], str],
    phases: PhasesConfig = _NO_SITES,
    allow_tilt: bool = False,
    index: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> ConvertReport:
    """Every volume below some paths as `.nii.gz`, with `series.csv` and `files.csv` beside them.

    Args:
        src: folders, files or archives.
        out: folder for the volumes and the tables.
        write: writes one volume, such as `image.nifti.write_nifti`.
        content_sha256: names a volume's content, such as `image.nifti.content_sha256`.
        phases: how sites name their phases.
        allow_tilt: keep tilted series with their true, sheared grid.
        index: where to remember headers.
        progress: told the number of series done, and of all.

    Raises:
        StorageError: when the disk is full or a folder cannot be written.
    """
    found = scan(src, index=index)
    grouping = group_series(found.instances, found.set_aside)
    names = SafeNames(src, found.instances)
    guesses = _phases(grouping.series, phases)
    rows: list[dict[str, str]] = []
    broken: dict[SourceFile, str] = {}
    for number, series in enumerate(grouping.series, start=1):
        row, culprits = _converted(series, out, guesses[series.key], write, content_sha256, allow_tilt=allow_tilt)
        if culprits:
            broken.update(dict.fromkeys(culprits, row["reason"]))
            row["reason"] = f"{', '.join(map(names.of, culprits[:_NAMED_FILES]))}: {row['reason']}"
        rows.append(row)
        progress(number, len(grouping.series))
    files = _file_rows(found, grouping.series, grouping.set_aside, rows, names, broken)
    report = ConvertReport(tuple(rows), tuple(files))
    write_text(out / SERIES_TABLE, _csv(SERIES_COLUMNS, report.series))
    write_text(out / FILES_TABLE, _csv(FILE_COLUMNS, report.files))
    return report


def _phases(series: Sequence[Series], rules: PhasesConfig) -> dict[str, PhaseGuess]:
    studies: dict[tuple[str, str], list[Series]] = {}
    for one in series:
        studies.setdefault((one.first.text("PatientID"), one.first.text("StudyInstanceUID")), []).append(one)
    return {key: guess for study in studies.values() for key, guess in guess_phases(study, rules).items()}


def _converted(
    series: Series,
    out: Path,
    guess: PhaseGuess,
    write: Callable[[Path, Volume], None],
    content_sha256: Callable[[Volume], str],
    *,
    allow_tilt: bool,
) -> tuple[dict[str, str], list[SourceFile]]:
    """The row of a series, its volume written; and the files that broke it, if any did."""
    row = _described(series, guess)
    try:
        conversion = read_series(series, allow_tilt=allow_tilt)
    except SliceError as error:
        return {**row, "status": "refused", "reason": str(error)}, [error.source]
    except PipelineError as error:
        culprits = dict.fromkeys(slice_.source for slice_ in series.instances if slice_faults(slice_))
        return {**row, "status": "refused", "reason": str(error)}, list(culprits)
    path = out / f"{row['series']}.nii.gz"
    write(path, conversion.volume)
    return {**row, **_outcome(conversion, path.name, content_sha256(conversion.volume))}, []


def _outcome(conversion: Conversion, name: str, content: str) -> dict[str, str]:
    geometry = conversion.volume.geometry
    flags = _messages(conversion.problems, Severity.FLAG)
    return {
        "status": "flagged" if flags else "converted",
        "path": name,
        "reason": flags,
        "warnings": _messages(conversion.problems, Severity.NOTE),
        "shape": "x".join(map(str, geometry.shape)),
        "spacing": " ".join(f"{spacing:.6g}" for spacing in geometry.spacing_mm),
        "affine": json.dumps([[round(float(value), 6) + 0.0 for value in row] for row in geometry.affine]),
        "content_sha256": content,
    }


def _messages(problems: Iterable[Problem], severity: Severity) -> str:
    return "; ".join(f"{problem.code}: {problem.message}" for problem in problems if problem.severity is severity)


def _described(series: Series, guess: PhaseGuess) -> dict[str, str]:
    facts = series_facts(series)
    phase = guess.phase.value if guess.phase else ""
    row = dict.fromkeys(SERIES_COLUMNS, "")
    modality = facts.modality if facts.modality.isalnum() and len(facts.modality) <= 4 else "XX"
    digest = hashlib.sha256(series.key.encode("utf-8", "surrogatepass")).hexdigest()[:KEY_DIGITS]
    row.update(
        series="_".join(filter(None, (modality, phase, digest))),
        modality=facts.modality,
        phase=phase or ("?" if guess.needs_person else ""),
        vendor=facts.manufacturer,
        model=facts.model,
        thickness="" if facts.slice_thickness_mm is None else f"{facts.slice_thickness_mm:g}",
        kernel=facts.kernel,
    )
    return row


def _file_rows(
    found: ScanResult,
    series: Sequence[Series],
    set_aside: Sequence[FileFate],
    rows: Sequence[Mapping[str, str]],
    names: SafeNames,
    broken: Mapping[SourceFile, str],
) -> list[dict[str, str]]:
    """One row a file found: what it was used for, or why it was not."""
    files = {}
    for one, row in zip(series, rows, strict=True):
        for source in dict.fromkeys(slice_.source for slice_ in one.instances):
            files[source] = _file_row(source, row, names, broken)
    for fate in (*found.set_aside, *set_aside):
        reason = f"{fate.code}: {fate.reason}"
        files[fate.source] = {"file": names.of(fate.source), "fate": fate.fate.value, "reason": reason, "series": ""}
    return [files[source] for source in sorted(files, key=lambda one: (str(one.path), one.member or ""))]


def _file_row(
    source: SourceFile, row: Mapping[str, str], names: SafeNames, broken: Mapping[SourceFile, str]
) -> dict[str, str]:
    fate, reason = Fate.USED, ""
    if source in broken:
        fate, reason = Fate.UNREADABLE, broken[source]
    elif row["status"] == "refused":
        fate, reason = Fate.EXCLUDED, f"its series is refused: {row['reason']}"
    return {"file": names.of(source), "fate": fate.value, "reason": reason, "series": row["series"]}


def _csv(columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
