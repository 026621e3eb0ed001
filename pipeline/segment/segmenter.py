"""What a network hands back, and what any labeller must offer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from pipeline.core.files import finite
from pipeline.core.volume import LabelMap, Volume


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """A network's labels of one volume, before post-processing, and how they came about.

    Attributes:
        labels: our labels on the image's own grid.
        raw_sha256: content hash of `labels` (`image.nifti.content_sha256`): names what the network said, whatever is
            done to it later.
        entropy: mean normalised entropy of the doubtful band, 0.0 (sure) to 1.0; see `doubt.py`.
        signals: further signs of doubt by name.
        seconds: wall time of each step.
        device: where the network ran in the end, "cpu" or "cuda:0".
        model: name, hashes and settings of what ran.
        notes: what did not go as asked, such as a device that ran out of memory.
        aorta_hu: median of the image inside the aorta; None where the network knows no aorta, or found none.
    """

    labels: LabelMap
    raw_sha256: str
    entropy: float
    signals: Mapping[str, float]
    seconds: Mapping[str, float]
    device: str
    model: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    aorta_hu: float | None = None


@dataclass(frozen=True, slots=True)
class PostprocessedVoxels:
    """How many voxels post-processing changed, in all and by step."""

    changed_voxels: int
    stray_voxels: int
    filled_voxels: int
    dust_voxels: int


@dataclass(frozen=True, slots=True)
class LabelFacts:
    """What stands beside every coarse label: how it came about, and what it looks like in numbers.

    Attributes:
        whole_liver_ml: volume of liver and lesions.
        lesion_ml: volume of the lesions.
        lesion_count: connected lesions.
        raw_sha256: content hash of what the network said.
        postprocessing: what became of it.
        signals: signs of doubt by name, see `priority.RANKED_SIGNALS`.
        device: where the network ran in the end.
        model: name, hashes and settings of what ran.
        notes: what did not go as asked.
        aorta_hu: median inside the aorta; None where the network knows no aorta, or found none.
        origin: of the label.
    """

    whole_liver_ml: float
    lesion_ml: float
    lesion_count: int
    raw_sha256: str
    postprocessing: PostprocessedVoxels
    signals: Mapping[str, float]
    device: str
    model: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    aorta_hu: float | None = None
    origin: str = "coarse"

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON-able values."""
        return dict(finite(asdict(self)))


class Segmenter(Protocol):
    """Anything that labels a volume."""

    def segment(self, volume: Volume) -> Segmentation:
        """Labels on the volume's own grid.

        Raises:
            SegmentationError: when this volume cannot be labelled; the next one may be.
        """
        ...
