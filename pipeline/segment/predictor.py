"""Networks slid over a volume, voxel for voxel as nnU-Net's own predictor does it.

nnU-Net's loop can neither stop at a time limit nor say that the device's memory ran short, leaves a thread behind when
it fails, and takes as long to import as torch. Its padding, its steps and its Gaussian are used here as they are.
Imports torch; import it inside functions.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial, reduce

import torch
from acvl_utils.cropping_and_padding.padding import pad_nd_image
from nnunetv2.inference.sliding_window_prediction import compute_gaussian, compute_steps_for_sliding_window

from pipeline.core.errors import SegmentationError

GATHERED_IN_MAIN_MEMORY = "the device ran out of memory: windows were collected in main memory"

Ask = Callable[[torch.Tensor], torch.Tensor]
"""Logits (channels, ...) of a patch (1, 1, ...)."""

Window = tuple[slice | int, ...]
"""Where a patch lies: all channels, then a slice for each axis; networks of slices have a number for the first axis."""


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What the networks say of a volume on their own grid.

    Attributes:
        logits: (channels, slices, rows, columns), float16 on the CPU: the mean of all folds.
        votes: the class each fold gives to each voxel; empty where there is but one.
        notes: what did not go as asked.
    """

    logits: torch.Tensor
    votes: tuple[torch.Tensor, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class WindowPredictor:
    """Slides the networks of an ensemble over a volume.

    Attributes:
        networks: one a fold, ready for inference.
        heads: channels of their answers.
        patch_size: voxels of a window; two numbers for networks that take slices one by one.
        step_size: from window to window, as a share of the patch.
        mirrored_axes: of the patch; a window is shown in all its mirror images along them.
    """

    networks: Sequence[torch.nn.Module]
    heads: int
    patch_size: tuple[int, ...]
    step_size: float
    mirrored_axes: tuple[int, ...] = ()

    @torch.inference_mode()
    def predict(self, data: torch.Tensor, device: torch.device, deadline: float) -> Answer:
        """The mean of all folds' logits.

        Args:
            data: (1, slices, rows, columns), float32 on the CPU.
            device: where to compute.
            deadline: `time.monotonic()` after which no further window is started.

        Raises:
            SegmentationError: when the deadline passes, or an answer is not finite.
            torch.OutOfMemoryError: when the device does not hold a single window.
        """
        folds = (self._of_one_fold(network.to(device), data, device, deadline) for network in self.networks)
        total = reduce(_added, folds)
        return replace(total, logits=total.logits.div_(len(self.networks)))

    def _of_one_fold(
        self, network: torch.nn.Module, data: torch.Tensor, device: torch.device, deadline: float
    ) -> Answer:
        padded, inside = pad_nd_image(data, self.patch_size, "constant", {"value": 0}, return_slicer=True)
        ask = partial(self._ask, network, device, deadline)
        with torch.autocast("cuda") if device.type == "cuda" else nullcontext():
            on_device = self._gathered_on(device, ask, padded)
            logits = self._gathered(ask, padded) if on_device is None else on_device
        logits = logits[(slice(None), *inside[1:])]
        votes = (logits.argmax(0).to(torch.uint8),) if len(self.networks) > 1 else ()
        return Answer(logits, votes, (GATHERED_IN_MAIN_MEMORY,) if on_device is None else ())

    def _gathered_on(self, device: torch.device, ask: Ask, data: torch.Tensor) -> torch.Tensor | None:
        """None where the device's memory does not hold it all; returned, since an error caught keeps that memory."""
        try:
            return self._gathered(ask, data.to(device)).cpu()
        except torch.OutOfMemoryError:
            pass
        torch.cuda.empty_cache()
        return None

    def _gathered(self, ask: Ask, data: torch.Tensor) -> torch.Tensor:
        """Logits of all windows, weighted by a Gaussian, in the memory that holds the data."""
        gaussian = compute_gaussian(self.patch_size, sigma_scale=1 / 8, value_scaling_factor=10, device=data.device)
        logits = torch.zeros((self.heads, *data.shape[1:]), dtype=torch.half, device=data.device)
        weights = torch.zeros(data.shape[1:], dtype=torch.half, device=data.device)
        for window in _windows(data.shape[1:], self.patch_size, self.step_size):
            logits[window] += ask(data[window][None].contiguous()).to(data.device).mul_(gaussian)
            weights[window[1:]] += gaussian
        logits /= weights
        if not bool(torch.isfinite(logits).all()):
            raise SegmentationError("the network's answer is not finite; check the image's intensities")
        return logits

    def _ask(
        self, network: torch.nn.Module, device: torch.device, deadline: float, patch: torch.Tensor
    ) -> torch.Tensor:
        """Logits (channels, ...) of one window, the mean over its mirror images."""
        if time.monotonic() > deadline:
            raise SegmentationError("the network did not finish within the time limit; raise timeout_s or use a GPU")
        patch = patch.to(device)
        logits: torch.Tensor = network(patch)
        mirrorings = _mirrorings(self.mirrored_axes)
        for axes in mirrorings:
            logits += network(patch.flip(axes)).flip(axes)
        return logits[0] / (1 + len(mirrorings))


def _mirrorings(axes: Sequence[int]) -> list[tuple[int, ...]]:
    """Every set of at least one axis, as axes of a batch."""
    counts = range(1, len(axes) + 1)
    return [tuple(axis + 2 for axis in chosen) for count in counts for chosen in itertools.combinations(axes, count)]


def _windows(shape: Sequence[int], patch_size: Sequence[int], step_size: float) -> Iterator[Window]:
    """Windows over a padded volume in nnU-Net's order; networks of slices go through them one by one."""
    steps = compute_steps_for_sliding_window(shape[-len(patch_size) :], patch_size, step_size)
    single_slices: list[tuple[int, ...]] = [()] if len(patch_size) == len(shape) else [(n,) for n in range(shape[0])]
    for single, corner in itertools.product(single_slices, itertools.product(*steps)):
        yield slice(None), *single, *(slice(at, at + size) for at, size in zip(corner, patch_size, strict=True))


def _added(first: Answer, second: Answer) -> Answer:
    notes = tuple(dict.fromkeys(first.notes + second.notes))
    return Answer(first.logits.add_(second.logits), first.votes + second.votes, notes)
