"""nnU-Net in this very process: no spawned workers, no environment, one network at a time on a device.

torch and nnunetv2 are imported when the first volume comes, never by importing this module. A label takes three steps
that may run in three threads: `prepare` (CPU), `infer` (device, one at a time), `finish` (CPU).
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import ModelError, SegmentationError
from pipeline.core.files import read_json
from pipeline.core.labels import Label
from pipeline.core.receipts import package_versions
from pipeline.core.volume import LabelMap, Volume
from pipeline.image.nifti import content_sha256
from pipeline.image.orientation import reoriented
from pipeline.segment.models import Model
from pipeline.segment.segmenter import Segmentation

if TYPE_CHECKING:
    import torch

STEP_SIZE = 0.5
"""Neighbouring windows overlap by half, nnU-Net's default."""

TORCH_RESAMPLING = "resample_torch_fornnunet"

_log = logging.getLogger(__name__)
_device_locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
_loading = threading.Lock()


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A volume as the network wants it.

    Attributes:
        volume: as it came.
        data: (channels, slices, rows, columns) on the network's grid, normalised.
        properties: nnU-Net's notes on how to get back.
        seconds: wall time so far, by step.
    """

    volume: Volume
    data: torch.Tensor
    properties: Mapping[str, Any]
    seconds: dict[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class Inferred:
    """What the network said on its own grid.

    Attributes:
        prepared: what it was asked.
        logits: (channels, slices, rows, columns), float16 on the CPU.
        device: where it ran in the end.
        notes: what did not go as asked.
    """

    prepared: Prepared
    logits: torch.Tensor
    device: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class _Network:
    """A loaded model."""

    predictor: Any
    preprocessor: Any
    plans: Any
    configuration: Any
    label_manager: Any
    dataset: Mapping[str, Any]


@dataclass(slots=True, eq=False)
class NnunetSegmenter:
    """Labels volumes with one model on one device; safe to share between threads.

    Attributes:
        model: found and checked by `models.find_model`.
        device: "auto" takes the first CUDA device if there is one; "cpu"; "cuda"; "cuda:1".
    """

    model: Model
    device: str = "auto"
    _network: _Network | None = field(default=None, repr=False)

    def segment(self, volume: Volume) -> Segmentation:
        """The network's labels on the volume's own grid, before post-processing.

        Raises:
            ModelError: when the model cannot be loaded; no other volume will do better.
            SegmentationError: when this volume cannot be labelled.
        """
        return self.finish(self.infer(self.prepare(volume)))

    def prepare(self, volume: Volume) -> Prepared:
        """The volume turned, cropped, normalised and resampled by the rules in the model's plans.

        Raises:
            SegmentationError: when it holds a NaN or an infinity, or is 0 everywhere.
        """
        import torch

        network = self._loaded()
        seconds: dict[str, float] = {}
        with _timed(seconds, "preprocess"):
            _check_voxels(volume)
            image = reoriented(volume, self.model.orientation)
            data, _, properties = network.preprocessor.run_case_npy(
                image.voxels[None],
                None,
                {"spacing": list(image.geometry.spacing_mm)},
                network.plans,
                network.configuration,
                network.dataset,
            )
        return Prepared(volume, torch.from_numpy(np.ascontiguousarray(data)), properties, seconds)

    def infer(self, prepared: Prepared) -> Inferred:
        """The network's logits; waits while another thread uses the device."""
        network = self._loaded()
        device = str(network.predictor.device)
        with _device_locks[device], _timed(prepared.seconds, "network"):
            logits = network.predictor.predict_logits_from_preprocessed_data(prepared.data)
        return Inferred(prepared, logits.cpu(), device)

    def finish(self, inferred: Inferred) -> Segmentation:
        """Labels on the volume's own grid, with signs of doubt and provenance."""
        network = self._loaded()
        prepared = inferred.prepared
        with _timed(prepared.seconds, "doubt"):
            signals = _doubt(inferred.logits, network, self.model)
        with _timed(prepared.seconds, "resample"):
            labels = self._on_image_grid(inferred)
        return Segmentation(
            labels,
            raw_sha256=content_sha256(labels),
            entropy=signals["entropy"],
            signals=signals,
            seconds=prepared.seconds,
            device=inferred.device,
            model=self.provenance(),
            notes=inferred.notes,
        )

    def provenance(self) -> dict[str, Any]:
        """Everything about the network that decides a label, fit for JSON."""
        return {
            "name": self.model.name,
            "sha256": self.model.sha256,
            "files": dict(self.model.hashes),
            "labels": {str(value): label.name.lower() for value, label in self.model.labels.items()},
            "orientation": self.model.orientation,
            "step_size": STEP_SIZE,
            "mirroring": False,
            "packages": package_versions("torch", "nnunetv2", "dynamic-network-architectures", "numpy"),
        }

    def _loaded(self) -> _Network:
        with _loading:
            if self._network is None:
                self._network = _load(self.model, self.device)
            return self._network

    def _on_image_grid(self, inferred: Inferred) -> LabelMap:
        network, properties = self._loaded(), inferred.prepared.properties
        found = _resampled(inferred.logits, network, properties)
        whole = np.zeros(properties["shape_before_cropping"], dtype=np.uint8)
        whole[tuple(slice(*bounds) for bounds in properties["bbox_used_for_cropping"])] = found
        voxels = _names(self.model.labels)[whole.transpose(network.plans.transpose_backward)]
        turned = reoriented(inferred.prepared.volume, self.model.orientation).geometry
        labels = reoriented(LabelMap(voxels, turned), inferred.prepared.volume.geometry.orientation)
        return LabelMap(labels.voxels, inferred.prepared.volume.geometry)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's content, read without running anything in it.

    nnU-Net's own checkpoints hold a few numpy scalars in their log; those and plain tensors are let in, nothing else.

    Raises:
        ModelError: when the file holds any other object, or is not a checkpoint.
    """
    import _codecs
    import pickle

    import torch

    dtypes = [np.dtypes.Float64DType, np.dtypes.Float32DType, np.dtypes.Int64DType, np.dtypes.BoolDType]
    allowed = [np._core.multiarray.scalar, np.dtype, _codecs.encode, *dtypes]  # type: ignore[attr-defined]
    try:
        with torch.serialization.safe_globals(allowed):
            content = torch.load(path, map_location="cpu", weights_only=True)
        return {key: content[key] for key in ("network_weights", "init_args")}
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, KeyError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(
            f"{path.parent.name}/{path.name} was not loaded: {reason}; get it from its source again"
        ) from None


def quiet_nnunet() -> None:
    """Send what nnU-Net's modules print to the log instead of the terminal."""
    for name, module in list(sys.modules.items()):
        if name.startswith("nnunetv2."):
            vars(module)["print"] = _print_to_log


def _print_to_log(*words: object, **_: object) -> None:
    _log.debug("nnU-Net: %s", " ".join(map(str, words)).strip())


def _load(model: Model, device: str) -> _Network:
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    quiet_nnunet()
    checkpoints = [read_checkpoint(path) for path in model.checkpoints]
    dataset, plans = read_json(model.folder / "dataset.json"), PlansManager(read_json(model.folder / "plans.json"))
    configuration = plans.get_configuration(checkpoints[0]["init_args"]["configuration"])
    _hold_to_our_threads(configuration.configuration, torch.get_num_threads())
    weights = [checkpoint["network_weights"] for checkpoint in checkpoints]
    chosen = torch.device(_device_name(device))
    predictor = nnUNetPredictor(
        tile_step_size=STEP_SIZE,
        use_mirroring=False,
        perform_everything_on_device=chosen.type == "cuda",
        device=chosen,
        allow_tqdm=False,
    )
    network = _empty_network(plans, configuration, dataset)
    predictor.manual_initialization(network, plans, configuration, weights, dataset, "nnUNetTrainer", None)
    preprocessor = configuration.preprocessor_class(verbose=False)
    return _Network(predictor, preprocessor, plans, configuration, predictor.label_manager, dataset)


def _empty_network(plans: Any, configuration: Any, dataset: Mapping[str, Any]) -> torch.nn.Module:
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
    from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels

    network: torch.nn.Module = get_network_from_plans(
        configuration.network_arch_class_name,
        configuration.network_arch_init_kwargs,
        configuration.network_arch_init_kwargs_req_import,
        determine_num_input_channels(plans, configuration, dataset),
        plans.get_label_manager(dataset).num_segmentation_heads,
        deep_supervision=False,
    )
    return network


def _hold_to_our_threads(configuration: dict[str, Any], threads: int) -> None:
    """nnU-Net's torch resampling sets four threads for the whole process unless told otherwise."""
    for kind in ("data", "seg", "probabilities"):
        if configuration[f"resampling_fn_{kind}"] == TORCH_RESAMPLING:
            configuration[f"resampling_fn_{kind}_kwargs"]["num_threads"] = threads


def _device_name(asked: str) -> str:
    import torch

    available = torch.cuda.is_available()
    if asked == "auto":
        return "cuda:0" if available else "cpu"
    if asked.startswith("cuda") and not available:
        raise ModelError(f'device "{asked}" was asked for but there is no CUDA device; use "auto" or "cpu"')
    return "cuda:0" if asked == "cuda" else asked


def _check_voxels(volume: Volume) -> None:
    if not np.isfinite(volume.voxels).all():
        raise SegmentationError("the image holds NaN or infinite values; convert it again from its source")
    if not volume.voxels.any():
        raise SegmentationError("the image is 0 everywhere; convert it again from its source")


def _names(labels: Mapping[int, Label]) -> NDArray[np.uint8]:
    names = np.zeros(256, dtype=np.uint8)
    for value, label in labels.items():
        names[value] = label
    return names


def _resampled(logits: torch.Tensor, network: _Network, properties: Mapping[str, Any]) -> NDArray[np.uint8]:
    from nnunetv2.preprocessing.resampling.default_resampling import determine_do_sep_z_and_axis

    from pipeline.segment.resample import Decide, labels_at, largest_class, last_region

    forward = network.plans.transpose_forward
    image_spacing = [properties["spacing"][axis] for axis in forward]
    own_spacing = list(network.configuration.spacing)
    own_spacing = own_spacing if len(own_spacing) == 3 else [image_spacing[0], *own_spacing]
    settings = network.configuration.configuration["resampling_fn_probabilities_kwargs"]
    separate, axis = determine_do_sep_z_and_axis(settings.get("force_separate_z"), own_spacing, image_spacing)
    manager = network.label_manager
    decide: Decide = last_region(manager.regions_class_order) if manager.has_regions else largest_class
    shape = tuple(properties["shape_after_cropping_and_before_resampling"])
    return labels_at(logits, shape, decide, nearest_axis=int(np.atleast_1d(axis)[0]) if separate else None)


def _doubt(logits: torch.Tensor, network: _Network, model: Model) -> dict[str, float]:
    import torch

    from pipeline.segment.doubt import doubt_signals

    probabilities = network.label_manager.apply_inference_nonlin(logits)
    values = list(range(len(logits)))
    if network.label_manager.has_regions:
        background = 1 - probabilities.amax(dim=0, keepdim=True)
        probabilities = torch.cat([background, probabilities])
        probabilities = probabilities / probabilities.sum(0)
        values = [0, *network.label_manager.regions_class_order]
    lesion = [index for index, value in enumerate(values) if model.labels.get(value) is Label.LESION]
    spacing = network.configuration.spacing
    voxel_ml = float(np.prod(spacing)) / 1000.0
    return doubt_signals(probabilities, lesion, voxel_ml)


@contextmanager
def _timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[step] = round(time.perf_counter() - start, 4)
