"""Phantoms in nnU-Net's raw layout, for training the demo network and for testing it on bodies it never saw."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipeline.core.files import write_json
from pipeline.core.labels import Label
from pipeline.image.nifti import write_nifti
from pipeline.synth.anatomy import MAX_LESIONS
from pipeline.synth.phantom import CT_PHASES, Phantom, draw_kinds, make_phantom

DATASET_NAME = "Dataset901_LiverPhantom"

GRIDS: tuple[tuple[tuple[int, int, int], tuple[float, float, float]], ...] = (
    ((44, 96, 96), (5.0, 3.8, 3.8)),
    ((60, 112, 112), (4.0, 3.3, 3.3)),
    ((72, 128, 128), (3.0, 2.9, 2.9)),
)
"""Shape and spacing, coarse to fine, around those of the demo cohort's scanners."""

ENOUGH_LESIONS = 3


def phantoms(count: int, *, seed: int, rich_in_lesions: bool = False) -> Iterator[Phantom]:
    """Fresh bodies, the phases and grids taken in turn so that each meets each.

    Args:
        count: how many bodies.
        seed: of all chance; another seed gives other bodies.
        rich_in_lesions: none or at least three lesions a body, so that a short training sees enough of them.
    """
    rng = np.random.default_rng(seed)
    for index in range(count):
        shape, spacing_mm = GRIDS[index // len(CT_PHASES) % len(GRIDS)]
        kinds = draw_kinds(rng)
        while rich_in_lesions and 0 < len(kinds) < ENOUGH_LESIONS:
            kinds = (*kinds, *draw_kinds(rng))[:MAX_LESIONS]
        phase = CT_PHASES[index % len(CT_PHASES)]
        yield make_phantom(rng, shape=shape, spacing_mm=spacing_mm, phase=phase, kinds=kinds)


def write_training_set(folder: Path, count: int, *, seed: int) -> Path:
    """The dataset folder written below `folder`: `imagesTr`, `labelsTr` and `dataset.json`.

    Args:
        folder: becomes nnU-Net's raw folder.
        count: how many bodies; each is seen in one phase.
        seed: of all chance.
    """
    dataset = folder / DATASET_NAME
    for index, phantom in enumerate(phantoms(count, seed=seed, rich_in_lesions=True)):
        write_nifti(dataset / "imagesTr" / f"phantom{index:03d}_0000.nii.gz", phantom.volume)
        write_nifti(dataset / "labelsTr" / f"phantom{index:03d}.nii.gz", phantom.labels)
    names = {label.name.lower(): int(label) for label in Label}
    write_json(
        dataset / "dataset.json",
        {"channel_names": {"0": "CT"}, "labels": names, "numTraining": count, "file_ending": ".nii.gz"},
    )
    return dataset
