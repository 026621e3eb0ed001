"""Training with nnU-Net's own planner, preprocessor and trainer, in this very process.

nnU-Net spawns processes that each import torch again, and finds its folders through the environment. Here its pools are
threads, and the environment is set for the length of a training only; one training at a time in a process.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zipfile import is_zipfile

from pipeline.core.errors import ModelError
from pipeline.core.file_names import NNUNET_CHECKPOINT, NNUNET_DATASET, NNUNET_PLANS, NNUNET_SPLITS, TRAINING_LABELS
from pipeline.core.files import atomic_writer, read_json, remove, sha256_of, write_json
from pipeline.segment.models import DEFAULT_ORIENTATION, Model
from pipeline.segment.plans import TORCH_RESAMPLING
from pipeline.segment.quiet import quiet_nnunet

PLANS_NAME = "nnUNetPlans"
FULL_CONFIGURATION = "3d_fullres"
SMALL_CONFIGURATION = "3d_small"
PREPARED = Path("preprocessed", "prepared.json")
"""Names the cases once they are ready for training."""

_one_training = threading.Lock()

Fold = int | str
"""0 to 4, or "all" for every case."""


@dataclass(frozen=True, slots=True)
class SmallNetwork:
    """A U-Net small enough for one CPU core, on a coarse grid where one patch holds the whole liver.

    Attributes:
        spacing_mm: of the network's grid. Whole-organ context beats resolution for the liver, and is 25 times faster.
        patch: voxels a patch, divisible by two for every stage but the first.
        features: channels of each stage.
        batch_size: patches a step.
    """

    spacing_mm: tuple[float, float, float] = (6.0, 6.0, 6.0)
    patch: tuple[int, int, int] = (40, 64, 64)
    features: tuple[int, ...] = (8, 16, 32, 64)
    batch_size: int = 2


@dataclass(frozen=True, slots=True)
class Lesson:
    """A stretch of training.

    Attributes:
        epochs: times the learning rate is set anew.
        learning_rate: the highest, after a warm-up over the first 15 % of the epochs; it falls to 0 as a cosine.
        patch: voxels a patch; None for the network's own, which predictions use.
        iterations: steps an epoch.
    """

    epochs: int
    learning_rate: float
    patch: tuple[int, int, int] | None = None
    iterations: int = 10


FROM_SCRATCH = (Lesson(100, 1e-2, patch=(24, 40, 40)), Lesson(28, 4e-3))
"""First small patches, most of them around lesions: four steps for the price of one, and more lesion in each. Then the
patch that predictions use, since what instance normalisation sees hangs on the patch's size."""

FINE_TUNING = (Lesson(20, 3e-3),)
"""Enough to take up a round of reviewed cases, little enough to keep what was learned before."""


AS_NNUNET = Lesson(1000, 1e-2, iterations=250)
"""What nnU-Net's own trainer does."""

MOST_AUGMENTERS = 12
"""Processes that cut and distort patches, as many as nnU-Net itself starts."""


@dataclass(frozen=True, slots=True)
class Training:
    """A finished training.

    Attributes:
        folder: the model, ready for `models.find_model`.
        seconds: CPU time of each step.
    """

    folder: Path
    seconds: Mapping[str, float]


def train_small(
    raw: Path,
    work: Path,
    out: Path,
    *,
    network: SmallNetwork | None = None,
    lessons: Sequence[Lesson] | None = None,
    pretrained: Model | None = None,
    device: str = "cpu",
    seed: int = 0,
) -> Training:
    """A small model trained on all cases of a dataset in nnU-Net's raw layout, in minutes on one CPU core.

    Args:
        raw: `Dataset001_Name` with `imagesTr`, `labelsTr` and `dataset.json`.
        work: for nnU-Net's intermediate files; may be deleted afterwards.
        out: where the model goes: `plans.json`, `dataset.json` and a checkpoint without optimizer state.
        network: its size; has no say when `pretrained` is given.
        lessons: how long; by default `FROM_SCRATCH`, or `FINE_TUNING` when `pretrained` is given.
        pretrained: go on from this model, with its plans and so its normalisation.
        device: "cpu" or "cuda".
        seed: of weights and patches; the result still hangs on the CPU, so the trained file is what counts.

    Raises:
        ModelError: when `raw` is not in nnU-Net's layout, or its labels are not those of `pretrained`.
    """
    seconds: dict[str, float] = {}
    with _nnunet_at_home(raw, work) as dataset:
        with _measured(seconds, "plan"):
            planned = _planned(dataset)
            plans = _plans_of(pretrained) if pretrained else small_plans(planned, network or SmallNetwork())
            _write_plans(dataset, plans)
        with _measured(seconds, "preprocess"):
            _preprocess(dataset, _configuration(plans))
        with _measured(seconds, "train"):
            chosen = lessons or (FINE_TUNING if pretrained else FROM_SCRATCH)
            trained = _run_small(dataset, _configuration(plans), chosen, pretrained, device, seed)
        _export([trained], dataset, out)
    return Training(out, seconds)


def train_full(
    raw: Path,
    work: Path,
    out: Path,
    *,
    splits: Sequence[Mapping[str, Sequence[str]]],
    lesson: Lesson = AS_NNUNET,
    device: str = "cuda",
) -> Training:
    """An ensemble of full-size nnU-Nets, one a split, as nnU-Net plans and trains them: days of GPU time.

    A training that was killed goes on when it is asked for again: finished folds are kept, the fold in hand is taken up
    at its last checkpoint, which nnU-Net writes whenever the network is better than before.

    Args:
        raw: as for `train_small`.
        work: for nnU-Net's intermediate files; what another dataset left there is removed.
        out: as for `train_small`, one checkpoint a fold.
        splits: `train` and `val` case names of each fold, from the release's `splits_final.json`.
        lesson: how long; its patch has no say, since nnU-Net plans it.
        device: "cuda"; "cpu" works and takes months.

    Raises:
        ModelError: when `raw` is not in nnU-Net's layout, or a split names a case that it does not hold.
    """
    seconds: dict[str, float] = {}
    checked = _checked_splits(splits, raw)
    with _nnunet_at_home(raw, work) as dataset:
        identity = _identity(dataset, checked)
        if not _is_prepared(work, identity):
            with _measured(seconds, "plan"):
                _write_plans(dataset, with_torch_resampling(_planned(dataset)))
                write_json(dataset.preprocessed / NNUNET_SPLITS, checked)
            with _measured(seconds, "preprocess"):
                _preprocess(dataset, FULL_CONFIGURATION)
            write_json(work / PREPARED, identity)
        with _measured(seconds, "train"):
            trained = [_run_full(dataset, fold, lesson, device) for fold in range(len(splits))]
        _export(trained, dataset, out)
    return Training(out, seconds)


@dataclass(frozen=True, slots=True)
class _Dataset:
    """Where nnU-Net keeps one dataset."""

    number: int
    raw: Path
    preprocessed: Path


@contextmanager
def _nnunet_at_home(raw: Path, work: Path) -> Iterator[_Dataset]:
    """nnU-Net's folders through the environment, its pools as threads, its prints in the log, for one training."""
    number = raw.name.removeprefix("Dataset")[:3]
    if not (raw.name.startswith("Dataset") and number.isdigit() and (raw / NNUNET_DATASET).is_file()):
        raise ModelError(f"{raw.name} is not a dataset in nnU-Net's raw layout (Dataset001_Name with dataset.json)")
    wanted = {
        "nnUNet_raw": str(raw.parent),
        "nnUNet_preprocessed": str(work / "preprocessed"),
        "nnUNet_results": str(work / "results"),
        "nnUNet_n_proc_DA": "1",
        "nnUNet_compile": "f",
    }
    with _one_training, _environment(wanted):
        _pools_are_threads()
        (work / "preprocessed").mkdir(parents=True, exist_ok=True)
        yield _Dataset(int(number), raw, work / "preprocessed" / raw.name)


@contextmanager
def _environment(wanted: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
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


def _planned(dataset: _Dataset) -> dict[str, Any]:
    """What nnU-Net's own planner makes of the dataset."""
    from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprints, plan_experiments

    quiet_nnunet()
    extract_fingerprints(
        [dataset.number], num_processes=1, check_dataset_integrity=True, verbose=False, show_progress_bar=False
    )
    plan_experiments([dataset.number])
    plans: dict[str, Any] = read_json(dataset.preprocessed / f"{PLANS_NAME}.json")
    return plans


def _plans_of(pretrained: Model) -> dict[str, Any]:
    plans: dict[str, Any] = read_json(pretrained.folder / NNUNET_PLANS)
    return plans


def _write_plans(dataset: _Dataset, plans: Mapping[str, Any]) -> None:
    here = {**plans, "dataset_name": dataset.raw.name, "plans_name": PLANS_NAME}
    write_json(dataset.preprocessed / f"{PLANS_NAME}.json", here)
    write_json(dataset.preprocessed / NNUNET_DATASET, read_json(dataset.raw / NNUNET_DATASET))


def _configuration(plans: Mapping[str, Any]) -> str:
    names = list(plans["configurations"])
    return names[0] if len(names) == 1 else FULL_CONFIGURATION


def with_torch_resampling(plans: Mapping[str, Any]) -> dict[str, Any]:
    """nnU-Net's plans with its own faster resampling, which its authors recommend over the default."""
    configurations = {
        name: {**configuration, **_torch_resampling()} if "spacing" in configuration else configuration
        for name, configuration in plans["configurations"].items()
    }
    return {**plans, "configurations": configurations}


def small_plans(plans: Mapping[str, Any], network: SmallNetwork) -> dict[str, Any]:
    """nnU-Net's plans with a single configuration of our size; normalisation and axes stay as planned."""
    planned = plans["configurations"][FULL_CONFIGURATION]
    small = {
        **planned,
        **_torch_resampling(),
        "data_identifier": f"{PLANS_NAME}_{SMALL_CONFIGURATION}",
        "spacing": list(network.spacing_mm),
        "patch_size": list(network.patch),
        "batch_size": network.batch_size,
        "batch_dice": True,
        "architecture": _architecture(planned["architecture"], network),
    }
    return {**plans, "configurations": {SMALL_CONFIGURATION: small}}


def _torch_resampling() -> dict[str, Any]:
    settings = {"force_separate_z": False, "memefficient_seg_resampling": False}
    kinds = ("data", "seg", "probabilities")
    names = {f"resampling_fn_{kind}": TORCH_RESAMPLING for kind in kinds}
    return {**names, **{f"resampling_fn_{kind}_kwargs": {"is_seg": kind == "seg", **settings} for kind in kinds}}


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


def _preprocess(dataset: _Dataset, configuration: str) -> None:
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    plans = PlansManager(read_json(dataset.preprocessed / f"{PLANS_NAME}.json"))
    preprocessor = plans.get_configuration(configuration).preprocessor_class(verbose=False)
    preprocessor.show_progress_bar = False
    preprocessor.run(dataset.number, configuration, PLANS_NAME, num_processes=1)


def _run_small(
    dataset: _Dataset, configuration: str, lessons: Sequence[Lesson], pretrained: Model | None, device: str, seed: int
) -> Path:
    from pipeline.segment.trainer import seed_everything, weights_of

    quiet_nnunet()
    seed_everything(seed)
    weights = weights_of(pretrained) if pretrained else None
    for lesson in lessons:
        trainer = _small_trainer(dataset, configuration, lesson, device)
        trainer.start(weights, pretrained.name if pretrained else "")
        folder = _trained(trainer, augmenters=0)
        weights = trainer.network.state_dict()
    return folder


def _small_trainer(dataset: _Dataset, configuration: str, lesson: Lesson, device: str) -> Any:
    from pipeline.segment.trainer import SmallTrainer

    plans, *others = _trainer_arguments(dataset, configuration, "all", device)
    if lesson.patch is not None:
        plans["configurations"][configuration]["patch_size"] = list(lesson.patch)
    trainer = SmallTrainer(plans, *others)
    _set_lesson(trainer, lesson)
    return trainer


def _set_lesson(trainer: Any, lesson: Lesson) -> None:
    trainer.num_epochs, trainer.num_iterations_per_epoch = lesson.epochs, lesson.iterations
    trainer.initial_lr = lesson.learning_rate


def _is_prepared(work: Path, identity: Mapping[str, Any]) -> bool:
    """Whether a training of the very same cases got past its preprocessing; what any other left is removed."""
    if (work / PREPARED).is_file() and read_json(work / PREPARED) == identity:
        return True
    for folder in ("preprocessed", "results"):
        remove(work / folder)
    return False


def _identity(dataset: _Dataset, splits: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    files = sorted(path for path in dataset.raw.rglob("*") if path.is_file())
    cases = {path.relative_to(dataset.raw).as_posix(): sha256_of(path) for path in files}
    return {"cases": cases, "splits": list(splits)}


def _run_full(dataset: _Dataset, fold: int, lesson: Lesson, device: str) -> Path:
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    quiet_nnunet()
    trainer = nnUNetTrainer(*_trainer_arguments(dataset, FULL_CONFIGURATION, fold, device))
    if is_zipfile(Path(trainer.output_folder) / NNUNET_CHECKPOINT):
        return Path(trainer.output_folder)
    _set_lesson(trainer, lesson)
    trainer.num_val_iterations_per_epoch = max(1, lesson.iterations // 5)
    trainer.initialize()
    _take_up(trainer)
    return _trained(trainer, augmenters=min(MOST_AUGMENTERS, os.cpu_count() or 1))


def _take_up(trainer: Any) -> None:
    """Go on from the newest checkpoint that was written to its end, if a killed training left one."""
    whole = [path for path in Path(trainer.output_folder).glob("checkpoint_*.pth") if is_zipfile(path)]
    if whole:
        trainer.load_checkpoint(str(max(whole, key=lambda path: path.stat().st_mtime_ns)))


def _trainer_arguments(dataset: _Dataset, configuration: str, fold: Fold, device: str) -> tuple[Any, ...]:
    import torch

    plans = {**read_json(dataset.preprocessed / f"{PLANS_NAME}.json"), "continue_training": False}
    return plans, configuration, fold, read_json(dataset.preprocessed / NNUNET_DATASET), torch.device(device)


def _trained(trainer: Any, *, augmenters: int) -> Path:
    """The folder of a finished training.

    Args:
        trainer: initialised.
        augmenters: processes that cut patches; 0 is this thread, which nnU-Net's planner cannot bear.
    """
    import numpy as np

    no_lesion_in_sight = np.errstate(invalid="ignore")
    with _environment({"nnUNet_n_proc_DA": str(augmenters)}), no_lesion_in_sight:
        trainer.run_training()
    return Path(trainer.output_folder)


def _checked_splits(splits: Sequence[Mapping[str, Sequence[str]]], raw: Path) -> list[dict[str, list[str]]]:
    there = {path.name.removesuffix(".nii.gz") for path in (raw / TRAINING_LABELS).glob("*.nii.gz")}
    missing = sorted({case for split in splits for cases in split.values() for case in cases} - there)
    if missing:
        raise ModelError(f"the splits name {', '.join(missing[:5])}, not among the {len(there)} cases of {raw.name}")
    return [{part: sorted(cases) for part, cases in split.items()} for split in splits]


def _export(trained: Sequence[Path], dataset: _Dataset, out: Path) -> None:
    """Only what a prediction needs, named for nnU-Net's own trainer, so that its tools open it too."""
    import torch

    for folder in trained:
        content = torch.load(folder / NNUNET_CHECKPOINT, map_location="cpu", weights_only=False)
        slim = {
            "network_weights": content["network_weights"],
            "trainer_name": "nnUNetTrainer",
            "init_args": {key: content["init_args"][key] for key in ("configuration", "fold")},
            "inference_allowed_mirroring_axes": content["inference_allowed_mirroring_axes"],
        }
        with atomic_writer(out / folder.name / NNUNET_CHECKPOINT) as file:
            torch.save(slim, file)
    described = {"orientation": DEFAULT_ORIENTATION, **read_json(dataset.preprocessed / NNUNET_DATASET)}
    write_json(out / NNUNET_DATASET, described)
    write_json(out / NNUNET_PLANS, read_json(dataset.preprocessed / f"{PLANS_NAME}.json"))


@contextmanager
def _measured(seconds: dict[str, float], step: str) -> Iterator[None]:
    start = time.process_time()
    yield
    seconds[step] = round(time.process_time() - start, 1)
