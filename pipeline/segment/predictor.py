"""nnU-Net's predictor with our own loop over windows.

The loop gives the same numbers as nnU-Net's, but can stop at a time limit, leaves no thread behind when it fails, and
says when the device's memory ran short. Imports torch and nnunetv2; import it inside functions.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.inference.sliding_window_prediction import compute_gaussian

from pipeline.core.errors import SegmentationError

GATHERED_IN_MAIN_MEMORY = "the device's memory ran short: windows were gathered in main memory"

Window = tuple[slice | int, ...]


class WindowPredictor(nnUNetPredictor):  # type: ignore[misc]
    """Slides a network over a volume.

    Attributes:
        deadline: `time.monotonic()` after which no further window is started.
        notes: what did not go as asked, since the last `start`.
        votes: the class each fold of an ensemble gives to each voxel of the network's grid, since the last `start`.
    """

    def __init__(self, device: torch.device, *, step_size: float, mirroring: bool) -> None:
        super().__init__(
            tile_step_size=step_size,
            use_mirroring=mirroring,
            perform_everything_on_device=device.type == "cuda",
            device=device,
            allow_tqdm=False,
        )
        self.deadline = math.inf
        self.notes: list[str] = []
        self.votes: list[torch.Tensor] = []

    def start(self, timeout_s: float) -> None:
        """Forget the volume before, and set the time limit of the next."""
        self.deadline = time.monotonic() + timeout_s
        self.notes.clear()
        self.votes.clear()

    @torch.inference_mode()
    def predict_sliding_window_return_logits(self, input_image: torch.Tensor) -> torch.Tensor:
        """Logits of one fold; its vote is kept where there are several."""
        logits: torch.Tensor = super().predict_sliding_window_return_logits(input_image)
        if len(self.list_of_parameters) > 1:
            self.votes.append(logits.argmax(0).to(torch.uint8).cpu())
        return logits

    @torch.inference_mode()
    def _internal_predict_sliding_window_return_logits(
        self, data: torch.Tensor, slicers: Sequence[Window], do_on_device: bool = True
    ) -> torch.Tensor:
        """Logits of all windows, weighted by a Gaussian; nnU-Net calls this once more when it runs out of memory."""
        where = self.device if do_on_device else torch.device("cpu")
        if where != self.device:
            self.notes.append(GATHERED_IN_MAIN_MEMORY)
        data = data.to(where)
        heads = self.label_manager.num_segmentation_heads
        logits = torch.zeros((heads, *data.shape[1:]), dtype=torch.half, device=where)
        weights = torch.zeros(data.shape[1:], dtype=torch.half, device=where)
        gaussian = self._gaussian(where)
        for window in slicers:
            self._check_time()
            patch = data[window][None].contiguous().to(self.device)
            logits[window] += self._internal_maybe_mirror_and_predict(patch)[0].to(where).mul_(gaussian)
            weights[window[1:]] += gaussian
        logits /= weights
        if not bool(torch.isfinite(logits).all()):
            raise SegmentationError("the network's answer is not finite; check the image's intensities")
        return logits

    def _gaussian(self, device: torch.device) -> Any:
        patch_size = tuple(self.configuration_manager.patch_size)
        return compute_gaussian(patch_size, sigma_scale=1 / 8, value_scaling_factor=10, device=device)

    def _check_time(self) -> None:
        if time.monotonic() > self.deadline:
            raise SegmentationError("the network did not finish within the time limit; raise timeout_s or use a GPU")
