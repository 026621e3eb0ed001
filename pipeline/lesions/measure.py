"""What is measured of each lesion: size, place, diameters, and how it stands out from the liver."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from pipeline.core.files import finite
from pipeline.core.geometry import Geometry, require_same_space
from pipeline.core.labels import Label, Structure, structure_mask
from pipeline.core.volume import LabelMap, Volume
from pipeline.image.components import Box, bounding_box, label_components
from pipeline.lesions.diameters import max_diameter_mm

DEFINITIONS = {
    "lesion": "component connected over faces, edges or corners, numbered from the largest; ties by place",
    "max_diameter_mm": "largest distance between two voxel centres, in any direction",
    "axial_diameter_mm": "largest distance between two voxel centres of one axial slice",
    "slice": "index on the axis nearest to head-feet, from 0",
    "centroid_lps_mm": "mean of voxel centres; x to the left, y to posterior, z to the head",
    "intensity": "over all voxels; eroded: over voxels whose four neighbours in the slice lie inside too, to keep "
    "partial volume out; undefined where none is left",
    "contrast": "mean of the lesion minus mean of the liver without lesions, both eroded",
}


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
    mean: float
    sd: float
    p5: float
    median: float
    p95: float

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
    def contrast(self) -> float:
        """Mean of the lesion minus mean of the liver; the whole lesion where erosion leaves nothing."""
        lesion = self.eroded if self.eroded.voxels else self.whole
        return lesion.mean - self.liver.mean

    def to_json(self) -> dict[str, Any]:
        """All statistics; undefined is null."""
        return dict(finite(asdict(self) | {"contrast": self.contrast}))


@dataclass(frozen=True, slots=True)
class Lesion:
    """One lesion of a mask.

    Attributes:
        number: 1, 2, ... from the largest.
        voxels: how many.
        volume_ml: millilitres (cubic centimetres).
        max_diameter_mm: largest extent in any direction, voxel centre to voxel centre.
        axial_diameter_mm: largest extent within one axial slice.
        axial_diameter_slice: the slice it lies on.
        slices: number of axial slices that show the lesion.
        first_slice: lowest of them by index.
        last_slice: highest.
        centroid_lps_mm: mean of the voxel centres.
        box: (start, shape) in voxels along the array's axes.
        appearance: on the image, None without one.
    """

    number: int
    voxels: int
    volume_ml: float
    max_diameter_mm: float
    axial_diameter_mm: float
    axial_diameter_slice: int
    slices: int
    first_slice: int
    last_slice: int
    centroid_lps_mm: tuple[float, float, float]
    box: tuple[tuple[int, int, int], tuple[int, int, int]]
    appearance: Appearance | None

    def to_json(self) -> dict[str, Any]:
        """All measures; undefined is null."""
        appearance = self.appearance.to_json() if self.appearance else None
        return dict(finite(asdict(self) | {"appearance": appearance}))


def measure_lesions(labels: LabelMap, image: Volume | None = None) -> tuple[Lesion, ...]:
    """Every lesion of a mask, largest first; none for a mask without lesions.

    Args:
        labels: liver and lesions, on any grid.
        image: for intensities; on the mask's grid.

    Raises:
        GeometryError: when mask and image lie on different grids.
    """
    if image is not None:
        require_same_space(image.geometry, labels.geometry, what="the mask")
    axis = axial_axis(labels.geometry)
    liver = _liver_intensity(labels, image, axis) if image is not None else None
    return tuple(
        _measured(number, region, labels.geometry, axis, _appearance(region, image, liver, axis))
        for number, region in enumerate(lesion_regions(labels), start=1)
    )


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """The voxels of one lesion.

    Attributes:
        box: the smallest that holds them, in the whole grid.
        mask: (slices, rows, columns) of the box.
    """

    box: Box
    mask: NDArray[np.bool_]

    @property
    def indices(self) -> NDArray[np.int64]:
        """(voxels, 3) places in the whole grid, in scan order."""
        indices: NDArray[np.int64] = np.argwhere(self.mask) + np.array([extent.start for extent in self.box])
        return indices


def axial_axis(geometry: Geometry) -> int:
    """The array's axis that runs most nearly from feet to head: 0 unless a mask was stored sagittal or coronal."""
    return int(np.argmax(np.abs(geometry.directions[:, 2])))


def lesion_regions(labels: LabelMap) -> tuple[Region, ...]:
    """The separate lesions of a mask, largest first, equal ones in scan order."""
    lesion = structure_mask(labels.voxels, Structure.LESION)
    outer = bounding_box(lesion)
    if outer is None:
        return ()
    numbered = label_components(lesion[outer])[0].astype(np.int64)
    order = np.argsort(-np.bincount(numbered.ravel())[1:], kind="stable") + 1
    boxes = find_objects(numbered)
    return tuple(
        Region(_shifted(boxes[number - 1], outer), numbered[boxes[number - 1]] == number) for number in order.tolist()
    )


def _shifted(inner: Box, outer: Box) -> Box:
    z, y, x = (slice(far.start + near.start, far.start + near.stop) for far, near in zip(outer, inner, strict=True))
    return z, y, x


def eroded_in_slice(mask: NDArray[np.bool_], axis: int) -> NDArray[np.bool_]:
    """Voxels whose four neighbours in the slice lie inside the mask too; beyond the array is outside.

    Args:
        mask: (slices, rows, columns).
        axis: the one across slices.
    """
    inner = np.pad(mask, 1)
    kept = mask.copy()
    for other in {0, 1, 2} - {axis}:
        kept &= np.roll(inner, 1, other)[1:-1, 1:-1, 1:-1] & np.roll(inner, -1, other)[1:-1, 1:-1, 1:-1]
    return kept


def _liver_intensity(labels: LabelMap, image: Volume, axis: int) -> Intensity:
    liver = labels.voxels == Label.LIVER
    box = bounding_box(liver)
    if box is None:
        return Intensity.of(np.empty(0))
    return Intensity.of(image.voxels[box][eroded_in_slice(liver[box], axis)])


def _appearance(region: Region, image: Volume | None, liver: Intensity | None, axis: int) -> Appearance | None:
    if image is None or liver is None:
        return None
    voxels = image.voxels[region.box]
    return Appearance(
        whole=Intensity.of(voxels[region.mask]),
        eroded=Intensity.of(voxels[eroded_in_slice(region.mask, axis)]),
        liver=liver,
    )


def _measured(number: int, region: Region, geometry: Geometry, axis: int, appearance: Appearance | None) -> Lesion:
    indices = region.indices
    steps_mm = geometry.affine[:3, :3].T
    axial_mm, axial_slice = _largest_in_slice(indices, steps_mm, axis)
    shown = np.unique(indices[:, axis])
    x, y, z = geometry.to_lps_mm(indices.mean(axis=0)).tolist()
    start = region.box[0].start, region.box[1].start, region.box[2].start
    return Lesion(
        number=number,
        voxels=len(indices),
        volume_ml=len(indices) * geometry.voxel_volume_ml,
        max_diameter_mm=max_diameter_mm(indices, steps_mm),
        axial_diameter_mm=axial_mm,
        axial_diameter_slice=axial_slice,
        slices=len(shown),
        first_slice=int(shown[0]),
        last_slice=int(shown[-1]),
        centroid_lps_mm=(x, y, z),
        box=(start, (region.mask.shape[0], region.mask.shape[1], region.mask.shape[2])),
        appearance=appearance,
    )


def _largest_in_slice(indices: NDArray[np.int64], steps_mm: NDArray[np.float64], axis: int) -> tuple[float, int]:
    """The largest diameter within one slice, and that slice; the lowest of equals."""
    by_slice = indices[np.argsort(indices[:, axis], kind="stable")]
    slices, firsts = np.unique(by_slice[:, axis], return_index=True)
    diameters = [max_diameter_mm(plane, steps_mm) for plane in np.split(by_slice, firsts[1:])]
    widest = int(np.argmax(diameters))
    return diameters[widest], int(slices[widest])
