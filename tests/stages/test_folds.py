"""Cross-validation in one command: a network a fold, each measured on the patients it never saw."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.core.config import Config
from pipeline.core.errors import ModelError, ReleaseError
from pipeline.core.files import read_json
from pipeline.dataset.release import cut
from pipeline.segment.models import single_folds
from pipeline.segment.training import Lesson
from pipeline.stages.learn import coarse_of, train_folds
from pipeline.workspace import Workspace
from tests.dataset.conftest import inputs_in

HASTY = (Lesson(1, 1e-3, patch=(8, 16, 16), iterations=1),)
SETTINGS = """
[dataset]
name = "box-livers"
[splits]
folds = 2
test_fraction = 0.2
[coarse]
min_lesion_mm3 = 120
step_size = 0.7
[coarse.lesions]
model = "demo"
"""


@pytest.fixture
def dataset(tmp_path: Path) -> Workspace:
    """A dataset with one version: five patients of two phases, one of them a test patient, the others in two folds."""
    root = tmp_path / "dataset"
    root.mkdir()
    (root / "dataset.toml").write_text(SETTINGS)
    ws = Workspace.open(root)
    config = Config.model_validate({"dataset": {"name": "box-livers"}, "splits": {"folds": 2, "test_fraction": 0.2}})
    cut(inputs_in(tmp_path, patients=5, config=config), ws.layout.releases, leak_check=lambda _: [])
    return ws


@pytest.mark.slow
def test_each_fold_is_measured_by_a_network_that_never_saw_it(dataset: Workspace, tmp_path: Path):
    evaluation = train_folds(
        dataset, "1.0.0", tmp_path / "out", tmp_path / "work", device="cpu", pretrained="demo", lessons=HASTY
    )
    splits = read_json(dataset.layout.release("1.0.0") / "splits_final.json")
    for number, split in enumerate(splits):
        origins = read_json(next((tmp_path / "work" / f"fold_{number}" / "raw").glob("*/origins.json")))
        assert set(origins) == set(split["train"])
        assert not set(origins) & set(split["val"])
    predicted = {path.name.removesuffix(".nii.gz") for path in (tmp_path / "out" / "predictions").iterdir()}
    assert predicted == {name for split in splits for name in split["val"]}
    assert evaluation.left_out == ("segmentation: test",)
    assert not evaluation.missing
    (dice,) = [
        row for row in evaluation.rows if (row["group"], row["of"], row["measure"]) == ("all", "whole_liver", "dice")
    ]
    assert dice["folds"] == 2
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("models", "predictions", "evaluation.csv", "evaluation_volumes.csv", "evaluation.md", "evaluation.tex"),
    }


def test_fewer_patients_than_folds_are_refused_before_any_training(tmp_path: Path):
    root = tmp_path / "dataset"
    root.mkdir()
    (root / "dataset.toml").write_text('[dataset]\nname = "box-livers"\n')
    ws = Workspace.open(root)
    cut(inputs_in(tmp_path, patients=3), ws.layout.releases, leak_check=lambda _: [])
    with pytest.raises(ReleaseError, match=r"version 1\.0\.0 has fewer training patients than folds"):
        train_folds(ws, "1.0.0", tmp_path / "out", tmp_path / "work", device="cpu")
    assert not (tmp_path / "out").exists()


def test_folds_of_full_size_start_from_scratch(dataset: Workspace, tmp_path: Path):
    with pytest.raises(ModelError, match="--full trains from settled masks alone"):
        train_folds(dataset, "1.0.0", tmp_path / "out", tmp_path / "work", device="cpu", full=True, pretrained="demo")


def test_coarse_labels_of_other_cases_have_no_fold(dataset: Workspace, tmp_path: Path):
    words = ["train", str(dataset.root), "--version", "1.0.0", "-o", str(tmp_path / "out"), "--folds", "--with-coarse"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2
    assert "--folds trains from a version alone; remove --with-coarse" in result.output


def test_folds_of_an_ensemble_become_models_of_their_own_in_order(tmp_path: Path):
    for number in (10, 2, 0):
        folder = tmp_path / "ensemble" / f"fold_{number}"
        folder.mkdir(parents=True)
        (folder / "checkpoint_final.pth").write_bytes(bytes([number]))
    for name in ("plans.json", "dataset.json"):
        (tmp_path / "ensemble" / name).write_text("{}")
    found = list(single_folds(tmp_path / "ensemble", tmp_path / "out"))
    assert [folder.name for folder in found] == ["fold_0", "fold_2", "fold_10"]
    for number, folder in zip((0, 2, 10), found, strict=True):
        (checkpoint,) = folder.glob("*/checkpoint_final.pth")
        assert (checkpoint.parent.name, checkpoint.read_bytes()) == (f"fold_{number}", bytes([number]))
        assert (folder / "plans.json").is_file()


def test_a_network_is_measured_as_the_dataset_would_use_it(dataset: Workspace):
    own = coarse_of(dataset, None, "cpu")
    assert (own.min_lesion_mm3, own.step_size, own.device) == (120, 0.7, "cpu")
    assert own.lesions is not None
    assert own == coarse_of(dataset, "demo", "cpu")


def test_another_network_takes_the_place_of_both_and_keeps_the_post_processing(dataset: Workspace):
    other = coarse_of(dataset, "models/round-2", "cpu")
    assert (other.model, other.min_lesion_mm3, other.step_size, other.lesions) == ("models/round-2", 120, 0.7, None)
    assert (other.sha256, other.labels) == (None, {})
