"""Where a stack of slices lies: one straight, evenly spaced line of positions, or the reason why there is none.

Spacing is (last minus first) over (count minus 1), never the first gap (a rounding of 0.1 mm there grows with every
slice) and never SliceThickness (slices may overlap or leave gaps). A stack is refused on the residual to that line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import GeometryError
from pipeline.core.geometry import SHEAR_TOLERANCE, Geometry
from pipeline.core.problems import meaning_of
from pipeline.core.records import Instance, Problem, Severity

RESIDUAL_TOLERANCE_MM = 0.1
"""Scanners write positions to 0.1 mm at worst; what lies nearer to the line than this is rounding."""

RESIDUAL_TOLERANCE = 0.05
"""As a share of the spacing: uniform to 5 % cumulative (inclusion rule of the published datasets)."""

GAP_TOLERANCE = 0.15
"""How far a gap may be from a whole multiple of the usual gap and still mean missing slices."""

SAME_PLACE_MM = 0.01
"""Two slices nearer to each other than this lie at one place; no scanner reconstructs finer."""

UNIT_TOLERANCE = 1e-2
"""ImageOrientationPatient has at least 3 digits; beyond this it is no pair of unit vectors at a right angle."""

NOMINAL_THICKNESS_MM = 1.0
"""Step of a single slice whose header tells no thickness; always flagged."""

TILTED = "tilted"
"""Code of a sheared stack: flagged here, since the grid is true; whether it may be used is the reader's choice."""

NO_GRID = frozenset({"repeated-positions", "missing-slices", "uneven-spacing"})
"""Codes of stacks that no regular grid describes."""

ODD_PLACE_MM = 0.02
"""One slice off the line of all others by less than this makes no difference to anything measured in the image."""

SAME_NUMBER = 1e-9
"""Decimals written alike are read as numbers that differ by less."""

_NAMED_GAPS = 5
_TIMES_THE_REST = 10
"""How much further from the line than all others one slice must lie to be odd among them."""


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """Slices in order along their normal, and the grid they form.

    Attributes:
        order: indices of the given slices, lowest first.
        geometry: None where no true grid exists.
        problems: everything noticed.
    """

    order: tuple[int, ...]
    geometry: Geometry | None
    problems: tuple[Problem, ...]


def vector(instance: Instance, keyword: str, count: int) -> NDArray[np.float64] | None:
    """An attribute of several numbers; None where absent, of another count, or not finite."""
    value = instance.header.get(keyword)
    try:
        numbers = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    return numbers if numbers.shape == (count,) and np.isfinite(numbers).all() else None


def axes(instance: Instance) -> NDArray[np.float64] | None:
    """(3, 3) unit vectors in LPS along slice normal, rows and columns; None without a sound orientation."""
    cosines = vector(instance, "ImageOrientationPatient", 6)
    return None if cosines is None else _axes(cosines.tobytes())


@lru_cache(maxsize=64)
def _axes(cosines: bytes) -> NDArray[np.float64] | None:
    """The same, read-only, once for all slices of a series; from bytes, since -0.0 equals 0.0 but gives other files."""
    along_row, along_column = np.frombuffer(cosines).reshape(2, 3)  # of growing column index, of growing row index
    lengths = np.linalg.norm(along_row), np.linalg.norm(along_column)
    if np.abs(np.array(lengths) - 1).max() > UNIT_TOLERANCE or abs(along_row @ along_column) > UNIT_TOLERANCE:
        return None
    along_row, along_column = along_row / lengths[0], along_column / lengths[1]
    normal = np.cross(along_row, along_column)
    directions = np.stack([normal / np.linalg.norm(normal), along_column, along_row])
    directions.setflags(write=False)
    return directions


def in_plane(instance: Instance) -> tuple[int, int, float, float] | None:
    """(rows, columns, row spacing, column spacing in mm) of a slice; None where the header does not tell."""
    spacing = vector(instance, "PixelSpacing", 2)
    rows, columns = instance.number("Rows"), instance.number("Columns")
    if spacing is None or spacing.min() <= 0 or not rows or not columns:
        return None
    return int(rows), int(columns), float(spacing[0]), float(spacing[1])


def gaps_mm(slices: Sequence[Instance]) -> NDArray[np.float64]:
    """Distances between neighbouring slices along their normal; empty for one slice or where positions are missing."""
    directions = axes(slices[0])
    positions = [vector(slice_, "ImagePositionPatient", 3) for slice_ in slices]
    if directions is None or any(position is None for position in positions):
        return np.empty(0)
    heights: NDArray[np.float64] = np.sort(np.array(positions) @ directions[0])
    return np.diff(heights)


def stack(slices: Sequence[Instance]) -> Stack:
    """Slices of one orientation, matrix and pixel spacing in order along the normal, with their grid."""
    unsorted = tuple(range(len(slices)))
    directions, plane = axes(slices[0]), in_plane(slices[0])
    positions = [vector(slice_, "ImagePositionPatient", 3) for slice_ in slices]
    problems = _missing_attributes(directions, plane, positions)
    if problems or directions is None or plane is None:
        return Stack(unsorted, None, problems)
    points = np.array(positions)
    order = np.argsort(points @ directions[0], kind="stable")
    points = points[order]
    step, problems = _step(points, directions[0], slices[0])
    uneven = any(problem.code in NO_GRID for problem in problems)
    try:
        geometry = None if step is None or uneven else _geometry(points[0], step, directions, plane, len(slices))
    except GeometryError:
        geometry, problems = None, (_refused("bad-geometry", meaning_of("bad-geometry")),)
    return Stack(tuple(int(index) for index in order), geometry, problems)


def _missing_attributes(
    directions: NDArray[np.float64] | None,
    plane: tuple[int, int, float, float] | None,
    positions: Sequence[NDArray[np.float64] | None],
) -> tuple[Problem, ...]:
    problems = []
    missing = sum(position is None for position in positions)
    if missing:
        problems.append(_refused("no-position", f"{missing} of {len(positions)} slices have no ImagePositionPatient"))
    if directions is None:
        problems.append(_refused("no-orientation", meaning_of("no-orientation")))
    if plane is None:
        problems.append(_refused("no-pixel-spacing", meaning_of("no-pixel-spacing")))
    return tuple(problems)


def _step(
    points: NDArray[np.float64], normal: NDArray[np.float64], first: Instance
) -> tuple[NDArray[np.float64] | None, tuple[Problem, ...]]:
    """The step from slice to slice, and what is wrong with it."""
    count = len(points)
    if count == 1:
        return _single_step(normal, first)
    span = points[-1] - points[0]
    spacing = float(span @ normal) / (count - 1)
    if spacing < SAME_PLACE_MM:
        return None, (_refused("not-a-volume", f"{count} slices lie at one position: a series in time, not a volume"),)
    step, tilt = _straightened(span / (count - 1), normal, count)
    problems = [*_line_problems(points, span / (count - 1), normal, spacing), *tilt]
    if count == 2:
        problems.append(_refused("too-few-slices", meaning_of("too-few-slices")))
    return step, tuple(problems)


def _single_step(normal: NDArray[np.float64], only: Instance) -> tuple[NDArray[np.float64], tuple[Problem, ...]]:
    thickness = only.number("SliceThickness") or only.number("SpacingBetweenSlices") or 0.0
    if thickness <= 0:
        thickness = NOMINAL_THICKNESS_MM
    message = f"a single slice: its depth of {thickness:g} mm is the slice thickness, not a measured spacing"
    return normal * thickness, (Problem("single-slice", Severity.FLAG, message),)


def _straightened(
    step: NDArray[np.float64], normal: NDArray[np.float64], count: int
) -> tuple[NDArray[np.float64], tuple[Problem, ...]]:
    """The step at a right angle to the slices where only rounding bends it, else as it is; told when it is tilted."""
    aside = step - (step @ normal) * normal
    drift = float(np.linalg.norm(aside))
    if drift * (count - 1) <= RESIDUAL_TOLERANCE_MM:
        return (step @ normal) * normal, ()
    sine = drift / float(np.linalg.norm(step))
    if sine <= SHEAR_TOLERANCE:
        return step, ()
    angle = np.degrees(np.arcsin(min(1.0, sine)))
    return step, (Problem(TILTED, Severity.FLAG, f"gantry tilt of {angle:.1f} degrees"),)


def _line_problems(
    points: NDArray[np.float64], step: NDArray[np.float64], normal: NDArray[np.float64], spacing: float
) -> list[Problem]:
    heights = points @ normal
    gaps = np.diff(heights)
    if gaps.min() < SAME_PLACE_MM:
        return [_refused("repeated-positions", meaning_of("repeated-positions"))]
    residuals = np.linalg.norm(points - points[0] - np.arange(len(points))[:, None] * step, axis=1)
    worst = float(residuals.max())
    if worst <= max(RESIDUAL_TOLERANCE_MM, RESIDUAL_TOLERANCE * spacing):
        return [_ODD_PLACE] if _has_odd_place(points) else []
    usual = float(np.quantile(gaps, 0.25, method="lower"))
    multiples = gaps / usual
    whole = np.abs(multiples - np.rint(multiples)).max() <= GAP_TOLERANCE
    if whole and np.rint(multiples).max() > 1:
        return [_missing_slices(heights, np.rint(multiples).astype(int), usual)]
    message = (
        f"slices are not evenly spaced: up to {worst:.2f} mm off an even line, "
        f"gaps from {gaps.min():.2f} to {gaps.max():.2f} mm"
    )
    return [_refused("uneven-spacing", message)]


def _has_odd_place(points: NDArray[np.float64]) -> bool:
    """True when one slice lies off the even line of all others, by more than their positions are rounded."""
    steps = np.diff(points, axis=0)
    if len(steps) < 3:
        return False
    off = np.sort(np.linalg.norm(steps - np.median(steps, axis=0), axis=1))
    return bool(off[-1] > max(ODD_PLACE_MM, 2 * _rounding_mm(points), _TIMES_THE_REST * off[-3]))


def _rounding_mm(points: NDArray[np.float64]) -> float:
    """The unit of the last decimal that positions are written with, down to a millionth."""
    decimals = (digits for digits in range(6) if np.abs(points - points.round(digits)).max() < SAME_NUMBER)
    return float(10.0 ** -next(decimals, 6))


def _missing_slices(heights: NDArray[np.float64], multiples: NDArray[np.int_], usual: float) -> Problem:
    places = np.flatnonzero(multiples > 1)
    named = "; ".join(
        f"{multiples[place] - 1} after slice {place + 1}, between {heights[place]:.2f} and {heights[place + 1]:.2f} mm"
        for place in places[:_NAMED_GAPS]
    )
    more = f"; {len(places) - _NAMED_GAPS} more gaps" if len(places) > _NAMED_GAPS else ""
    total = int((multiples - 1).sum())
    missing = "1 slice is missing" if total == 1 else f"{total} slices are missing"
    return _refused("missing-slices", f"{missing} at a spacing of {usual:.2f} mm along the normal: {named}{more}")


def _geometry(
    origin: NDArray[np.float64],
    step: NDArray[np.float64],
    directions: NDArray[np.float64],
    plane: tuple[int, int, float, float],
    count: int,
) -> Geometry:
    rows, columns, row_mm, column_mm = plane
    affine = np.eye(4)
    affine[:3, 0] = step
    affine[:3, 1] = directions[1] * row_mm
    affine[:3, 2] = directions[2] * column_mm
    affine[:3, 3] = origin
    return Geometry((count, rows, columns), affine)


_ODD_PLACE = Problem("odd-position", Severity.FLAG, meaning_of("odd-position"))


def _refused(code: str, message: str) -> Problem:
    return Problem(code, Severity.REFUSE, message)
