"""Training with nnU-Net's own planner, preprocessor and trainer, in this very process.

nnU-Net spawns processes that each import torch again, and finds its folders through the environment. Here its pools are
threads, and the environment is set for the length of a training only; one training at a time in a process.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pipeline.core.errors import ModelError
from pipeline.core.files import atomic_writer, read_json, write_json
from pipeline.segment.models import CHECKPOINT_NAME, DEFAULT_ORIENTATION
from pipeline.segment.quiet import quiet_nnunet

CONFIGURATION = "3d_small"
PLANS_NAME = "nnUNetPlansSmall"
TORCH_RESAMPLING = "resample_torch_fornnunet"
_one_training = threading.Lock()


@dataclass(frozen=True, slots=True)
class SmallNetwork:
    """A U-Net small enough for one CPU core, on a coarse grid where one patch holds the whole liver.

    Attributes:
        spacing_mm: of the network's grid. Whole-organ context beats resolution for the liver, and is 25 times faster.
        patch: voxels a patch, divisible by two for every stage but the first.
        features: channels of each stage.
        batch_size: patches a step.
        epochs: times the learning rate is lowered.
        iterations: steps an epoch.
        seed: of weights and patches; the result still hangs on the CPU, so the trained file is what counts.
    """

    spacing_mm: tuple[float, float, float] = (6.0, 6.0, 6.0)
    patch: tuple[int, int, int] = (40, 64, 64)
    features: tuple[int, ...] = (8, 16, 32, 64)
    batch_size: int = 2
    epochs: int = 16
    iterations: int = 25
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Training:
    """A finished training.

    Attributes:
        folder: the model, ready for `models.find_model`.
        seconds: CPU time of each step.
    """

    folder: Path
    seconds: Mapping[str, float]


def train(raw: Path, work: Path, out: Path, network: SmallNetwork, *, device: str = "cpu") -> Training:
    """A model trained on all cases of a dataset in nnU-Net's raw layout.

    Args:
        raw: `Dataset001_Name` with `imagesTr`, `labelsTr` and `dataset.json`.
        work: for nnU-Net's intermediate files; may be deleted afterwards.
        out: where the model goes: `plans.json`, `dataset.json` and a checkpoint without optimizer state.
        network: its size and schedule.
        device: "cpu" or "cuda".

    Raises:
        ModelError: when `raw` is not in nnU-Net's layout.
    """
    dataset_id = _dataset_id(raw)
    seconds: dict[str, float] = {}
    with _one_training, _nnunet_folders(raw, work):
        with _measured(seconds, "import"):
            _pools_are_threads()
        with _measured(seconds, "plan"):
            _plan(dataset_id, work / "preprocessed" / raw.name, network)
        with _measured(seconds, "preprocess"):
            _preprocess(dataset_id, work / "preprocessed" / raw.name)
        with _measured(seconds, "train"):
            trained = _run(work / "preprocessed" / raw.name, network, device)
        _export(trained, out)
    return Training(out, seconds)


def _dataset_id(raw: Path) -> int:
    number = raw.name.removeprefix("Dataset")[:3]
    if not (raw.name.startswith("Dataset") and number.isdigit() and (raw / "dataset.json").is_file()):
        raise ModelError(f"{raw.name} is not a dataset in nnU-Net's raw layout (Dataset001_Name with dataset.json)")
    return int(number)


@contextmanager
def _nnunet_folders(raw: Path, work: Path) -> Iterator[None]:
    wanted = {
        "nnUNet_raw": str(raw.parent),
        "nnUNet_preprocessed": str(work / "preprocessed"),
        "nnUNet_results": str(work / "results"),
        "nnUNet_n_proc_DA": "1",
        "nnUNet_compile": "f",
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    (work / "preprocessed").mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class _ThreadContext:
    @staticmethod
    def Pool(processes: int = 1) -> ThreadPool:  # noqa: N802
        return ThreadPool(processes)


def _pools_are_threads() -> None:
    from nnunetv2.experiment_planning import verify_dataset_integrity
    from nnunetv2.experiment_planning.dataset_fingerprint import fingerprint_extractor
    from nnunetv2.preprocessing.preprocessors import default_preprocessor

    threads = SimpleNamespace(get_context=lambda *_: _ThreadContext)
    for module in (verify_dataset_integrity, fingerprint_extractor, default_preprocessor):
        vars(module)["multiprocessing"] = threads


def _plan(dataset_id: int, preprocessed: Path, network: SmallNetwork) -> None:
    from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprints, plan_experiments

    quiet_nnunet()
    extract_fingerprints(
        [dataset_id], num_processes=1, check_dataset_integrity=True, verbose=False, show_progress_bar=False
    )
    plan_experiments([dataset_id])
    plans = read_json(preprocessed / "nnUNetPlans.json")
    write_json(preprocessed / f"{PLANS_NAME}.json", small_plans(plans, network))


def small_plans(plans: Mapping[str, Any], network: SmallNetwork) -> dict[str, Any]:
    """nnU-Net's plans with a single configuration of our size; normalisation and axes stay as planned."""
    planned = plans["configurations"]["3d_fullres"]
    small = {
        **planned,
        "data_identifier": f"{PLANS_NAME}_{CONFIGURATION}",
        "spacing": list(network.spacing_mm),
        "patch_size": list(network.patch),
        "batch_size": network.batch_size,
        "batch_dice": True,
        "architecture": _architecture(planned["architecture"], network),
    }
    for kind in ("data", "seg", "probabilities"):
        small[f"resampling_fn_{kind}"] = TORCH_RESAMPLING
        small[f"resampling_fn_{kind}_kwargs"] = {
            "is_seg": kind == "seg",
            "force_separate_z": False,
            "memefficient_seg_resampling": False,
        }
    return {**plans, "plans_name": PLANS_NAME, "configurations": {CONFIGURATION: small}}


def _architecture(planned: Mapping[str, Any], network: SmallNetwork) -> dict[str, Any]:
    stages = len(network.features)
    size = {
        "n_stages": stages,
        "features_per_stage": list(network.features),
        "kernel_sizes": [[3, 3, 3]] * stages,
        "strides": [[1, 1, 1]] + [[2, 2, 2]] * (stages - 1),
        "n_conv_per_stage": [1] * stages,
        "n_conv_per_stage_decoder": [1] * (stages - 1),
    }
    return {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {**planned["arch_kwargs"], **size},
        "_kw_requires_import": planned["_kw_requires_import"],
    }


def _preprocess(dataset_id: int, preprocessed: Path) -> None:
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    plans = PlansManager(read_json(preprocessed / f"{PLANS_NAME}.json"))
    preprocessor = plans.get_configuration(CONFIGURATION).preprocessor_class(verbose=False)
    preprocessor.show_progress_bar = False
    preprocessor.run(dataset_id, CONFIGURATION, PLANS_NAME, num_processes=1)


def _run(preprocessed: Path, network: SmallNetwork, device: str) -> Path:
    import numpy as np
    import torch

    from pipeline.segment.trainer import SmallTrainer

    quiet_nnunet()
    os.environ["nnUNet_n_proc_DA"] = "0"  # noqa: SIM112 - nnU-Net spells it so
    torch.manual_seed(network.seed)
    np.random.seed(network.seed)
    plans = {**read_json(preprocessed / f"{PLANS_NAME}.json"), "continue_training": False}
    trainer = SmallTrainer(plans, CONFIGURATION, "all", read_json(preprocessed / "dataset.json"), torch.device(device))
    trainer.num_epochs, trainer.num_iterations_per_epoch = network.epochs, network.iterations
    trainer.initialize()
    trainer.run_training()
    return Path(trainer.output_folder)


def _export(trained: Path, out: Path) -> None:
    """Only what a prediction needs, named for nnU-Net's own trainer, so that its tools open it too."""
    import torch

    content = torch.load(trained / CHECKPOINT_NAME, map_location="cpu", weights_only=False)
    slim = {
        "network_weights": content["network_weights"],
        "trainer_name": "nnUNetTrainer",
        "init_args": {"configuration": content["init_args"]["configuration"], "fold": "all"},
        "inference_allowed_mirroring_axes": None,
    }
    with atomic_writer(out / "fold_all" / CHECKPOINT_NAME) as file:
        torch.save(slim, file)
    dataset = read_json(trained.parent / "dataset.json")
    write_json(out / "dataset.json", {"orientation": DEFAULT_ORIENTATION, **dataset})
    write_json(out / "plans.json", read_json(trained.parent / "plans.json"))


@contextmanager
def _measured(seconds: dict[str, float], step: str) -> Iterator[None]:
    start = time.process_time()
    yield
    seconds[step] = round(time.process_time() - start, 1)
