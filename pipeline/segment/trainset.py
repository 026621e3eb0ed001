"""Labelled volumes as a dataset in nnU-Net's raw layout, with where each label came from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np

from pipeline.core.errors import ModelError
from pipeline.core.file_names import NNUNET_DATASET, TRAINING_IMAGES, TRAINING_LABELS, nnunet_image, nnunet_labels
from pipeline.core.files import write_json
from pipeline.core.geometry import require_same_space
from pipeline.core.labels import Label
from pipeline.core.volume import LabelMap, Unit, Volume
from pipeline.image.nifti import write_nifti
from pipeline.image.orientation import reoriented
from pipeline.segment.models import DEFAULT_ORIENTATION

IGNORE = max(Label) + 1
"""nnU-Net's ignore label must be the highest; its voxels teach nothing."""

ORIGINS_NAME = "origins.json"


class Origin(StrEnum):
    """Who made a label."""

    REVIEWED = "reviewed"
    COARSE = "coarse"
    PSEUDO = "pseudo"


@dataclass(frozen=True, slots=True, eq=False)
class LabelledVolume:
    """One training case.

    Attributes:
        name: unique, such as "P0001_C1".
        image: what the network sees.
        labels: on the image's grid.
        origin: a person's, a network's, or a network's that was trained on other people's data.
        reviewed: (slices,) True where a person looked at the slice; the others are ignored. None means all.
    """

    name: str
    image: Volume
    labels: LabelMap
    origin: Origin
    reviewed: np.ndarray[tuple[int], np.dtype[np.bool_]] | None = None

    def __post_init__(self) -> None:
        require_same_space(self.image.geometry, self.labels.geometry, what=f"label of {self.name}")
        if self.reviewed is not None and self.reviewed.shape != self.image.geometry.shape[:1]:
            raise ModelError(
                f"{self.name}: {self.reviewed.shape} slices are marked, {self.image.geometry.shape} stored"
            )


def write_raw_dataset(folder: Path, name: str, cases: Iterable[LabelledVolume]) -> Path:
    """The folder written: `imagesTr`, `labelsTr`, `dataset.json`, and `origins.json` with the origin of each label.

    Args:
        folder: nnU-Net's raw folder; the dataset becomes a folder in it, and takes the place of one before.
        name: as nnU-Net wants it, "Dataset501_Liver".
        cases: taken one at a time.

    Raises:
        ModelError: when there is no case, or two have the same name.
    """
    dataset = folder / name
    for left_over in [*dataset.glob(f"{TRAINING_IMAGES}/*"), *dataset.glob(f"{TRAINING_LABELS}/*")]:
        left_over.unlink()
    origins: dict[str, Origin] = {}
    units: set[Unit] = set()
    partly = False
    for case in cases:
        if case.name in origins:
            raise ModelError(f"two training cases have the name {case.name}")
        origins[case.name] = case.origin
        units.add(case.image.unit)
        partly = partly or case.reviewed is not None
        _write_case(dataset, case)
    if not origins:
        raise ModelError("there is nothing to train on: no reviewed case was found")
    write_json(dataset / ORIGINS_NAME, origins)
    names = {label.name.lower(): int(label) for label in Label} | ({"ignore": IGNORE} if partly else {})
    content = {
        "channel_names": {"0": "CT" if units == {Unit.HU} else "MR"},
        "labels": names,
        "numTraining": len(origins),
        "file_ending": ".nii.gz",
        "orientation": DEFAULT_ORIENTATION,
    }
    write_json(dataset / NNUNET_DATASET, content)
    return dataset


def _write_case(dataset: Path, case: LabelledVolume) -> None:
    voxels = case.labels.voxels
    if case.reviewed is not None:
        voxels = np.where(case.reviewed[:, None, None], voxels, np.uint8(IGNORE))
    labels = LabelMap(voxels, case.labels.geometry)
    write_nifti(dataset / TRAINING_IMAGES / nnunet_image(case.name), reoriented(case.image, DEFAULT_ORIENTATION))
    write_nifti(dataset / TRAINING_LABELS / nnunet_labels(case.name), reoriented(labels, DEFAULT_ORIENTATION))
