"""Two networks in turn: one finds the liver, the other looks for lesions in the liver's box.

So Christ et al. 2016 (arXiv 1610.02177) labelled LiTS, and so lesion models are trained that expect a cropped liver.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.config import CoarseConfig
from pipeline.core.labels import Label
from pipeline.core.volume import LabelMap, Volume
from pipeline.image.components import Box, bounding_box, largest_component
from pipeline.image.nifti import content_sha256
from pipeline.segment.models import find_model
from pipeline.segment.nnunet import Inferred, NnunetSegmenter, Prepared
from pipeline.segment.segmenter import Segmentation


@dataclass(frozen=True, slots=True, eq=False)
class Chained:
    """What both networks said.

    Attributes:
        first: of the whole volume.
        box: the liver and a margin; None where no liver was found.
        second: of the box.
    """

    first: Segmentation
    box: Box | None
    second: Inferred | None


@dataclass(frozen=True, slots=True, eq=False)
class ChainedSegmenter:
    """A liver network, then a lesion network on the liver's box; takes the same steps as one network.

    Attributes:
        liver: finds the liver; lesions it finds are liver to us.
        lesions: only its lesions count.
        margin_mm: around the liver's box.
    """

    liver: NnunetSegmenter
    lesions: NnunetSegmenter
    margin_mm: float

    @property
    def config(self) -> CoarseConfig:
        """Limits and post-processing, the same for both."""
        return self.liver.config

    def load(self) -> None:
        """Read both networks."""
        self.liver.load()
        self.lesions.load()

    def segment(self, volume: Volume) -> Segmentation:
        """Liver of the first network, lesions of the second.

        Raises:
            ModelError: when a model cannot be loaded.
            SegmentationError: when this volume cannot be labelled.
        """
        return self.finish(self.infer(self.prepare(volume)))

    def prepare(self, volume: Volume) -> Prepared:
        """As the first network wants it."""
        return self.liver.prepare(volume)

    def infer(self, prepared: Prepared) -> Chained:
        """Both networks, one after the other."""
        first = self.liver.finish(self.liver.infer(prepared))
        box = self._liver_box(first.labels)
        if box is None:
            return Chained(first, None, None)
        return Chained(first, box, self.lesions.infer(self.lesions.prepare(_cropped(prepared.volume, box))))

    def finish(self, chained: Chained) -> Segmentation:
        """One label map of both."""
        first = chained.first
        voxels = (first.labels.voxels != Label.BACKGROUND).astype(np.uint8) * np.uint8(Label.LIVER)
        if chained.box is None or chained.second is None:
            return self._joined(first, first, LabelMap(voxels, first.labels.geometry))
        second = self.lesions.finish(chained.second)
        voxels[chained.box][second.labels.voxels == Label.LESION] = Label.LESION
        return self._joined(first, second, LabelMap(voxels, first.labels.geometry))

    def provenance(self) -> dict[str, Any]:
        """Everything about both networks that decides a label, fit for JSON."""
        return {**self.liver.provenance(), "lesions": self.lesions.provenance(), "margin_mm": self.margin_mm}

    def _liver_box(self, labels: LabelMap) -> Box | None:
        box = bounding_box(largest_component(labels.voxels != Label.BACKGROUND))
        if box is None:
            return None
        margins = [int(np.ceil(self.margin_mm / step)) for step in labels.geometry.spacing_mm]
        grown = [
            slice(max(0, part.start - margin), min(size, part.stop + margin))
            for part, margin, size in zip(box, margins, labels.geometry.shape, strict=True)
        ]
        return grown[0], grown[1], grown[2]

    def _joined(self, first: Segmentation, second: Segmentation, labels: LabelMap) -> Segmentation:
        """The entropy is the liver network's, the lesion signals are the lesion network's."""
        lesion_signals = {name: value for name, value in second.signals.items() if name.startswith("lesion")}
        return replace(
            first,
            labels=labels,
            raw_sha256=content_sha256(labels),
            signals={**first.signals, **lesion_signals},
            seconds=_summed(first.seconds, second.seconds) if second is not first else first.seconds,
            model=self.provenance(),
            notes=first.notes + tuple(note for note in second.notes if note not in first.notes),
        )


def open_segmenter(
    config: CoarseConfig, root: Path, *, allow_unpinned: bool = False
) -> NnunetSegmenter | ChainedSegmenter:
    """The labeller that `[coarse]` asks for: one network, or two in turn; nothing is loaded yet.

    Args:
        config: `[coarse]`.
        root: see `models.find_model`.
        allow_unpinned: see `models.find_model`.

    Raises:
        ModelError: when a model is missing, differs from its pin, or is not safe to load.
    """
    liver = NnunetSegmenter(find_model(config, root, allow_unpinned=allow_unpinned), config.device, config)
    if config.lesions is None:
        return liver
    model = find_model(config.lesions, root, allow_unpinned=allow_unpinned)
    return ChainedSegmenter(liver, NnunetSegmenter(model, config.device, config), config.lesions.margin_mm)


def _cropped(volume: Volume, box: Box) -> Volume:
    start = (box[0].start, box[1].start, box[2].start)
    voxels = volume.voxels[box]
    slices, rows, columns = voxels.shape
    return replace(volume, voxels=voxels, geometry=volume.geometry.cropped(start, (slices, rows, columns)))


def _summed(first: Mapping[str, float], second: Mapping[str, float]) -> dict[str, float]:
    return {step: round(first.get(step, 0.0) + second.get(step, 0.0), 4) for step in {**first, **second}}
