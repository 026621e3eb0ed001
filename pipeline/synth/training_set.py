"""Phantoms in nnU-Net's raw layout, for training the demo network and for testing it on bodies it never saw."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipeline.core.file_names import NNUNET_DATASET, TRAINING_IMAGES, TRAINING_LABELS, nnunet_image, nnunet_labels
from pipeline.core.files import write_json
from pipeline.core.labels import Label
from pipeline.core.records import Phase
from pipeline.image.nifti import write_nifti
from pipeline.synth.anatomy import MAX_LESIONS, LesionKind
from pipeline.synth.phantom import CT_PHASES, Phantom, make_phantom

DATASET_NAME = "Dataset901_LiverPhantom"

GRIDS: tuple[tuple[tuple[int, int, int], tuple[float, float, float]], ...] = (
    ((44, 96, 96), (5.0, 3.8, 3.8)),
    ((60, 112, 112), (4.0, 3.3, 3.3)),
    ((72, 128, 128), (3.0, 2.9, 2.9)),
)
"""Shape and spacing, coarse to fine, around those of the demo cohort's scanners."""

BRIGHT_KINDS: dict[Phase, tuple[LesionKind, ...]] = {
    Phase.PLAIN: (),
    Phase.ARTERIAL: (LesionKind.HCC, LesionKind.COMBINED, LesionKind.HEMANGIOMA, LesionKind.ICC),
    Phase.PORTAL_VENOUS: (LesionKind.HEMANGIOMA,),
    Phase.DELAYED: (LesionKind.ICC, LesionKind.COMBINED, LesionKind.HEMANGIOMA),
}
"""Lesions brighter than the liver. Vessels are bright too, so a short training learns these last, and needs more of
them; dark lesions come by themselves."""

BRIGHT_COPIES = 1


def phantoms(count: int, *, seed: int) -> Iterator[Phantom]:
    """Fresh bodies with 0 to 5 lesions, the phases and grids taken in turn so that each meets each.

    Args:
        count: how many bodies; each is seen in one phase.
        seed: of all chance; another seed gives other bodies.
    """
    rng = np.random.default_rng(seed)
    for index in range(count):
        shape, spacing_mm, phase = _setting(index)
        yield make_phantom(rng, shape=shape, spacing_mm=spacing_mm, phase=phase)


def lessons(count: int, *, seed: int) -> Iterator[Phantom]:
    """Bodies as `phantoms` makes them, but rich in lesions, most of them of the kinds that are hard to learn."""
    rng = np.random.default_rng(seed)
    for index in range(count):
        shape, spacing_mm, phase = _setting(index)
        choice = (*LesionKind, *BRIGHT_KINDS[phase] * BRIGHT_COPIES)
        lesions = int(rng.integers(MAX_LESIONS - 1, MAX_LESIONS + 1)) if rng.integers(6) else 0
        kinds = tuple(choice[int(rng.integers(len(choice)))] for _ in range(lesions))
        yield make_phantom(rng, shape=shape, spacing_mm=spacing_mm, phase=phase, kinds=kinds)


def _setting(index: int) -> tuple[tuple[int, int, int], tuple[float, float, float], Phase]:
    shape, spacing_mm = GRIDS[index // len(CT_PHASES) % len(GRIDS)]
    return shape, spacing_mm, CT_PHASES[index % len(CT_PHASES)]


def write_training_set(folder: Path, count: int, *, seed: int) -> Path:
    """The dataset folder written below `folder`: `imagesTr`, `labelsTr` and `dataset.json`.

    Args:
        folder: becomes nnU-Net's raw folder.
        count: how many bodies; each is seen in one phase.
        seed: of all chance.
    """
    dataset = folder / DATASET_NAME
    for index, phantom in enumerate(lessons(count, seed=seed)):
        write_nifti(dataset / TRAINING_IMAGES / nnunet_image(f"phantom{index:03d}"), phantom.volume)
        write_nifti(dataset / TRAINING_LABELS / nnunet_labels(f"phantom{index:03d}"), phantom.labels)
    names = {label.name.lower(): int(label) for label in Label}
    write_json(
        dataset / NNUNET_DATASET,
        {"channel_names": {"0": "CT"}, "labels": names, "numTraining": count, "file_ending": ".nii.gz"},
    )
    return dataset
