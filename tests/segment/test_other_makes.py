"""Models of other makes: whatever the plans ask for, the labels are those of nnU-Net's own predictor."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.core.config import CoarseConfig
from pipeline.core.errors import ModelError
from pipeline.core.geometry import Geometry
from pipeline.core.volume import Volume
from pipeline.segment.models import Model, find_model
from pipeline.segment.nnunet import NnunetSegmenter
from pipeline.synth.phantom import make_phantom

Change = Callable[[dict[str, Any], dict[str, Any]], None]


def mask_normalisation(plans: dict[str, Any], configuration: dict[str, Any]) -> None:
    configuration["normalization_schemes"] = ["ZScoreNormalization"]
    configuration["use_mask_for_norm"] = [True]


def rescaled(plans: dict[str, Any], configuration: dict[str, Any]) -> None:
    configuration["normalization_schemes"] = ["RescaleTo01Normalization"]


def transposed(plans: dict[str, Any], configuration: dict[str, Any]) -> None:
    plans["transpose_forward"], plans["transpose_backward"] = [2, 0, 1], [1, 2, 0]


def default_resampling(plans: dict[str, Any], configuration: dict[str, Any]) -> None:
    for kind in ("data", "seg"):
        configuration[f"resampling_fn_{kind}"] = "resample_data_or_seg_to_shape"
        settings = {"is_seg": kind == "seg", "order": 1 if kind == "seg" else 3, "order_z": 0, "force_separate_z": None}
        configuration[f"resampling_fn_{kind}_kwargs"] = settings


def separate_slices(plans: dict[str, Any], configuration: dict[str, Any]) -> None:
    configuration["resampling_fn_probabilities_kwargs"]["force_separate_z"] = None


def small_windows(plans: dict[str, Any], configuration: dict[str, Any]) -> None:
    configuration["patch_size"] = [16, 24, 24]


@pytest.fixture(scope="module")
def volume() -> Volume:
    """A scan of thick slices with nothing, exactly 0, around it."""
    phantom = make_phantom(np.random.default_rng(3), shape=(12, 60, 60), spacing_mm=(20.0, 6.0, 6.0)).volume
    voxels = np.zeros((14, 70, 66), dtype=np.int16)
    voxels[1:13, 4:64, 3:63] = phantom.voxels
    return Volume(voxels, Geometry.from_axes(voxels.shape, spacing_mm=(20.0, 6.0, 6.0)))


def changed(demo_model: Model, folder: Path, change: Change) -> Model:
    shutil.copytree(demo_model.folder, folder / "model")
    path = folder / "model" / "plans.json"
    plans = json.loads(path.read_text())
    (configuration,) = plans["configurations"].values()
    change(plans, configuration)
    path.write_text(json.dumps(plans))
    return find_model(CoarseConfig(model="model"), folder, allow_unpinned=True)


def of_nnunet(model: Model, volume: Volume, *, mirroring: bool = False) -> np.ndarray:
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    peer = nnUNetPredictor(use_mirroring=mirroring, device=torch.device("cpu"), allow_tqdm=False)
    peer.initialize_from_trained_model_folder(str(model.folder), ("all",))
    image = volume.voxels[None].astype(np.float32)
    return peer.predict_single_npy_array(image, {"spacing": list(volume.geometry.spacing_mm)})


@pytest.mark.parametrize(
    "change", [mask_normalisation, rescaled, transposed, default_resampling, separate_slices, small_windows]
)
def test_labels_follow_the_plans(tmp_path: Path, demo_model: Model, volume: Volume, change: Change):
    model = changed(demo_model, tmp_path, change)
    assert np.array_equal(NnunetSegmenter(model, "cpu").segment(volume).labels.voxels, of_nnunet(model, volume))


def test_labels_of_a_region_based_model_are_painted_in_its_order(tmp_path: Path, demo_model: Model, volume: Volume):
    import torch

    model = changed(demo_model, tmp_path, lambda plans, configuration: None)
    dataset = json.loads((model.folder / "dataset.json").read_text())
    dataset |= {"labels": {"background": 0, "liver": [1, 2], "lesion": 2}, "regions_class_order": [1, 2]}
    (model.folder / "dataset.json").write_text(json.dumps(dataset))
    content = torch.load(model.checkpoints[0], map_location="cpu", weights_only=True)
    heads = {name: value[1:] if "seg_layers" in name else value for name, value in content["network_weights"].items()}
    torch.save({**content, "network_weights": heads}, model.checkpoints[0])
    regions = find_model(CoarseConfig(model="model"), tmp_path, allow_unpinned=True)
    done = NnunetSegmenter(regions, "cpu").segment(volume)
    assert np.array_equal(done.labels.voxels, of_nnunet(regions, volume))
    assert 0.0 <= done.entropy <= 1.0


def test_mirror_images_are_averaged_as_nnunet_does(tmp_path: Path, demo_model: Model, volume: Volume):
    import torch

    model = changed(demo_model, tmp_path, lambda plans, configuration: None)
    content = torch.load(model.checkpoints[0], map_location="cpu", weights_only=True)
    torch.save({**content, "inference_allowed_mirroring_axes": (0, 2)}, model.checkpoints[0])
    allowed = find_model(CoarseConfig(model="model"), tmp_path, allow_unpinned=True)
    done = NnunetSegmenter(allowed, "cpu", CoarseConfig(mirroring=True)).segment(volume)
    assert np.array_equal(done.labels.voxels, of_nnunet(allowed, volume, mirroring=True))
    assert not np.array_equal(done.labels.voxels, of_nnunet(allowed, volume))


def of_slices(plans: dict[str, Any], configuration: dict[str, Any]) -> None:
    text = (
        json.dumps(configuration["architecture"])
        .replace("Conv3d", "Conv2d")
        .replace("InstanceNorm3d", "InstanceNorm2d")
    )
    configuration["architecture"] = json.loads(text)
    arguments = configuration["architecture"]["arch_kwargs"]
    arguments |= {key: [sizes[1:] for sizes in arguments[key]] for key in ("kernel_sizes", "strides")}
    configuration |= {"patch_size": [32, 48], "spacing": [6.0, 6.0]}


def test_a_network_of_slices_goes_through_them_one_by_one(tmp_path: Path, demo_model: Model, volume: Volume):
    import torch
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    model = changed(demo_model, tmp_path, of_slices)
    (configuration,) = json.loads((model.folder / "plans.json").read_text())["configurations"].values()
    torch.manual_seed(0)
    parts = [configuration["architecture"][key] for key in ("network_class_name", "arch_kwargs", "_kw_requires_import")]
    network = get_network_from_plans(*parts, 1, 3, deep_supervision=False)
    content = torch.load(model.checkpoints[0], map_location="cpu", weights_only=True)
    torch.save({**content, "network_weights": network.state_dict()}, model.checkpoints[0])
    flat = find_model(CoarseConfig(model="model"), tmp_path, allow_unpinned=True)
    found = NnunetSegmenter(flat, "cpu").segment(volume).labels.voxels
    assert np.array_equal(found, of_nnunet(flat, volume))


def test_only_mapped_labels_are_left(tmp_path: Path, demo_model: Model, volume: Volume):
    config = CoarseConfig(labels={"lesion": "liver"})
    lesions_as_liver = find_model(config, tmp_path)
    found = NnunetSegmenter(lesions_as_liver, "cpu").segment(volume).labels.voxels
    plain = NnunetSegmenter(demo_model, "cpu").segment(volume).labels.voxels
    assert np.array_equal(found == 1, plain == 2)
    assert not (found == 2).any()


def test_plans_that_do_not_fit_the_weights_are_refused(tmp_path: Path, demo_model: Model, volume: Volume):
    def wider(plans: dict[str, Any], configuration: dict[str, Any]) -> None:
        configuration["architecture"]["arch_kwargs"]["features_per_stage"] = [16, 16, 32, 64]

    model = changed(demo_model, tmp_path, wider)
    with pytest.raises(ModelError, match=r"weights and plans\.json do not match"):
        NnunetSegmenter(model, "cpu").segment(volume)


def test_model_of_an_unknown_normalisation_is_refused(tmp_path: Path, demo_model: Model, volume: Volume):
    def strange(plans: dict[str, Any], configuration: dict[str, Any]) -> None:
        configuration["normalization_schemes"] = ["HospitalNormalization"]

    with pytest.raises(ModelError, match="HospitalNormalization"):
        NnunetSegmenter(changed(demo_model, tmp_path, strange), "cpu").segment(volume)


def test_model_of_several_images_a_case_is_refused(tmp_path: Path, demo_model: Model, volume: Volume):
    model = changed(demo_model, tmp_path, lambda plans, configuration: None)
    dataset = json.loads((model.folder / "dataset.json").read_text())
    (model.folder / "dataset.json").write_text(json.dumps({**dataset, "channel_names": {"0": "T1", "1": "T2"}}))
    two = find_model(CoarseConfig(model="model"), tmp_path, allow_unpinned=True)
    with pytest.raises(ModelError, match="needs 2 images per case"):
        NnunetSegmenter(two, "cpu").segment(volume)
