"""Training in this process with nnU-Net's own parts; the network here learns for seconds only."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.core.config import CoarseConfig
from pipeline.core.errors import GeometryError, ModelError
from pipeline.core.geometry import Geometry
from pipeline.core.labels import Label
from pipeline.core.volume import LabelMap, Volume
from pipeline.image.nifti import read_labels, read_volume
from pipeline.image.orientation import reoriented
from pipeline.segment.models import Model, find_model
from pipeline.segment.nnunet import NnunetSegmenter
from pipeline.segment.training import PREPARED, Lesson, SmallNetwork, train_full, train_small
from pipeline.segment.trainset import IGNORE, LabelledVolume, Origin, write_raw_dataset
from pipeline.synth.phantom import make_phantom
from tests.places import ROOT

HASTY = (Lesson(1, 1e-2, patch=(8, 16, 16), iterations=2), Lesson(1, 1e-3, iterations=2))
FEW_STEPS = Lesson(3, 1e-2, iterations=1)
TINY = SmallNetwork(spacing_mm=(12.0, 12.0, 12.0), patch=(16, 32, 32), features=(4, 8, 16))


def cases(count: int) -> list[LabelledVolume]:
    made = []
    for index in range(count):
        phantom = make_phantom(np.random.default_rng(index), shape=(20, 40, 40), spacing_mm=(10.0, 9.0, 9.0))
        made.append(LabelledVolume(f"P{index:04d}_C2", phantom.volume, phantom.labels, Origin.REVIEWED))
    return made


def one_case(**changes: object) -> LabelledVolume:
    voxels = np.zeros((4, 5, 6), dtype=np.uint8)
    voxels[1:3, 1:4, 1:4] = Label.LIVER
    grid = Geometry.from_axes((4, 5, 6), spacing_mm=(5, 2, 2))
    image = Volume(voxels.astype(np.int16), grid)
    return LabelledVolume("P0001_C1", image, LabelMap(voxels, grid), Origin.REVIEWED, **changes)  # type: ignore[arg-type]


def test_slices_that_nobody_looked_at_are_ignored(tmp_path: Path):
    case = one_case(reviewed=np.array([True, True, False, False]))
    dataset = write_raw_dataset(tmp_path, "Dataset501_Liver", [case])
    voxels = read_labels(dataset / "labelsTr" / "P0001_C1.nii.gz").voxels
    assert np.array_equal(voxels[:2], case.labels.voxels[:2])
    assert (voxels[2:] == IGNORE).all()
    assert json.loads((dataset / "dataset.json").read_text())["labels"] == {
        "background": 0,
        "liver": 1,
        "lesion": 2,
        "ignore": 3,
    }


def test_fully_reviewed_cases_need_no_ignore_label_and_keep_their_origin(tmp_path: Path):
    dataset = write_raw_dataset(tmp_path, "Dataset501_Liver", [one_case()])
    assert "ignore" not in json.loads((dataset / "dataset.json").read_text())["labels"]
    assert json.loads((dataset / "origins.json").read_text()) == {"P0001_C1": "reviewed"}


def test_cases_of_an_earlier_round_do_not_stay_behind(tmp_path: Path):
    write_raw_dataset(tmp_path, "Dataset501_Liver", [replace(one_case(), name="withdrawn")])
    dataset = write_raw_dataset(tmp_path, "Dataset501_Liver", [one_case()])
    assert [path.name for path in sorted(dataset.rglob("*.nii.gz"))] == ["P0001_C1_0000.nii.gz", "P0001_C1.nii.gz"]


def test_training_images_lie_as_the_network_expects_them(tmp_path: Path):
    case = one_case()
    turned = LabelledVolume("turned", reoriented(case.image, "LAI"), reoriented(case.labels, "LAI"), Origin.REVIEWED)
    dataset = write_raw_dataset(tmp_path, "Dataset501_Liver", [turned])
    assert read_volume(dataset / "imagesTr" / "turned_0000.nii.gz").geometry.orientation == "SPL"
    assert np.array_equal(read_labels(dataset / "labelsTr" / "turned.nii.gz").voxels, case.labels.voxels)


def test_label_of_another_grid_never_becomes_a_training_case():
    case = one_case()
    moved = LabelMap(case.labels.voxels, Geometry.from_axes((4, 5, 6), spacing_mm=(5, 2, 2), origin_lps_mm=(9, 0, 0)))
    with pytest.raises(GeometryError, match="P0001_C1"):
        LabelledVolume("P0001_C1", case.image, moved, Origin.REVIEWED)


@pytest.mark.parametrize(("made", "message"), [([], "nothing to train on"), ([one_case(), one_case()], "two training")])
def test_impossible_training_sets_are_refused(tmp_path: Path, made: list[LabelledVolume], message: str):
    with pytest.raises(ModelError, match=message):
        write_raw_dataset(tmp_path, "Dataset501_Liver", made)


def test_folder_that_is_no_dataset_is_refused(tmp_path: Path):
    with pytest.raises(ModelError, match="raw layout"):
        train_small(tmp_path, tmp_path / "work", tmp_path / "model")


@pytest.mark.slow
def test_a_model_trained_on_partly_reviewed_cases_labels_and_can_be_trained_further(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    whole = cases(5)
    partly = [replace(case, reviewed=np.arange(20) > 4) for case in whole]
    before = nnunet_environment()
    first_raw = write_raw_dataset(tmp_path / "raw", "Dataset501_Liver", partly)
    train_small(first_raw, tmp_path / "work", tmp_path / "first", network=TINY, lessons=HASTY)
    first = find_model(CoarseConfig(model="first"), tmp_path, allow_unpinned=True)
    second_raw = write_raw_dataset(tmp_path / "raw", "Dataset502_Liver", whole)
    train_small(second_raw, tmp_path / "work", tmp_path / "second", lessons=HASTY, pretrained=first)
    second = find_model(CoarseConfig(model="second"), tmp_path, allow_unpinned=True)
    assert first.sha256 != second.sha256
    for model in (first, second):
        found = NnunetSegmenter(model, "cpu").segment(whole[0].image).labels.voxels
        assert found.shape == (20, 40, 40)
        assert set(np.unique(found)) <= {0, 1, 2}
    assert nnunet_environment() == before
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_a_killed_training_with_full_plans_goes_on_and_its_folds_label_together(tmp_path: Path):
    made = cases(4)
    raw = write_raw_dataset(tmp_path / "raw", "Dataset501_Liver", made)
    names = [case.name for case in made]
    splits = [{"train": names[2:], "val": names[:2]}, {"train": names[:2], "val": names[2:]}]
    asked = {"raw": str(raw), "work": str(tmp_path / "work"), "out": str(tmp_path / "model"), "splits": splits}
    fold = tmp_path / "work" / "results" / raw.name / "nnUNetTrainer__nnUNetPlans__3d_fullres" / "fold_0"
    kill_when_there(fold / "progress.png", asked)
    assert not (tmp_path / "model").exists()
    planned = (tmp_path / "work" / PREPARED).stat().st_mtime_ns
    train_full(raw, tmp_path / "work", tmp_path / "model", splits=splits, lesson=FEW_STEPS, device="cpu")
    assert (tmp_path / "work" / PREPARED).stat().st_mtime_ns == planned
    first, second = (log.read_text() for log in sorted(fold.glob("training_log_*.txt")))
    assert "Epoch 0" in first
    assert "Epoch 0" not in second
    assert f"Epoch {FEW_STEPS.epochs - 1}" in second
    model = find_model(CoarseConfig(model="model"), tmp_path, allow_unpinned=True)
    done = NnunetSegmenter(model, "cpu").segment(made[0].image)
    assert [path.parent.name for path in model.checkpoints] == ["fold_0", "fold_1"]
    assert done.labels.geometry is made[0].image.geometry
    assert 0.0 <= done.signals["folds"] <= 1.0


def kill_when_there(path: Path, asked: dict[str, object]) -> None:
    """Train in a process of its own and kill it as soon as a file is there."""
    code = (
        "import json, sys; from pathlib import Path\n"
        "from pipeline.segment.training import Lesson, train_full\n"
        "import torch; torch.set_num_threads(1); asked = json.loads(sys.argv[1])\n"
        "raw, work, out = (Path(asked[key]) for key in ('raw', 'work', 'out'))\n"
        f"lesson = Lesson({FEW_STEPS.epochs}, {FEW_STEPS.learning_rate}, iterations={FEW_STEPS.iterations})\n"
        "train_full(raw, work, out, splits=asked['splits'], lesson=lesson, device='cpu')\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, json.dumps(asked)], cwd=ROOT, start_new_session=True) as process:
        while not path.is_file() and process.poll() is None:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


def nnunet_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("nnUNet")}


def test_splits_that_name_a_missing_case_are_refused_before_anything_is_planned(tmp_path: Path):
    raw = write_raw_dataset(tmp_path / "raw", "Dataset501_Liver", [one_case()])
    with pytest.raises(ModelError, match="P9999"):
        train_full(raw, tmp_path / "work", tmp_path / "model", splits=[{"train": ["P0001_C1"], "val": ["P9999"]}])
    assert not (tmp_path / "work").exists()


def test_a_model_of_another_shape_is_no_start(tmp_path: Path, demo_model: Model):
    from pipeline.segment.trainer import SmallTrainer, weights_of

    other = SimpleNamespace(initialize=lambda: None, network=torch_layer())
    with pytest.raises(ModelError, match="demo does not fit this training"):
        SmallTrainer.start(other, weights_of(demo_model), "demo")  # type: ignore[arg-type]


def torch_layer() -> object:
    import torch

    return torch.nn.Linear(1, 1)


def test_learning_rate_rises_then_falls_to_nothing():
    from pipeline.segment.trainer import learning_rate_at

    rates = [learning_rate_at(epoch, 1.0, 20) for epoch in range(21)]
    top = int(np.argmax(rates))
    assert rates[top] == pytest.approx(1.0)
    assert 0 < top <= 4
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[20] == pytest.approx(0.0, abs=1e-9)
