"""Exports and the machine-readable description, read by the programs they are for."""

from __future__ import annotations

import csv
import json
import warnings
from pathlib import Path

import nibabel
import numpy as np
import pytest

from pipeline.core.errors import ReleaseError
from pipeline.dataset.export import ExportFormat, export
from pipeline.dataset.manifest import COLUMNS, read_manifest


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_nnunet_finds_images_labels_and_folds(released, tmp_path):
    folder = export(released, tmp_path, ExportFormat.NNUNET, number=7)
    assert folder.name == "Dataset007_BoxLivers"
    described = json.loads((folder / "dataset.json").read_text())
    assert described["channel_names"] == {"0": "CT"}
    assert described["labels"] == {"background": 0, "liver": 1, "lesion": 2}
    rows = read_manifest(released / "patient_data.csv")
    training = {f"{row.patient_id}_{row.phase}" for row in rows if row.split == "train"}
    assert described["numTraining"] == len(training)
    assert names(folder / "imagesTr") == {f"{name}_0000.nii.gz" for name in training}
    assert names(folder / "labelsTr") == {f"{name}.nii.gz" for name in training}
    assert len(names(folder / "imagesTs")) == len(rows) - len(training)
    folds = json.loads((folder / "splits_final.json").read_text())
    assert {name for fold in folds for name in fold["val"]} == training


@pytest.mark.slow
def test_nnunet_itself_finds_the_dataset_whole(released, tmp_path):
    integrity = pytest.importorskip("nnunetv2.experiment_planning.verify_dataset_integrity")
    folder = export(released, tmp_path, ExportFormat.NNUNET)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        integrity.verify_dataset_integrity(str(folder), num_processes=1)


def test_decathlon_lists_every_volume_by_its_path(released, tmp_path):
    folder = export(released, tmp_path, ExportFormat.MSD)
    described = json.loads((folder / "dataset.json").read_text())
    assert folder.name == "Task01_BoxLivers"
    assert described["labels"] == {"0": "background", "1": "liver", "2": "lesion"}
    assert described["numTraining"] + described["numTest"] == 12
    for pair in described["training"]:
        image, label = (nibabel.load(folder / pair[kind]) for kind in ("image", "label"))
        np.testing.assert_array_equal(image.affine, label.affine)
    assert all((folder / path).is_file() for path in described["test"])


def test_bids_tree_names_subjects_and_contrast(released, tmp_path):
    folder = export(released, tmp_path, ExportFormat.BIDS)
    with (folder / "participants.tsv").open(newline="") as file:
        people = list(csv.DictReader(file, delimiter="\t"))
    assert [person["participant_id"] for person in people] == [f"sub-P{n:04d}" for n in range(1, 7)]
    assert people[4]["age"] == "90+"
    home = folder / "sub-P0001" / "ct"
    assert names(home) == {
        f"sub-P0001_ce-{phase}_ct{end}" for phase in ("plain", "arterial") for end in (".nii.gz", ".json")
    }
    assert json.loads((home / "sub-P0001_ce-plain_ct.json").read_text()) == {"Manufacturer": "GE", "KVP": 120.0}
    masks = folder / "derivatives" / "consensus"
    assert (masks / "sub-P0001" / "ct" / "sub-P0001_ce-plain_desc-consensus_dseg.nii.gz").is_file()
    assert json.loads((masks / "dataset_description.json").read_text())["DatasetType"] == "derivative"


def test_exports_share_their_files_with_the_release_and_overwrite_nothing(released, tmp_path):
    folder = export(released, tmp_path, ExportFormat.BIDS)
    exported = folder / "sub-P0001" / "ct" / "sub-P0001_ce-plain_ct.nii.gz"
    assert exported.read_bytes() == (released / "ct_files" / "P0001_ct_P.nii.gz").read_bytes()
    with pytest.raises(ReleaseError, match="exists already"):
        export(released, tmp_path, ExportFormat.BIDS)


@pytest.mark.filterwarnings("ignore")
def test_mlcroissant_validates_the_description_and_reads_every_row(released):
    mlcroissant = pytest.importorskip("mlcroissant")
    dataset = mlcroissant.Dataset(jsonld=str(released / "croissant.json"))
    assert not dataset.metadata.issues.errors
    records = list(dataset.records(record_set="volumes"))
    assert len(records) == 12
    assert {name.removeprefix("volumes/") for name in records[0]} == set(COLUMNS)
    assert records[0]["volumes/patient_id"] == b"P0001"
    assert records[0]["volumes/slices"] == 6
