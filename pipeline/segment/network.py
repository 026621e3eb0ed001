"""A loaded network: how it wants its images, and what its weights say of them.

Imports torch, and of nnunetv2 only what comes along without pandas and scikit-image; import it inside functions.
"""

from __future__ import annotations

import _codecs
import pickle
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.preprocessing.normalization import default_normalization_schemes
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from numpy.typing import NDArray

from pipeline.core.config import CoarseConfig
from pipeline.core.errors import ModelError, SegmentationError
from pipeline.core.file_names import NNUNET_DATASET, NNUNET_PLANS
from pipeline.core.files import read_json
from pipeline.core.labels import Label
from pipeline.core.volume import Volume
from pipeline.core.words import counted
from pipeline.image.components import Box, fill_holes
from pipeline.segment.doubt import doubt_signals, doubtful_band
from pipeline.segment.models import Model
from pipeline.segment.plans import TORCH_RESAMPLING, Plans, plans_of, separate_axis
from pipeline.segment.predictor import Answer, WindowPredictor
from pipeline.segment.resample import Decide, labels_at, largest_class, last_region, mixed

Shape = tuple[int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A model in memory. Axes in and out are the image's; inside they may be transposed, as the plans say."""

    predictor: WindowPredictor
    plans: Plans
    normalisation: default_normalization_schemes.ImageNormalization
    device: torch.device

    def preprocessed(self, image: Volume, box: Box) -> torch.Tensor:
        """The boxed part of an image, normalised and on the network's grid: (1, slices, rows, columns)."""
        voxels = self._normalised(image.voxels[box].astype(np.float32).transpose(self.plans.forward))[None]
        spacing_mm = image.geometry.spacing_mm
        shape = self.plans.shape_of([part.stop - part.start for part in box], spacing_mm)
        spacings = [spacing_mm[axis] for axis in self.plans.forward], self.plans.spacing_mm(spacing_mm)
        data = _resampled(np.ascontiguousarray(voxels), shape, *spacings, *self.plans.resampling("data"))
        return torch.from_numpy(np.ascontiguousarray(data, dtype=np.float32))

    def answer(self, data: torch.Tensor, timeout_s: float) -> tuple[Answer, str]:
        """What the network says on its own grid, and the device it ran on in the end.

        Raises:
            SegmentationError: when the time limit or the memory does not suffice.
        """
        deadline = time.monotonic() + timeout_s
        try:
            return self.predictor.predict(data, self.device, deadline), str(self.device)
        except torch.OutOfMemoryError:
            pass  # an error in hand keeps the memory that it ran out of
        except (RuntimeError, MemoryError) as error:
            raise SegmentationError(f"the network failed: {_first_line(error)}") from error
        torch.cuda.empty_cache()
        return self._answer_of_cpu(data, deadline), "cpu"

    def values_at(self, logits: torch.Tensor, shape: Shape, spacing_mm: Sequence[float]) -> NDArray[np.uint8]:
        """The network's label values on a grid of the image."""
        slices, rows, columns = (shape[axis] for axis in self.plans.forward)
        _, settings = self.plans.resampling("probabilities")
        spacings = self.plans.spacing_mm(spacing_mm), [spacing_mm[axis] for axis in self.plans.forward]
        nearest_axis = separate_axis(settings.get("force_separate_z"), *spacings)
        decide: Decide = last_region(self.plans.regions) if self.plans.regions else largest_class
        values = labels_at(logits, (slices, rows, columns), decide, nearest_axis=nearest_axis)
        return values.transpose(self.plans.backward)

    def doubt(self, logits: torch.Tensor, labels: Mapping[int, Label]) -> dict[str, float]:
        """Signs of doubt, see `doubt.doubt_signals`."""
        values = (0, *self.plans.regions) if self.plans.regions else tuple(range(len(logits)))
        lesion = [index for index, value in enumerate(values) if labels.get(value) is Label.LESION]
        band = doubtful_band(logits, _of_regions if self.plans.regions else _of_classes)
        return doubt_signals(band, lesion, float(np.prod(self.plans.configuration["spacing"])) / 1000.0)

    def _normalised(self, voxels: NDArray[np.float32]) -> NDArray[np.float32]:
        outside = fill_holes(voxels != 0).astype(np.int8) - 1 if self.normalisation.use_mask_for_norm else None
        normalised: NDArray[np.float32] = self.normalisation.run(voxels, outside)
        return normalised

    def _answer_of_cpu(self, data: torch.Tensor, deadline: float) -> Answer:
        try:
            answer = self.predictor.predict(data, torch.device("cpu"), deadline)
        except (RuntimeError, MemoryError) as error:
            raise SegmentationError(f"the network failed on the CPU too: {_first_line(error)}") from error
        note = f"{self.device} ran out of memory: labelled on the CPU"
        return replace(answer, notes=(*answer.notes, note))


def load_network(model: Model, device: str, config: CoarseConfig) -> Network:
    """A model read into memory, ready to label.

    Raises:
        ModelError: when the files are damaged or unsafe, ask for what is not supported, or the device is not there.
    """
    checkpoints = [read_checkpoint(path) for path in model.checkpoints]
    dataset, content = read_json(model.folder / NNUNET_DATASET), read_json(model.folder / NNUNET_PLANS)
    plans = plans_of(content, dataset, checkpoints[0]["init_args"]["configuration"], name=model.name)
    networks = [_network_of(plans, checkpoint["network_weights"], model.name) for checkpoint in checkpoints]
    mirrored_axes = checkpoints[0].get("inference_allowed_mirroring_axes") if config.mirroring else None
    predictor = WindowPredictor(networks, plans.heads, plans.patch_size, config.step_size, tuple(mirrored_axes or ()))
    where = torch.device(device_names(device)[0])
    if where.type == "cuda":
        torch.backends.cudnn.benchmark = True
    return Network(predictor, plans, _normalisation_of(plans, model.name), where)


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
        found = counted(count, "CUDA device")
        raise ModelError(f'device "{asked}" was requested, found {found}; use "auto" or "cpu"')
    return (f"cuda:{number}",)


def _normalisation_of(plans: Plans, name: str) -> default_normalization_schemes.ImageNormalization:
    scheme, is_masked = (plans.configuration[key][0] for key in ("normalization_schemes", "use_mask_for_norm"))
    normalisation = getattr(default_normalization_schemes, scheme, None)
    if normalisation is None:
        raise ModelError(
            f"model {name} normalises by {scheme}, which nnU-Net does not have; only its own are supported"
        )
    return normalisation(use_mask_for_norm=is_masked, intensityproperties=plans.intensities)


def _network_of(plans: Plans, weights: Mapping[str, Any], name: str) -> torch.nn.Module:
    architecture = plans.configuration["architecture"]
    network: torch.nn.Module = get_network_from_plans(
        architecture["network_class_name"],
        architecture["arch_kwargs"],
        architecture["_kw_requires_import"],
        1,
        plans.heads,
        allow_init=False,
        deep_supervision=False,
    )
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise ModelError(f"model {name}: weights and plans.json do not match: {_first_line(error)}") from None
    if torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        for layer in network.modules():
            if type(layer) is torch.nn.Conv3d and max(layer.kernel_size) > 1:
                layer.__class__ = _OneDnnConv3d
    return network.eval()


class _OneDnnConv3d(torch.nn.Conv3d):
    """A convolution that takes oneDNN's kernels on a CPU, whatever the size of the image.

    For a single small image torch takes kernels of its own, three times slower on the layers of a small network; for
    larger images and for batches it takes oneDNN's too. See `ConvParams::use_mkldnn` in ATen/native/Convolution.cpp.
    The layers become this after nnU-Net has built them, since the plans name torch's own class to build them from.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - torch's name
        if input.device.type != "cpu" or isinstance(self.padding, str):
            return super().forward(input)
        return torch.mkldnn_convolution(
            input, self.weight, self.bias, self.padding, self.stride, self.dilation, self.groups
        )


def _of_classes(logits: torch.Tensor) -> torch.Tensor:
    return logits.float().softmax(0)


def _of_regions(logits: torch.Tensor) -> torch.Tensor:
    """Probabilities of nested regions, with one of background before them."""
    regions = logits.float().sigmoid()
    probabilities = torch.cat([1 - regions.amax(dim=0, keepdim=True), regions])
    return probabilities / probabilities.sum(0)


def _resampled(
    voxels: NDArray[np.float32],
    shape: Shape,
    spacing_mm: Sequence[float],
    own_spacing_mm: Sequence[float],
    function: str,
    settings: dict[str, Any],
) -> NDArray[np.float32]:
    """(channels, slices, rows, columns) of another shape, by the function that the plans name."""
    if function == TORCH_RESAMPLING:
        if separate_axis(settings.get("force_separate_z"), spacing_mm, own_spacing_mm) is None:
            return mixed(torch.from_numpy(voxels), shape).numpy()
        settings["num_threads"] = torch.get_num_threads()  # it sets four for the whole process unless told otherwise
    from nnunetv2.preprocessing.resampling.utils import recursive_find_resampling_fn_by_name

    resample = recursive_find_resampling_fn_by_name(function)
    resampled: NDArray[np.float32] = resample(voxels, shape, spacing_mm, own_spacing_mm, **settings)
    return resampled


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
