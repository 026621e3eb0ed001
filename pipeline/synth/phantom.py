"""CT phantoms: a drawn body seen on one grid in one contrast phase, with the mask that is true by construction.

Whole-number arithmetic throughout (PCG64 integers, shifts and floor division), so that the bytes hang on the seed and
not on the CPU.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.geometry import Geometry
from pipeline.core.labels import Label
from pipeline.core.records import Phase
from pipeline.core.volume import AIR_HU, LabelMap, Volume
from pipeline.synth.anatomy import Anatomy, Grid, LesionKind, Tissue, make_anatomy

CT_PHASES = (Phase.PLAIN, Phase.ARTERIAL, Phase.PORTAL_VENOUS, Phase.DELAYED)

Curve = tuple[int, int, int, int]
"""HU in the order of `CT_PHASES`."""

TISSUE_HU: dict[Tissue, Curve] = {
    Tissue.AIR: (-1000, -1000, -1000, -1000),
    Tissue.TABLE: (-300, -300, -300, -300),
    Tissue.FAT: (-104, -104, -102, -102),
    Tissue.MUSCLE: (54, 58, 66, 63),
    Tissue.BONE: (620, 620, 625, 622),
    Tissue.MARROW: (170, 178, 190, 184),
    Tissue.CAVITY: (-88, -88, -84, -84),
    Tissue.LUNG: (-850, -848, -845, -846),
    Tissue.HEART: (42, 240, 150, 105),
    Tissue.AORTA: (42, 320, 160, 108),
    Tissue.VEIN: (42, 64, 158, 110),
    Tissue.BOWEL: (24, 42, 62, 54),
    Tissue.STOMACH: (14, 18, 22, 20),
    Tissue.KIDNEY: (32, 165, 190, 165),
    Tissue.SPLEEN: (52, 88, 114, 93),
    Tissue.GALLBLADDER: (8, 8, 8, 8),
    Tissue.LIVER: (58, 72, 112, 92),
    Tissue.LIVER_VESSEL: (44, 74, 156, 108),
}
"""Usual values of a dynamic liver CT; the spleen is near the liver in all phases but the arterial one."""

LESION_HU: dict[LesionKind, tuple[Curve, Curve]] = {
    LesionKind.HCC: ((44, 128, 84, 62), (46, 122, 90, 98)),
    LesionKind.ICC: ((36, 42, 62, 118), (42, 108, 88, 96)),
    LesionKind.COMBINED: ((38, 52, 70, 116), (46, 136, 80, 62)),
    LesionKind.METASTASIS: ((34, 38, 46, 44), (44, 96, 78, 60)),
    LesionKind.CYST: ((6, 6, 6, 6), (6, 6, 6, 6)),
    LesionKind.HEMANGIOMA: ((40, 44, 150, 124), (40, 210, 168, 124)),
}
"""Core and rim. HCC: bright, then washed out with a late capsule; ICC: rim first, core late; combined: both;
metastasis: dark with a rim; cyst: water; hemangioma: from the rim inwards, as bright as the vessels."""

MAX_HU = 3071
"""The largest value that 12 bits hold beside an intercept of -1024."""

NOISE_STEP_HU = 11
"""Four draws of -11..11 HU a voxel add up to a standard deviation of 12.7 HU, usual for 5 mm slices."""


@dataclass(frozen=True, slots=True, eq=False)
class Phantom:
    """One volume and its truth.

    Attributes:
        volume: HU, int16, `AIR_HU` outside the round field of view.
        labels: 0 background, 1 liver, 2 lesion, on the same grid.
        lesion_voxels: voxels of each lesion of the anatomy, in its order.
    """

    volume: Volume
    labels: LabelMap
    lesion_voxels: tuple[int, ...]


def make_phantom(
    rng: np.random.Generator,
    *,
    shape: tuple[int, int, int] = (40, 96, 96),
    spacing_mm: tuple[float, float, float] = (5.0, 3.8, 3.8),
    phase: Phase = Phase.PORTAL_VENOUS,
    kinds: tuple[LesionKind, ...] | None = None,
) -> Phantom:
    """A fresh body in one contrast phase.

    Args:
        rng: where all chance comes from.
        shape: (slices, rows, columns); 180 mm along the slices and 350 mm across hold the whole liver and body.
        spacing_mm: taken to the micrometre.
        phase: one of `CT_PHASES`.
        kinds: one lesion each; the default draws 0 to 5 of any kind.
    """
    chosen = draw_kinds(rng) if kinds is None else kinds
    anatomy = make_anatomy(rng, chosen)
    slice_um, row_um, column_um = (round(1000 * step) for step in spacing_mm)
    grid = Grid.around(anatomy.centre_um, shape, (slice_um, row_um, column_um))
    return render(anatomy, anatomy.tissues(grid), grid, phase, rng)


def draw_kinds(rng: np.random.Generator) -> tuple[LesionKind, ...]:
    """0 to 5 lesion kinds, each as likely as the others."""
    every = tuple(LesionKind)
    return tuple(every[int(rng.integers(len(every)))] for _ in range(int(rng.integers(6))))


def render(anatomy: Anatomy, tissues: NDArray[np.uint8], grid: Grid, phase: Phase, rng: np.random.Generator) -> Phantom:
    """What a scanner sees of a body on a grid in one phase.

    Args:
        anatomy: the body.
        tissues: `anatomy.tissues(grid)`; handed in because the phases of a patient share it.
        grid: where the voxels lie.
        phase: one of `CT_PHASES`.
        rng: where the noise comes from.
    """
    hu_of_codes, outside, noise = _hu_of_codes(anatomy, phase), ~_field_of_view(grid), _noise(rng, grid.shape)
    voxels = np.empty(grid.shape, dtype=np.int16)
    for index, codes in enumerate(tissues):
        hu = _blurred(hu_of_codes[codes]) + noise[index]
        hu[outside] = AIR_HU
        voxels[index] = np.clip(hu, AIR_HU, MAX_HU)
    labels = _labels(tissues)
    counts = np.bincount(tissues.ravel(), minlength=256)[Tissue.LESION :]
    lesion_voxels = tuple(int(counts[2 * n] + counts[2 * n + 1]) for n in range(len(anatomy.lesions)))
    return Phantom(Volume(voxels, grid.geometry), LabelMap(labels, grid.geometry), lesion_voxels)


def coronal(volume: Volume) -> Volume:
    """The same voxels as a coronal stack: slices to posterior, rows to inferior, columns to left."""
    slices, rows, columns = volume.geometry.shape
    slice_mm, row_mm, column_mm = volume.geometry.spacing_mm
    geometry = Geometry.from_axes(
        (rows, slices, columns),
        spacing_mm=(row_mm, slice_mm, column_mm),
        origin_lps_mm=volume.geometry.to_lps_mm((slices - 1, 0, 0)),
        directions=[[0, 1, 0], [0, 0, -1], [1, 0, 0]],
    )
    voxels: NDArray[Any] = np.ascontiguousarray(volume.voxels[::-1].swapaxes(0, 1))
    return replace(volume, voxels=voxels, geometry=geometry)


def _hu_of_codes(anatomy: Anatomy, phase: Phase) -> NDArray[np.int32]:
    """HU of each tissue code of this patient in this phase."""
    at = CT_PHASES.index(phase)
    curves = list(TISSUE_HU.values())
    for lesion in anatomy.lesions:
        curves += LESION_HU[lesion.kind]
    hu = [curve[0] + (curve[at] - curve[0]) * anatomy.uptake_percent // 100 for curve in curves]
    hu[Tissue.LIVER] += anatomy.liver_shift_hu
    return np.array(hu, dtype=np.int32)


def _labels(tissues: NDArray[np.uint8]) -> NDArray[np.uint8]:
    names = np.zeros(256, dtype=np.uint8)
    names[[Tissue.LIVER, Tissue.LIVER_VESSEL]] = Label.LIVER
    names[Tissue.LESION :] = Label.LESION
    return names[tissues]


def _blurred(hu: NDArray[np.int32]) -> NDArray[np.int32]:
    """A slice smoothed by the weights 1, 2, 1 along rows and columns, as a soft kernel does."""
    padded = np.pad(hu, 1, mode="edge")
    along_rows = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    blurred: NDArray[np.int32] = (along_rows[:, :-2] + 2 * along_rows[:, 1:-1] + along_rows[:, 2:]) >> 4
    return blurred


def _noise(rng: np.random.Generator, shape: tuple[int, int, int]) -> NDArray[np.int8]:
    """Nearly normal noise: the sum of four whole numbers drawn evenly."""
    draws = rng.integers(-NOISE_STEP_HU, NOISE_STEP_HU + 1, size=(4, *shape), dtype=np.int8)
    noise: NDArray[np.int8] = draws.sum(axis=0, dtype=np.int8)
    return noise


def _field_of_view(grid: Grid) -> NDArray[np.bool_]:
    """Pixels within the largest circle of a slice; a scanner reconstructs nothing beyond."""
    _, rows, columns = grid.shape
    across = 2 * np.arange(columns) - (columns - 1)
    down = 2 * np.arange(rows) - (rows - 1)
    inside: NDArray[np.bool_] = down[:, None] ** 2 + across**2 <= min(rows, columns) ** 2
    return inside
