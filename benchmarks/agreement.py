"""Agreement, STAPLE and diameters beside what users would pick instead: one run, CPU seconds, ratios.

    python benchmarks/agreement.py [--slow]

Five simulated raters of one 512x512x200 volume at 5.0 x 0.8 x 0.8 mm, liver and lesion, all ten pairs. A peer that
takes long is timed on few pairs and scaled to ten, which the table says. `--slow` adds plain scipy on the whole volume;
MONAI takes part where it is installed.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from scipy.ndimage import binary_erosion, distance_transform_edt, gaussian_filter
from scipy.spatial.distance import pdist

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.agreement.agree import agree
from pipeline.agreement.distances import surface_distances
from pipeline.agreement.joint import join
from pipeline.agreement.staple import staple
from pipeline.core.geometry import Geometry
from pipeline.core.labels import LabelScheme, Structure
from pipeline.core.volume import LabelMap
from pipeline.lesions.diameters import max_diameter_mm
from pipeline.lesions.regions import lesion_regions

GRID = Geometry.from_axes((200, 512, 512), spacing_mm=(5.0, 0.8, 0.8))
STRUCTURES = {"whole_liver": (1, 2), "lesion": (2,)}
LESIONS = (
    (40, 90, 80, 5),
    (52, 150, 120, 3),
    (30, 120, 170, 4),
    (45, 190, 90, 2),
    (60, 100, 150, 4),
    (35, 170, 200, 2),
)
TOLERANCE_MM = 2.0
KINDS = LabelScheme(("HCC", "ICC", "metastasis", "cyst", "hemangioma", "FNH"))


def simulated_rater(seed: int) -> LabelMap:
    """An ellipsoid liver with up to six lesions, outlined by a wavy hand."""
    rng = np.random.default_rng(seed)
    box = (76, 260, 280)
    z, y, x = np.ogrid[: box[0], : box[1], : box[2]]
    wave = gaussian_filter(rng.standard_normal([n // 4 + 1 for n in box]).astype(np.float32), 1.5)
    wave = np.kron(wave, np.ones((4, 4, 4), np.float32))[: box[0], : box[1], : box[2]]
    radius = ((z - 38) / 36.0) ** 2 + ((y - 130) / 118.0) ** 2 + ((x - 140) / 130.0) ** 2
    labels = (radius + 0.6 * wave < 0.8).astype(np.uint8)
    for number, (slice_, row, column, size) in enumerate(LESIONS):
        apart = (z - slice_) ** 2 * 25 + ((y - row) ** 2 + (x - column) ** 2) * 0.64
        if number < len(LESIONS) - 1 or seed % 2:
            labels[(apart + 60 * wave * size < (5.0 * size) ** 2) & (labels > 0)] = 2
    voxels = np.zeros(GRID.shape, np.uint8)
    voxels[60 : 60 + box[0], 120 : 120 + box[1], 110 : 110 + box[2]] = labels
    return LabelMap(voxels, GRID)


def with_kinds(labels: LabelMap) -> LabelMap:
    """Each lesion as another kind: that of the planned lesion nearest to it."""
    voxels = labels.voxels.copy()
    corner, planned = (60, 120, 110), np.array(LESIONS)[:, :3]
    for region in lesion_regions(labels):
        away = (planned + corner - region.indices.mean(axis=0)) * GRID.spacing_mm
        voxels[region.box][region.mask] = 3 + int(np.linalg.norm(away, axis=1).argmin())
    return LabelMap(voxels, GRID)


def binary_pairs(raters: list[LabelMap], pairs: int) -> Iterator[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """The masks of some pairs, one after the other, per structure."""
    for a, b in list(combinations(raters, 2))[:pairs]:
        for values in STRUCTURES.values():
            yield np.isin(a.voxels, values), np.isin(b.voxels, values)


def surface_distance_package(raters: list[LabelMap], pairs: int) -> None:
    import surface_distance

    for a, b in binary_pairs(raters, pairs):
        found = surface_distance.compute_surface_distances(a, b, GRID.spacing_mm)
        surface_distance.compute_robust_hausdorff(found, 95)
        surface_distance.compute_robust_hausdorff(found, 100)
        surface_distance.compute_average_surface_distance(found)
        surface_distance.compute_surface_dice_at_tolerance(found, TOLERANCE_MM)
        surface_distance.compute_dice_coefficient(a, b)


def monai_metrics(raters: list[LabelMap], pairs: int) -> None:
    import torch
    from monai import metrics

    torch.set_num_threads(1)
    for a, b in binary_pairs(raters, pairs):
        masks = [torch.from_numpy(mask[np.newaxis, np.newaxis].astype(np.float32)) for mask in (a, b)]
        metrics.compute_hausdorff_distance(*masks, include_background=True, percentile=95, spacing=GRID.spacing_mm)
        metrics.compute_hausdorff_distance(*masks, include_background=True, spacing=GRID.spacing_mm)
        metrics.compute_average_surface_distance(
            *masks, include_background=True, symmetric=True, spacing=GRID.spacing_mm
        )
        metrics.compute_surface_dice(*masks, [TOLERANCE_MM], include_background=True, spacing=GRID.spacing_mm)
        metrics.compute_dice(*masks, include_background=True)


def simpleitk_recipe(raters: list[LabelMap], pairs: int) -> None:
    """Contours and signed Maurer maps, the recipe of SimpleITK's own notebooks."""
    for masks in binary_pairs(raters, pairs):
        images = [sitk.GetImageFromArray(mask.astype(np.uint8)) for mask in masks]
        for image in images:
            image.SetSpacing(GRID.spacing_mm[::-1])
        overlap = sitk.LabelOverlapMeasuresImageFilter()
        overlap.Execute(*images)
        distances = [
            np.abs(sitk.GetArrayFromImage(far))[sitk.GetArrayFromImage(sitk.LabelContour(image)) > 0]
            for far, image in (
                (sitk.SignedMaurerDistanceMap(images[0], squaredDistance=False, useImageSpacing=True), images[1]),
                (sitk.SignedMaurerDistanceMap(images[1], squaredDistance=False, useImageSpacing=True), images[0]),
            )
        ]
        np.percentile(np.concatenate(distances), 95)


def plain_scipy(raters: list[LabelMap], pairs: int) -> None:
    """What people write by hand: erosion and distance transform of the whole volume, both ways."""
    for a, b in binary_pairs(raters, pairs):
        edge_a, edge_b = a & ~binary_erosion(a), b & ~binary_erosion(b)
        there = distance_transform_edt(~edge_b, sampling=GRID.spacing_mm)[edge_a]
        back = distance_transform_edt(~edge_a, sampling=GRID.spacing_mm)[edge_b]
        max(np.percentile(there, 95), np.percentile(back, 95))


def cpu_s(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def memory_mb(field: str) -> float:
    """VmRSS is what the process holds, VmHWM the most it held since `forget_peak` (Linux)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def agreement_rows(raters: list[LabelMap], *, slow: bool) -> Iterator[tuple[str, float, str]]:
    ratings = {f"R{number}": labels for number, labels in enumerate(raters, start=1)}
    forget_peak()
    before = memory_mb("VmRSS")
    own = cpu_s(lambda: agree(ratings, structures=STRUCTURES))
    extra = memory_mb("VmHWM") - before
    yield "liverset agree", own, f"10 pairs, everything in the report; {extra:.0f} MB beyond the masks"
    kinds = {rater: with_kinds(labels) for rater, labels in ratings.items()}
    took = cpu_s(lambda: agree(kinds, structures=STRUCTURES, scheme=KINDS))
    yield "with lesion kinds", took, "the same, and every score of six kinds, one a lesion"
    yield "surface-distance", 5 * cpu_s(lambda: surface_distance_package(raters, 2)), "2 pairs, scaled to 10"
    yield "SimpleITK recipe", 10 * cpu_s(lambda: simpleitk_recipe(raters, 1)), "1 pair, scaled to 10"
    if find_spec("monai"):
        yield "MONAI", 10 * cpu_s(lambda: monai_metrics(raters, 1)), "1 pair, scaled to 10"
    if slow:
        yield "plain scipy", 10 * cpu_s(lambda: plain_scipy(raters, 1)), "1 pair, scaled to 10"


def staple_rows(raters: list[LabelMap]) -> Iterator[tuple[str, float, str]]:
    lesion = Structure.LESION.values
    ratings = {f"R{number}": labels for number, labels in enumerate(raters, start=1)}
    found: dict[str, Any] = {}

    def own() -> None:
        joint = join(ratings)
        found["own"] = joint.painted(staple(joint.members(lesion), joint.counts).probability > 0.5)

    images = [sitk.GetImageFromArray((labels.voxels == 2).astype(np.uint8)) for labels in raters]
    yield "liverset STAPLE", cpu_s(own), f"reading of the masks included; {int(found['own'].sum())} voxels"
    peer = sitk.STAPLEImageFilter()
    took = cpu_s(lambda: found.update(peer=sitk.GetArrayFromImage(peer.Execute(images)) > 0.5))
    yield "SimpleITK STAPLE", took, f"{int((found['own'] != found['peer']).sum())} voxels differ"


def diameter_rows(labels: LabelMap) -> Iterator[tuple[str, float, str]]:
    steps_mm = GRID.affine[:3, :3].T
    regions = lesion_regions(labels)
    found: dict[str, list[float]] = {}
    own = cpu_s(lambda: found.update(own=[max_diameter_mm(region.indices, steps_mm) for region in regions]))
    yield "liverset diameters", own, f"{len(regions)} lesions, the largest {max(found['own']):.4f} mm"

    def feret() -> None:
        image = sitk.GetImageFromArray(np.ascontiguousarray(labels.voxels == 2).astype(np.uint8))
        image.SetSpacing(GRID.spacing_mm[::-1])
        shapes = sitk.LabelShapeStatisticsImageFilter()
        shapes.ComputeFeretDiameterOn()
        parts = sitk.ConnectedComponent(image, True)
        shapes.Execute(parts)
        found["peer"] = [shapes.GetFeretDiameter(number) for number in shapes.GetLabels()]

    took = cpu_s(feret)
    apart = np.abs(np.sort(found["own"]) - np.sort(found["peer"])).max()
    yield "SimpleITK Feret", took, f"whole volume; furthest apart {apart:.1e} mm"
    brute = cpu_s(lambda: [pdist(region.indices[::7] @ steps_mm).max(initial=0) for region in regions])
    yield "brute force", 49 * brute, "every 7th voxel, scaled by 49"


def linearity_rows(raters: list[LabelMap]) -> Iterator[tuple[str, float, str]]:
    for count in (2, 5, 10):
        joint = join({f"R{number:02}": labels for number, labels in enumerate((raters * 2)[:count])})
        took = cpu_s(partial(surface_distances, joint, STRUCTURES["whole_liver"]))
        yield f"distances, {count} raters", took, f"{took / count:.3f} CPU s a rater, {count * (count - 1) // 2} pairs"


def print_table(rows: Iterator[tuple[str, float, str]]) -> None:
    own = None
    for name, seconds, note in rows:
        own = own or seconds
        print(f"{name:20} {seconds:9.3f} CPU s {seconds / own:8.1f}x   {note}", flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    raters = [simulated_rater(seed) for seed in range(5)]
    print_table(agreement_rows(raters, slow="--slow" in sys.argv))
    print_table(staple_rows(raters))
    print_table(diameter_rows(raters[1]))
    print_table(linearity_rows(raters))
