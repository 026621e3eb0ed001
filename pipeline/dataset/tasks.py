"""What a release offers to learn besides segmentation: classes of each patient, boxes around each lesion."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.files import csv_text
from pipeline.core.kinds import FIRST_KIND
from pipeline.core.labels import Label, LabelScheme, Structure, largest_first, structure_mask
from pipeline.core.records import HEALTHY
from pipeline.core.volume import LabelMap
from pipeline.dataset.manifest import ManifestRow
from pipeline.dataset.release_inputs import Row
from pipeline.dataset.tables import by_patient
from pipeline.image.components import bounding_box, label_components

BOX_KIND = "kind"
"""Key of a box: value of the lesion's kind."""

CLASSIFICATION_COLUMNS = ("patient_id", "cancer_type", "split", "fold")
"""What always stands in `classification.csv` before one column a class."""

NO_KINDS: Mapping[str, Sequence[str]] = MappingProxyType({})
"""Masks that tell no lesion kinds."""


KINDS_IN_MASK = "kinds_in_mask"
"""Column of `classification.csv` where masks tell lesion kinds: those of the patient's masks, joined by ";"."""


def classification_text(
    rows: Iterable[ManifestRow], kinds: Sequence[str], in_masks: Mapping[str, Sequence[str]] = NO_KINDS
) -> str:
    """One row a patient: diagnosis, place in the splits, and 0 or 1 for each kind; several kinds are joined by ";".

    Args:
        rows: of the manifest.
        kinds: the columns; without any, all that diagnoses name.
        in_masks: patient to the kinds of the lesions in the patient's masks, which then decide; others have those of
            their diagnosis.
    """
    patients = by_patient(rows)
    named = {patient: set(in_masks.get(patient, ())) or _kinds_of(row) for patient, row in patients.items()}
    columns = list(kinds) or sorted(set().union(*named.values()))
    first = [*CLASSIFICATION_COLUMNS, *([KINDS_IN_MASK] if in_masks else [])]
    table = [
        {
            "patient_id": patient,
            "cancer_type": row.cancer_type,
            "split": row.split,
            "fold": row.fold,
            KINDS_IN_MASK: ";".join(in_masks.get(patient, ())),
            **{kind: int(kind in named[patient]) for kind in columns},
        }
        for patient, row in patients.items()
    ]
    return csv_text([*first, *columns], table)


def kinds_in_masks(boxes: Iterable[tuple[ManifestRow, Sequence[Row]]], scheme: LabelScheme) -> dict[str, list[str]]:
    """Patient to the kinds that lesions in the patient's masks have, in the order of the scheme; none without kinds.

    Args:
        boxes: each volume's manifest row and its `lesion_boxes`.
        scheme: names the kinds.
    """
    found: dict[str, set[int]] = {}
    for row, of_volume in boxes:
        found.setdefault(row.patient_id, set()).update(box[BOX_KIND] for box in of_volume if BOX_KIND in box)
    return {
        patient: [kind.name for kind in scheme.kinds if kind.value in values]
        for patient, values in found.items()
        if values
    }


def missing_from_masks(row: ManifestRow, in_masks: Sequence[str], kinds: Sequence[str]) -> list[str]:
    """Lesion kinds that a patient's diagnosis names and no mask of the patient shows, though masks tell kinds.

    Args:
        row: one of the patient's.
        in_masks: the kinds in the patient's masks.
        kinds: those of the dataset; other words of a diagnosis are no lesion kinds.
    """
    return sorted((_kinds_of(row) & set(kinds)) - set(in_masks)) if in_masks else []


def lesion_kind(row: ManifestRow) -> str | None:
    """What every lesion of a patient is: the diagnosis, where it names one kind of lesion; None where it does not."""
    kinds = _kinds_of(row)
    return next(iter(kinds)) if len(kinds) == 1 and not kinds & HEALTHY else None


def lesion_boxes(labels: LabelMap) -> list[dict[str, Any]]:
    """Boxes around each lesion, slice by slice; lesions are numbered from the largest, ties in scan order.

    A box is (x, y, width, height) in pixels of the stored slice, as COCO has it; `area` counts lesion pixels. `kind` is
    the value that most voxels of the lesion have of those that tell a kind; it is left out where none do.
    """
    lesions = structure_mask(labels.voxels, Structure.LESION)
    region = bounding_box(lesions)
    if region is None:
        return []
    numbered, values = _numbered_by_size(lesions[region]), labels.voxels[region]
    kinds = _kind_of_each(numbered, values) if values.max() >= FIRST_KIND else {}
    first_slice, first_row, first_column = (side.start for side in region)
    boxes = []
    for index, plane in enumerate(numbered, start=first_slice):
        for number in np.unique(plane[plane > 0]).tolist():
            rows, columns = np.nonzero(plane == number)
            left, top = int(columns.min()), int(rows.min())
            size = (int(columns.max()) - left + 1, int(rows.max()) - top + 1)
            corner = (first_column + left, first_row + top)
            kind = {BOX_KIND: kinds[number]} if number in kinds else {}
            boxes.append({"slice": index, "lesion": number, "bbox": [*corner, *size], "area": len(rows), **kind})
    return boxes


def coco(volumes: Sequence[tuple[ManifestRow, Sequence[Row]]], scheme: LabelScheme) -> dict[str, Any]:
    """Lesion detection in COCO's format: one image a released slice, one annotation a lesion on it.

    The category of a lesion is its kind, numbered one below its value in masks; 1 is a lesion of unknown kind.

    Args:
        volumes: each volume's manifest row and its `lesion_boxes`.
        scheme: names the kinds; they are categories where any lesion has one.
    """
    has_kinds = any(BOX_KIND in box for _, boxes in volumes for box in boxes)
    categories = [{"id": 1, "name": "lesion"}]
    if has_kinds:
        categories += [{"id": kind.value - 1, "name": kind.name, "supercategory": "lesion"} for kind in scheme.kinds]
    images: list[Row] = []
    annotations: list[Row] = []
    for row, boxes in volumes:
        first = len(images) + 1
        images += [
            {"id": first + n, "file_name": row.ct_path, "slice": n, "width": row.columns, "height": row.rows}
            for n in range(row.slices)
        ]
        annotations += [
            {
                "id": len(annotations) + n,
                "image_id": first + box["slice"],
                "category_id": box.get(BOX_KIND, int(Label.LESION)) - 1,
                "iscrowd": 0,
                **{name: value for name, value in box.items() if name != BOX_KIND},
            }
            for n, box in enumerate(boxes, start=1)
        ]
    return {"images": images, "annotations": annotations, "categories": categories}


def _kinds_of(row: ManifestRow) -> set[str]:
    return {kind.strip() for kind in (row.cancer_type or "").split(";")} - {""}


def _kind_of_each(numbered: NDArray[np.int64], values: NDArray[np.uint8]) -> dict[int, int]:
    """Lesion to its kind, of those that have one."""
    inside = np.nonzero(numbered)
    numbers, marked = numbered[inside], values[inside]
    kinds = {int(number): largest_first(marked[numbers == number]) for number in np.unique(numbers)}
    return {number: found[0] for number, found in kinds.items() if found}


def _numbered_by_size(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    numbered, count = label_components(mask)
    sizes = np.bincount(numbered.ravel(), minlength=count + 1)[1:]
    rank = np.zeros(count + 1, dtype=np.int64)
    rank[1 + np.argsort(-sizes, kind="stable")] = np.arange(1, count + 1)
    return np.asarray(rank[numbered])
