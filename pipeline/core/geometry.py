"""The one convention of axes and frame: arrays are (slice, row, column), space is LPS millimetres.

LPS is DICOM's patient frame (PS3.3 C.7.6.2.1.1): x grows to the patient's left, y to posterior, z to superior (head).
RAS exists only inside NIfTI files, and only `image/nifti.py` knows of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.core.errors import GeometryError

SAME_SPACE_TOLERANCE_MM = 0.01
"""Two grids are the same when no corner is further apart: float32 headers and 6-digit texts stay below 0.001 mm."""

SHEAR_TOLERANCE = 1e-3
"""Largest cosine between two axes that still counts as a right angle (0.06 degrees)."""


LONGEST_PATIENT_MM = 3000.0
"""Grids of one patient lie no further apart: beds travel some two metres."""


@dataclass(frozen=True, slots=True, eq=False)
class Geometry:
    """Where the voxels of an array lie in the patient.

    Two are equal when shape and affine are exactly the same; `same_space` forgives what file headers round away.

    Attributes:
        shape: (slices, rows, columns), each at least 1.
        affine: (4, 4), maps a homogeneous index (slice, row, column, 1) to LPS millimetres at the voxel's centre.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        shape = tuple(int(n) for n in self.shape)
        if len(shape) != 3 or min(shape) < 1:
            raise GeometryError(f"a grid has three axes of at least one voxel, not shape {shape}")
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise GeometryError(f"an affine is a finite 4x4 matrix, found shape {affine.shape}")
        if abs(np.linalg.det(affine[:3, :3])) < 1e-9:
            raise GeometryError("the affine is singular: two axes point the same way or a spacing is 0")
        affine.setflags(write=False)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", affine)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Geometry):
            return NotImplemented
        return self.shape == other.shape and np.array_equal(self.affine, other.affine)

    def __hash__(self) -> int:
        return hash((self.shape, (self.affine + 0.0).tobytes()))  # 0.0 makes zeros of both signs one

    def __str__(self) -> str:
        slices, rows, columns = self.shape
        spacing = " x ".join(f"{step:.2f}" for step in self.spacing_mm)
        return f"{slices} slice{'s' * (slices != 1)} x {rows} x {columns}, {spacing} mm"

    def __repr__(self) -> str:
        return f"Geometry({self}, {self.orientation})"

    @classmethod
    def from_axes(
        cls,
        shape: tuple[int, int, int],
        *,
        spacing_mm: ArrayLike,
        origin_lps_mm: ArrayLike = (0.0, 0.0, 0.0),
        directions: ArrayLike | None = None,
    ) -> Geometry:
        """A grid from spacing, origin and the three axis directions.

        Args:
            shape: (slices, rows, columns).
            spacing_mm: distance between neighbours along (slice, row, column).
            origin_lps_mm: centre of voxel (0, 0, 0).
            directions: (3, 3), one unit vector in LPS a row, in axis order. The default is an axial head-first supine
                scan: slices to superior, rows to posterior, columns to left.
        """
        rows = np.eye(3)[::-1] if directions is None else np.asarray(directions, dtype=np.float64)
        affine = np.eye(4)
        affine[:3, :3] = rows.T * np.asarray(spacing_mm, dtype=np.float64)
        affine[:3, 3] = origin_lps_mm
        return cls(shape, affine)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Length of one step along (slice, row, column)."""
        slice_mm, row_mm, column_mm = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(slice_mm), float(row_mm), float(column_mm)

    @property
    def origin_lps_mm(self) -> tuple[float, float, float]:
        """Centre of voxel (0, 0, 0)."""
        x, y, z = self.affine[:3, 3]
        return float(x), float(y), float(z)

    @property
    def directions(self) -> NDArray[np.float64]:
        """(3, 3), one unit vector in LPS a row, in axis order (slice, row, column)."""
        steps: NDArray[np.float64] = self.affine[:3, :3]
        return np.ascontiguousarray((steps / np.linalg.norm(steps, axis=0)).T)

    @property
    def orientation(self) -> str:
        """Where each axis grows to, in axis order: "SPL" is an axial head-first supine scan."""
        letters = (("L", "R"), ("P", "A"), ("S", "I"))
        return "".join(
            letters[int(np.argmax(np.abs(axis)))][int(axis[np.argmax(np.abs(axis))] < 0)] for axis in self.directions
        )

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel in millilitres (cubic centimetres)."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    @property
    def is_sheared(self) -> bool:
        """True when the axes are not at right angles, as in a scan with a tilted gantry."""
        cosines = self.directions @ self.directions.T - np.eye(3)
        return bool(np.abs(cosines).max() > SHEAR_TOLERANCE)

    def to_lps_mm(self, index: ArrayLike) -> NDArray[np.float64]:
        """Positions of indices; the last axis holds (slice, row, column)."""
        points: NDArray[np.float64] = np.asarray(index, dtype=np.float64) @ self.affine[:3, :3].T
        return points + self.affine[:3, 3]

    def to_index(self, points_lps_mm: ArrayLike) -> NDArray[np.float64]:
        """Fractional indices of positions; the last axis holds (x, y, z)."""
        inverse = np.linalg.inv(self.affine)
        index: NDArray[np.float64] = np.asarray(points_lps_mm, dtype=np.float64) @ inverse[:3, :3].T
        return index + inverse[:3, 3]

    def corners_lps_mm(self) -> NDArray[np.float64]:
        """(8, 3) centres of the corner voxels."""
        ends = [(0, n - 1) for n in self.shape]
        return self.to_lps_mm(np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1).reshape(-1, 3))

    def cropped(self, start: tuple[int, int, int], shape: tuple[int, int, int]) -> Geometry:
        """The grid of a box of voxels, at its true place: the origin moves with the first voxel kept."""
        stops = [first + n for first, n in zip(start, shape, strict=True)]
        inside = zip(start, stops, self.shape, strict=True)
        if any(first < 0 or stop > n for first, stop, n in inside):
            raise GeometryError(f"the box from {start} of shape {shape} leaves the grid {self.shape}")
        affine = self.affine.copy()
        affine[:3, 3] = self.to_lps_mm(start)
        return Geometry(shape, affine)

    def moved(self, shift_lps_mm: ArrayLike) -> Geometry:
        """The grid at another place."""
        affine = self.affine.copy()
        affine[:3, 3] += np.asarray(shift_lps_mm, dtype=np.float64)
        return Geometry(self.shape, affine)

    def spanning(self, others: Iterable[Geometry]) -> Geometry:
        """The grid extended by whole voxels until it holds the corners of others too.

        Raises:
            GeometryError: when they lie further apart than one patient reaches.
        """
        corners = np.concatenate([self.to_index(one.corners_lps_mm()) for one in (self, *others)])
        start, stop = np.rint(corners.min(axis=0)).astype(int), np.rint(corners.max(axis=0)).astype(int) + 1
        if ((stop - start) * self.spacing_mm > LONGEST_PATIENT_MM).any():
            raise GeometryError(
                f"the masks lie more than {LONGEST_PATIENT_MM / 1000:g} m apart; check that they are of one scan"
            )
        affine = self.affine.copy()
        affine[:3, 3] = self.to_lps_mm(start)
        slices, rows, columns = (stop - start).tolist()
        return Geometry((slices, rows, columns), affine)

    def distance_mm(self, other: Geometry) -> float:
        """Largest distance between the same corners of two grids; infinite when the shapes differ."""
        if self.shape != other.shape:
            return float("inf")
        apart = self.corners_lps_mm() - other.corners_lps_mm()
        return float(np.linalg.norm(apart, axis=1).max())

    def same_space(self, other: Geometry, tolerance_mm: float = SAME_SPACE_TOLERANCE_MM) -> bool:
        """True when the same index means the same place in both grids."""
        return self.distance_mm(other) <= tolerance_mm


def require_same_space(expected: Geometry, found: Geometry, *, what: str) -> None:
    """Raise a `GeometryError` that names both grids unless they are the same.

    Args:
        expected: the grid to hold to, usually the image's.
        found: the grid in question.
        what: the thing in question, in words without patient data, such as "mask of P0001 C1".
    """
    if found.shape != expected.shape:
        raise GeometryError(f"{what} has shape {found.shape}, expected {expected.shape}; export it unresampled")
    if not expected.same_space(found):
        raise GeometryError(
            f"{what} is up to {expected.distance_mm(found):.2f} mm away from its image; "
            "save it on the image's own grid, without resampling or moving"
        )
