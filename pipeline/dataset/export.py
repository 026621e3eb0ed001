"""A release in the layouts that other programs read: nnU-Net raw, Medical Segmentation Decathlon, BIDS.

Images and masks are hard links to the release where the disk allows, so that an export costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from pipeline.core.errors import ReleaseError
from pipeline.core.file_names import (
    NNUNET_DATASET,
    NNUNET_SPLITS,
    TEST_IMAGES,
    TEST_LABELS,
    TRAINING_IMAGES,
    TRAINING_LABELS,
    nnunet_image,
    nnunet_labels,
)
from pipeline.core.files import csv_text, link_or_copy, read_json, write_json, write_text
from pipeline.core.labels import LabelScheme
from pipeline.core.volume import LabelMap
from pipeline.dataset.layout import ExportFormat, ReleaseLayout
from pipeline.dataset.manifest import ManifestRow, read_manifest
from pipeline.dataset.release_inputs import released_scheme
from pipeline.image.nifti import read_labels, write_nifti

BIDS_VERSION = "1.10.0"
_BIDS_FACTS = "dataset_description.json"
_CONTRAST = MappingProxyType(
    {"P": "plain", "C1": "arterial", "C2": "portalvenous", "C3": "delayed", "HBP": "hepatobiliary"}
)


def export(release: Path, out: Path, layout: ExportFormat, *, number: int = 1) -> Path:
    """The folder of the export.

    Args:
        release: the folder of one version.
        out: where the export's own folder goes; nothing in it is overwritten.
        layout: which program is to read it.
        number: of the dataset, for nnU-Net and MSD, whose folder names carry one.

    Raises:
        ReleaseError: when the export's folder exists, or the manifest cannot be read.
    """
    rows = read_manifest(ReleaseLayout(release).manifest)
    provenance = read_json(ReleaseLayout(release).provenance)
    folder = out / _folder_name(layout, provenance["dataset"], number)
    if folder.exists():
        raise ReleaseError(f"{folder.name} exists already; remove it or choose another output folder")
    _WRITERS[layout](release, folder, rows, provenance)
    return folder


def _folder_name(layout: ExportFormat, dataset: str, number: int) -> str:
    name = "".join(part.capitalize() for part in dataset.split("-"))
    names = {ExportFormat.NNUNET: f"Dataset{number:03d}_{name}", ExportFormat.MSD: f"Task{number:02d}_{name}"}
    return names.get(layout, dataset)


def _nnunet(release: Path, folder: Path, rows: tuple[ManifestRow, ...], provenance: Mapping[str, Any]) -> None:
    """`nnUNet_raw` of nnU-Net v2, with its folds; test volumes keep their labels in `labelsTs`.

    Each lesion kind is a class beside the lesion of unknown kind, numbered without gaps, as nnU-Net asks.
    """
    names = _names(release, provenance)
    for row in rows:
        images, labels = _folders(row)
        link_or_copy(release / row.ct_path, folder / images / nnunet_image(_stem(row)))
        _as_classes(release / row.label_path, folder / labels / nnunet_labels(_stem(row)), names)
    link_or_copy(ReleaseLayout(release).nnunet_splits, folder / NNUNET_SPLITS)
    write_json(
        folder / NNUNET_DATASET,
        {
            "channel_names": {"0": provenance["config"]["dataset"]["modality"]},
            "labels": {name: place for place, name in enumerate(names.values())},
            "numTraining": sum(row.split == "train" for row in rows),
            "file_ending": ".nii.gz",
            **_about(provenance),
        },
    )


def _msd(release: Path, folder: Path, rows: tuple[ManifestRow, ...], provenance: Mapping[str, Any]) -> None:
    """`Task01_Name` of the Medical Segmentation Decathlon; test volumes come without labels, as there."""
    for row in rows:
        images, labels = _folders(row)
        link_or_copy(release / row.ct_path, folder / images / f"{_stem(row)}.nii.gz")
        if labels == TRAINING_LABELS:
            link_or_copy(release / row.label_path, folder / labels / f"{_stem(row)}.nii.gz")
    names = [_stem(row) for row in rows if row.split == "train"]
    test = [f"./{TEST_IMAGES}/{_stem(row)}.nii.gz" for row in rows if row.split != "train"]
    write_json(
        folder / NNUNET_DATASET,
        {
            **_about(provenance),
            "tensorImageSize": "3D",
            "modality": {"0": provenance["config"]["dataset"]["modality"]},
            "labels": {str(value): name for value, name in _names(release, provenance).items()},
            "numTraining": len(names),
            "numTest": len(test),
            "training": [
                {"image": f"./{TRAINING_IMAGES}/{name}.nii.gz", "label": f"./{TRAINING_LABELS}/{name}.nii.gz"}
                for name in names
            ],
            "test": test,
        },
    )


def _bids(release: Path, folder: Path, rows: tuple[ManifestRow, ...], provenance: Mapping[str, Any]) -> None:
    """A BIDS-like tree: images by the draft for CT (BEP024), masks as a derivative with their label table."""
    about = {"BIDSVersion": BIDS_VERSION, "License": provenance["config"]["dataset"]["license"]}
    name = f"{provenance['dataset']} {provenance['version']}"
    labels = folder / "derivatives" / "consensus"
    write_json(folder / _BIDS_FACTS, {"Name": name, "DatasetType": "raw", **about})
    pipeline = [{"Name": "consensus of radiologists"}]
    write_json(
        labels / _BIDS_FACTS,
        {"Name": f"{name} masks", "DatasetType": "derivative", "GeneratedBy": pipeline, **about},
    )
    patients = {row.patient_id: row for row in rows}
    people = [
        {"participant_id": f"sub-{patient}", "age": row.age or "n/a", "sex": row.gender or "n/a",
         "diagnosis": row.cancer_type or "n/a", "split": row.split}
        for patient, row in patients.items()
    ]  # fmt: skip
    write_text(folder / "participants.tsv", _tsv(("participant_id", "age", "sex", "diagnosis", "split"), people))
    values = [{"index": value, "name": label} for value, label in _names(release, provenance).items()]
    write_text(labels / "dseg.tsv", _tsv(("index", "name"), values))
    for row in rows:
        home = Path(f"sub-{row.patient_id}") / "ct"
        stem = f"sub-{row.patient_id}_ce-{_CONTRAST.get(row.phase, str(row.phase))}"
        link_or_copy(release / row.ct_path, folder / home / f"{stem}_ct.nii.gz")
        write_json(folder / home / f"{stem}_ct.json", _sidecar(row))
        link_or_copy(release / row.label_path, labels / home / f"{stem}_desc-consensus_dseg.nii.gz")


def _names(release: Path, provenance: Mapping[str, Any]) -> dict[int, str]:
    """Value to name of the labels in a release's masks, lowest first; lesion kinds only where any mask tells them."""
    has_kinds = ReleaseLayout(release).lesion_kinds.is_file()
    scheme = released_scheme(provenance) if has_kinds else LabelScheme()
    return dict(sorted(scheme.names.items()))


def _as_classes(labels: Path, target: Path, names: Mapping[int, str]) -> None:
    """A mask whose values are the places of its labels; a hard link where they are already."""
    if list(names) == list(range(len(names))):
        link_or_copy(labels, target)
        return
    stored = read_labels(labels)
    classes = np.zeros(256, dtype=np.uint8)
    classes[list(names)] = range(len(names))
    write_nifti(target, LabelMap(classes[stored.voxels], stored.geometry), for_release=True)


def _folders(row: ManifestRow) -> tuple[str, str]:
    """Where the image and the labels of a volume go, for nnU-Net and the Decathlon alike."""
    is_training = row.split == "train"
    return (TRAINING_IMAGES, TRAINING_LABELS) if is_training else (TEST_IMAGES, TEST_LABELS)


def _sidecar(row: ManifestRow) -> dict[str, Any]:
    facts = {
        "Manufacturer": row.manufacturer,
        "ManufacturersModelName": row.model,
        "ConvolutionKernel": row.kernel,
        "KVP": row.kvp,
        "SliceThickness": row.slice_thickness_mm,
    }
    return {name: value for name, value in facts.items() if value is not None}


def _about(provenance: Mapping[str, Any]) -> dict[str, str]:
    dataset = provenance["config"]["dataset"]
    return {
        "name": provenance["dataset"],
        "description": dataset["description"],
        "licence": dataset["license"],
        "release": provenance["version"],
        "reference": f"{provenance['dataset']} {provenance['version']}",
    }


def _stem(row: ManifestRow) -> str:
    return f"{row.patient_id}_{row.phase}"


def _tsv(columns: tuple[str, ...], rows: list[dict[str, Any]]) -> str:
    return csv_text(columns, rows, separator="\t")


_WRITERS: Mapping[ExportFormat, Callable[[Path, Path, tuple[ManifestRow, ...], Mapping[str, Any]], None]] = (
    MappingProxyType({ExportFormat.NNUNET: _nnunet, ExportFormat.MSD: _msd, ExportFormat.BIDS: _bids})
)
