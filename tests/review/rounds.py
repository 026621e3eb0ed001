"""A tiny round of review: three volumes of two patients, air around the body, a liver that no flip maps to itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.core.geometry import Geometry
from pipeline.core.labels import LabelScheme
from pipeline.core.records import Phase
from pipeline.core.volume import LabelMap, Volume
from pipeline.image.nifti import write_nifti
from pipeline.review.package import PackageItem, build_package
from pipeline.review.returns import SentItem

SHAPE = (14, 40, 48)
SCHEME = LabelScheme(("HCC",))


def ellipsoid(center, radii) -> np.ndarray:
    axes = np.indices(SHAPE).astype(float)
    return sum(((axis - c) / r) ** 2 for axis, c, r in zip(axes, center, radii, strict=True)) <= 1


def mask_voxels(shift: int = 0) -> np.ndarray:
    """A liver to one side, low in the slice and off the middle of the stack, with one lesion."""
    voxels = ellipsoid((5, 15 + shift, 15 + 2 * shift), (4, 9, 11)).astype(np.uint8)
    voxels[ellipsoid((5, 14 + shift, 12 + 2 * shift), (1.5, 3, 3))] = 2
    return voxels


def image_voxels(mask: np.ndarray) -> np.ndarray:
    voxels = np.full(SHAPE, -1000, dtype=np.int16)
    voxels[:, 3:37, 3:45] = 40
    voxels[mask == 1] = 100
    voxels[mask == 2] = 60
    return voxels


@dataclass(frozen=True)
class Round:
    folder: Path
    items: list[PackageItem]
    sent: list[SentItem]

    def package(self, rater: str = "R1") -> Path:
        return build_package(self.folder / "out", rater, self.items, SCHEME, round_number=1, dataset="demo")


def make_round(folder: Path) -> Round:
    """P0001 in two phases on one grid, P0002 on another."""
    here = Geometry.from_axes(SHAPE, spacing_mm=(5, 0.8, 0.8), origin_lps_mm=(-100, -150, 30))
    there = Geometry.from_axes(SHAPE, spacing_mm=(5, 0.8, 0.8), origin_lps_mm=(-91.3, -140, 400.7))
    volumes = {
        ("P0001", Phase.ARTERIAL): (mask_voxels(), here),
        ("P0001", Phase.PORTAL_VENOUS): (mask_voxels(8), here),
        ("P0002", Phase.ARTERIAL): (mask_voxels(2), there),
    }
    items, sent = [], []
    for number, ((case_id, phase), (voxels, geometry)) in enumerate(volumes.items()):
        image, coarse = (folder / case_id / phase / name for name in ("image.nii.gz", "coarse.nii.gz"))
        write_nifti(image, Volume(image_voxels(voxels), geometry))
        write_nifti(coarse, LabelMap(voxels, geometry))
        name = f"{case_id}_{phase}"
        items.append(PackageItem(name, case_id, phase, image, coarse, 1 - number / 10, "Edges unsure.", (4, 5, 6)))
        sent += [SentItem(name, rater, case_id, phase, image, coarse) for rater in ("R1", "R2")]
    return Round(folder, items, sent)
