"""Labels of the demo network, against nnU-Net's own predictor and against the phantoms' truth."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.config import CoarseConfig
from pipeline.core.errors import ModelError, SegmentationError
from pipeline.core.geometry import Geometry
from pipeline.core.labels import Label
from pipeline.core.records import Phase
from pipeline.core.volume import Volume
from pipeline.image.nifti import content_sha256, write_nifti
from pipeline.image.orientation import reoriented
from pipeline.segment.models import Model, find_model
from pipeline.segment.nnunet import NnunetSegmenter
from pipeline.segment.postprocess import postprocess
from pipeline.synth.phantom import Phantom, make_phantom
from pipeline.synth.training_set import phantoms
from tests.places import ROOT, SHARED

UNSEEN_SEED = 20_261_120


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return float(2 * np.count_nonzero(first & second) / (np.count_nonzero(first) + np.count_nonzero(second)))


def plain_volume(voxels: np.ndarray, spacing_mm: tuple[float, float, float] = (5.0, 4.0, 4.0)) -> Volume:
    return Volume(voxels, Geometry.from_axes(voxels.shape, spacing_mm=spacing_mm))


@pytest.fixture(scope="module")
def unseen() -> list[Phantom]:
    return list(phantoms(4, seed=UNSEEN_SEED))


@pytest.fixture(scope="module")
def one() -> Volume:
    return make_phantom(np.random.default_rng(5), shape=(30, 64, 64), spacing_mm=(6.5, 5.5, 5.5)).volume


def test_liver_and_lesions_of_unseen_phantoms_are_found_in_every_phase(
    segmenter: NnunetSegmenter, unseen: list[Phantom]
):
    lesion_dice = []
    for phantom in unseen:
        truth = phantom.labels.voxels
        found = postprocess(segmenter.segment(phantom.volume).labels, CoarseConfig()).labels.voxels
        assert dice(found > 0, truth > 0) >= 0.95
        if (truth == Label.LESION).any():
            lesion_dice.append(dice(found == Label.LESION, truth == Label.LESION))
    assert len(lesion_dice) >= 3
    assert np.mean(lesion_dice) >= 0.5


def test_labels_equal_those_of_nnunets_own_predictor(
    segmenter: NnunetSegmenter, demo_model: Model, unseen: list[Phantom]
):
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    peer = nnUNetPredictor(tile_step_size=0.5, use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False)
    peer.initialize_from_trained_model_folder(str(demo_model.folder), ("all",))
    for phantom in unseen[:2]:
        image = phantom.volume.voxels[None].astype(np.float32)
        theirs = peer.predict_single_npy_array(image, {"spacing": list(phantom.volume.geometry.spacing_mm)})
        assert np.array_equal(segmenter.segment(phantom.volume).labels.voxels, theirs)


def test_labels_are_the_same_bytes_from_run_to_run_and_nothing_is_printed(
    demo_model: Model, one: Volume, capsys: pytest.CaptureFixture[str]
):
    first = NnunetSegmenter(demo_model, "cpu").segment(one)
    assert capsys.readouterr() == ("", "")
    second = NnunetSegmenter(demo_model, "cpu").segment(one)
    assert first.raw_sha256 == second.raw_sha256 == content_sha256(second.labels)
    assert first.signals == second.signals


def test_a_label_does_not_wait_for_packages_that_it_does_not_need(tmp_path: Path, one: Volume):
    write_nifti(tmp_path / "one.nii.gz", one)
    code = (
        "import sys; from pathlib import Path; from pipeline.core.config import CoarseConfig\n"
        "from pipeline.segment.batch import segment_files; from pipeline.segment.models import find_model\n"
        "folder = Path(sys.argv[1]); model = find_model(CoarseConfig(), Path())\n"
        "assert not segment_files([folder / 'one.nii.gz'], folder / 'out', model, 'cpu').failed\n"
        "print({'pandas', 'skimage', 'matplotlib', 'SimpleITK', 'blosc2', 'torch._dynamo'} & set(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout == "set()\n"


def test_one_segmenter_serves_many_threads(segmenter: NnunetSegmenter, one: Volume):
    alone = segmenter.segment(one).raw_sha256
    with ThreadPoolExecutor(3) as pool:
        together = [done.raw_sha256 for done in pool.map(segmenter.segment, [one] * 4)]
    assert together == [alone] * 4


@pytest.mark.parametrize("orientation", ["SAR", "IPL", "LPS"])
def test_an_image_stored_another_way_gets_the_same_labels_in_the_same_place(
    segmenter: NnunetSegmenter, one: Volume, orientation: str
):
    turned = segmenter.segment(reoriented(one, orientation)).labels
    assert turned.geometry.orientation == orientation
    assert content_sha256(reoriented(turned, "SPL")) == segmenter.segment(one).raw_sha256


def test_labels_lie_on_the_images_own_grid(segmenter: NnunetSegmenter, one: Volume):
    labels = segmenter.segment(one).labels
    assert labels.geometry is one.geometry
    assert set(np.unique(labels.voxels)) <= {int(label) for label in Label}


def test_intensities_as_float_give_the_same_labels(segmenter: NnunetSegmenter, one: Volume):
    as_float = replace(one, voxels=one.voxels.astype(np.float32))
    assert segmenter.segment(as_float).raw_sha256 == segmenter.segment(one).raw_sha256


def test_single_slice_is_labelled_without_a_special_case(segmenter: NnunetSegmenter, one: Volume):
    middle = plain_volume(np.array(one.voxels[14:15]))
    assert segmenter.segment(middle).labels.voxels.shape == (1, 64, 64)


def test_thick_slices_are_labelled(segmenter: NnunetSegmenter):
    phantom = make_phantom(
        np.random.default_rng(8), shape=(40, 256, 256), spacing_mm=(5.0, 1.4, 1.4), phase=Phase.PORTAL_VENOUS
    )
    found = postprocess(segmenter.segment(phantom.volume).labels, CoarseConfig()).labels.voxels
    assert dice(found > 0, phantom.labels.voxels > 0) >= 0.95


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_image_with_an_impossible_number_is_refused(segmenter: NnunetSegmenter, value: float):
    voxels = np.full((10, 20, 20), -50, dtype=np.float32)
    voxels[3, 4, 5] = value
    with pytest.raises(SegmentationError, match="NaN or infinite"):
        segmenter.segment(plain_volume(voxels))


def test_empty_image_is_refused(segmenter: NnunetSegmenter):
    with pytest.raises(SegmentationError, match="0 everywhere"):
        segmenter.segment(plain_volume(np.zeros((10, 20, 20), dtype=np.int16)))


def test_image_that_is_absurdly_large_is_refused_before_anything_is_computed(demo_model: Model, one: Volume):
    small = NnunetSegmenter(demo_model, "cpu", CoarseConfig(max_voxels=one.voxels.size - 1))
    with pytest.raises(SegmentationError, match="raise max_voxels"):
        small.segment(one)


def test_image_that_grows_absurdly_on_the_networks_grid_is_refused(segmenter: NnunetSegmenter):
    metres = plain_volume(np.ones((20, 20, 20), dtype=np.int16), spacing_mm=(1000.0, 1000.0, 1000.0))
    with pytest.raises(SegmentationError, match="on the network's grid"):
        segmenter.segment(metres)


def test_network_past_its_time_limit_is_stopped_and_the_next_volume_is_not(demo_model: Model, one: Volume):
    hurried = NnunetSegmenter(demo_model, "cpu", CoarseConfig(timeout_s=1e-9))
    with pytest.raises(SegmentationError, match="time limit"):
        hurried.segment(one)
    patient = replace(hurried, config=CoarseConfig())
    assert patient.segment(one).labels.voxels.any()


class FirstLayer:
    """Stands before the network's first layer and fails as often as told, as a device does."""

    def __init__(self, segmenter: NnunetSegmenter, error: Exception, times: int) -> None:
        self.error, self.left = error, times
        segmenter.load().predictor.networks[0].register_forward_pre_hook(self)

    def __call__(self, *_: object) -> None:
        self.left -= 1
        if self.left >= 0:
            raise self.error


@pytest.mark.parametrize(("times", "note"), [(1, "collected in main memory"), (2, "cpu ran out of memory")])
def test_device_that_runs_out_of_memory_does_it_in_smaller_steps_and_says_so(
    demo_model: Model, one: Volume, segmenter: NnunetSegmenter, times: int, note: str
):
    import torch

    small = NnunetSegmenter(demo_model, "cpu")
    FirstLayer(small, torch.OutOfMemoryError("CUDA out of memory"), times)
    done = small.segment(one)
    assert done.raw_sha256 == segmenter.segment(one).raw_sha256
    assert any(note in told for told in done.notes)
    assert done.device == "cpu"


@pytest.mark.parametrize(("error", "times"), [(RuntimeError("bad weights\nand a long story"), 1), (MemoryError(), 1)])
def test_network_that_fails_otherwise_sets_the_volume_aside(
    demo_model: Model, one: Volume, error: Exception, times: int
):
    small = NnunetSegmenter(demo_model, "cpu")
    FirstLayer(small, error, times)
    with pytest.raises(SegmentationError, match=r"(bad weights|MemoryError)$"):
        small.segment(one)
    assert small.segment(one).labels.voxels.any()


def test_folds_are_averaged_as_nnunet_does_and_their_disagreement_is_told(
    tmp_path: Path, demo_model: Model, one: Volume
):
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    generator = torch.Generator().manual_seed(0)
    shutil.copytree(demo_model.folder, tmp_path / "folds")
    whole = torch.load(demo_model.checkpoints[0], map_location="cpu", weights_only=True)
    shutil.rmtree(tmp_path / "folds" / "fold_all")
    for fold in range(2):
        weights = {
            name: value + 0.02 * fold * torch.randn(value.shape, generator=generator)
            for name, value in whole["network_weights"].items()
        }
        (tmp_path / "folds" / f"fold_{fold}").mkdir()
        torch.save({**whole, "network_weights": weights}, tmp_path / "folds" / f"fold_{fold}" / "checkpoint_final.pth")
    model = find_model(CoarseConfig(model="folds"), tmp_path, allow_unpinned=True)
    done = NnunetSegmenter(model, "cpu").segment(one)
    peer = nnUNetPredictor(use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False)
    peer.initialize_from_trained_model_folder(str(model.folder), (0, 1))
    theirs = peer.predict_single_npy_array(
        one.voxels[None].astype(np.float32), {"spacing": list(one.geometry.spacing_mm)}
    )
    assert np.array_equal(done.labels.voxels, theirs)
    assert 0.0 < done.signals["folds"] < 1.0


def test_provenance_names_everything_that_decides_a_label(segmenter: NnunetSegmenter, one: Volume):
    done = segmenter.segment(one)
    assert done.device == "cpu"
    assert set(done.seconds) == {"preprocess", "network", "doubt", "resample"}
    assert done.model["sha256"] == segmenter.model.sha256
    assert set(done.model["packages"]) >= {"torch", "nnunetv2"}
    assert 0.0 <= done.entropy <= 1.0


def test_cuda_that_is_not_there_is_a_clear_refusal(demo_model: Model, one: Volume):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(ModelError, match="found 0 CUDA devices"):
        NnunetSegmenter(demo_model, "cuda").segment(one)


class Payload:
    """Pickles to a call that would write a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, (f"open({str(self.trace)!r}, 'w').write('ran')",)


def test_checkpoint_with_a_payload_is_refused_and_the_payload_does_not_run(
    tmp_path: Path, demo_model: Model, one: Volume
):
    import torch

    folder, trace = tmp_path / "model", tmp_path / "trace"
    shutil.copytree(demo_model.folder, folder)
    checkpoint = folder / "fold_all" / "checkpoint_final.pth"
    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    torch.save({**content, "payload": Payload(trace)}, checkpoint)
    model = find_model(CoarseConfig(model="model"), tmp_path, allow_unpinned=True)
    with pytest.raises(ModelError, match="was not loaded"):
        NnunetSegmenter(model, "cpu").segment(one)
    assert not trace.exists()


def test_aorta_is_measured_and_left_out_of_the_mask(tmp_path: Path, demo_model: Model, one: Volume):
    folder = tmp_path / "model"
    shutil.copytree(demo_model.folder, folder)
    content = json.loads((folder / "dataset.json").read_text())
    content["labels"] = {"background": 0, "aorta": 1, "liver": 2}
    (folder / "dataset.json").write_text(json.dumps(content))
    renamed = find_model(CoarseConfig(model="model"), tmp_path, allow_unpinned=True)
    tilted = reoriented(one, "RIA")
    found = NnunetSegmenter(renamed, "cpu").segment(tilted)
    usual = NnunetSegmenter(demo_model, "cpu").segment(tilted)
    assert found.aorta_hu == np.median(tilted.voxels[usual.labels.voxels == Label.LIVER])
    assert usual.aorta_hu is None
    assert np.array_equal(found.labels.voxels == Label.LIVER, usual.labels.voxels == Label.LESION)
    assert set(np.unique(found.labels.voxels)) <= {Label.BACKGROUND, Label.LIVER}


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04cut"])
def test_damaged_checkpoint_is_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "checkpoint_final.pth"
    path.write_bytes(content)
    from pipeline.segment.network import read_checkpoint

    with pytest.raises(ModelError, match="was not loaded"):
        read_checkpoint(path)


def test_checkpoint_as_nnunet_itself_saves_it_is_read(tmp_path: Path):
    import torch

    from pipeline.segment.network import read_checkpoint

    log = {"mean_fg_dice": [np.float64(0.5)], "epoch_start_timestamps": [1.0]}
    content = {"network_weights": {"w": torch.ones(2)}, "init_args": {"configuration": "3d"}, "logging": log}
    torch.save(content, tmp_path / "checkpoint_final.pth")
    assert read_checkpoint(tmp_path / "checkpoint_final.pth")["init_args"] == {"configuration": "3d"}


@pytest.mark.parametrize("folder", ["body_ct/example_ct_dicom", "liver_ct_dicomseg/ct-3slice"])
def test_real_scan_from_dicom_goes_through_without_a_special_case(segmenter: NnunetSegmenter, folder: str):
    from pipeline.dicom.convert import read_series
    from pipeline.dicom.group.series import group_series
    from pipeline.dicom.read.scan import scan

    path = SHARED / folder
    if not path.is_dir():
        pytest.skip("the real scans are not on this machine")
    (series,) = group_series(scan([path]).instances).series
    volume = read_series(series).volume
    done = segmenter.segment(volume)
    assert done.labels.geometry is volume.geometry
    assert postprocess(done.labels, CoarseConfig()).labels.voxels.shape == volume.voxels.shape


@pytest.mark.gpu
def test_labels_of_a_gpu_agree_with_the_cpus(demo_model: Model, segmenter: NnunetSegmenter, unseen: list[Phantom]):
    import torch

    if not torch.cuda.is_available():
        pytest.skip("this machine has no CUDA device")
    on_gpu = NnunetSegmenter(demo_model, "cuda").segment(unseen[0].volume)
    assert on_gpu.device == "cuda:0"
    assert dice(on_gpu.labels.voxels > 0, segmenter.segment(unseen[0].volume).labels.voxels > 0) >= 0.99
