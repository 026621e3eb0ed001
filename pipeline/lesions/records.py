"""What is measured of lesions, as plain records: how each looks, how large it is, and how it takes up contrast."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.artefacts import FloatOrNaN, OmittedIfEmpty
from pipeline.core.files import finite
from pipeline.core.records import Phase


@dataclass(frozen=True, slots=True)
class Intensity:
    """Statistics of an image in a region, in the image's unit (HU in CT); NaN without voxels.

    Attributes:
        voxels: how many were looked at.
        mean: of these.
        sd: sample standard deviation; NaN for a single voxel.
        p5: 5th percentile.
        median: 50th percentile.
        p95: 95th percentile.
    """

    voxels: int
    mean: FloatOrNaN
    sd: FloatOrNaN
    p5: FloatOrNaN
    median: FloatOrNaN
    p95: FloatOrNaN

    @classmethod
    def of(cls, values: NDArray[np.generic]) -> Intensity:
        """The statistics of some values."""
        if not len(values):
            return cls(0, *[math.nan] * 5)
        exact = values.astype(np.float64)
        sd = float(exact.std(ddof=1)) if len(exact) > 1 else math.nan
        p5, median, p95 = np.percentile(exact, [5, 50, 95]).tolist()
        return cls(len(exact), float(exact.mean()), sd, p5, median, p95)


@dataclass(frozen=True, slots=True)
class Appearance:
    """How a lesion looks on one image.

    Attributes:
        whole: over all its voxels.
        eroded: over the voxels whose neighbours in the slice lie inside too.
        liver: over the liver without lesions, eroded likewise.
    """

    whole: Intensity
    eroded: Intensity
    liver: Intensity

    @property
    def level(self) -> float:
        """Mean of the eroded lesion; of the whole lesion where erosion leaves nothing."""
        return self.eroded.mean if self.eroded.voxels else self.whole.mean

    @property
    def contrast(self) -> float:
        """Level of the lesion minus mean of the liver."""
        return self.level - self.liver.mean

    def to_json(self) -> dict[str, Any]:
        """All statistics; undefined is null."""
        return dict(finite(asdict(self) | {"level": self.level, "contrast": self.contrast}))


@dataclass(frozen=True, slots=True)
class Lesion:
    """One lesion of a mask.

    Attributes:
        number: 1, 2, ... from the largest.
        voxels: how many.
        volume_ml: millilitres (cubic centimetres).
        max_diameter_mm: largest extent in any direction, voxel centre to voxel centre.
        axial_diameter_mm: largest extent within one axial slice: the longest diameter of RECIST 1.1.
        short_axis_mm: largest extent at right angles to it, in the same slice.
        axial_diameter_slice: the slice it lies on.
        slices: number of axial slices that show the lesion.
        first_slice: lowest of them by index.
        last_slice: highest.
        centroid_lps_mm: mean of the voxel centres.
        distance_to_surface_mm: from the lesion's nearest voxel to the liver's surface; 0.0 when it reaches it,
            NaN where no liver was outlined.
        box: (start, shape) in voxels along the array's axes.
        appearance: on the image, None without one.
        kinds: what its voxels are marked as, the kind of most of them first; empty where its kind is unknown.
    """

    number: int
    voxels: int
    volume_ml: float
    max_diameter_mm: float
    axial_diameter_mm: float
    short_axis_mm: float
    axial_diameter_slice: int
    slices: int
    first_slice: int
    last_slice: int
    centroid_lps_mm: tuple[float, float, float]
    distance_to_surface_mm: FloatOrNaN
    box: tuple[tuple[int, int, int], tuple[int, int, int]]
    appearance: Appearance | None
    kinds: OmittedIfEmpty[tuple[str, ...]] = ()

    @property
    def kind(self) -> str | None:
        """What it is: the kind of most of its voxels that have one; None where it is unknown."""
        return self.kinds[0] if self.kinds else None

    def to_json(self) -> dict[str, Any]:
        """All measures; undefined is null, and there are no kinds where none is known."""
        content = asdict(self) | {"appearance": self.appearance.to_json() if self.appearance else None}
        return {name: value for name, value in finite(content).items() if value or name != "kinds"}


class Match(StrEnum):
    """How a phase's outline was found to be that of a lesion."""

    FIRST = "first"
    OVERLAP = "overlap"
    CENTRE = "centre"
    UNMATCHED = "unmatched"


@dataclass(frozen=True, slots=True)
class Enhancement:
    """One lesion on one phase; NaN where undefined.

    Attributes:
        lesion: number over all phases, from the largest.
        phase: which.
        number_on_phase: its number among the lesions of this phase's own mask; None when carried over.
        matched_by: how this phase's outline was found to be the lesion's: it is the "first" one, or it was found by
            "overlap" or "centre"; "unmatched" where the phase has no outline of it.
        outline_from: the phase its outline was drawn on; another than `phase` when carried over.
        volume_ml: of the outline.
        shift_mm: how far its centroid lies from that of the largest outline; NaN when carried over.
        appearance: lesion and liver on this phase.
        enhancement: level of the lesion minus its level on the plain phase; NaN without one.
        liver_enhancement: mean of the liver minus its mean on the plain phase; NaN without one.
        kind: what the lesion is where it was outlined; "" where that is unknown.
    """

    lesion: int
    phase: Phase
    number_on_phase: int | None
    matched_by: Match
    outline_from: Phase
    volume_ml: float
    shift_mm: FloatOrNaN
    appearance: Appearance
    enhancement: FloatOrNaN
    liver_enhancement: FloatOrNaN
    kind: OmittedIfEmpty[str] = ""

    def to_json(self) -> dict[str, Any]:
        """All of it, with the appearance as a mapping of its own; undefined is null."""
        content = asdict(self) | {"appearance": self.appearance.to_json()}
        return {name: value for name, value in finite(content).items() if value or name != "kind"}
