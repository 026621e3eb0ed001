"""`liverset convert`: a tree of DICOM files as volumes, with a table of series and a table of files.

A volume is named after its content, which it shows anyway; what has no content, and the provenance of each slice, is
named under a secret. An unkeyed digest of a UID would let anybody who holds the UID find its patient's volume.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline.core.config import PhasesConfig
from pipeline.core.errors import PipelineError
from pipeline.core.file_names import FILES_TABLE, SERIES_TABLE, SLICES_TABLE
from pipeline.core.files import write_text
from pipeline.core.pseudonyms import Pseudonyms
from pipeline.core.records import Fate, Instance, PhaseGuess, Problem, Series, Severity, SourceFile
from pipeline.core.volume import ColorImage, Volume
from pipeline.dicom.colour import is_colour_image, read_colour
from pipeline.dicom.convert import Conversion, read_series, safe_modality, series_facts
from pipeline.dicom.deid.deidentify import scanner_facts
from pipeline.dicom.group.phase import guess_phases
from pipeline.dicom.group.series import Grouping, group_series, slice_faults
from pipeline.dicom.read.names import SafeNames
from pipeline.dicom.read.pixels import SliceError
from pipeline.dicom.read.scan import ScanResult, scan
from pipeline.frames import Tabular

KEY_DIGITS = 12
"""Hexadecimal digits in a name: two of a million series share one with a chance of 1 in 500, and are numbered then."""

_NAMED_FILES = 3
"""How many of the files that broke a series its row names; the table of files names them all."""

_COLOUR_NOTE = "colour: red, green and blue, without HU or MR intensity"
_NO_SITES = PhasesConfig()

SERIES_COLUMNS = (
    *("series", "status", "path", "reason", "warnings", "modality", "phase", "shape", "spacing", "affine"),
    *("vendor", "model", "thickness", "kernel", "content_sha256"),
)
FILE_COLUMNS = ("file", "status", "reason", "series")
SLICE_COLUMNS = (
    *("series", "slice", "file", "frame", "instance", "position_lps_mm", "slope", "intercept"),
    "padded_pixels",
)


@dataclass(frozen=True, slots=True, repr=False)
class ConvertReport(Tabular):
    """What became of a tree of DICOM files.

    Attributes:
        series: rows of `series.csv`, by column.
        files: rows of `files.csv`, by column.
        slices: rows of `slices.csv`, by column: where each slice of each volume came from.
        volumes: by the series' name, those that were kept in memory; none where they went to a folder.
    """

    columns = SERIES_COLUMNS

    series: tuple[Mapping[str, str], ...]
    files: tuple[Mapping[str, str], ...]
    slices: tuple[Mapping[str, str], ...]
    volumes: Mapping[str, Volume] = field(default_factory=dict)

    def rows(self) -> Sequence[Mapping[str, str]]:
        """One row a series."""
        return self.series

    @property
    def is_clean(self) -> bool:
        """True when nothing was flagged or refused."""
        return not any(row["status"] in ("flagged", "refused") for row in self.series)

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
    phases: PhasesConfig = _NO_SITES,
    allow_tilt: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> ConvertReport:
    """Every volume below some paths as `.nii.gz`, with `series.csv`, `files.csv` and `slices.csv` beside them.

    Args:
        src: folders, files or archives.
        out: folder for the volumes and the tables.
        pseudonyms: for what is named without content; the same secret gives the same names.
        write: writes one volume, such as `image.nifti.write_nifti`.
        content_sha256: names a volume's content, such as `image.nifti.content_sha256`.
        phases: how sites name their phases.
        allow_tilt: keep tilted series with their true, sheared grid.
        progress: told the number of series done, and of all.

    Raises:
        StorageError: when the disk is full or a folder cannot be written.
    """
    report = read_tree(
        src,
        pseudonyms,
        keep=lambda name, image: write(out / volume_name(name), image),
        content_sha256=content_sha256,
        phases=phases,
        allow_tilt=allow_tilt,
        progress=progress,
    )
    rows = [{**row, "path": volume_name(row["series"]) if row["content_sha256"] else ""} for row in report.series]
    report = replace(report, series=tuple(rows))
    write_text(out / SERIES_TABLE, _csv(SERIES_COLUMNS, report.series))
    write_text(out / FILES_TABLE, _csv(FILE_COLUMNS, report.files))
    write_text(out / SLICES_TABLE, _csv(SLICE_COLUMNS, report.slices))
    return report


def volume_name(series: str) -> str:
    """What the file of a series' volume is called."""
    return f"{series}.nii.gz"


def read_tree(
    src: Sequence[Path],
    pseudonyms: Pseudonyms,
    *,
    keep: Callable[[str, Volume | ColorImage], None],
    content_sha256: Callable[[Volume | ColorImage], str],
    phases: PhasesConfig = _NO_SITES,
    allow_tilt: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> ConvertReport:
    """What `convert_tree` reports, without a file written: each volume is handed on as soon as it is read.

    Args: as `convert_tree`, and
        keep: takes each volume under its series' name.
    """
    found = scan(src)
    grouping = group_series(found.instances, found.set_aside)
    names = SafeNames(src, found.instances)
    shelf = _Shelf(keep, content_sha256)
    guesses = _phases(grouping.series, phases)
    for instance in found.instances:
        names.of(instance.source)  # in order of path, so that the same tree gives the same numbers
    results: list[_Result] = []
    for number, series in enumerate(grouping.series, start=1):
        row = _described(series, guesses[series.key], pseudonyms, names)
        results.append(_converted(series, row, names, shelf, pseudonyms, allow_tilt=allow_tilt))
        progress(number, len(grouping.series))
    files = _file_rows(found, grouping, results, names)
    rows = [*(result.row for result in results), *_excluded_rows(found.instances, grouping, pseudonyms)]
    slices = [row for result in results for row in result.slices]
    return ConvertReport(tuple(rows), tuple(files), tuple(slices))


@dataclass(frozen=True, slots=True)
class _Result:
    """What became of one series: its row, its files, those that broke it, and rows of its slices."""

    row: dict[str, str]
    sources: tuple[SourceFile, ...]
    culprits: tuple[SourceFile, ...] = ()
    slices: tuple[dict[str, str], ...] = ()


def _phases(series: Sequence[Series], rules: PhasesConfig) -> dict[str, PhaseGuess]:
    studies: dict[tuple[str, str], list[Series]] = {}
    for one in series:
        studies.setdefault((one.first.text("PatientID"), one.first.text("StudyInstanceUID")), []).append(one)
    return {key: guess for study in studies.values() for key, guess in guess_phases(study, rules).items()}


class _Shelf:
    """Volumes, each named after its modality and content; equal ones are numbered."""

    def __init__(
        self,
        keep: Callable[[str, Volume | ColorImage], None],
        content_sha256: Callable[[Volume | ColorImage], str],
    ) -> None:
        self._keep, self._content_sha256 = keep, content_sha256
        self._counts = Counter[str]()

    def put(self, image: Volume | ColorImage, modality: str) -> dict[str, str]:
        """Hand an image on; what its row tells of it."""
        content = self._content_sha256(image)
        name = f"{modality}_{content[:KEY_DIGITS]}"
        self._counts[name] += 1
        if self._counts[name] > 1:
            name = f"{name}-{self._counts[name]}"
        self._keep(name, image)
        return {
            "series": name,
            "shape": "x".join(map(str, image.geometry.shape)),
            "spacing": " ".join(f"{spacing:.6g}" for spacing in image.geometry.spacing_mm),
            "affine": json.dumps([[round(float(value), 6) + 0.0 for value in row] for row in image.geometry.affine]),
            "content_sha256": content,
        }


def _converted(
    series: Series,
    row: dict[str, str],
    names: SafeNames,
    shelf: _Shelf,
    pseudonyms: Pseudonyms,
    *,
    allow_tilt: bool,
) -> _Result:
    """A series with its volume written, or why it was refused."""
    sources = tuple(dict.fromkeys(slice_.source for slice_ in series.instances))
    try:
        found = read_colour(series) if is_colour_image(series) else read_series(series, allow_tilt=allow_tilt)
    except PipelineError as error:
        culprits = _culprits(series, error)
        named = ", ".join(map(names.of, culprits[:_NAMED_FILES]))
        row.update(status="refused", reason=f"{named}: {error}" if named else str(error))
        return _Result(row, sources, culprits)
    if isinstance(found, ColorImage):
        row |= {"status": "converted", "warnings": _COLOUR_NOTE} | shelf.put(found, row["modality"])
        return _Result(row, sources)
    row |= _verdict(found.problems) | shelf.put(found.volume, row["modality"])
    return _Result(row, sources, slices=tuple(_slice_rows(row["series"], found, names, pseudonyms)))


def _culprits(series: Series, error: PipelineError) -> tuple[SourceFile, ...]:
    """The files that an error, or a fault of their own, makes unreadable."""
    if isinstance(error, SliceError):
        return (error.source,)
    return tuple(dict.fromkeys(slice_.source for slice_ in series.instances if slice_faults(slice_)))


def _slice_rows(
    series: str, conversion: Conversion, names: SafeNames, pseudonyms: Pseudonyms
) -> Iterator[dict[str, str]]:
    for number, record in enumerate(conversion.slices):
        yield {
            "series": series,
            "slice": str(number),
            "file": names.of(record.source),
            "frame": "" if record.frame is None else str(record.frame),
            "instance": pseudonyms.token("instance", record.sop_instance_sha256),
            "position_lps_mm": " ".join(f"{part:.6g}" for part in record.position_lps_mm),
            "slope": f"{record.slope:.12g}",
            "intercept": f"{record.intercept:.12g}",
            "padded_pixels": str(record.padded_pixels),
        }


def _verdict(problems: Iterable[Problem]) -> dict[str, str]:
    flags = _messages(problems, Severity.FLAG)
    return {
        "status": "flagged" if flags else "converted",
        "reason": flags,
        "warnings": _messages(problems, Severity.NOTE),
    }


def _messages(problems: Iterable[Problem], severity: Severity) -> str:
    return "; ".join(f"{problem.code}: {problem.message}" for problem in problems if problem.severity is severity)


def _described(series: Series, guess: PhaseGuess, pseudonyms: Pseudonyms, names: SafeNames) -> dict[str, str]:
    facts = series_facts(series)
    phase = guess.phase.value if guess.phase else "?" if guess.needs_person else ""
    modality, scanner = safe_modality(facts.modality), scanner_facts(series, pseudonyms)
    row = dict.fromkeys(SERIES_COLUMNS, "")
    row.update(
        series=_name(modality, series.key, pseudonyms),
        modality=modality,
        phase=phase,
        vendor=scanner["manufacturer"],
        model=scanner["model"],
        thickness="" if facts.slice_thickness_mm is None else f"{facts.slice_thickness_mm:g}",
        kernel=scanner["kernel"],
    )
    return row


def _name(modality: str, key: str, pseudonyms: Pseudonyms) -> str:
    """What a series without a volume is called; "not" keeps it apart from names by content."""
    return f"{modality}_not_{pseudonyms.token('series', key, digits=KEY_DIGITS)}"


def _excluded_rows(instances: Sequence[Instance], grouping: Grouping, pseudonyms: Pseudonyms) -> list[dict[str, str]]:
    """One row a SeriesInstanceUID of which nothing is a slice: localizers, reports, captures."""
    with_slices = {slice_.text("SeriesInstanceUID") for series in grouping.series for slice_ in series.instances}
    codes = {fate.source: fate for fate in grouping.set_aside if fate.fate is Fate.EXCLUDED}
    rows: dict[str, dict[str, str]] = {}
    for instance in instances:
        fate, uid = codes.get(instance.source), instance.text("SeriesInstanceUID")
        if fate is not None and uid not in with_slices:
            modality = safe_modality(instance.text("Modality"))
            row = dict.fromkeys(SERIES_COLUMNS, "")
            row.update(series=_name(modality, uid, pseudonyms), status="excluded", modality=modality)
            row.update(reason=f"{fate.code}: {fate.reason}")
            rows.setdefault(uid, row)
    return list(rows.values())


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
    return [rows[source] for source in sorted(rows, key=lambda one: (str(one.path), one.member or ""))]


def _file_row(file: str, fate: Fate, reason: str, series: str = "") -> dict[str, str]:
    return {"file": file, "status": fate.value, "reason": reason, "series": series}


def _csv(columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
