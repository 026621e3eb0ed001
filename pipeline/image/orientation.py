"""The same image with its axes in another order: voxels are moved, none is changed, and each keeps its place."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import GeometryError
from pipeline.core.geometry import Geometry
from pipeline.core.volume import LabelMap, Volume

_Image = TypeVar("_Image", Volume, LabelMap)
_LINES = ("LR", "PA", "SI")


def reoriented(image: _Image, orientation: str) -> _Image:
    """The image with axes that grow as asked, to the nearest right angle; itself when they already do.

    Args:
        image: a volume or a label map.
        orientation: as `Geometry.orientation`, "SPL" for an axial head-first supine stack.

    Raises:
        GeometryError: when the three letters do not name three different lines.
    """
    found = image.geometry.orientation
    if found == orientation:
        return image
    order = _order(found, orientation)
    flips = [axis for axis, old in enumerate(order) if found[old] != orientation[axis]]
    voxels: NDArray[Any] = image.voxels.transpose(order)
    return replace(
        image,
        voxels=np.ascontiguousarray(np.flip(voxels, tuple(flips))),
        geometry=_reoriented(image.geometry, order, flips),
    )


def _order(found: str, wanted: str) -> list[int]:
    lines = [_line(letter) for letter in found]
    try:
        order = [lines.index(_line(letter)) for letter in wanted]
    except ValueError:
        order = []
    if sorted(order) != [0, 1, 2]:
        raise GeometryError(f"cannot turn axes {found} into {wanted}; expected one letter each of LR, PA and SI")
    return order


def _line(letter: str) -> str:
    return next((line for line in _LINES if letter in line), letter)


def _reoriented(geometry: Geometry, order: list[int], flips: list[int]) -> Geometry:
    affine = geometry.affine.copy()
    affine[:3, :3] = affine[:3, order]
    shape = tuple(geometry.shape[axis] for axis in order)
    for axis in flips:
        affine[:3, 3] += affine[:3, axis] * (shape[axis] - 1)
        affine[:3, axis] *= -1
    return Geometry((shape[0], shape[1], shape[2]), affine)
