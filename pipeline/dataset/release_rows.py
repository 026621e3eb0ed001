"""One volume as it goes out: its four files, and its row of the manifest."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
from pydantic import ValidationError

from pipeline.core.errors import ReleaseError
from pipeline.core.geometry import require_same_space
from pipeline.core.labels import Label, Structure, structure_mask
from pipeline.core.records import Patient
from pipeline.core.volume import LabelMap, Volume
from pipeline.core.words import counted
from pipeline.dataset.anonymity import HELD_OUT, QUASI_IDENTIFIERS, anonymise, told_of_patients
from pipeline.dataset.anonymity import Row as PatientRow
from pipeline.dataset.layout import image_name, kind_mask_name, label_name, liver_mask_name, mask_name
from pipeline.dataset.manifest import ManifestRow, released_age
from pipeline.dataset.release_inputs import ReleaseInputs, ReleaseVolume, ReviewFacts, Row
from pipeline.dataset.splits import Splits
from pipeline.dataset.tables import largest_diameter_mm
from pipeline.dataset.tasks import lesion_boxes
from pipeline.dataset.verify.volumes import figures, kind_masks
from pipeline.image.nifti import content_sha256, read_labels, read_volume, write_nifti

_NAMES = {"ct": image_name, "mask": mask_name, "liver_mask": liver_mask_name, "label": label_name}


def patient_facts(inputs: ReleaseInputs) -> dict[str, PatientRow]:
    """What is known of each patient, by case_id and manifest column: splits and anonymity are decided by it."""
    volumes = (
        {
            "patient_id": volume.case_id,
            "phase": volume.phase,
            **_person_columns(inputs.patients[volume.case_id]),
            **_scan_columns(volume),
        }
        for volume in inputs.volumes
    )
    return told_of_patients(volumes, (*QUASI_IDENTIFIERS, "cancer_type"))


def told_facts(facts: Mapping[str, PatientRow], min_k: int | None, held_out: Collection[str]) -> dict[str, PatientRow]:
    """The same facts as they may be published: ages in bands, and columns empty, wherever too few would look alike.

    Args:
        facts: from `patient_facts`.
        min_k: smallest number of patients that may look alike; None tells all as it is known.
        held_out: test patients whose split tells a fact of theirs, from `splits.held_out`.

    Raises:
        ReleaseError: when the split alone would single patients out.
    """
    if min_k is None:
        return dict(facts)
    rows = [{**row, HELD_OUT: "yes" if case_id in held_out else None} for case_id, row in facts.items()]
    made = anonymise(rows, min_k)
    if 0 < made.k < min_k:
        raise ReleaseError(
            f"[splits] out_of_distribution holds out {counted(len(held_out), 'patient')} of {len(facts)}; with min_k = "
            f"{min_k} at least {min_k} must be in either group, because the split separates them; hold out a larger "
            "group or none"
        )
    return dict(zip(facts, made.rows, strict=True))


def generalised_columns(facts: Mapping[str, PatientRow], told: Mapping[str, PatientRow]) -> dict[str, PatientRow]:
    """Manifest columns that are published more generally than they are known, or left empty, by case_id."""
    return {
        case_id: {column: told[case_id][column] for column in QUASI_IDENTIFIERS if told[case_id][column] != row[column]}
        for case_id, row in facts.items()
    }


def release_volume(
    root: Path, volume: ReleaseVolume, inputs: ReleaseInputs, splits: Splits, generalised: Row
) -> tuple[ManifestRow, Sequence[Row]]:
    """The manifest row and the lesion boxes of a volume whose files were written below a folder.

    Args:
        root: folder of the release.
        volume: what goes out.
        inputs: of the release.
        splits: where each patient stands.
        generalised: columns that must be told more generally than they are known, from `generalised_columns`.

    Raises:
        ReleaseError: when measures do not fit the mask, or a fact may stand in no manifest.
        GeometryError: when image and mask lie on different grids.
        LabelError: when the mask holds other labels.
    """
    image, labels = read_volume(volume.image), read_labels(volume.labels)
    require_same_space(image.geometry, labels.geometry, what=f"mask of {volume.name}")
    inputs.config.labels.scheme.check(labels.voxels, what=f"mask of {volume.name}")
    contents = _contents(image, labels)
    paths = {kind: name(volume.case_id, volume.phase) for kind, name in _NAMES.items()}
    for kind, path in paths.items():
        write_nifti(root / path, contents[kind], for_release=True)
    for lesion_kind, mask in kind_masks(labels, inputs.config.labels.scheme).items():
        write_nifti(root / kind_mask_name(volume.case_id, volume.phase, lesion_kind), mask, for_release=True)
    columns = {
        "patient_id": volume.case_id,
        "phase": volume.phase,
        "release": inputs.version,
        "license": inputs.config.dataset.license,
        **{f"{kind}_path": path for kind, path in paths.items()},
        **{f"{kind}_content_sha256": content_sha256(content) for kind, content in contents.items()},
        **_person_columns(inputs.patients[volume.case_id]),
        **dict(zip(("split", "fold"), splits.places[volume.case_id], strict=True)),
        **_scan_columns(volume),
        **_grid_columns(image),
        **_label_columns(volume, labels),
        **_review_columns(volume.review),
        **generalised,
    }
    return _row(columns, volume.name), lesion_boxes(labels)


def _contents(image: Volume, labels: LabelMap) -> dict[str, Volume | LabelMap]:
    """What the four files hold."""
    return {
        "ct": image,
        "mask": LabelMap(structure_mask(labels.voxels, Structure.LESION).astype(np.uint8), labels.geometry),
        "liver_mask": LabelMap((labels.voxels != Label.BACKGROUND).astype(np.uint8), labels.geometry),
        "label": labels,
    }


def _row(columns: Row, name: str) -> ManifestRow:
    try:
        return ManifestRow.model_validate(columns)
    except ValidationError as error:
        faults = "; ".join(f"{fault['loc'][0]}: {fault['msg']}" for fault in error.errors())
        raise ReleaseError(f"{name} has values that the manifest does not allow: {faults}") from None


def _person_columns(patient: Patient) -> Row:
    return {"age": released_age(patient.age_years), "gender": patient.sex, "cancer_type": patient.diagnosis}


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
        "text_mask": volume.text_mask,
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
