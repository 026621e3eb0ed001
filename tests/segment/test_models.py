"""Model folders: found, pinned, refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from pipeline.core.config import CoarseConfig
from pipeline.core.errors import ModelError
from pipeline.core.labels import Label
from pipeline.segment.models import check_plans, find_model, map_labels, output_values

PLANS = {
    "configurations": {
        "3d": {
            "architecture": {
                "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
                "arch_kwargs": {"conv_op": "torch.nn.modules.conv.Conv3d", "dropout_op": None},
                "_kw_requires_import": ["conv_op", "dropout_op"],
            }
        },
        "3d_child": {"inherits_from": "3d"},
    }
}


def plans_with(**changes: Any) -> dict[str, Any]:
    plans = json.loads(json.dumps(PLANS))
    plans["configurations"]["3d"]["architecture"].update(changes)
    return plans


def make_folder(
    folder: Path, *, labels: dict[str, Any] | None = None, plans: Any = PLANS, folds: tuple = ("all",)
) -> Path:
    folder.mkdir(parents=True)
    named = {"background": 0, "liver": 1, "lesion": 2} if labels is None else labels
    (folder / "dataset.json").write_text(json.dumps({"labels": named}))
    (folder / "plans.json").write_text(json.dumps(plans))
    for fold in folds:
        (folder / f"fold_{fold}").mkdir()
        (folder / f"fold_{fold}" / "checkpoint_final.pth").write_bytes(b"weights")
    return folder


def test_registered_model_is_found_by_its_name_and_its_own_pin(tmp_path: Path):
    model = find_model(CoarseConfig(model="demo"), tmp_path)
    assert model.name == "demo"
    assert model.labels == {1: Label.LIVER, 2: Label.LESION}
    assert set(model.hashes) == {"plans.json", "dataset.json", "fold_all/checkpoint_final.pth"}


def test_unpinned_folder_is_refused_and_the_message_says_which_pin_to_set(tmp_path: Path):
    make_folder(tmp_path / "mine")
    found = find_model(CoarseConfig(model="mine"), tmp_path, allow_unpinned=True)
    with pytest.raises(ModelError, match=f'sha256 = "{found.sha256}"'):
        find_model(CoarseConfig(model="mine"), tmp_path)
    assert find_model(CoarseConfig(model="mine", sha256=found.sha256), tmp_path) == found


@pytest.mark.parametrize("name", ["plans.json", "dataset.json", "fold_all/checkpoint_final.pth"])
def test_one_changed_byte_in_any_file_breaks_the_pin(tmp_path: Path, name: str):
    folder = make_folder(tmp_path / "mine")
    pin = find_model(CoarseConfig(model="mine"), tmp_path, allow_unpinned=True).sha256
    (folder / name).write_bytes((folder / name).read_bytes() + b" ")
    with pytest.raises(ModelError, match="pinned is"):
        find_model(CoarseConfig(model="mine", sha256=pin), tmp_path)


def test_wrong_pin_is_refused_even_where_unpinned_models_are_allowed(tmp_path: Path):
    make_folder(tmp_path / "mine")
    with pytest.raises(ModelError, match="pinned is"):
        find_model(CoarseConfig(model="mine", sha256="0" * 64), tmp_path, allow_unpinned=True)


def test_all_numbered_folds_form_an_ensemble_unless_one_was_trained_on_everything(tmp_path: Path):
    make_folder(tmp_path / "folds", folds=(0, 1, 2))
    make_folder(tmp_path / "both", folds=(0, 1, "all"))
    folds = find_model(CoarseConfig(model="folds"), tmp_path, allow_unpinned=True)
    both = find_model(CoarseConfig(model="both"), tmp_path, allow_unpinned=True)
    assert [path.parent.name for path in folds.checkpoints] == ["fold_0", "fold_1", "fold_2"]
    assert [path.parent.name for path in both.checkpoints] == ["fold_all"]


def test_weights_of_totalsegmentator_want_their_orientation_confirmed(tmp_path: Path):
    plans = {**PLANS, "dataset_name": "Dataset291_TotalSegmentator_part1_organs_1559subj"}
    make_folder(tmp_path / "total", plans=plans, labels={"background": 0, "spleen": 1, "liver": 5})
    with pytest.raises(ModelError, match='set orientation = "SAR"'):
        find_model(CoarseConfig(model="total"), tmp_path, allow_unpinned=True)
    model = find_model(CoarseConfig(model="total", orientation="SAR"), tmp_path, allow_unpinned=True)
    assert (model.orientation, model.labels) == ("SAR", {5: Label.LIVER})


def test_model_nested_as_nnunet_exports_it_is_found(tmp_path: Path):
    make_folder(tmp_path / "export" / "Dataset003_Liver" / "nnUNetTrainer__nnUNetPlans__3d_fullres")
    model = find_model(CoarseConfig(model="export"), tmp_path, allow_unpinned=True)
    assert model.folder.name == "nnUNetTrainer__nnUNetPlans__3d_fullres"


def test_zip_as_nnunet_exports_it_is_unpacked_beside_itself_and_only_the_model(tmp_path: Path):
    model = make_folder(tmp_path / "made" / "Dataset003_Liver" / "nnUNetTrainer__nnUNetPlans__3d_fullres")
    with ZipFile(tmp_path / "export.zip", "w") as archive:
        for path in sorted(model.rglob("*.*")):
            archive.write(path, path.relative_to(tmp_path / "made"))
        archive.writestr("../outside/plans.json", "{}")
        archive.writestr("Dataset003_Liver/run_me.py", "raise SystemExit")
    zipped = find_model(CoarseConfig(model="export.zip"), tmp_path, allow_unpinned=True)
    direct = find_model(CoarseConfig(model="made"), tmp_path, allow_unpinned=True)
    assert zipped.sha256 == direct.sha256
    assert not (tmp_path.parent / "outside").exists()
    assert not list((tmp_path / "export").rglob("*.py"))


def test_zip_that_is_none_is_refused(tmp_path: Path):
    (tmp_path / "export.zip").write_bytes(b"no zip")
    with pytest.raises(ModelError, match="not a readable zip"):
        find_model(CoarseConfig(model="export.zip"), tmp_path, allow_unpinned=True)


def test_folder_with_several_models_must_be_named_more_exactly(tmp_path: Path):
    make_folder(tmp_path / "export" / "a")
    make_folder(tmp_path / "export" / "b")
    with pytest.raises(ModelError, match="holds 2 models"):
        find_model(CoarseConfig(model="export"), tmp_path, allow_unpinned=True)


@pytest.mark.parametrize("name", ["plans.json", "dataset.json", "fold_all/checkpoint_final.pth"])
def test_missing_file_is_named(tmp_path: Path, name: str):
    (make_folder(tmp_path / "mine") / name).unlink()
    with pytest.raises(ModelError, match=r"plans.json|dataset.json|checkpoint_final.pth"):
        find_model(CoarseConfig(model="mine"), tmp_path, allow_unpinned=True)


def test_absent_model_lists_the_registered_names(tmp_path: Path):
    with pytest.raises(ModelError, match="demo"):
        find_model(CoarseConfig(model="nowhere"), tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"network_class_name": "os.system"},
        {"network_class_name": "evil.dynamic_network_architectures.architectures.unet.PlainConvUNet"},
        {"arch_kwargs": {"conv_op": "subprocess.Popen"}, "_kw_requires_import": ["conv_op"]},
        {"arch_kwargs": {"conv_op": "torch.hub.load"}, "_kw_requires_import": ["conv_op"]},
    ],
)
def test_plans_that_name_other_classes_are_refused(changes: dict[str, Any]):
    with pytest.raises(ModelError, match=r"plans\.json names"):
        check_plans(plans_with(**changes), name="mine")


@pytest.mark.parametrize("plans", [None, [], {}, {"configurations": {"3d": {"architecture": {}}}}])
def test_plans_in_another_form_are_refused(plans: Any):
    with pytest.raises(ModelError, match="nnU-Net v2's form"):
        check_plans(plans, name="mine")


def test_regions_are_known_by_the_value_that_is_painted_for_them():
    dataset = {"labels": {"background": 0, "liver": [1, 2], "tumour": 2}, "regions_class_order": [1, 2]}
    assert output_values(dataset) == {"liver": 1, "tumour": 2}


def test_ignore_label_is_never_an_output():
    assert output_values({"labels": {"background": 0, "liver": 1, "ignore": 2}}) == {"liver": 1}


def test_model_without_liver_or_lesion_is_refused():
    with pytest.raises(ModelError, match="spleen"):
        map_labels({"spleen": 1}, {}, name="mine")


@pytest.mark.parametrize("key", ["5", "Leber"])
def test_labels_are_mapped_by_value_or_by_name(key: str):
    assert map_labels({"Milz": 1, "Leber": 5}, {key: "liver"}, name="mine") == {5: Label.LIVER}


def test_wanted_label_that_the_model_does_not_have_is_named(tmp_path: Path):
    make_folder(tmp_path / "mine")
    with pytest.raises(ModelError, match="no label 7"):
        find_model(CoarseConfig(model="mine", labels={"7": "lesion"}), tmp_path, allow_unpinned=True)


def test_orientation_comes_from_the_configuration_else_from_the_model(tmp_path: Path):
    folder = make_folder(tmp_path / "mine")
    (folder / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "liver": 1}, "orientation": "LPS"}))
    stored = find_model(CoarseConfig(model="mine"), tmp_path, allow_unpinned=True)
    asked = find_model(CoarseConfig(model="mine", orientation="SAR"), tmp_path, allow_unpinned=True)
    assert (stored.orientation, asked.orientation) == ("LPS", "SAR")


def test_importing_the_part_loads_neither_torch_nor_nnunet():
    code = (
        "import sys, pipeline.segment.nnunet, pipeline.segment.models, pipeline.segment.postprocess,"
        "pipeline.segment.training; print(sorted({'torch', 'nnunetv2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
