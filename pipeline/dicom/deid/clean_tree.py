"""`liverset deidentify`: a tree of DICOM files as a tree of clean ones, and a table of what became of every file.

Nothing in the output names its source: files are told by their number in sorted order. What may not enter stays out
with a code; what looks as if it held text stays out until a person has looked at its montage.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread

from pipeline.core.config import DeidentificationConfig, Modality
from pipeline.core.decisions import NO_DECISIONS, Decisions
from pipeline.core.errors import PipelineError, PrivacyError
from pipeline.core.files import PRIVATE_FILE_MODE, csv_text, make_private_folder, remove, write_atomically, write_text
from pipeline.core.pseudonyms import Pseudonyms, normalised_patient_id
from pipeline.core.records import Instance, SourceFile
from pipeline.dicom.deid.admission import admit
from pipeline.dicom.deid.deidentify import NAME_DIGITS, deidentify
from pipeline.dicom.deid.encode import file_bytes
from pipeline.dicom.deid.text_gate import Suspect, boxes_to_mask, masked_images, suspect_of
from pipeline.dicom.read.by_pydicom import READ_FAULTS
from pipeline.dicom.read.header import FRAME_INDEX, FRAMES
from pipeline.dicom.read.pixels import PixelReader
from pipeline.dicom.read.scan import scan
from pipeline.dicom.read.sources import ARCHIVE_FAULTS, opened
from pipeline.faces import has_face
from pipeline.frames import Tabular

REPORT_TABLE = "report.csv"
REPORT_COLUMNS = ("action", "code", "output")
"""Of the table beside the copies, in order of pseudonyms: the order of the source's paths would tell names."""

NUMBERED_COLUMNS = ("file", *REPORT_COLUMNS)
"""Of the table in the private folder, in order of the source's paths."""

UNSTATED_PIXEL_MM = 1.0
"""Taken where PixelSpacing is missing: at least the size of any CT pixel, so that a head stays large enough."""

_NEEDS_REVIEW = frozenset({"face", "mixed-patients", "text-suspected", "unreadable"})


@dataclass(frozen=True, slots=True)
class CleanedFile:
    """What became of one file.

    Attributes:
        number: its place among all files found, in sorted order, from 1.
        action: "written", "quarantined" or "set-aside".
        code: why it was not written, or what was done to its pixels; "" for neither.
        output: where it went, below the output folder; "" when nowhere.
    """

    number: int
    action: str
    code: str = ""
    output: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class CleanTreeReport(Tabular):
    """Every file found, and each series that waits for a person to look at it."""

    columns = REPORT_COLUMNS

    files: tuple[CleanedFile, ...]
    suspects: tuple[Suspect, ...] = ()

    def rows(self) -> Sequence[Mapping[str, Any]]:
        """One row a file, as in `report.csv`: in order of what became of it, not of the source."""
        told = sorted((file.action, file.code, file.output) for file in self.files)
        return [dict(zip(REPORT_COLUMNS, row, strict=True)) for row in told]

    def numbered_rows(self) -> Sequence[Mapping[str, Any]]:
        """One row a file with its number, in order. Private: the order is that of paths, which may be names."""
        rows = ((file.number, file.action, file.code, file.output) for file in self.files)
        return [dict(zip(NUMBERED_COLUMNS, row, strict=True)) for row in rows]

    def counts(self) -> dict[str, int]:
        """How many files were written, and how many each code kept out."""
        words = [file.code or file.action for file in self.files]
        return {word: words.count(word) for word in sorted(set(words))}

    @property
    def is_clean(self) -> bool:
        """True when nothing needs review: what may never enter is refused without one."""
        return not any(file.code in _NEEDS_REVIEW for file in self.files)


def deidentify_tree(
    src: Sequence[Path],
    out: Path,
    pseudonyms: Pseudonyms,
    config: DeidentificationConfig,
    *,
    modality: Modality = Modality.CT,
    private: Path | None = None,
    allow_faces: bool = False,
    decisions: Decisions = NO_DECISIONS,
) -> CleanTreeReport:
    """A renamed, clean copy of every image that may enter a dataset, with `report.csv` beside it.

    Args:
        src: folders, files and archives.
        out: folder for the clean tree: patient, study, series, image, all by pseudonym.
        pseudonyms: replacements under the project's secret.
        config: what to keep.
        modality: what the dataset holds; other modalities stay out.
        private: folder for montages of series that look as if they held text, and for the table that tells the files'
            numbers; without it neither is made.
        allow_faces: write series that show a head too, marked by RecognizableVisualFeatures.
        decisions: of people who looked at those montages, by the keyed name of the series.

    Raises:
        PrivacyError: when a box to mask does not lie within its series.
        StorageError: when the disk is full or a folder cannot be written.
    """
    found = scan(src)
    places = sorted([*(one.source for one in found.instances), *(one.source for one in found.set_aside)], key=_place)
    numbers = {source: number for number, source in enumerate(places, start=1)}
    rows = [CleanedFile(numbers[fate.source], "set-aside", fate.code) for fate in found.set_aside]
    admitted, refused = _admitted(found.instances, modality)
    rows += [_quarantined(numbers[instance.source], code) for instance, code in refused]
    desk = _Desk(out, pseudonyms, config, numbers, decisions, private, allow_faces)
    suspects = []
    for series in sorted(_series_of(admitted), key=lambda one: pseudonyms.patient(one[0].text("PatientID"))):
        cleaned, suspect = desk.clean(series)
        rows += cleaned
        suspects += [suspect] if suspect else []
    report = CleanTreeReport(tuple(sorted(rows, key=lambda row: row.number)), tuple(suspects))
    write_text(out / REPORT_TABLE, csv_text(REPORT_COLUMNS, report.rows()))
    if private is not None:
        table = make_private_folder(private) / REPORT_TABLE
        write_text(table, csv_text(NUMBERED_COLUMNS, report.numbered_rows()), mode=PRIVATE_FILE_MODE)
    return report


def _place(source: SourceFile) -> tuple[str, str]:
    return str(source.path), source.member or ""


def _quarantined(number: int, code: str) -> CleanedFile:
    return CleanedFile(number, "quarantined", code)


def _admitted(instances: Iterable[Instance], modality: Modality) -> tuple[list[Instance], list[tuple[Instance, str]]]:
    """What may be cleaned, and what not with its code: not admissible, mixed up, or there already."""
    instances = list(instances)
    patients: dict[str, set[str]] = defaultdict(set)
    for instance in instances:
        patients[instance.text("StudyInstanceUID")].add(normalised_patient_id(instance.text("PatientID")))
    kept, refused, seen = [], [], set()
    for instance in instances:
        study, uid = instance.text("StudyInstanceUID"), instance.text("SOPInstanceUID")
        against = admit(instance, modality=modality)
        is_mixed = bool(study) and len(patients[study]) > 1
        code = against.rule if against else "mixed-patients" if is_mixed else "duplicate" if uid and uid in seen else ""
        seen.add(uid)
        if code:
            refused.append((instance, code))
        else:
            kept.append(instance)
    return kept, refused


def _series_key(instance: Instance) -> tuple[str, str, str]:
    """Patient, study and series; where an export emptied the UID, its frame of reference stands in."""
    series = instance.text("SeriesInstanceUID") or instance.text("FrameOfReferenceUID")
    return instance.text("PatientID"), instance.text("StudyInstanceUID"), series


def _series_of(instances: Iterable[Instance]) -> list[list[Instance]]:
    """Images of one series together, in order."""
    groups: dict[tuple[str, ...], list[Instance]] = defaultdict(list)
    for instance in instances:
        groups[_series_key(instance)].append(instance)
    return [sorted(group, key=lambda one: one.number("InstanceNumber") or 0) for _, group in sorted(groups.items())]


@dataclass(frozen=True, slots=True, eq=False)
class _Desk:
    """Where the images of all series go, by which rules, and what people decided."""

    out: Path
    pseudonyms: Pseudonyms
    config: DeidentificationConfig
    numbers: Mapping[SourceFile, int]
    decisions: Decisions
    private: Path | None
    allow_faces: bool

    def clean(self, series: Sequence[Instance]) -> tuple[list[CleanedFile], Suspect | None]:
        """What became of the images of one series, and what a person must look at first."""
        name = self.pseudonyms.token("series", "\0".join(_series_key(series[0])))
        if name in self.decisions.use and self.decisions.use[name].phase is None:
            return self._withheld(series, "rejected"), None
        images = {instance.source: image for instance in series if (image := _read(instance))}
        shows_face = _shows_face(series, images)
        if shows_face and not self.allow_faces:
            return self._withheld(series, "face"), None
        pixels = [image.pixels for image in images.values()]
        decision = self.decisions.text.get(name)
        try:
            boxes = boxes_to_mask(pixels, decision)
            suspect = suspect_of(pixels, name, decision, boxes, self.private)
        except PrivacyError as error:
            self._withheld(series, "text-suspected")
            raise PrivacyError(f"series {name}: {error}") from None
        if suspect:
            return self._withheld(series, "text-suspected"), suspect
        if boxes:
            clean = masked_images(pixels, boxes)
            images = {source: replace(images[source], pixels=one) for source, one in zip(images, clean, strict=True)}
        rows = [
            self._written(instance, images.get(instance.source), number, shows_face)
            for number, instance in enumerate(series, start=1)
        ]
        return [replace(row, code=row.code or ("text-masked" if boxes else "")) for row in rows], None

    def _withheld(self, series: Sequence[Instance], code: str) -> list[CleanedFile]:
        """None of a series, nor what an earlier decision let pass."""
        uid = self.pseudonyms.uid(series[0].text("SeriesInstanceUID"))
        for folder in self.out.glob(f"*/study-*/series-{uid[-NAME_DIGITS:]}") if uid else ():
            remove(folder)
        return [_quarantined(self.numbers[instance.source], code) for instance in series]

    def _written(self, instance: Instance, image: _Image | None, number: int, shows_face: bool | None) -> CleanedFile:
        output = image and _write(instance, image, number, self.out, self.pseudonyms, self.config, shows_face)
        place = self.numbers[instance.source]
        return CleanedFile(place, "written", output=output) if output else _quarantined(place, "unreadable")


@dataclass(frozen=True, slots=True, eq=False)
class _Image:
    """Stored values of all frames, and whether their encoding altered them."""

    pixels: NDArray[np.integer]
    is_lossy: bool


def _read(instance: Instance) -> _Image | None:
    try:
        with opened(instance.source) as file:
            reader = PixelReader(file)
            frames = [reader.read(frame) for frame in _frames(instance)]
    except PipelineError:
        return None
    except ARCHIVE_FAULTS:
        return None
    return _Image(frames[0] if len(frames) == 1 else np.stack(frames), reader.is_lossy)


def _frames(instance: Instance) -> Iterator[Instance]:
    """Every frame that an object says it holds, with or without a description of its own."""
    for index in range(int(instance.number("NumberOfFrames") or 1)):
        yield Instance(instance.source, {**instance.header, FRAME_INDEX: index})


def _shows_face(series: Sequence[Instance], images: Mapping[SourceFile, _Image]) -> bool | None:
    """Whether any slice of a series shows a head; None where nobody can tell."""
    first = _first_frame(series[0])
    pixel_mm = first.number("PixelSpacing") or UNSTATED_PIXEL_MM
    return has_face(first.text("BodyPartExamined"), first.text("Modality"), _in_hu(series, images), pixel_mm)


def _first_frame(instance: Instance) -> Instance:
    """An object as its first frame describes it."""
    frames = instance.header.get(FRAMES)
    return Instance(instance.source, {**instance.header, **frames[0]}) if isinstance(frames, tuple) else instance


def _in_hu(series: Sequence[Instance], images: Mapping[SourceFile, _Image]) -> Iterator[NDArray[np.floating[Any]]]:
    for instance in map(_first_frame, series):
        image = images.get(instance.source)
        slope, intercept = instance.number("RescaleSlope") or 1.0, instance.number("RescaleIntercept") or 0.0
        if image is not None:
            yield from image.pixels.reshape(-1, *image.pixels.shape[-2:]) * np.float32(slope) + np.float32(intercept)


def _write(
    instance: Instance,
    image: _Image,
    number: int,
    out: Path,
    pseudonyms: Pseudonyms,
    config: DeidentificationConfig,
    shows_face: bool | None,
) -> str | None:
    """Where the clean image went below the output folder; None when it could not be cleaned."""
    try:
        with opened(instance.source) as file:
            dataset = dcmread(file, stop_before_pixels=True, force=True)
        clean = deidentify(
            dataset,
            pseudonyms,
            config,
            is_text_free=True,
            shows_face=shows_face,
            pixels=image.pixels,
            is_lossy=image.is_lossy,
        ).dataset
    except PrivacyError:
        return None
    except READ_FAULTS:
        return None
    study, series = (str(clean[word].value)[-NAME_DIGITS:] for word in ("StudyInstanceUID", "SeriesInstanceUID"))
    output = f"{clean.PatientID}/study-{study}/series-{series}/{number:05d}.dcm"
    write_atomically(out / output, file_bytes(clean), durable=False)
    return output
