"""What a release offers to learn besides segmentation: classes of each patient, boxes around each lesion."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.labels import Structure, structure_mask
from pipeline.core.records import HEALTHY
from pipeline.core.volume import LabelMap
from pipeline.dataset.manifest import ManifestRow, csv_text
from pipeline.dataset.release_inputs import Row
from pipeline.dataset.tables import by_patient
from pipeline.image.components import bounding_box, label_components


def classification_text(rows: Iterable[ManifestRow], kinds: Sequence[str]) -> str:
    """One row a patient: diagnosis, place in the splits, and 0 or 1 for each kind; several kinds are joined by ";"."""
    patients = by_patient(rows)
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


def lesion_kind(row: ManifestRow) -> str | None:
    """What every lesion of a patient is: the diagnosis, where it names one kind of lesion; None where it does not."""
    kinds = _kinds_of(row)
    return next(iter(kinds)) if len(kinds) == 1 and not kinds & HEALTHY else None


def lesion_boxes(labels: LabelMap) -> list[dict[str, Any]]:
    """Boxes around each lesion, slice by slice; lesions are numbered from the largest, ties in scan order.

    A box is (x, y, width, height) in pixels of the stored slice, as COCO has it; `area` counts lesion pixels.
    """
    lesions = structure_mask(labels.voxels, Structure.LESION)
    region = bounding_box(lesions)
    if region is None:
        return []
    numbered = _numbered_by_size(lesions[region])
    first_slice, first_row, first_column = (side.start for side in region)
    boxes = []
    for index, plane in enumerate(numbered, start=first_slice):
        for number in np.unique(plane[plane > 0]).tolist():
            rows, columns = np.nonzero(plane == number)
            left, top = int(columns.min()), int(rows.min())
            size = (int(columns.max()) - left + 1, int(rows.max()) - top + 1)
            corner = (first_column + left, first_row + top)
            boxes.append({"slice": index, "lesion": number, "bbox": [*corner, *size], "area": len(rows)})
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


def _kinds_of(row: ManifestRow) -> set[str]:
    return {kind.strip() for kind in (row.cancer_type or "").split(";")} - {""}


def _numbered_by_size(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    numbered, count = label_components(mask)
    sizes = np.bincount(numbered.ravel(), minlength=count + 1)[1:]
    rank = np.zeros(count + 1, dtype=np.int64)
    rank[1 + np.argsort(-sizes, kind="stable")] = np.arange(1, count + 1)
    return np.asarray(rank[numbered])
