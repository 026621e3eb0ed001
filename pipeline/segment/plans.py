"""What a model's `plans.json` and `dataset.json` say of its network, and nothing that takes a second to import.

nnU-Net's own managers answer the same questions, but bring pandas, scikit-image and every reader of images along: twice
what torch itself takes to import. They are still asked for plans of nnU-Net before 2.2, and for resampling other than
torch's linear one. Needs neither torch nor nnunetv2 otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.core.errors import ModelError
from pipeline.segment.models import has_regions, output_values

TORCH_RESAMPLING = "resample_torch_fornnunet"
PREPROCESSOR = "DefaultPreprocessor"

ANISOTROPY_THRESHOLD = 3.0
"""nnU-Net's: voxels longer than this many times their width are resampled slice by slice."""


@dataclass(frozen=True, slots=True)
class Plans:
    """How a network wants its images, and what its answers mean. Axes are the network's, see `forward`.

    Attributes:
        configuration: of `plans.json`, complete, as nnU-Net names its settings.
        forward: which axis of the image each axis of the network is.
        backward: the way back.
        intensities: mean, deviation and percentiles that the normalisation goes by.
        heads: channels of the network's answer.
        regions: label value that each channel paints, in order; empty where the channels are classes.
    """

    configuration: Mapping[str, Any]
    forward: tuple[int, ...]
    backward: tuple[int, ...]
    intensities: Mapping[str, float]
    heads: int
    regions: tuple[int, ...]

    @property
    def patch_size(self) -> tuple[int, ...]:
        """Voxels of a window; two numbers for a network that takes slices one by one."""
        return tuple(self.configuration["patch_size"])

    def spacing_mm(self, image_spacing_mm: Sequence[float]) -> list[float]:
        """Of the network's grid for an image; a network of slices keeps their distance."""
        own = list(self.configuration["spacing"])
        return own if len(own) == 3 else [image_spacing_mm[self.forward[0]], *own]

    def shape_of(self, shape: Sequence[int], spacing_mm: Sequence[float]) -> tuple[int, int, int]:
        """How many voxels of the network's grid a grid of the image takes.

        Args:
            shape: of the image, in its own order of axes, like its spacing.
            spacing_mm: of the image.
        """
        own = self.spacing_mm(spacing_mm)
        slices, rows, columns = (
            max(1, round(spacing_mm[axis] / step * shape[axis])) for axis, step in zip(self.forward, own, strict=True)
        )
        return slices, rows, columns

    def resampling(self, kind: str) -> tuple[str, dict[str, Any]]:
        """Name and settings of nnU-Net's function that resamples "data" or "probabilities"."""
        return self.configuration[f"resampling_fn_{kind}"], dict(self.configuration[f"resampling_fn_{kind}_kwargs"])


def plans_of(plans: Mapping[str, Any], dataset: Mapping[str, Any], configuration_name: str, *, name: str) -> Plans:
    """One configuration of a model's plans.

    Args:
        plans: content of `plans.json`.
        dataset: content of `dataset.json`.
        configuration_name: as the checkpoint names it.
        name: the model's.

    Raises:
        ModelError: when the network takes more than one image, or its images are prepared in a way of its own.
    """
    configuration = _modern(_inherited(plans["configurations"], configuration_name))
    channels = len(dataset["modality"] if "modality" in dataset else dataset["channel_names"])
    if channels != 1:
        raise ModelError(f"model {name} needs {channels} images per case; only models of one image are supported")
    if configuration.get("previous_stage") is not None:
        raise ModelError(f"model {name} is the second stage of a cascade; only models of one image are supported")
    if configuration["preprocessor_name"] != PREPROCESSOR:
        raise ModelError(f"model {name} names {configuration['preprocessor_name']}; only {PREPROCESSOR} is supported")
    by_channel = "foreground_intensity_properties_per_channel"
    intensities = plans[by_channel] if by_channel in plans else plans["foreground_intensity_properties_by_modality"]
    regions = tuple(dataset["regions_class_order"]) if has_regions(dataset) else ()
    return Plans(
        configuration,
        tuple(plans["transpose_forward"]),
        tuple(plans["transpose_backward"]),
        intensities["0"],
        heads=len(regions) or len({0, *output_values(dataset).values()}),
        regions=regions,
    )


def separate_axis(forced: bool | None, *spacings_mm: Sequence[float]) -> int | None:
    """The one axis along which nnU-Net repeats planes instead of mixing them; None where it mixes along all.

    Args:
        forced: `force_separate_z` of the plans; None leaves it to the first spacing that is strongly anisotropic.
        spacings_mm: of the grid that is resampled, then of the grid that it becomes.
    """
    uneven = [step for step in spacings_mm if forced or max(step) / min(step) > ANISOTROPY_THRESHOLD]
    if forced is False or not uneven:
        return None
    coarsest = [axis for axis, step in enumerate(uneven[0]) if step == max(uneven[0])]
    return coarsest[0] if len(coarsest) == 1 else None


def _inherited(configurations: Mapping[str, Any], name: str) -> dict[str, Any]:
    own = configurations[name]
    parent = own.get("inherits_from")
    return {**(_inherited(configurations, parent) if parent else {}), **own}


def _modern(configuration: dict[str, Any]) -> Mapping[str, Any]:
    """Plans of nnU-Net before 2.2 name their network in another way, which nnU-Net itself can read."""
    if "architecture" in configuration:
        return configuration
    from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager

    rewritten: dict[str, Any] = ConfigurationManager(configuration).configuration
    return rewritten
