"""Files that a user hands in: an image or a mask in any usual format, brought onto one grid without resampling."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from pipeline.core.errors import GeometryError, StorageError
from pipeline.core.geometry import Geometry
from pipeline.core.labels import Label, LabelScheme, Structure, structure_mask
from pipeline.core.volume import LabelMap, Volume
from pipeline.image.masks import LabelReading, Placement, StoredMask, place, read_labels_of, read_lesion_of, read_mask
from pipeline.image.orientation import reoriented

MaskReader: TypeAlias = Callable[[Path], StoredMask]
"""What reads one mask file; a reader that also knows DICOM SEG can stand in for `read_mask`."""

MaskMeaning: TypeAlias = Literal["labels", "lesion"]
"""What the values of a mask mean: labels of the scheme, or all that is marked is lesion."""

AXIAL = "SPL"
"""Orientation in which the first axis counts axial slices from the feet."""


def read_image(path: Path) -> Volume:
    """The image a file holds, in any format that masks come in: int16 where lossless, else float32.

    Raises:
        StorageError: when the file is missing, damaged, of another format, or no single image.
        GeometryError: when it is not three-dimensional, or has no place in space.
    """
    stored = read_mask(path)
    if len(stored.layers) != 1:
        raise StorageError(f"{path.name} holds {len(stored.layers)} images, expected one; export them one by one")
    voxels = stored.layers[0]
    whole = voxels.astype(np.int16)
    return Volume(whole if np.array_equal(whole, voxels) else voxels.astype(np.float32), stored.geometry)


def axial_grid(image: Path) -> Geometry:
    """The grid of an image, axial slices from the feet.

    Raises: as `read_image`.
    """
    return reoriented(read_image(image), AXIAL).geometry


def labels_in(mask: StoredMask, scheme: LabelScheme, meaning: MaskMeaning, *, what: str) -> LabelReading:
    """The labels of a mask as it is meant.

    Raises: as `read_labels_of` and `read_lesion_of`.
    """
    return read_lesion_of(mask, scheme, what=what) if meaning == "lesion" else read_labels_of(mask, scheme, what=what)


def without_lesion(masks: Mapping[str, LabelMap]) -> tuple[str, ...]:
    """A warning for masks that hold no lesion label: nobody saw one, or a binary lesion mask was read as liver."""
    names = [name for name, labels in masks.items() if not structure_mask(labels.voxels, Structure.LESION).any()]
    if not names:
        return ()
    return (
        f"no lesion label ({Label.LESION}) in {', '.join(names)}; "
        "if 1 means lesion in a binary mask, read it with --as lesion",
    )


def placed_exactly(labels: LabelMap, reference: Geometry, *, what: str) -> Placement:
    """The mask on another order or extent of the same grid; nothing is moved by less than a voxel, nothing is lost.

    Args:
        labels: on its own grid.
        reference: the grid to bring it onto.
        what: the thing in question, in words without patient data.

    Raises:
        GeometryError: when only resampling could bring it there, or labelled voxels fall outside.
    """
    placement = place(labels, reference, what=what)
    if placement.shift_voxels:
        shift = f"{placement.shift_voxels:.2f} voxels"
        raise GeometryError(f"{what} is shifted by {shift} against the grid; export it unresampled")
    if placement.lost_voxels:
        raise GeometryError(
            f"{what} has {placement.lost_voxels} labelled voxels outside the image; check that they are of one scan"
        )
    return placement
