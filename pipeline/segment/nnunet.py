"""nnU-Net in this very process: no spawned workers, no environment, one network at a time on a device.

torch and nnunetv2 are imported when the first volume comes, never by importing this module. A label takes three steps
that may run in three threads: `prepare` (CPU), `infer` (device, one at a time), `finish` (CPU).

Memory is bounded: 7 bytes a voxel of the image (the image, its copy in float32, the labels), and 4 bytes and 2 a class
for each voxel of the network's grid. `benchmarks/segment.py memory` prints it: 2.0 GiB for 512 x 512 x 1000, libraries
and post-processing included.
"""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.config import CoarseConfig
from pipeline.core.errors import SegmentationError
from pipeline.core.geometry import Geometry
from pipeline.core.labels import Label
from pipeline.core.receipts import package_versions
from pipeline.core.volume import LabelMap, Volume
from pipeline.image.components import Box, bounding_box
from pipeline.image.nifti import content_sha256
from pipeline.image.orientation import reoriented
from pipeline.segment.models import Model
from pipeline.segment.segmenter import Segmentation

if TYPE_CHECKING:
    import torch

    from pipeline.segment.network import Network
    from pipeline.segment.predictor import Answer

_device_locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
_loading = threading.Lock()


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A volume as the network wants it.

    Attributes:
        volume: as it came.
        turned: its grid in the model's orientation.
        box: what is left of the turned grid after cropping to voxels that are not 0.
        data: (channels, slices, rows, columns) on the network's grid, in the network's order of axes, normalised.
        seconds: wall time so far, by step.
    """

    volume: Volume
    turned: Geometry
    box: Box
    data: torch.Tensor
    seconds: dict[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class Inferred:
    """What the network said on its own grid.

    Attributes:
        prepared: what it was asked.
        answer: logits of the network's grid, the folds' votes, and what did not go as asked.
        device: where it ran in the end.
    """

    prepared: Prepared
    answer: Answer
    device: str


@dataclass(slots=True, eq=False)
class NnunetSegmenter:
    """Labels volumes with one model on one device; safe to share between threads.

    Attributes:
        model: found and checked by `models.find_model`.
        device: "auto" takes the first CUDA device if there is one; "cpu"; "cuda"; "cuda:1".
        config: step size, mirroring and limits.
    """

    model: Model
    device: str = "auto"
    config: CoarseConfig = field(default_factory=CoarseConfig)
    _network: Network | None = field(default=None, repr=False)

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
            SegmentationError: when it holds a NaN or an infinity, is 0 everywhere, or is too large.
        """
        network = self.load()
        seconds: dict[str, float] = {}
        with _timed(seconds, "preprocess"):
            _check_size(volume, network, self.config.max_voxels)
            image = reoriented(volume, self.model.orientation)
            box = _content_box(image)
            data = network.preprocessed(image, box)
        return Prepared(volume, image.geometry, box, data, seconds)

    def infer(self, prepared: Prepared) -> Inferred:
        """The network's logits; waits while another thread uses the device.

        Raises:
            SegmentationError: when the time limit or the memory does not suffice.
        """
        network = self.load()
        with _device_locks[str(network.device)], _timed(prepared.seconds, "network"):
            answer, device = network.answer(prepared.data, self.config.timeout_s)
        return Inferred(prepared, answer, device)

    def finish(self, inferred: Inferred) -> Segmentation:
        """Labels on the volume's own grid, with signs of doubt and provenance."""
        from pipeline.segment.doubt import fold_disagreement

        network, prepared, answer = self.load(), inferred.prepared, inferred.answer
        with _timed(prepared.seconds, "doubt"):
            signals = {**network.doubt(answer.logits, self.model.labels), "folds": fold_disagreement(answer.votes)}
        with _timed(prepared.seconds, "resample"):
            output = self._on_image_grid(inferred)
        aorta_hu = _median_inside(prepared.volume, output.voxels == self.model.aorta) if self.model.aorta else None
        labels = LabelMap(_names(self.model.labels)[output.voxels], output.geometry)
        return Segmentation(
            labels,
            raw_sha256=content_sha256(labels),
            entropy=signals["entropy"],
            signals=signals,
            seconds=prepared.seconds,
            device=inferred.device,
            model=self.provenance(),
            notes=answer.notes,
            aorta_hu=aorta_hu,
        )

    def provenance(self) -> dict[str, Any]:
        """Everything about the network that decides a label, fit for JSON."""
        return {
            "name": self.model.name,
            "sha256": self.model.sha256,
            "files": dict(self.model.hashes),
            "labels": {str(value): label.name.lower() for value, label in self.model.labels.items()},
            "orientation": self.model.orientation,
            "step_size": self.config.step_size,
            "mirroring": self.config.mirroring,
            "packages": package_versions("torch", "nnunetv2", "dynamic-network-architectures", "numpy"),
        }

    def load(self) -> Network:
        """The network, read from its files the first time it is asked for.

        Raises:
            ModelError: when the files are damaged or unsafe, or the device is not there.
        """
        from pipeline.segment.network import load_network

        with _loading:
            if self._network is None:
                self._network = load_network(self.model, self.device, self.config)
            return self._network

    def _on_image_grid(self, inferred: Inferred) -> LabelMap:
        """The network's own values on the image's own grid."""
        prepared = inferred.prepared
        shape = prepared.turned.shape
        voxels = np.zeros(shape, dtype=np.uint8)
        cropped = tuple(part.stop - part.start for part in prepared.box)
        values = self.load().values_at(
            inferred.answer.logits, (cropped[0], cropped[1], cropped[2]), prepared.turned.spacing_mm
        )
        voxels[prepared.box] = values
        output = reoriented(LabelMap(voxels, prepared.turned), prepared.volume.geometry.orientation)
        return LabelMap(output.voxels, prepared.volume.geometry)


def _content_box(image: Volume) -> Box:
    """Where the image is not 0: nnU-Net crops to it, and so does the training."""
    if not np.isfinite(image.voxels).all():
        raise SegmentationError("the image holds NaN or infinite values; convert it again from its source")
    box = bounding_box(image.voxels != 0)
    if box is None:
        raise SegmentationError("the image is 0 everywhere; convert it again from its source")
    return box


def _check_size(volume: Volume, network: Network, max_voxels: int) -> None:
    stored = math.prod(volume.geometry.shape)
    resampled = math.prod(network.plans.shape_of(volume.geometry.shape, volume.geometry.spacing_mm))
    if max(stored, resampled) > max_voxels:
        raise SegmentationError(
            f"the image has {stored} voxels, {resampled} on the network's grid; at most {max_voxels} are labelled: "
            "crop it, or raise max_voxels in [coarse]"
        )


def _median_inside(volume: Volume, inside: NDArray[np.bool_]) -> float | None:
    return float(np.median(volume.voxels[inside])) if inside.any() else None


def _names(labels: Mapping[int, Label]) -> NDArray[np.uint8]:
    names = np.zeros(256, dtype=np.uint8)
    for value, label in labels.items():
        names[value] = label
    return names


@contextmanager
def _timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[step] = round(time.perf_counter() - start, 4)
