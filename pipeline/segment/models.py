"""Networks in nnU-Net v2's folder layout: found, pinned by hash, and checked before anything of them is loaded.

A model folder holds `plans.json`, `dataset.json` and `fold_*/checkpoint_final.pth`. Its checkpoint is a pickle and its
plans name classes to import, so both are code until proven otherwise: all files together are pinned by one SHA-256, and
plans may name only classes of `dynamic_network_architectures` and `torch.nn`. This module needs neither torch nor
nnunetv2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

from pipeline.core.config import NetworkConfig
from pipeline.core.errors import ModelError, StorageError
from pipeline.core.file_names import NNUNET_CHECKPOINT, NNUNET_DATASET, NNUNET_PLANS
from pipeline.core.files import digest, link_or_copy, read_json, sha256_of, write_atomically
from pipeline.core.labels import Label

SAFE_NETWORKS = ("dynamic_network_architectures.architectures.",)
SAFE_PARTS = ("torch.nn.",)
_MEMBERS = f"{re.escape(NNUNET_PLANS)}|{re.escape(NNUNET_DATASET)}|fold_\\w+/{re.escape(NNUNET_CHECKPOINT)}"
MODEL_MEMBER = re.compile(rf"([\w-]+/){{0,3}}({_MEMBERS})")
"""Names of the files of a model inside a zip; no other member is ever unpacked."""

DEFAULT_ORIENTATION = "SPL"
"""Axial, head first, supine: how DICOM slices are stacked and how our own training data lie."""

LABEL_WORDS = {
    Label.LIVER: frozenset({"liver", "whole_liver", "parenchyma"}),
    Label.LESION: frozenset({"lesion", "lesions", "tumor", "tumour", "cancer", "liver_tumor", "liver_lesions"}),
}
"""Names in a model's dataset.json that need no mapping in the configuration."""

AORTA = "aorta"
"""TotalSegmentator's name, too, for what tells the contrast phase best."""


@dataclass(frozen=True, slots=True)
class Registered:
    """A model that ships with the package, and its pin."""

    folder: Path
    sha256: str


REGISTERED = {
    "demo": Registered(
        Path(__file__).parent / "demo_model",
        sha256="838447b2c56769bb91ab8dfd3d5e8b20e55c0ea2776b2240e754c9458139c37c",
    ),
}


@dataclass(frozen=True, slots=True)
class Model:
    """A network that was found, pinned and checked; nothing of it is loaded yet.

    Attributes:
        name: as registered, or the folder's own name.
        folder: where `plans.json` and `dataset.json` lie.
        checkpoints: one a fold; several are averaged.
        hashes: SHA-256 of every file that decides a label, by path inside the folder.
        labels: value in the network's output to our label; values not named become background.
        orientation: how the arrays of its training lay, as `Geometry.orientation`.
        aorta: value of the aorta in its output, if it knows one; measured, never part of a mask.
    """

    name: str
    folder: Path
    checkpoints: tuple[Path, ...]
    hashes: Mapping[str, str]
    labels: Mapping[int, Label]
    orientation: str = DEFAULT_ORIENTATION
    aorta: int | None = None

    @property
    def sha256(self) -> str:
        """One hash of all files that decide a label: what `dataset.toml` pins."""
        return digest(dict(self.hashes))


def find_model(config: NetworkConfig, root: Path, *, allow_unpinned: bool = False) -> Model:
    """The model a configuration names, its files hashed and its plans and labels checked.

    Args:
        config: `[coarse]` or `[coarse.lesions]`; a zip as nnU-Net exports it is unpacked beside itself.
        root: the dataset folder; a model folder that is not absolute lies below it.
        allow_unpinned: take a folder without a pin, because a person named it for this one run.

    Raises:
        ModelError: when files are missing, differ from the pin, or are not safe to load.
    """
    registered = REGISTERED.get(config.model)
    folder = registered.folder if registered else _model_folder(_unpacked(root / config.model), config.model)
    model = _described(config.model if registered else folder.name, folder, config)
    pin = config.sha256 or (registered.sha256 if registered else None)
    _check_pin(model, pin, allow_unpinned=allow_unpinned)
    return model


def single_folds(ensemble: Path, out: Path) -> Iterator[Path]:
    """Each fold of an ensemble as a model of its own, in the order of the folds.

    Args:
        ensemble: folder of a model of several folds.
        out: where `fold_0` and so on go, with links to the checkpoints.

    Raises:
        StorageError: when a file cannot be written.
    """
    for fold in sorted(ensemble.glob("fold_*"), key=lambda path: (len(path.name), path.name)):
        for source in (ensemble / NNUNET_PLANS, ensemble / NNUNET_DATASET, fold / NNUNET_CHECKPOINT):
            link_or_copy(source, out / fold.name / source.relative_to(ensemble))
        yield out / fold.name


def check_plans(plans: Any, *, name: str) -> None:
    """Refuse plans that could import anything but a network's own building blocks.

    Raises:
        ModelError: names the class that is not allowed.
    """
    try:
        for configuration in plans["configurations"].values():
            architecture = configuration.get("architecture")
            if architecture is not None:
                _check_architecture(architecture, name)
    except (KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"model {name}: plans.json is not in nnU-Net v2's form ({error}); export the model again"
        ) from None


def has_regions(dataset: Mapping[str, Any]) -> bool:
    """Whether a model paints nested regions instead of choosing between classes, by its dataset.json."""
    return any(isinstance(value, list) and len(value) > 1 for value in dataset["labels"].values())


def output_values(dataset: Mapping[str, Any]) -> dict[str, int]:
    """Value in the network's output for each named label; of regions, the value that is painted last.

    Args:
        dataset: content of the model's dataset.json.
    """
    labels = {name: value for name, value in dataset["labels"].items() if name not in ("background", "ignore")}
    if has_regions(dataset):
        return dict(zip(labels, map(int, dataset["regions_class_order"]), strict=True))
    return {name: int(value[0] if isinstance(value, list) else value) for name, value in labels.items()}


def map_labels(values: Mapping[str, int], wanted: Mapping[str, str], *, name: str) -> dict[int, Label]:
    """Our label for each output value.

    Args:
        values: output value by name, see `output_values`.
        wanted: "liver" or "lesion" by name or value; where empty, names that speak for themselves are taken.
        name: the model's.

    Raises:
        ModelError: when a wanted label is not in the model, or none is known.
    """
    known = {**values, **{str(value): value for value in values.values()}}
    missing = sorted(set(wanted) - set(known))
    if missing:
        raise ModelError(f"model {name} has no label {', '.join(missing)}; its dataset.json knows {values}")
    if wanted:
        return {known[key]: Label[label.upper()] for key, label in wanted.items()}
    mapping = {value: label for word, value in values.items() for label, words in LABEL_WORDS.items() if word in words}
    if not mapping:
        raise ModelError(
            f"model {name} knows the labels {values}, none of them liver or lesion; set labels in [coarse]"
        )
    return mapping


def _unpacked(path: Path) -> Path:
    """The folder beside a zip, holding those of its members that make up a model; any other path itself."""
    if path.suffix != ".zip" or not path.is_file():
        return path
    folder = path.with_suffix("")
    try:
        with ZipFile(path) as archive:
            for member in archive.namelist():
                if MODEL_MEMBER.fullmatch(member) and not (folder / member).is_file():
                    write_atomically(folder / member, archive.read(member))
    except (BadZipFile, OSError) as error:
        raise ModelError(f"{path.name} is not a readable zip ({error}); export the model again") from None
    return folder


def _model_folder(path: Path, name: str) -> Path:
    """The folder itself, or the only one below it that holds plans (as nnU-Net's exports nest them)."""
    if not path.is_dir():
        known = ", ".join(sorted(REGISTERED))
        raise ModelError(f"no model {name}: neither a registered name ({known}) nor a folder in nnU-Net's layout")
    if (path / NNUNET_PLANS).is_file():
        return path
    below = sorted(
        plans.parent for pattern in (f"*/{NNUNET_PLANS}", f"*/*/{NNUNET_PLANS}") for plans in path.glob(pattern)
    )
    if len(below) != 1:
        raise ModelError(f"folder {name} holds {len(below)} models (folders with plans.json), expected one; name it")
    return below[0]


def _described(name: str, folder: Path, config: NetworkConfig) -> Model:
    checkpoints = _checkpoints(folder, name)
    files = [folder / NNUNET_PLANS, folder / NNUNET_DATASET, *checkpoints]
    try:
        hashes = {file.relative_to(folder).as_posix(): sha256_of(file) for file in files}
        plans, dataset = read_json(folder / NNUNET_PLANS), read_json(folder / NNUNET_DATASET)
        values = output_values(dataset)
        orientation = config.orientation or dataset.get("orientation") or _usual_orientation(plans, name)
    except (StorageError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"model {name} is incomplete or damaged: {error}; export it again") from None
    check_plans(plans, name=name)
    labels = map_labels(values, config.labels, name=name)
    return Model(name, folder, checkpoints, hashes, labels, orientation, values.get(AORTA))


def _usual_orientation(plans: Mapping[str, Any], name: str) -> str:
    """How arrays lie where the model does not say it; a known exception must be confirmed by a person."""
    if "TotalSegmentator" in str(plans.get("dataset_name", "")):
        raise ModelError(
            f"model {name} comes from TotalSegmentator, which turns images before it trains; "
            'set orientation = "SAR" in [coarse]'
        )
    return DEFAULT_ORIENTATION


def _checkpoints(folder: Path, name: str) -> tuple[Path, ...]:
    together = folder / "fold_all" / NNUNET_CHECKPOINT
    found = (together,) if together.is_file() else tuple(sorted(folder.glob(f"fold_[0-9]*/{NNUNET_CHECKPOINT}")))
    if not found:
        raise ModelError(f"model {name} has no fold_*/{NNUNET_CHECKPOINT}; train it, or export it again")
    return found


def _check_pin(model: Model, pin: str | None, *, allow_unpinned: bool) -> None:
    if pin is None and not allow_unpinned:
        raise ModelError(
            f"model {model.name} is not pinned; if you trust where it came from, "
            f'set sha256 = "{model.sha256}" in [coarse]'
        )
    if pin is not None and pin != model.sha256:
        raise ModelError(
            f"model {model.name} has sha256 {model.sha256}, pinned is {pin}; "
            "restore the model's files, or pin the new ones if the change was meant"
        )


def _check_architecture(architecture: Mapping[str, Any], name: str) -> None:
    arguments = architecture["arch_kwargs"]
    parts = [arguments[key] for key in architecture["_kw_requires_import"] if arguments[key] is not None]
    unsafe = [part for part in parts if not str(part).startswith(SAFE_PARTS)]
    if not str(architecture["network_class_name"]).startswith(SAFE_NETWORKS):
        unsafe.append(architecture["network_class_name"])
    if unsafe:
        raise ModelError(
            f"model {name}: plans.json names {', '.join(map(str, unsafe))}; only networks of "
            "dynamic_network_architectures with parts of torch.nn are loaded"
        )
