"""Phantoms in nnU-Net's raw layout, for training the demo network and for testing it on bodies it never saw."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipeline.core.files import write_json
from pipeline.core.labels import Label
from pipeline.image.nifti import write_nifti
from pipeline.synth.phantom import CT_PHASES, Phantom, make_phantom

DATASET_NAME = "Dataset901_LiverPhantom"

GRIDS: tuple[tuple[tuple[int, int, int], tuple[float, float, float]], ...] = (
    ((44, 96, 96), (5.0, 3.8, 3.8)),
    ((60, 112, 112), (4.0, 3.3, 3.3)),
    ((72, 128, 128), (3.0, 2.9, 2.9)),
)
"""Shape and spacing as the demo cohort's scanners have them, coarse to fine."""


def phantoms(count: int, *, seed: int) -> Iterator[Phantom]:
    """Fresh bodies, the phases and grids taken in turn so that each meets each."""
    rng = np.random.default_rng(seed)
    for index in range(count):
        shape, spacing_mm = GRIDS[index // len(CT_PHASES) % len(GRIDS)]
        yield make_phantom(rng, shape=shape, spacing_mm=spacing_mm, phase=CT_PHASES[index % len(CT_PHASES)])


def write_training_set(folder: Path, count: int, *, seed: int) -> Path:
    """The dataset folder written below `folder`: `imagesTr`, `labelsTr` and `dataset.json`.

    Args:
        folder: becomes nnU-Net's raw folder.
        count: how many bodies; each is seen in one phase.
        seed: of all chance; another seed gives other bodies.
    """
    dataset = folder / DATASET_NAME
    for index, phantom in enumerate(phantoms(count, seed=seed)):
        write_nifti(dataset / "imagesTr" / f"phantom{index:03d}_0000.nii.gz", phantom.volume)
        write_nifti(dataset / "labelsTr" / f"phantom{index:03d}.nii.gz", phantom.labels)
    names = {label.name.lower(): int(label) for label in Label}
    write_json(
        dataset / "dataset.json",
        {"channel_names": {"0": "CT"}, "labels": names, "numTraining": count, "file_ending": ".nii.gz"},
    )
    return dataset
