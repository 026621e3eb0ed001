"""A body drawn at random in patient space: organs as plain shapes, lesions inside the liver.

All lengths are whole micrometres in LPS and all decisions whole numbers, so that a body is the same on any CPU. It says
nothing clinical: it has what a liver pipeline can stumble over (an organ of the liver's density beside it, vessels,
lungs at the dome, lesions of every kind), and a truth that can be counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum

import numpy as np
from numpy.typing import NDArray

from pipeline.core.geometry import Geometry

Point = tuple[int, int, int]
"""(x, y, z) in micrometres, LPS: to the patient's left, to posterior, to superior."""

Box = tuple[slice, slice, slice]
"""A box of voxels, (slice, row, column)."""

FULL = 1 << 16
"""Level of an ellipsoid's surface in fixed point; 0 is its centre, FULL / 4 is half way out."""

ENDLESS_UM = 10_000_000
"""Semi-axis of a cylinder: far longer than any scan."""

MAX_LESIONS = 5

LESION_GAP_UM = 12_000
"""Tissue between two lesions and between a lesion and the liver's surface: more than a voxel's diagonal (7.5 mm), so
that lesions stay apart on every grid."""


class Tissue(IntEnum):
    """What a voxel is made of; lesions follow, two codes each, from `LESION` on (core, then rim)."""

    AIR = 0
    TABLE = 1
    FAT = 2
    MUSCLE = 3
    BONE = 4
    MARROW = 5
    CAVITY = 6
    LUNG = 7
    HEART = 8
    AORTA = 9
    VEIN = 10
    BOWEL = 11
    STOMACH = 12
    KIDNEY = 13
    SPLEEN = 14
    GALLBLADDER = 15
    LIVER = 16
    LIVER_VESSEL = 17
    LESION = 18


class LesionKind(StrEnum):
    """What a lesion is, as `lesion_kinds` in `dataset.toml` spells it."""

    HCC = "HCC"
    ICC = "ICC"
    COMBINED = "cHCC-CCA"
    METASTASIS = "metastasis"
    CYST = "cyst"
    HEMANGIOMA = "hemangioma"


@dataclass(frozen=True, slots=True)
class Grid:
    """An axial lattice in whole micrometres: slices to superior, rows to posterior, columns to left.

    Attributes:
        shape: (slices, rows, columns).
        spacing_um: step along (slice, row, column).
        origin_um: (x, y, z) of the centre of voxel (0, 0, 0).
    """

    shape: tuple[int, int, int]
    spacing_um: tuple[int, int, int]
    origin_um: Point

    @classmethod
    def around(cls, centre_um: Point, shape: tuple[int, int, int], spacing_um: tuple[int, int, int]) -> Grid:
        """The grid with its middle at a point, to half a micrometre."""
        extents = [(n - 1) * step for n, step in zip(shape, spacing_um, strict=True)][::-1]
        x, y, z = (middle - extent // 2 for middle, extent in zip(centre_um, extents, strict=True))
        return cls(shape, spacing_um, (x, y, z))

    @property
    def geometry(self) -> Geometry:
        """The same grid in millimetres."""
        return Geometry.from_axes(
            self.shape,
            spacing_mm=[step / 1000 for step in self.spacing_um],
            origin_lps_mm=[part / 1000 for part in self.origin_um],
        )

    def offsets_um(self, point_um: Point) -> list[NDArray[np.int64]]:
        """How far each slice, row and column lies from a point along its own axis."""
        starts = self.origin_um[::-1]
        return [
            np.arange(n, dtype=np.int64) * step + (start - middle)
            for n, step, start, middle in zip(self.shape, self.spacing_um, starts, point_um[::-1], strict=True)
        ]


@dataclass(frozen=True, slots=True)
class Ellipsoid:
    """An ellipsoid along the patient's axes; `ENDLESS_UM` along z makes it a cylinder."""

    centre_um: Point
    semi_um: Point

    def levels(self, grid: Grid) -> tuple[Box, NDArray[np.int32]]:
        """The box that holds the ellipsoid, and in it each voxel's level: at most FULL inside."""
        squares = [
            (offset * offset * FULL // (semi * semi))
            for offset, semi in zip(grid.offsets_um(self.centre_um), self.semi_um[::-1], strict=True)
        ]
        box = _box(squares)
        z, y, x = (square[part].astype(np.int32) for square, part in zip(squares, box, strict=True))
        return box, z[:, None, None] + y[:, None] + x

    def inside(self, grid: Grid) -> tuple[Box, NDArray[np.bool_]]:
        """The box that holds the ellipsoid, and which of its voxels are in it."""
        box, levels = self.levels(grid)
        return box, levels <= FULL

    def grown(self, by_um: int) -> Ellipsoid:
        """The ellipsoid with every semi-axis longer by so much."""
        x, y, z = (semi + by_um for semi in self.semi_um)
        return Ellipsoid(self.centre_um, (x, y, z))


@dataclass(frozen=True, slots=True)
class Tube:
    """A straight vessel with round ends."""

    start_um: Point
    end_um: Point
    radius_um: int

    def inside(self, grid: Grid) -> tuple[Box, NDArray[np.bool_]]:
        """The box that holds the tube, and which of its voxels are in it."""
        along = [end - start for start, end in zip(self.start_um, self.end_um, strict=True)][::-1]
        offsets = grid.offsets_um(self.start_um)
        reach = [
            np.where((offset < min(0, way) - self.radius_um) | (offset > max(0, way) + self.radius_um), FULL + 1, 0)
            for offset, way in zip(offsets, along, strict=True)
        ]
        box = _box(reach)
        # In tenths of a millimetre, so that the fourth powers below stay within 64 bits.
        steps = [offset[part] // 100 for offset, part in zip(offsets, box, strict=True)]
        dz, dy, dx = (way // 100 for way in along)
        z, y, x = steps[0][:, None, None], steps[1][:, None], steps[2]
        length2 = max(1, dz * dz + dy * dy + dx * dx)
        done = np.clip(z * dz + y * dy + x * dx, 0, length2)
        apart2 = length2 * (z * z + y * y + x * x) - done * (2 * (z * dz + y * dy + x * dx) - done)
        return box, apart2 <= length2 * (self.radius_um // 100) ** 2


@dataclass(frozen=True, slots=True)
class Ribs:
    """Slanting bars in a shell of the chest wall."""

    outer: Ellipsoid
    inner: Ellipsoid
    period_um: int
    width_um: int

    def inside(self, grid: Grid) -> tuple[Box, NDArray[np.bool_]]:
        """The box that holds the ribs, and which of its voxels are in one."""
        box, outside = self.outer.inside(grid)
        core_box, core = self.inner.inside(grid)
        hollow = np.zeros(grid.shape, dtype=np.bool_)
        hollow[core_box] = core
        z, y, _ = grid.offsets_um(self.outer.centre_um)
        bars = ((z[box[0], None] + y[box[1]] // 2) % self.period_um) < self.width_um
        return box, outside & ~hollow[box] & bars[:, :, None]


@dataclass(frozen=True, slots=True)
class Organ:
    """A shape of one tissue, painted only over the tissues it may displace (all when empty)."""

    tissue: Tissue
    shape: Ellipsoid | Tube | Ribs
    over: tuple[Tissue, ...] = ()


@dataclass(frozen=True, slots=True)
class Lesion:
    """One lesion: an ellipsoid whose outer shell, `rim_level` and beyond, may look different from its core."""

    kind: LesionKind
    shape: Ellipsoid
    rim_level: int = FULL * 5 // 9  # three quarters of the way out


@dataclass(frozen=True, slots=True)
class Anatomy:
    """One patient's body.

    Attributes:
        centre_um: middle of the liver region in the patient's frame; scans are taken around it.
        organs: in the order in which they are painted.
        lesions: inside the liver, well apart.
        uptake_percent: how strongly this patient enhances, 100 is the table's value.
        liver_shift_hu: how far the liver's density is from the table's, fat makes it negative.
    """

    centre_um: Point
    organs: tuple[Organ, ...]
    lesions: tuple[Lesion, ...]
    uptake_percent: int
    liver_shift_hu: int

    def tissues(self, grid: Grid) -> NDArray[np.uint8]:
        """What each voxel is made of, by its centre."""
        found = np.zeros(grid.shape, dtype=np.uint8)
        for organ in self.organs:
            box, inside = organ.shape.inside(grid)
            if organ.over:
                inside &= np.isin(found[box], organ.over)
            found[box][inside] = organ.tissue
        for number, lesion in enumerate(self.lesions):
            _paint_lesion(found, grid, lesion, int(Tissue.LESION) + 2 * number)
        return found


def make_anatomy(
    rng: np.random.Generator, kinds: Sequence[LesionKind] = (), *, centre_um: Point = (0, 0, 0)
) -> Anatomy:
    """A body drawn at random, with the lesions asked for.

    Args:
        rng: where all chance comes from; only whole numbers are drawn.
        kinds: one lesion each, at most `MAX_LESIONS`; lesions that find no room shrink until they do.
        centre_um: where the body lies in the patient's frame.
    """
    if len(kinds) > MAX_LESIONS:
        raise ValueError(f"{len(kinds)} lesions asked for, at most {MAX_LESIONS} fit one liver")
    organs = (*_trunk(rng, centre_um), *_abdomen(rng, centre_um), *_liver_vessels(rng, centre_um))
    bare = Anatomy(centre_um, organs, (), int(rng.integers(88, 113)), int(rng.integers(-8, 7)))
    return Anatomy(centre_um, organs, _place_lesions(rng, bare, kinds), bare.uptake_percent, bare.liver_shift_hu)


def _box(levels: Sequence[NDArray[np.int64]]) -> Box:
    """The smallest box outside of which some axis alone is already beyond FULL."""
    ends = []
    for level in levels:
        near = np.flatnonzero(level <= FULL)
        ends.append(slice(int(near[0]), int(near[-1]) + 1) if near.size else slice(0, 0))
    return ends[0], ends[1], ends[2]


def _paint_lesion(found: NDArray[np.uint8], grid: Grid, lesion: Lesion, code: int) -> None:
    box, levels = lesion.shape.levels(grid)
    inside = (levels <= FULL) & np.isin(found[box], (Tissue.LIVER, Tissue.LIVER_VESSEL))
    found[box][inside] = code + (levels[inside] >= lesion.rim_level)


def _ellipsoid(rng: np.random.Generator, origin: Point, centre_mm: Point, semi_mm: Point) -> Ellipsoid:
    """An ellipsoid near its place in the book: centre within 4 mm, semi-axes within 6 percent."""
    x, y, z = (start + 1000 * mm + int(rng.integers(-4000, 4001)) for start, mm in zip(origin, centre_mm, strict=True))
    a, b, c = (10 * mm * (100 + int(rng.integers(-6, 7))) for mm in semi_mm)
    return Ellipsoid((x, y, z), (a, b, c))


def _trunk(rng: np.random.Generator, origin: Point) -> list[Organ]:
    """Table, skin to cavity, lungs, spine and the great vessels."""
    x, y, z = origin
    wide, deep, fat = (1000 * int(rng.integers(*ends)) for ends in ((150, 166), (104, 116), (10, 22)))

    def cylinder(inset_um: int) -> Ellipsoid:
        return Ellipsoid(origin, (wide - inset_um, deep - inset_um, ENDLESS_UM))

    def column(right_mm: int, back_mm: int, radius_mm: int) -> Ellipsoid:
        middle = (x + 1000 * right_mm, y + deep - 1000 * back_mm, z)
        return Ellipsoid(middle, (1000 * radius_mm, 1000 * radius_mm, ENDLESS_UM))

    lungs = [(-80, 10, 95), (78, 10, 100)]
    return [
        Organ(Tissue.TABLE, Ellipsoid((x, y + deep + 9000, z), (190_000, 7000, ENDLESS_UM))),
        Organ(Tissue.FAT, cylinder(0)),
        Organ(Tissue.MUSCLE, cylinder(fat)),
        Organ(Tissue.BONE, Ribs(cylinder(fat + 3000), cylinder(fat + 9000), 34_000, 12_000)),
        Organ(Tissue.CAVITY, cylinder(fat + 12_000)),
        *(Organ(Tissue.LUNG, _ellipsoid(rng, origin, place, (62, 80, 75)), (Tissue.CAVITY,)) for place in lungs),
        Organ(Tissue.HEART, _ellipsoid(rng, origin, (25, -30, 105), (50, 40, 42)), (Tissue.CAVITY, Tissue.LUNG)),
        Organ(Tissue.BONE, column(0, 34, 22)),
        Organ(Tissue.MARROW, column(0, 34, 18)),
        Organ(Tissue.AORTA, column(12, 68, int(rng.integers(10, 14)))),
        Organ(Tissue.VEIN, column(-22, 72, int(rng.integers(10, 14)))),
    ]


def _abdomen(rng: np.random.Generator, origin: Point) -> list[Organ]:
    """Liver in two lobes, and the neighbours that shape it."""
    soft = (Tissue.CAVITY, Tissue.LUNG, Tissue.HEART)

    def organ(tissue: Tissue, centre_mm: Point, semi_mm: Point, over: tuple[Tissue, ...] = soft) -> Organ:
        return Organ(tissue, _ellipsoid(rng, origin, centre_mm, semi_mm), over)

    around_liver = (*soft, Tissue.LIVER)
    return [
        organ(Tissue.LIVER, (-68, -4, 2), (66, 78, 70)),
        organ(Tissue.LIVER, (2, -42, 22), (62, 34, 38)),
        organ(Tissue.SPLEEN, (92, 38, 16), (30, 42, 46)),
        organ(Tissue.STOMACH, (62, -34, 14), (36, 38, 44), (Tissue.CAVITY,)),
        organ(Tissue.BOWEL, (-8, -26, -56), (46, 32, 38), around_liver),
        organ(Tissue.BOWEL, (30, -52, -62), (44, 26, 30), around_liver),
        organ(Tissue.BOWEL, (38, 8, -70), (40, 30, 34)),
        organ(Tissue.KIDNEY, (-62, 52, -58), (26, 28, 46), around_liver),
        organ(Tissue.KIDNEY, (64, 50, -50), (26, 28, 46)),
        organ(Tissue.GALLBLADDER, (-44, -46, -46), (15, 18, 26), (*around_liver, Tissue.BOWEL)),
    ]


def _liver_vessels(rng: np.random.Generator, origin: Point) -> list[Organ]:
    """Branches that fan out from the hilum through the liver."""

    def point(centre_mm: Point) -> Point:
        x, y, z = (
            start + 1000 * mm + int(rng.integers(-9000, 9001)) for start, mm in zip(origin, centre_mm, strict=True)
        )
        return x, y, z

    hilum = point((-30, 4, 0))
    ends = [point(place) for place in ((-112, 10, 26), (-98, -36, -12), (-84, 44, -20), (20, -44, 26), (-58, -10, 58))]
    return [
        Organ(Tissue.LIVER_VESSEL, Tube(hilum, end, int(rng.integers(3500, 5501))), (Tissue.LIVER,)) for end in ends
    ]


_SEMI_MM = {
    LesionKind.HCC: (13, 27),
    LesionKind.ICC: (15, 28),
    LesionKind.COMBINED: (14, 27),
    LesionKind.METASTASIS: (9, 18),
    LesionKind.CYST: (9, 17),
    LesionKind.HEMANGIOMA: (11, 21),
}
"""Shortest and longest semi-axis drawn for each kind."""

_PROBE_UM = (4000, 4000, 4000)
"""Lattice on which room for a lesion is sought."""


def _place_lesions(rng: np.random.Generator, bare: Anatomy, kinds: Sequence[LesionKind]) -> tuple[Lesion, ...]:
    probe = Grid.around(bare.centre_um, (48, 58, 84), _PROBE_UM)
    free = np.isin(bare.tissues(probe), (Tissue.LIVER, Tissue.LIVER_VESSEL))
    lesions = []
    for kind in kinds:
        lesions.append(Lesion(kind, _room_for(rng, probe, free, _SEMI_MM[kind])))
        box, taken = lesions[-1].shape.grown(LESION_GAP_UM).inside(probe)
        free[box] &= ~taken
    return tuple(lesions)


def _room_for(rng: np.random.Generator, probe: Grid, free: NDArray[np.bool_], semi_mm: tuple[int, int]) -> Ellipsoid:
    """An ellipsoid that lies in free liver with a margin; it shrinks a little with every place that is too tight."""
    places = np.argwhere(free)
    semi = [1000 * int(rng.integers(*semi_mm)) for _ in range(3)]
    while True:
        index = places[int(rng.integers(len(places)))]
        z, y, x = (
            int(start + step * at) for start, step, at in zip(probe.origin_um[::-1], _PROBE_UM, index, strict=True)
        )
        ellipsoid = Ellipsoid((x, y, z), (semi[0], semi[1], semi[2]))
        box, inside = ellipsoid.grown(LESION_GAP_UM // 2).inside(probe)
        if free[box][inside].all():
            return ellipsoid
        semi = [max(8000, part * 99 // 100) for part in semi]
