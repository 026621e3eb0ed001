"""From logits on a network's grid to labels on the image's, one output plane at a time.

nnU-Net resamples all classes to full size and takes the largest afterwards: 4 bytes a class and voxel, 3 GB for three
classes of 512 x 512 x 1000. Here only two planes a class exist at full size at any moment, and the labels come out the
same: trilinear interpolation is bilinear in the plane and linear across planes, in torch too.

Needs torch; import it inside functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

Decide = Callable[[torch.Tensor], torch.Tensor]
"""Labels (rows, columns), uint8, of one plane of logits (classes, rows, columns)."""


def largest_class(plane: torch.Tensor) -> torch.Tensor:
    """Index of the largest logit, the first one when two are equal, as numpy's argmax decides."""
    best, labels = plane[0].clone(), torch.zeros(plane.shape[1:], dtype=torch.uint8, device=plane.device)
    for index in range(1, len(plane)):
        higher = plane[index] > best
        labels[higher] = index
        best = torch.maximum(best, plane[index])
    return labels


def last_region(values: Sequence[int]) -> Decide:
    """A decision for region-based models: each region paints its value over the ones before it."""

    def decide(plane: torch.Tensor) -> torch.Tensor:
        labels = torch.zeros(plane.shape[1:], dtype=torch.uint8, device=plane.device)
        for value, logit in zip(values, plane, strict=True):
            labels[torch.sigmoid(logit) > 0.5] = value
        return labels

    return decide


@torch.inference_mode()
def mixed(voxels: torch.Tensor, shape: tuple[int, int, int]) -> torch.Tensor:
    """(channels, slices, rows, columns) on another grid over the same box, trilinear."""
    if voxels.shape[1:] == shape:
        return voxels
    return functional.interpolate(voxels[None], shape, mode="trilinear")[0]


@torch.inference_mode()
def labels_at(
    logits: torch.Tensor, shape: tuple[int, int, int], decide: Decide, *, nearest_axis: int | None = None
) -> NDArray[np.uint8]:
    """Labels on a finer or coarser grid over the same box.

    Args:
        logits: (classes, slices, rows, columns), any float type, on any device.
        shape: of the result.
        decide: what a plane of logits means.
        nearest_axis: the axis along which planes are repeated instead of mixed, for strongly anisotropic grids.
    """
    axis = nearest_axis or 0
    planes = logits.movedim(axis + 1, 1)
    count = shape[axis]
    in_plane = tuple(n for index, n in enumerate(shape) if index != axis)
    result = np.empty((count, *in_plane), dtype=np.uint8)
    if nearest_axis is None:
        mixed = _mixed_planes(planes, count, in_plane)
    else:
        mixed = _repeated_planes(planes, count, in_plane)
    for index, plane in enumerate(mixed):
        result[index] = decide(plane).cpu().numpy()
    return np.moveaxis(result, 0, axis)


def _mixed_planes(planes: torch.Tensor, count: int, shape: tuple[int, ...]) -> Iterator[torch.Tensor]:
    """Linear across planes; positions and weights rounded to float32 where torch's `interpolate` rounds them."""
    step = float(np.float32(planes.shape[1]) / np.float32(count))
    held: dict[int, torch.Tensor] = {}
    for index in range(count):
        position = np.float32(max(0.0, step * (index + 0.5) - 0.5))
        lower = min(int(position), planes.shape[1] - 1)
        upper = min(lower + 1, planes.shape[1] - 1)
        weight = float(np.float32(position - np.float32(lower)))
        held = {at: held[at] if at in held else _in_plane(planes, at, shape) for at in (lower, upper)}
        yield held[lower] * (1 - weight) + held[upper] * weight


def _repeated_planes(planes: torch.Tensor, count: int, shape: tuple[int, ...]) -> Iterator[torch.Tensor]:
    """The nearest plane, as torch's "nearest-exact" chooses it."""
    source = -1
    plane = planes[:, 0]
    for index in range(count):
        nearest = min(int((index + 0.5) * (planes.shape[1] / count)), planes.shape[1] - 1)
        if nearest != source:
            source, plane = nearest, _in_plane(planes, nearest, shape)
        yield plane


def _in_plane(planes: torch.Tensor, index: int, shape: tuple[int, ...]) -> torch.Tensor:
    return functional.interpolate(planes[None, :, index].float(), shape, mode="bilinear", antialias=False)[0]
