"""A release as its users read it, held to the files it was cut from and to the lists that other programs read."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.core.errors import PipelineError, ReleaseError, StorageError
from pipeline.core.volume import Unit
from pipeline.dataset.reading import PARTS, Release, open_release
from tests.dataset.conftest import VOXEL_ML, box_labels, image_of


@pytest.fixture(scope="module")
def copy(released: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The release alone, copied to where nothing else is."""
    return Path(shutil.copytree(released, tmp_path_factory.mktemp("elsewhere") / "some-name"))


@pytest.fixture(scope="module")
def release(copy: Path) -> Release:
    return open_release(copy)


def test_volumes_are_the_published_table_with_its_types(release: Release, copy: Path):
    pd.testing.assert_frame_equal(release.volumes, pd.read_parquet(copy / "patient_data.parquet"))
    assert len(release.volumes) == 12


def test_patients_have_one_row_each(release: Release):
    assert release.patients["patient_id"].tolist() == [f"P{number:04d}" for number in range(1, 7)]
    assert set(release.patients["phases"]) == {"P C1"}
    assert release.patients["age"].tolist() == ["50", "60", "70", "80", "90+", "90+"]


def test_images_and_masks_are_those_that_went_in(release: Release):
    for number in range(1, 7):
        patient, truth = f"P{number:04d}", box_labels(number % 3)
        np.testing.assert_array_equal(release.labels(patient, "C1").voxels, truth.voxels)
        np.testing.assert_array_equal(release.mask(patient, "C1").voxels, truth.voxels == 2)
        np.testing.assert_array_equal(release.liver_mask(patient, "C1").voxels, truth.voxels > 0)
        image = release.image(patient, "P")
        np.testing.assert_array_equal(image.voxels, image_of(truth, 2 * number + 1).voxels)
        assert image.geometry.same_space(truth.geometry)
        assert image.unit is Unit.HU


def test_lesions_are_a_table_of_measures(release: Release):
    assert sorted(release.lesions["volume_ml"].round(2).unique()) == [4 * VOXEL_ML, 12 * VOXEL_ML]
    assert release.lesions.merge(release.volumes, on=["patient_id", "phase"])["lesion_count"].notna().all()


def test_splits_are_those_published(release: Release, copy: Path):
    places = json.loads((copy / "splits.json").read_text())["patients"]
    wanted = {split: [p for p, place in places.items() if place["split"] == split] for split in release.splits}
    assert release.splits == wanted
    assert sum(map(len, release.splits.values())) == 6


def test_lists_for_training_are_nnunets_own_folds(release: Release, copy: Path):
    def names(part: str, fold: int) -> list[str]:
        return [f"{item['patient_id']}_{item['phase']}" for item in release.to_monai(part, fold=fold)]

    folds = json.loads((copy / "splits_final.json").read_text())
    assert len(folds) == 5
    for fold, own in enumerate(folds):
        assert sorted(names("train", fold)) == sorted(own["train"])
        assert sorted(names("val", fold)) == sorted(own["val"])


def test_parts_cover_every_volume_once(release: Release):
    every = [item["image"] for item in release.to_monai()]
    parts = [item["image"] for part in ("train", "test", "test-ood") for item in release.to_monai(part)]
    assert sorted(parts) == sorted(every)
    assert len(set(every)) == 12
    assert all(Path(item[key]).is_file() for item in release.to_monai() for key in ("image", "label"))
    assert all(type(value) is str for item in release.to_monai() for value in item.values())


def test_lists_hold_wherever_one_stands(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(copy.parent)
    release = open_release("some-name")
    monkeypatch.chdir(tmp_path)
    assert Path(release.to_monai()[0]["image"]).is_file()
    assert release.to_torch()[0]["image"].shape == (1, 6, 20, 24)


@pytest.mark.parametrize(
    ("part", "fold", "message"),
    [
        ("training", None, "choose train, val, test, test-ood"),
        ("val", None, '"val" needs a fold'),
        ("test", 0, "no other part has any"),
        (None, 0, "no other part has any"),
        ("train", 5, "there is no fold 5; there are 0, 1, 2, 3, 4"),
        ("val", -1, "there is no fold -1"),
    ],
)
def test_a_part_that_is_not_there_is_refused(release: Release, part: str | None, fold: int | None, message: str):
    for ask in (release.to_monai, release.to_torch):
        with pytest.raises(ReleaseError, match=message):
            ask(part, fold=fold)


@pytest.mark.parametrize("part", PARTS)
def test_torch_batches_samples(release: Release, part: str):
    torch_data = pytest.importorskip("torch.utils.data")
    samples = release.to_torch(part, fold=0 if part in ("train", "val") else None)
    assert len(samples) == len(list(samples)) == len(pickle.loads(pickle.dumps(samples)))
    loader = torch_data.DataLoader(samples, batch_size=2, shuffle=bool(len(samples)))
    seen = [pair for batch in loader for pair in zip(batch["patient_id"], batch["phase"], strict=True)]
    assert len(set(seen)) == len(samples)
    for batch in loader:
        truth = [release.labels(*pair).voxels for pair in zip(batch["patient_id"], batch["phase"], strict=True)]
        np.testing.assert_array_equal(batch["label"].numpy()[:, 0], np.stack(truth))
        assert batch["image"].shape == batch["label"].shape


def test_samples_may_be_changed_and_leave_the_release_alone(release: Release):
    samples = release.to_torch()
    samples[0]["image"][:] = samples[0]["label"][:] = 7
    assert samples[0]["label"].max() <= 2
    with pytest.raises(IndexError):
        samples[12]


def test_nnunet_gets_its_folder(release: Release, tmp_path: Path):
    folder = release.to_nnunet(str(tmp_path), number=3)
    assert folder.name == "Dataset003_BoxLivers"
    assert json.loads((folder / "dataset.json").read_text())["numTraining"] == len(release.to_monai("train"))


@pytest.mark.parametrize("ask", ["image", "labels", "mask", "liver_mask"])
def test_what_a_release_does_not_hold_is_named(release: Release, ask: str):
    with pytest.raises(ReleaseError, match=r"P0001 has no phase C3 in version 1\.0\.0; it has P, C1"):
        getattr(release, ask)("P0001", "C3")
    with pytest.raises(ReleaseError, match=r"version 1\.0\.0 has no patient P0007"):
        getattr(release, ask)("P0007", "C1")


def test_a_copy_without_its_images_still_gives_its_tables(copy: Path, tmp_path: Path):
    (tmp_path / "patient_data.csv").write_bytes((copy / "patient_data.csv").read_bytes())
    release = open_release(tmp_path)
    assert len(release.volumes) == 12
    for ask in (lambda: release.image("P0001", "C1"), lambda: release.labels("P0001", "C1"), lambda: release.lesions):
        with pytest.raises(StorageError):
            ask()


def test_an_mr_release_has_no_hounsfield_units(copy: Path, tmp_path: Path):
    folder = Path(shutil.copytree(copy, tmp_path / "mr"))
    (folder / "PROVENANCE.json").chmod(0o644)
    text = (folder / "PROVENANCE.json").read_text()
    (folder / "PROVENANCE.json").write_text(text.replace('"modality": "CT"', '"modality": "MR"'))
    assert open_release(folder).image("P0001", "C1").unit is Unit.INTENSITY


@pytest.mark.parametrize("content", [None, "", "patient_id\n"])
def test_a_folder_that_is_no_release_is_refused(copy: Path, tmp_path: Path, content: str | None):
    if content is not None:
        (tmp_path / "patient_data.csv").write_text(content)
    with pytest.raises(PipelineError):
        open_release(tmp_path)


def test_a_release_without_volumes_is_refused(copy: Path, tmp_path: Path):
    header = (copy / "patient_data.csv").read_text().splitlines()[0]
    (tmp_path / "patient_data.csv").write_text(header + "\n")
    with pytest.raises(ReleaseError, match="lists no volume"):
        open_release(tmp_path)


def test_a_release_shows_itself_in_one_line(release: Release):
    assert repr(release) == "Release(1.0.0, 6 patients, 12 volumes)"
    assert repr(release.to_torch("test")) == "Samples(2 volumes)"
