"""Predictions as people hand them in: mask files, boxes and class scores, each matched to a release by its name.

Nothing is guessed. A name that the release does not know, a second prediction of the same thing, a number that is none:
all of them are named, and nothing is measured.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.core.errors import EvaluationError
from pipeline.core.files import read_json
from pipeline.core.words import counted
from pipeline.evaluate.reference import Corners, Meaning, Reference, VolumeName, stem_of
from pipeline.image.masks import mask_suffix

BOX_COLUMNS = ("patient_id", "phase", "slice", "x", "y", "width", "height", "score")
"""Of a table of boxes; "kind" besides, where the release tells kinds apart. Slices count from 0, as in COCO."""

MOST_FAULTS = 20
"""Named one by one; of more only how many there are."""


_TOO_MANY = "more cells than columns"


@dataclass(frozen=True, slots=True)
class ScoredBox:
    """A predicted lesion on one slice."""

    image: int
    kind: str
    score: float
    corners: Corners


@dataclass(frozen=True, slots=True)
class Predictions:
    """What was found.

    Attributes:
        masks: of each volume, a file by what it holds; empty where no mask was handed in.
        boxes: None where no boxes were handed in.
        scores: patient and class to a score from 0 to 1; None where none were handed in.
        unused: names of files that hold no prediction.
    """

    masks: Mapping[VolumeName, Mapping[Meaning, Path]]
    boxes: tuple[ScoredBox, ...] | None
    scores: Mapping[str, Mapping[str, float]] | None
    unused: tuple[str, ...]


@dataclass(slots=True)
class _Found:
    names: Mapping[str, tuple[VolumeName, Meaning]]
    masks: dict[VolumeName, dict[Meaning, Path]] = field(default_factory=dict)
    boxes: list[ScoredBox] | None = None
    scores: dict[str, dict[str, list[float]]] | None = None
    unused: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def read_predictions(path: Path, reference: Reference) -> Predictions:
    """Every prediction in a file, or below a folder.

    Args:
        path: a folder of any of these, or one of them: masks named as in the release; `.json` of COCO results, whose
            images and categories are those of the release's `detection/coco.json`; `.csv` of boxes (`BOX_COLUMNS`);
            `.csv` of scores, one column a class, one row a patient, or a patient and phase.
        reference: the release.

    Raises:
        EvaluationError: when there is no prediction, or a name, a number or a column is wrong; all are named.
        StorageError: when a file cannot be read.
    """
    found = _Found(reference.mask_names)
    for file in _files(path):
        _read_file(file, reference, found)
    if found.faults:
        raise EvaluationError("\n".join([*found.faults[:MOST_FAULTS], *_uncounted(found.faults)]))
    if not found.masks and found.boxes is None and found.scores is None:
        raise EvaluationError(
            "no prediction was found; expected masks named as in the release, such as "
            f"{next(iter(found.names))}.nii.gz, or a .csv or .json of boxes or class scores"
        )
    boxes = None if found.boxes is None else tuple(found.boxes)
    scores = None if found.scores is None else {patient: _means(own) for patient, own in found.scores.items()}
    return Predictions(found.masks, boxes, scores, tuple(found.unused))


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted((file for file in path.rglob("*") if file.is_file()), key=lambda file: file.relative_to(path).parts)


def _uncounted(faults: Sequence[str]) -> list[str]:
    left = len(faults) - MOST_FAULTS
    return [f"and {counted(left, 'more fault')}"] if left > 0 else []


def _read_file(file: Path, reference: Reference, found: _Found) -> None:
    suffix = file.suffix.lower()
    if mask_suffix(file.name):
        _read_mask_name(file, reference, found)
    elif suffix == ".csv":
        _read_table(file, reference, found)
    elif suffix == ".json" and (results := _coco_results(read_json(file))) is not None:
        found.boxes = [*(found.boxes or ()), *_coco_boxes(file.name, results, reference, found.faults)]
    else:
        found.unused.append(file.name)


def _read_mask_name(file: Path, reference: Reference, found: _Found) -> None:
    known = found.names.get(stem_of(file.name))
    if known is None:
        found.faults.append(f"{file.name} is no name of version {reference.version}; name masks as the release does")
        return
    volume, meaning = known
    own = found.masks.setdefault(volume, {})
    if meaning in own or ("labels" in (meaning, *own) and own):
        found.faults.append(f"{' '.join(volume)} is predicted twice, by {_first(own).name} and {file.name}; keep one")
    own.setdefault(meaning, file)


def _first(own: Mapping[Meaning, Path]) -> Path:
    return next(iter(own.values()))


def _read_table(file: Path, reference: Reference, found: _Found) -> None:
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, restkey=_TOO_MANY, restval="")
            columns, rows = tuple(reader.fieldnames or ()), list(reader)
    except (UnicodeDecodeError, csv.Error):
        found.faults.append(f"{file.name} is no table in UTF-8; save it as CSV UTF-8")
        return
    long_lines = [line for line, row in enumerate(rows, start=2) if _TOO_MANY in row]
    found.faults += [f"{file.name}, line {line}: {_TOO_MANY}" for line in long_lines]
    if {"x", "width"} <= set(columns):
        _read_boxes(file.name, columns, rows, reference, found)
    else:
        _read_scores(file.name, columns, rows, reference, found)


def _read_boxes(
    name: str, columns: Sequence[str], rows: Sequence[Mapping[str, str]], reference: Reference, found: _Found
) -> None:
    kinds = list(reference.kinds.values())
    wanted = (*BOX_COLUMNS, "kind") if len(kinds) > 1 else BOX_COLUMNS
    if not _has_columns(name, columns, wanted, ("kind",), found):
        return
    found.boxes = found.boxes or []
    images = {(*place.volume, place.index): image for image, place in reference.slices.items()}
    for line, row in enumerate(rows, start=2):
        where = f"{name}, line {line}"
        numbers = [_number(row[column]) for column in BOX_COLUMNS[2:]]
        image = images.get((row["patient_id"], row["phase"], int(numbers[0]) if numbers[0].is_integer() else -1))
        kind = row.get("kind") or next(iter(kinds), "")
        box = _scored_box(where, image, kind if kind in kinds else None, numbers[1:5], numbers[5], found.faults)
        found.boxes += box


def _read_scores(
    name: str, columns: Sequence[str], rows: Sequence[Mapping[str, str]], reference: Reference, found: _Found
) -> None:
    if not _has_columns(name, columns, ("patient_id", *reference.classes), ("phase",), found):
        return
    found.scores = {} if found.scores is None else found.scores
    seen: set[tuple[str, str]] = set()
    before = set(found.scores)
    for line, row in enumerate(rows, start=2):
        where, patient, phase = f"{name}, line {line}", row["patient_id"], row.get("phase", "")
        values = [_number(row[column]) for column in reference.classes]
        if patient not in reference.truth or ("phase" in columns and (patient, phase) not in reference.rows):
            found.faults.append(f"{where}: no such patient or phase in version {reference.version}")
        elif (patient, phase) in seen or patient in before:
            found.faults.append(f"{where}: {f'{patient} {phase}'.strip()} has a row before; keep one")
        elif not all(0.0 <= value <= 1.0 for value in values):
            found.faults.append(f"{where}: a score is missing or not from 0 to 1; give each class a probability")
        seen.add((patient, phase))
        own = found.scores.setdefault(patient, {column: [] for column in reference.classes})
        for column, value in zip(reference.classes, values, strict=True):
            own[column].append(value)


def _means(own: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """One score a class: the mean over a patient's phases, where several have scores."""
    return {name: math.fsum(values) / len(values) for name, values in own.items()}


def _has_columns(
    name: str, columns: Sequence[str], wanted: Sequence[str], optional: Sequence[str], found: _Found
) -> bool:
    missing = [column for column in wanted if column not in columns]
    unknown = [column for column in columns if column not in (*wanted, *optional)]
    if missing or unknown or len(set(columns)) < len(columns):
        parts = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"has unknown {', '.join(unknown)}"] * bool(unknown)
        parts = parts or ["has a column twice"]
        found.faults.append(f"{name} {' and '.join(parts)}; expected the columns {', '.join(wanted)}")
        return False
    return True


def _coco_results(content: Any) -> list[Any] | None:
    """The boxes of a file in COCO's format of results, or with "annotations"; None for any other JSON."""
    listed = content.get("annotations") if isinstance(content, dict) else content
    return listed if isinstance(listed, list) else None


def _coco_boxes(name: str, results: Sequence[Any], reference: Reference, faults: list[str]) -> Iterator[ScoredBox]:
    for place, result in enumerate(results, start=1):
        told = result if isinstance(result, dict) else {}
        corners = told.get("bbox")
        numbers = [_number(part) for part in corners] if isinstance(corners, list) else []
        image, category = (told.get(key) for key in ("image_id", "category_id"))
        known = image if type(image) is int and image in reference.slices else None
        kind = reference.kinds.get(category) if type(category) is int else None
        yield from _scored_box(f"{name}, box {place}", known, kind, numbers, _number(told.get("score")), faults)


def _scored_box(
    where: str, image: int | None, kind: str | None, corners: Sequence[float], score: float, faults: list[str]
) -> list[ScoredBox]:
    """The box, or nothing and what is wrong with it."""
    if image is None:
        faults.append(f"{where}: no such slice in the release; slices and images are those of detection/coco.json")
    elif kind is None:
        faults.append(f"{where}: no such kind of lesion in the release; kinds are the categories of its coco.json")
    elif len(corners) != 4 or not all(map(math.isfinite, corners)) or min(corners[2:]) <= 0:
        faults.append(f"{where}: a box needs x, y, width and height, the last two above 0")
    elif not math.isfinite(score):
        faults.append(f"{where}: a box needs a score")
    else:
        left, top, width, height = corners
        return [ScoredBox(image, kind, score, (left, top, width, height))]
    return []


def _number(value: object) -> float:
    """A number; NaN for any other thing."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan
