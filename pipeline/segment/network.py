"""A loaded network: what its plans say of data, and what its weights say of a volume.

Imports torch and nnunetv2; import it inside functions.
"""

from __future__ import annotations

import _codecs
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.preprocessing.resampling.default_resampling import compute_new_shape, determine_do_sep_z_and_axis
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from numpy.typing import NDArray

from pipeline.core.config import CoarseConfig
from pipeline.core.errors import ModelError, SegmentationError
from pipeline.core.files import read_json
from pipeline.core.labels import Label
from pipeline.core.volume import Volume
from pipeline.image.components import Box, fill_holes
from pipeline.segment.doubt import doubt_signals
from pipeline.segment.models import Model
from pipeline.segment.predictor import WindowPredictor
from pipeline.segment.quiet import quiet_nnunet
from pipeline.segment.resample import Decide, labels_at, largest_class, last_region

TORCH_RESAMPLING = "resample_torch_fornnunet"

Shape = tuple[int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A model in memory. Axes in and out are the image's; inside they may be transposed, as the plans say."""

    predictor: WindowPredictor
    plans: Any
    configuration: Any
    dataset: Mapping[str, Any]

    @property
    def device(self) -> str:
        """Where it runs."""
        return str(self.predictor.device)

    def shape_of(self, shape: Sequence[int], spacing_mm: Sequence[float]) -> Shape:
        """How many voxels of the network's grid a grid of the image takes, in the network's order of axes."""
        spacing = self._forward(spacing_mm)
        slices, rows, columns = compute_new_shape(self._forward(shape), spacing, self._spacing_mm(spacing))
        return max(1, int(slices)), max(1, int(rows)), max(1, int(columns))

    def preprocessed(self, image: Volume, box: Box) -> torch.Tensor:
        """The boxed part of an image, normalised and on the network's grid: (1, slices, rows, columns)."""
        voxels = image.voxels[box].astype(np.float32)[None]
        voxels = voxels.transpose(0, *(axis + 1 for axis in self.plans.transpose_forward))
        spacing = self._forward(image.geometry.spacing_mm)
        shape = self.shape_of([part.stop - part.start for part in box], image.geometry.spacing_mm)
        normalised = self._normalised(voxels)
        data = self.configuration.resampling_fn_data(normalised, shape, spacing, self._spacing_mm(spacing))
        return torch.from_numpy(np.ascontiguousarray(data, dtype=np.float32))

    def logits(self, data: torch.Tensor, timeout_s: float) -> tuple[torch.Tensor, str]:
        """What the network says on its own grid, float16 on the CPU, and the device it ran on in the end."""
        self.predictor.start(timeout_s)
        try:
            return self.predictor.predict_logits_from_preprocessed_data(data).cpu(), self.device
        except torch.OutOfMemoryError:
            return self._logits_on_cpu(data), "cpu"
        except (RuntimeError, MemoryError) as error:
            raise SegmentationError(f"the network failed: {_first_line(error)}") from error

    def values_at(self, logits: torch.Tensor, shape: Shape, spacing_mm: Sequence[float]) -> NDArray[np.uint8]:
        """The network's label values on a grid of the image."""
        spacing = self._forward(spacing_mm)
        slices, rows, columns = self._forward(shape)
        settings = self.configuration.configuration["resampling_fn_probabilities_kwargs"]
        separate, axis = determine_do_sep_z_and_axis(
            settings.get("force_separate_z"), self._spacing_mm(spacing), spacing
        )
        manager = self.predictor.label_manager
        decide: Decide = last_region(manager.regions_class_order) if manager.has_regions else largest_class
        nearest_axis = int(np.atleast_1d(axis)[0]) if separate else None
        values = labels_at(logits, (slices, rows, columns), decide, nearest_axis=nearest_axis)
        return values.transpose(self.plans.transpose_backward)

    def doubt(self, logits: torch.Tensor, labels: Mapping[int, Label]) -> dict[str, float]:
        """Signs of doubt, see `doubt.doubt_signals`."""
        manager = self.predictor.label_manager
        probabilities = manager.apply_inference_nonlin(logits)
        values: list[int] = list(range(len(logits)))
        if manager.has_regions:
            background = 1 - probabilities.amax(dim=0, keepdim=True)
            probabilities = torch.cat([background, probabilities])
            probabilities /= probabilities.sum(0)
            values = [0, *manager.regions_class_order]
        lesion = [index for index, value in enumerate(values) if labels.get(value) is Label.LESION]
        return doubt_signals(probabilities, lesion, float(np.prod(self.configuration.spacing)) / 1000.0)

    def _forward(self, per_axis: Sequence[Any]) -> list[Any]:
        return [per_axis[axis] for axis in self.plans.transpose_forward]

    def _spacing_mm(self, image_spacing_mm: Sequence[float]) -> list[float]:
        """Of the network's grid; a 2D network keeps the slices as they are."""
        own = list(self.configuration.spacing)
        return own if len(own) == 3 else [image_spacing_mm[0], *own]

    def _normalised(self, voxels: NDArray[np.float32]) -> NDArray[np.float32]:
        preprocessor = self.configuration.preprocessor_class(verbose=False)
        masked = any(self.configuration.use_mask_for_norm)
        outside = fill_holes(voxels[0] != 0)[None].astype(np.int8) - 1 if masked else [None]
        intensities = self.plans.foreground_intensity_properties_per_channel
        normalised: NDArray[np.float32] = preprocessor._normalize(voxels, outside, self.configuration, intensities)
        return normalised

    def _logits_on_cpu(self, data: torch.Tensor) -> torch.Tensor:
        predictor, asked = self.predictor, self.predictor.device
        torch.cuda.empty_cache()
        predictor.notes.append(f"{asked} ran out of memory: labelled on the CPU")
        predictor.device, predictor.perform_everything_on_device = torch.device("cpu"), False
        predictor.votes.clear()
        try:
            logits: torch.Tensor = predictor.predict_logits_from_preprocessed_data(data)
        except (RuntimeError, MemoryError) as error:
            raise SegmentationError(f"the network failed on the CPU too: {_first_line(error)}") from error
        finally:
            predictor.device, predictor.perform_everything_on_device = asked, asked.type == "cuda"
        return logits


def load_network(model: Model, device: str, config: CoarseConfig) -> Network:
    """A model read into memory, ready to label.

    Raises:
        ModelError: when the files are damaged or unsafe, take more than one image, or the device is not there.
    """
    quiet_nnunet()
    checkpoints = [read_checkpoint(path) for path in model.checkpoints]
    dataset, plans = read_json(model.folder / "dataset.json"), PlansManager(read_json(model.folder / "plans.json"))
    configuration = plans.get_configuration(checkpoints[0]["init_args"]["configuration"])
    _hold_to_our_threads(configuration.configuration)
    weights = [checkpoint["network_weights"] for checkpoint in checkpoints]
    mirroring_axes = checkpoints[0].get("inference_allowed_mirroring_axes")
    predictor = WindowPredictor(
        torch.device(device_names(device)[0]), step_size=config.step_size, mirroring=config.mirroring
    )
    empty = _empty_network(plans, configuration, dataset, model.name)
    try:
        empty.load_state_dict(weights[0])
    except RuntimeError as error:
        raise ModelError(f"model {model.name}: weights and plans.json do not fit: {_first_line(error)}") from None
    predictor.manual_initialization(empty, plans, configuration, weights, dataset, "nnUNetTrainer", mirroring_axes)
    return Network(predictor, plans, configuration, dataset)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's content, read without running anything in it.

    nnU-Net's own checkpoints hold a few numpy scalars in their log; those and plain tensors are let in, nothing else.

    Raises:
        ModelError: when the file holds any other object, or is not a checkpoint.
    """
    dtypes = [np.dtypes.Float64DType, np.dtypes.Float32DType, np.dtypes.Int64DType, np.dtypes.BoolDType]
    allowed = [np._core.multiarray.scalar, np.dtype, _codecs.encode, *dtypes]  # type: ignore[attr-defined]
    try:
        with torch.serialization.safe_globals(allowed):
            content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        _ = content["network_weights"], content["init_args"]["configuration"]
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, KeyError, TypeError) as error:
        where = f"{path.parent.name}/{path.name}"
        raise ModelError(f"{where} was not loaded: {_first_line(error)}; get it from its source again") from None
    return content


def device_names(asked: str) -> tuple[str, ...]:
    """The devices that "auto", "cpu", "cuda" or "cuda:1" means here; only "auto" can be several.

    Raises:
        ModelError: when a CUDA device was asked for and there is none of that number.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if asked == "auto":
        return tuple(f"cuda:{number}" for number in range(count)) or ("cpu",)
    if asked == "cpu":
        return (asked,)
    number = int(asked.partition(":")[2] or 0)
    if number >= count:
        raise ModelError(f'device "{asked}" was asked for, {count} CUDA devices are there; use "auto" or "cpu"')
    return (f"cuda:{number}",)


def _empty_network(plans: Any, configuration: Any, dataset: Mapping[str, Any], name: str) -> torch.nn.Module:
    channels = determine_num_input_channels(plans, configuration, dataset)
    if channels != 1:
        raise ModelError(f"model {name} wants {channels} images a case; only models of one image are supported")
    network: torch.nn.Module = get_network_from_plans(
        configuration.network_arch_class_name,
        configuration.network_arch_init_kwargs,
        configuration.network_arch_init_kwargs_req_import,
        channels,
        plans.get_label_manager(dataset).num_segmentation_heads,
        deep_supervision=False,
    )
    return network


def _hold_to_our_threads(configuration: dict[str, Any]) -> None:
    """nnU-Net's torch resampling sets four threads for the whole process unless told otherwise."""
    for kind in ("data", "seg", "probabilities"):
        if configuration[f"resampling_fn_{kind}"] == TORCH_RESAMPLING:
            configuration[f"resampling_fn_{kind}_kwargs"]["num_threads"] = torch.get_num_threads()


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
