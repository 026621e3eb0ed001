"""One volume as it goes out: its four files, and its row of the manifest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
from pydantic import ValidationError

from pipeline.core.errors import ReleaseError
from pipeline.core.geometry import require_same_space
from pipeline.core.labels import Label, LabelScheme
from pipeline.core.records import Patient
from pipeline.core.volume import LabelMap, Volume
from pipeline.core.words import counted
from pipeline.dataset.anonymity import QUASI_IDENTIFIERS, anonymise
from pipeline.dataset.layout import image_name, label_name, liver_mask_name, mask_name
from pipeline.dataset.manifest import ManifestRow, released_age
from pipeline.dataset.release_inputs import ReleaseInputs, ReleaseVolume, ReviewFacts, Row, ScanFacts
from pipeline.dataset.splits import Splits
from pipeline.dataset.tables import largest_diameter_mm
from pipeline.dataset.tasks import lesion_boxes
from pipeline.dataset.verify.volumes import figures
from pipeline.image.nifti import content_sha256, read_labels, read_volume, write_nifti

_NAMES = {"ct": image_name, "mask": mask_name, "liver_mask": liver_mask_name, "label": label_name}


def patient_facts(inputs: ReleaseInputs) -> dict[str, dict[str, str | None]]:
    """What is known of each patient, by case_id and manifest column: splits and anonymity are decided by it.

    A patient scanned on several scanners has all of them, joined by a semicolon.
    """
    scans: dict[str, list[ScanFacts]] = {}
    for volume in inputs.volumes:
        scans.setdefault(volume.case_id, []).append(volume.scan)
    return {
        case_id: {
            "age": released_age(inputs.patients[case_id].age_years),
            "gender": inputs.patients[case_id].sex,
            "cancer_type": inputs.patients[case_id].diagnosis,
            "site": _joined(scan.site for scan in own),
            "manufacturer": _joined(scan.manufacturer for scan in own),
            "model": _joined(scan.model for scan in own),
        }
        for case_id, own in sorted(scans.items())
    }


def generalised_facts(facts: Mapping[str, Row], min_k: int | None) -> dict[str, Row]:
    """Manifest columns that must be told more generally than they are known, or not at all, by case_id.

    Args:
        facts: from `patient_facts`.
        min_k: smallest number of patients that may look alike; None tells all as it is known.
    """
    if min_k is None:
        return {case_id: {} for case_id in facts}
    told = anonymise(list(facts.values()), min_k).rows
    return {
        case_id: {column: row[column] for column in QUASI_IDENTIFIERS if row[column] != facts[case_id][column]}
        for case_id, row in zip(facts, told, strict=True)
    }


def release_volume(
    root: Path, volume: ReleaseVolume, inputs: ReleaseInputs, splits: Splits, generalised: Row
) -> tuple[ManifestRow, Sequence[Row]]:
    """The manifest row and the lesion boxes of a volume whose four files were written below a folder.

    Args:
        root: folder of the release.
        volume: what goes out.
        inputs: of the release.
        splits: where each patient stands.
        generalised: columns that must be told more generally than they are known, from `generalised_facts`.

    Raises:
        ReleaseError: when measures do not fit the mask, or a fact may stand in no manifest.
        GeometryError: when image and mask lie on different grids.
        LabelError: when the mask holds other labels.
    """
    image, labels = read_volume(volume.image), read_labels(volume.labels)
    require_same_space(image.geometry, labels.geometry, what=f"mask of {volume.name}")
    LabelScheme().check(labels.voxels, what=f"mask of {volume.name}")
    contents = _contents(image, labels)
    paths = {kind: name(volume.case_id, volume.phase) for kind, name in _NAMES.items()}
    for kind, path in paths.items():
        write_nifti(root / path, contents[kind], for_release=True)
    columns = {
        "patient_id": volume.case_id,
        "phase": volume.phase,
        "release": inputs.version,
        "license": inputs.config.dataset.license,
        **{f"{kind}_path": path for kind, path in paths.items()},
        **{f"{kind}_content_sha256": content_sha256(content) for kind, content in contents.items()},
        **_patient_columns(inputs.patients[volume.case_id], splits, volume),
        **_scan_columns(volume),
        **_grid_columns(image),
        **_label_columns(volume, labels),
        **_review_columns(volume.review),
        **generalised,
    }
    return _row(columns, volume.name), lesion_boxes(labels)


def _joined(values: Iterable[str | None]) -> str | None:
    return ";".join(sorted({value for value in values if value})) or None


def _contents(image: Volume, labels: LabelMap) -> dict[str, Volume | LabelMap]:
    """What the four files hold."""
    return {
        "ct": image,
        "mask": LabelMap((labels.voxels == Label.LESION).astype(np.uint8), labels.geometry),
        "liver_mask": LabelMap((labels.voxels != Label.BACKGROUND).astype(np.uint8), labels.geometry),
        "label": labels,
    }


def _row(columns: Row, name: str) -> ManifestRow:
    try:
        return ManifestRow.model_validate(columns)
    except ValidationError as error:
        faults = "; ".join(f"{fault['loc'][0]}: {fault['msg']}" for fault in error.errors())
        raise ReleaseError(f"{name} has values that the manifest does not allow: {faults}") from None


def _patient_columns(patient: Patient, splits: Splits, volume: ReleaseVolume) -> Row:
    split, fold = splits.places[volume.case_id]
    return {
        "age": released_age(patient.age_years),
        "gender": patient.sex,
        "cancer_type": patient.diagnosis,
        "split": split,
        "fold": fold,
    }


def _scan_columns(volume: ReleaseVolume) -> Row:
    scan = volume.scan
    level, width = volume.window_hu or (None, None)
    return {
        "site": scan.site,
        "days_from_first_study": scan.days_from_first_study,
        "series": scan.series,
        "phase_confidence": scan.phase_confidence,
        "manufacturer": scan.manufacturer,
        "model": scan.model,
        "kernel": scan.kernel,
        "kvp": scan.kvp,
        "slice_thickness_mm": scan.slice_thickness_mm,
        "scan_slices": scan.slices,
        "first_slice": volume.first_slice,
        "window_level_hu": level,
        "window_width_hu": width,
        "coarse_model": volume.coarse_model,
        "coarse_sha256": volume.coarse_sha256,
    }


def _grid_columns(image: Volume) -> Row:
    slices, rows, columns = image.geometry.shape
    slice_mm, row_mm, column_mm = (round(spacing, 4) for spacing in image.geometry.spacing_mm)
    return {
        "slices": slices,
        "rows": rows,
        "columns": columns,
        "slice_spacing_mm": slice_mm,
        "row_spacing_mm": row_mm,
        "column_spacing_mm": column_mm,
        "orientation": image.geometry.orientation,
    }


def _label_columns(volume: ReleaseVolume, labels: LabelMap) -> Row:
    diameters = [row["max_diameter_mm"] for row in volume.lesions if row.get("max_diameter_mm") is not None]
    found = {name: value for _, name, value in figures(labels)}
    if found["lesion_count"] != len(volume.lesions):
        measured = counted(len(volume.lesions), "lesion")
        raise ReleaseError(
            f"{volume.name}: {measured} measured, but the mask has {found['lesion_count']}; measure the lesions again"
        )
    return {**found, "largest_lesion_mm": largest_diameter_mm(diameters)}


def _review_columns(review: ReviewFacts) -> Row:
    return {
        "raters": " ".join(sorted(review.raters)),
        "liver_dice_mean": _rounded(review.liver_dice, fmean),
        "liver_dice_min": _rounded(review.liver_dice, min),
        "lesion_dice_mean": _rounded(review.lesion_dice, fmean),
        "lesion_dice_min": _rounded(review.lesion_dice, min),
        "consensus_method": review.method,
        "review_status": "adjudicated" if review.adjudicator else "voted",
        "adjudicator": review.adjudicator,
    }


def _rounded(values: Sequence[float], summary: Callable[[Sequence[float]], float]) -> float | None:
    return round(summary(values), 4) if values else None
