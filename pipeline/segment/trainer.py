"""nnU-Net's own trainer, with the few changes that make a small network learn in minutes on one CPU core.

Imports torch and nnunetv2; import it inside functions.
"""

from __future__ import annotations

from typing import Any

import torch
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

LEARNING_RATE = 4e-3
WEIGHT_DECAY = 1e-4
FOREGROUND_SHARE = 0.66
"""Share of patches centred on liver or lesion; nnU-Net's 0.33 is meant for hundreds of times as many patches."""


class SmallTrainer(nnUNetTrainer):  # type: ignore[misc]
    """A short schedule with AdamW, without deep supervision, mirroring and spatial augmentation.

    SGD as nnU-Net uses it, made for 250 000 steps, never finds the lesions within a few hundred; AdamW does. Mirroring
    would put the liver on the wrong side. A patch that holds the whole volume needs no spatial augmentation.
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
        self.initial_lr = LEARNING_RATE
        self.oversample_foreground_percent = FOREGROUND_SHARE
        self.num_val_iterations_per_epoch = 1
        self.save_every = 1_000_000

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
        """AdamW with nnU-Net's polynomial decay."""
        optimizer = torch.optim.AdamW(self.network.parameters(), self.initial_lr, weight_decay=WEIGHT_DECAY)
        return optimizer, PolyLRScheduler(optimizer, self.initial_lr, self.num_epochs)

    def plot_network_architecture(self) -> None:
        """Nothing: the drawing needs packages that nobody else here does."""
