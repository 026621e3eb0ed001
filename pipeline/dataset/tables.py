"""The tables beside the manifest: the cohort in figures, classes, lesions, agreement, enhancement, boxes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.labels import COLORS, Label, LabelScheme
from pipeline.core.volume import LabelMap
from pipeline.dataset.manifest import ManifestRow, csv_text
from pipeline.dataset.release_inputs import Row
from pipeline.image.components import label_components

TABLE_DIGITS = 4
"""Decimals of every number in a table: finer than any scanner, coarser than the last bit of two CPUs."""

LESION_COLUMNS = ("patient_id", "phase", "number", "volume_ml", "max_diameter_mm", "axial_diameter_mm")
AGREEMENT_COLUMNS = ("patient_id", "phase", "structure", "raters", "dice")
STATISTICS_COLUMNS = ("figure", "unit", "category", "group", "count")
ENHANCEMENT_COLUMNS = ("patient_id", "lesion", "phase")


def rows_text(first_columns: Sequence[str], rows: Iterable[Row]) -> str:
    """A table as CSV: the named columns first, then all others in order of their first appearance.

    Nested mappings become columns with joined names, lists become words, numbers are rounded to `TABLE_DIGITS`.
    """
    flat = [flattened(row) for row in rows]
    others = dict.fromkeys(column for row in flat for column in row if column not in first_columns)
    return csv_text([*first_columns, *others], flat)


def flattened(row: Row, prefix: str = "") -> dict[str, object]:
    """One row without nesting: {"liver": {"mean": 1.0}} becomes {"liver_mean": 1.0}."""
    flat: dict[str, object] = {}
    for key, value in row.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{prefix}{key}_")
        else:
            flat[prefix + key] = _plain(value)
    return flat


def classification_text(rows: Iterable[ManifestRow], kinds: Sequence[str]) -> str:
    """One row a patient: diagnosis, place in the splits, and 0 or 1 for each kind; several kinds are joined by ";"."""
    patients = _patients(rows)
    named = {patient: _kinds_of(row) for patient, row in patients.items()}
    columns = list(kinds) or sorted(set().union(*named.values()))
    table = [
        {
            "patient_id": patient,
            "cancer_type": row.cancer_type,
            "split": row.split,
            "fold": row.fold,
            **{kind: int(kind in named[patient]) for kind in columns},
        }
        for patient, row in patients.items()
    ]
    return csv_text(["patient_id", "cancer_type", "split", "fold", *columns], table)


def table1_text(rows: Sequence[ManifestRow]) -> str:
    """The cohort as PLC-CECT prints it: counts (share) and median [first quartile, third quartile], two groups and all.

    A patient belongs to the group with lesions when any phase shows one. Slices, volumes and counts are per volume.
    """
    marked = {row.patient_id for row in rows if row.lesion_count}
    groups = {
        "with_lesions": [row for row in rows if row.patient_id in marked],
        "without_lesions": [row for row in rows if row.patient_id not in marked],
        "all": list(rows),
    }
    figures = {name: dict(_table1_lines(group)) for name, group in groups.items()}
    lines = dict.fromkeys(line for group in figures.values() for line in group)
    table = [
        {"characteristic": line, **{name: group.get(line, "") for name, group in figures.items()}} for line in lines
    ]
    return csv_text(["characteristic", *groups], table)


def label_names_text(scheme: LabelScheme) -> str:
    """Names and colours of the labels as ITK-SNAP's label description file."""
    head = ["# ITK-SnAP Label Description File", "# index, red, green, blue, opacity, visible, mesh, name"]
    lines = []
    for value, name in scheme.names.items():
        red, green, blue = COLORS[Label(value)]
        shown = int(value != Label.BACKGROUND)
        lines.append(f'{value:5d} {red:5d} {green:4d} {blue:4d} {shown:8d} {shown:2d} {shown:2d}    "{name}"')
    return "\n".join([*head, *lines]) + "\n"


def lesion_boxes(labels: LabelMap) -> list[dict[str, Any]]:
    """Boxes around each lesion, slice by slice; lesions are numbered from the largest, ties in scan order.

    A box is (x, y, width, height) in pixels of the stored slice, as COCO has it; `area` counts lesion pixels.
    """
    numbered = _numbered_by_size(labels.voxels == Label.LESION)
    boxes = []
    for index in np.flatnonzero((numbered > 0).any(axis=(1, 2))).tolist():
        for number in np.unique(numbered[index][numbered[index] > 0]).tolist():
            rows, columns = np.nonzero(numbered[index] == number)
            left, top = int(columns.min()), int(rows.min())
            size = (int(columns.max()) - left + 1, int(rows.max()) - top + 1)
            boxes.append({"slice": index, "lesion": number, "bbox": [left, top, *size], "area": len(rows)})
    return boxes


def coco(volumes: Iterable[tuple[ManifestRow, Sequence[Row]]]) -> dict[str, Any]:
    """Lesion detection in COCO's format: one image a released slice, one annotation a lesion on it.

    Args:
        volumes: each volume's manifest row and its `lesion_boxes`.
    """
    images: list[Row] = []
    annotations: list[Row] = []
    for row, boxes in volumes:
        first = len(images) + 1
        images += [
            {"id": first + n, "file_name": row.ct_path, "slice": n, "width": row.columns, "height": row.rows}
            for n in range(row.slices)
        ]
        annotations += [
            {"id": len(annotations) + n, "image_id": first + box["slice"], "category_id": 1, "iscrowd": 0, **box}
            for n, box in enumerate(boxes, start=1)
        ]
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "lesion"}]}


def _plain(value: object) -> object:
    if isinstance(value, float):
        return round(value, TABLE_DIGITS)
    if isinstance(value, list | tuple):
        return " ".join(str(_plain(part)) for part in value)
    return value


def _patients(rows: Iterable[ManifestRow]) -> dict[str, ManifestRow]:
    """One row a patient, the first of each."""
    patients: dict[str, ManifestRow] = {}
    for row in rows:
        patients.setdefault(row.patient_id, row)
    return patients


def _kinds_of(row: ManifestRow) -> set[str]:
    return {kind.strip() for kind in (row.cancer_type or "").split(";")} - {""}


def _numbered_by_size(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    numbered, count = label_components(mask)
    sizes = np.bincount(numbered.ravel(), minlength=count + 1)[1:]
    rank = np.zeros(count + 1, dtype=np.int64)
    rank[1 + np.argsort(-sizes, kind="stable")] = np.arange(1, count + 1)
    return np.asarray(rank[numbered])


def _table1_lines(rows: Sequence[ManifestRow]) -> Iterable[tuple[str, str]]:
    patients = list(_patients(rows).values())
    yield "patients", str(len(patients))
    yield "age, median [IQR]", _quartiles([_years(row.age) for row in patients if row.age])
    yield from _shares("gender", patients, lambda row: row.gender)
    yield from _shares("cancer type", patients, lambda row: row.cancer_type)
    yield "volumes", str(len(rows))
    yield from _shares("phase", rows, lambda row: str(row.phase))
    yield "slices", str(sum(row.slices for row in rows))
    yield "slices with lesions", str(sum(row.lesion_slices for row in rows))
    marked = [row for row in rows if row.lesion_count]
    yield "slices per volume, median [IQR]", _quartiles([row.slices for row in rows])
    yield "slices with lesions per volume, median [IQR]", _quartiles([row.lesion_slices for row in marked])
    yield "lesion volume (cm3), median [IQR]", _quartiles([row.lesion_volume_ml for row in marked])
    yield "largest diameter (cm), median [IQR]", _quartiles([(row.largest_lesion_mm or 0) / 10 for row in marked])
    counts = [row.lesion_count for row in marked]
    spread = f" ({min(counts)}, {max(counts)})" if counts else ""
    yield "lesion count, median [IQR] (min, max)", _quartiles(counts) + spread


def _shares(
    what: str, rows: Sequence[ManifestRow], value: Callable[[ManifestRow], str | None]
) -> Iterable[tuple[str, str]]:
    counts = Counter(value(row) or "unknown" for row in rows)
    for name, count in sorted(counts.items()):
        yield f"{what} {name}, n (%)", f"{count} ({100 * count / len(rows):.2f})"


def _quartiles(values: Sequence[float]) -> str:
    if not values:
        return ""
    low, middle, high = np.percentile(np.asarray(values, dtype=np.float64), [25, 50, 75])
    return f"{middle:.2f} [{low:.2f}, {high:.2f}]"


def _years(age: str) -> float:
    """A number for an age as released: the middle of a band, 90 for "90+"."""
    parts = [float(part) for part in age.rstrip("+").split("-")]
    return sum(parts) / len(parts)
