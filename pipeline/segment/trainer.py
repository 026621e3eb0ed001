"""nnU-Net's own trainer, with the few changes that make a small network learn in minutes on one CPU core.

Imports torch and nnunetv2; import it inside functions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch.optim.lr_scheduler import LRScheduler

from pipeline.core.errors import ModelError
from pipeline.segment.models import Model

LESION_WEIGHT = 5.0
"""Of a lesion voxel in the cross-entropy. Without it the first hundreds of steps learn the liver alone."""

FOREGROUND_SHARE = 0.66
"""Share of patches centred on liver or lesion; nnU-Net's 0.33 is meant for hundreds of times as many patches."""

WARM_UP_SHARE = 0.15
WEIGHT_DECAY = 1e-4
LARGEST_GRADIENT = 12.0
"""nnU-Net's own."""


class CosineSchedule(LRScheduler):
    """A learning rate that rises for the first epochs and falls to 0 as a cosine; told the epoch, as nnU-Net does."""

    def __init__(self, optimizer: torch.optim.Optimizer, highest: float, epochs: int) -> None:
        self.highest, self.epochs = highest, epochs
        super().__init__(optimizer)

    def step(self, epoch: int | None = None) -> None:
        """Set the rate of an epoch."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate_at(epoch or 0, self.highest, self.epochs)


def learning_rate_at(epoch: int, highest: float, epochs: int) -> float:
    """The rate of one epoch, the first being 0."""
    warm_up = WARM_UP_SHARE * epochs
    rising = min(1.0, (epoch + 1) / (warm_up + 1))
    falling = 0.5 * (1 + math.cos(math.pi * max(0.0, epoch - warm_up) / (epochs - warm_up)))
    return highest * rising * falling


class SmallTrainer(nnUNetTrainer):  # type: ignore[misc]
    """A short schedule with AdamW, without deep supervision, mirroring and spatial augmentation.

    SGD as nnU-Net uses it, made for 250 000 steps, never finds the lesions within a few hundred; AdamW does. Mirroring
    would put the liver on the wrong side. A patch that holds the whole volume needs no spatial augmentation. On a CPU
    the convolutions run in bfloat16, which halves their time where the CPU has instructions for it.
    """

    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int | str,
        dataset_json: dict[str, Any],
        device: torch.device,
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.enable_deep_supervision = False
        self.oversample_foreground_percent = FOREGROUND_SHARE
        self.num_val_iterations_per_epoch = 1
        self.save_every = 1_000_000
        self.logger.plot_progress_png = lambda folder: None

    def start(self, weights: Mapping[str, Any] | None, name: str) -> None:
        """Build the network, with weights of its own or those given.

        Args:
            weights: of a network of the same shape; None for fresh ones.
            name: of the model they come from.

        Raises:
            ModelError: when the weights do not fit.
        """
        self.initialize()
        if weights is None:
            return
        try:
            self.network.load_state_dict(weights)
        except RuntimeError:
            raise ModelError(
                f"model {name} does not fit this training; its labels and the dataset's must be the same"
            ) from None

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self) -> tuple[Any, ...]:  # noqa: N802
        """nnU-Net's own choice, but no mirroring, and patches as large as the network takes them."""
        rotation, dummy_2d, _, _ = super().configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        self.inference_allowed_mirroring_axes = None
        return rotation, dummy_2d, self.configuration_manager.patch_size, None

    @staticmethod
    def get_training_transforms(
        patch_size: Any,
        rotation_for_DA: Any,  # noqa: N803
        deep_supervision_scales: Any,
        mirror_axes: Any,
        do_dummy_2d_data_aug: bool,
        use_mask_for_norm: Any = None,
        is_cascaded: bool = False,
        foreground_labels: Any = None,
        regions: Any = None,
        ignore_label: int | None = None,
    ) -> Any:
        """The transforms of validation: none that moves a voxel."""
        return nnUNetTrainer.get_validation_transforms(
            deep_supervision_scales, is_cascaded, foreground_labels, regions, ignore_label
        )

    def configure_optimizers(self) -> tuple[Any, Any]:
        """AdamW, and a rate that rises and falls."""
        optimizer = torch.optim.AdamW(self.network.parameters(), self.initial_lr, weight_decay=WEIGHT_DECAY)
        return optimizer, CosineSchedule(optimizer, self.initial_lr, self.num_epochs)

    def _build_loss(self) -> Any:
        """nnU-Net's Dice and cross-entropy, lesions weighing more in the latter."""
        loss = super()._build_loss()
        heads = self.label_manager.num_segmentation_heads
        loss.ce.weight = torch.tensor([1.0, *[1.0] * (heads - 2), LESION_WEIGHT], device=self.device)
        return loss

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """One step of the optimizer."""
        data, target = batch["data"].to(self.device), batch["target"].to(self.device)
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, torch.bfloat16):
            output = self.network(data)
        loss = self.loss(output.float(), target)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), LARGEST_GRADIENT)
        self.optimizer.step()
        return {"loss": loss.detach().cpu().numpy()}

    def plot_network_architecture(self) -> None:
        """Nothing: the drawing needs packages that nobody else here does."""


def seed_everything(seed: int) -> None:
    """Fix the generators that nnU-Net draws weights and patches from."""
    torch.manual_seed(seed)
    np.random.seed(seed)


def weights_of(model: Model) -> dict[str, Any]:
    """The weights of a model's first fold, read safely."""
    from pipeline.segment.network import read_checkpoint

    weights: dict[str, Any] = read_checkpoint(model.checkpoints[0])["network_weights"]
    return weights
