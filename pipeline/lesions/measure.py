"""What is measured of each lesion: size, place, diameters, and how it stands out from the liver."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pipeline.core.geometry import Geometry, require_same_space
from pipeline.core.labels import LabelScheme, Structure, structure_mask
from pipeline.core.volume import LabelMap, Volume
from pipeline.image.components import bounding_box
from pipeline.image.surface import distance_to, edge_voxels
from pipeline.lesions.appearance import appearances
from pipeline.lesions.diameters import max_diameter_mm, short_axis_mm
from pipeline.lesions.records import Appearance, Lesion
from pipeline.lesions.regions import Region, axial_axis, kinds_of, lesion_regions

LESION_DEFINITIONS = {
    "lesion": "component connected over faces, edges or corners, numbered from the largest; ties by place",
    "max_diameter_mm": "largest distance between two voxel centres, in any direction",
    "axial_diameter_mm": "largest distance between two voxel centres of one axial slice: RECIST 1.1's longest diameter",
    "short_axis_mm": "longest chord at right angles to it in the same slice, within the convex hull of voxel centres: "
    "RECIST 1.1's short axis",
    "distance_to_surface_mm": "smallest distance from a voxel of the lesion to a voxel on the surface of liver and "
    "lesions together; 0 where the lesion reaches it, undefined in masks of lesions alone",
    "slice": "index on the axis nearest to head-feet, from 0",
    "centroid_lps_mm": "mean of voxel centres; x to the left, y to posterior, z to the head",
    "intensity": "over all voxels; eroded: over voxels whose four neighbours in the slice lie inside too, to keep "
    "partial volume out; undefined where none is left",
    "level": "mean of the eroded lesion, of the whole lesion where erosion leaves nothing",
    "contrast": "level of the lesion minus mean of the eroded liver without lesions",
}


def measure_lesions(
    labels: LabelMap, image: Volume | None = None, *, scheme: LabelScheme | None = None
) -> tuple[Lesion, ...]:
    """Every lesion of a mask, largest first; none for a mask without lesions.

    Args:
        labels: liver and lesions, on any grid.
        image: for intensities; on the mask's grid.
        scheme: names the lesion kinds.

    Raises:
        GeometryError: when mask and image lie on different grids.
    """
    if image is not None:
        require_same_space(image.geometry, labels.geometry, what="the mask")
    axis = axial_axis(labels.geometry)
    regions = lesion_regions(labels)
    depths_mm = _depths_mm(labels, regions)
    looks = appearances(regions, labels, image) if image is not None else (None,) * len(regions)
    names = scheme or LabelScheme()
    return tuple(
        replace(
            _measured(number, region, labels.geometry, axis, depth_mm, appearance),
            kinds=kinds_of(region, labels, names),
        )
        for number, (region, depth_mm, appearance) in enumerate(zip(regions, depths_mm, looks, strict=True), start=1)
    )


def without_liver(lesions: Sequence[Lesion]) -> tuple[Lesion, ...]:
    """Lesions of a mask that says nothing of the liver, so that nobody knows how far below its surface they lie."""
    return tuple(replace(lesion, distance_to_surface_mm=math.nan) for lesion in lesions)


def _depths_mm(labels: LabelMap, regions: Sequence[Region]) -> list[float]:
    """How far below the surface of the whole liver each region begins."""
    whole_liver = structure_mask(labels.voxels, Structure.WHOLE_LIVER)
    box = bounding_box(whole_liver)
    if box is None or not regions:
        return []
    mask = whole_liver[box]
    to_surface_mm = distance_to(edge_voxels(mask), mask.shape, labels.geometry)
    corner = np.array([extent.start for extent in box])
    places = (np.ravel_multi_index((region.indices - corner).T, mask.shape) for region in regions)
    return [float(to_surface_mm(flat).min()) for flat in places]


def _measured(
    number: int, region: Region, geometry: Geometry, axis: int, depth_mm: float, appearance: Appearance | None
) -> Lesion:
    indices = region.indices
    steps_mm = geometry.affine[:3, :3].T
    axial_mm, axial_slice = _largest_in_slice(indices, steps_mm, axis)
    widest = indices[indices[:, axis] == axial_slice]
    shown = np.unique(indices[:, axis])
    x, y, z = geometry.to_lps_mm(indices.mean(axis=0)).tolist()
    start = region.box[0].start, region.box[1].start, region.box[2].start
    return Lesion(
        number=number,
        voxels=len(indices),
        volume_ml=len(indices) * geometry.voxel_volume_ml,
        max_diameter_mm=max_diameter_mm(indices, steps_mm),
        axial_diameter_mm=axial_mm,
        short_axis_mm=short_axis_mm(widest, steps_mm),
        axial_diameter_slice=axial_slice,
        slices=len(shown),
        first_slice=int(shown[0]),
        last_slice=int(shown[-1]),
        centroid_lps_mm=(x, y, z),
        distance_to_surface_mm=depth_mm,
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
