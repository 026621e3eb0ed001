"""Which lesions of several phases are the same, though the patient breathed differently between them.

Only a shift is measured: that of the livers, where the livers overlap better after it, then that of the lesions found
again. A lesion is found again by the overlap of its outlines after that shift, one to one, for the largest overlap in
all; what is left, by the nearest centre within `CENTRE_LIMIT_MM`. What is found by neither is unmatched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from pipeline.core.geometry import Geometry
from pipeline.core.labels import Structure, structure_mask
from pipeline.core.records import Phase
from pipeline.core.volume import LabelMap
from pipeline.image.components import Box
from pipeline.lesions.records import Match
from pipeline.lesions.regions import Region, lesion_regions

CENTRE_LIMIT_MM = 10.0
"""Two measurable lesions (10 mm and more, RECIST 1.1) that do not overlap have centres at least this far apart."""

LARGEST_SHIFT_MM = 80.0
"""A liver moves no further between two deep breaths. Source: Keall et al. 2006 (AAPM TG-76), Med Phys 33(10)."""

_LIVER_POINTS = 20_000
"""As many places of a liver tell how well it overlaps another to one percent."""

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """One lesion over phases: its outline on each phase where it was outlined, and how it was found there."""

    outlines: dict[Phase, Region] = field(default_factory=dict)
    numbers: dict[Phase, int] = field(default_factory=dict)
    volumes_ml: dict[Phase, float] = field(default_factory=dict)
    centroids_lps_mm: dict[Phase, Vector] = field(default_factory=dict)
    matches: dict[Phase, Match] = field(default_factory=dict)

    @property
    def largest(self) -> Phase:
        """The phase on which the lesion has its largest outline."""
        return max(self.volumes_ml, key=lambda phase: self.volumes_ml[phase])


@dataclass(frozen=True, slots=True, eq=False)
class FollowUp:
    """The lesions of a patient over phases.

    Attributes:
        tracks: largest lesion first.
        shifts_mm: by phase, how far the liver lies from its place on the first phase, a vector in LPS.
        grids: by phase.
    """

    tracks: tuple[Track, ...]
    shifts_mm: Mapping[Phase, Vector]
    grids: Mapping[Phase, Geometry]

    def outline(self, track: Track, phase: Phase) -> Region:
        """A lesion's own outline on a phase, or the largest of the others carried over with the measured shift."""
        if phase in track.outlines:
            return track.outlines[phase]
        return carried(
            track.outlines[track.largest], self.grids[track.largest], self.grids[phase], self._way(track, phase)
        )

    def centroid_lps_mm(self, track: Track, phase: Phase) -> Vector:
        """Where the centre of a lesion's largest outline would lie on a phase."""
        return track.centroids_lps_mm[track.largest] + self._way(track, phase)

    def _way(self, track: Track, phase: Phase) -> Vector:
        return self.shifts_mm[phase] - self.shifts_mm[track.largest]


def follow(masks: Mapping[Phase, LabelMap]) -> FollowUp:
    """Every lesion of some phases of one patient.

    Args:
        masks: phase to mask; grids may differ.
    """
    tracks: list[Track] = []
    shifts_mm: dict[Phase, Vector] = {}
    so_far = FollowUp((), shifts_mm, {phase: labels.geometry for phase, labels in masks.items()})
    for phase, labels in masks.items():
        shifts_mm[phase] = liver_shift_mm(next(iter(masks.values())), labels)
        regions = lesion_regions(labels)
        found = _found_again(replace(so_far, tracks=tuple(tracks)), regions, phase, shifts_mm)
        for index, region in enumerate(regions):
            track, match = found.get(index, (Track(), Match.FIRST))
            tracks += [track] if match is Match.FIRST else []
            _outlined(track, phase, index + 1, region, labels.geometry, match)
    return replace(so_far, tracks=tuple(sorted(tracks, key=lambda track: -track.volumes_ml[track.largest])))


def liver_shift_mm(first: LabelMap, other: LabelMap) -> Vector:
    """How far the whole liver of a mask lies from that of another, in LPS; zero where a shift makes no better overlap.

    A liver that one scan shows in part has its centre elsewhere without having moved, which the overlap tells.
    """
    places, others = _liver_points_mm(first), _liver_points_mm(other)
    if not len(places) or not len(others):
        return np.zeros(3)
    shift_mm: Vector = others.mean(axis=0) - places.mean(axis=0)
    is_better = _share_in_liver(places + shift_mm, other) > _share_in_liver(places, other)
    return shift_mm if is_better and np.linalg.norm(shift_mm) <= LARGEST_SHIFT_MM else np.zeros(3)


def carried(region: Region, source: Geometry, target: Geometry, shift_mm: Vector | None = None) -> Region:
    """A region of one grid as voxels of another: those whose centre lies nearest to a voxel of the region.

    The box has no voxels where the target does not reach.

    Args:
        region: on the source.
        source: its grid.
        target: the grid to carry it to.
        shift_mm: how far it is moved, a vector in LPS.
    """
    source = source if shift_mm is None else source.moved(shift_mm)
    corners = np.array([[extent.start, extent.stop - 1] for extent in region.box])
    ends = np.stack(np.meshgrid(*corners, indexing="ij"), axis=-1).reshape(-1, 3)
    reached = target.to_index(source.to_lps_mm(ends))
    start = np.clip(np.floor(reached.min(axis=0)).astype(int) - 1, 0, target.shape)
    stop = np.clip(np.ceil(reached.max(axis=0)).astype(int) + 2, start, target.shape)
    box: Box = (slice(start[0], stop[0]), slice(start[1], stop[1]), slice(start[2], stop[2]))
    mask = np.zeros(tuple(stop - start), dtype=bool)
    for depth, plane in enumerate(mask, start=start[0]):
        places = np.stack(np.broadcast_arrays(depth, *np.ogrid[box[1:]]), axis=-1)
        nearest = np.rint(source.to_index(target.to_lps_mm(places))).astype(int) - corners[:, 0]
        known = ((nearest >= 0) & (nearest < region.mask.shape)).all(axis=-1)
        plane[known] = region.mask[tuple(nearest[known].T)]
    return Region(box, mask)


def _outlined(track: Track, phase: Phase, number: int, region: Region, grid: Geometry, match: Match) -> None:
    track.outlines[phase], track.numbers[phase], track.matches[phase] = region, number, match
    track.volumes_ml[phase] = int(region.mask.sum()) * grid.voxel_volume_ml
    track.centroids_lps_mm[phase] = _centroid_lps_mm(region, grid)


def _found_again(
    so_far: FollowUp, regions: Sequence[Region], phase: Phase, shifts_mm: dict[Phase, Vector]
) -> dict[int, tuple[Track, Match]]:
    """Index of a phase's region to the lesion it continues; the phase's shift is made exact on the way."""
    centroids = [_centroid_lps_mm(region, so_far.grids[phase]) for region in regions]
    found = {index: (track, Match.OVERLAP) for index, track in _by_overlap(so_far, regions, phase).items()}
    apart = [centroids[index] - so_far.centroid_lps_mm(track, phase) for index, (track, _) in found.items()]
    shifts_mm[phase] = shifts_mm[phase] + (np.median(apart, axis=0) if apart else 0.0)
    left = [index for index in range(len(regions)) if index not in found]
    lost = [track for track in so_far.tracks if all(track is not other for other, _ in found.values())]
    table_mm = np.array(
        [[np.linalg.norm(centroids[index] - so_far.centroid_lps_mm(track, phase)) for index in left] for track in lost]
    ).reshape(len(lost), len(left))
    rows, columns = linear_sum_assignment(np.minimum(table_mm, CENTRE_LIMIT_MM * (len(lost) + len(left))))
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    near = {left[column]: (lost[row], Match.CENTRE) for row, column in pairs if table_mm[row, column] < CENTRE_LIMIT_MM}
    return found | near


def _by_overlap(so_far: FollowUp, regions: Sequence[Region], phase: Phase) -> dict[int, Track]:
    """Index of a region to the lesion whose outline overlaps it, one to one, for the largest overlap in all."""
    numbered = np.zeros(so_far.grids[phase].shape, dtype=np.int32)
    for number, region in enumerate(regions, start=1):
        numbered[region.box][region.mask] = number
    overlap = np.zeros((len(so_far.tracks), len(regions)), dtype=np.int64)
    for row, track in enumerate(so_far.tracks):
        moved = so_far.outline(track, phase)
        overlap[row] = np.bincount(numbered[moved.box][moved.mask], minlength=len(regions) + 1)[1:]
    rows, columns = linear_sum_assignment(overlap, maximize=True)
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    return {column: so_far.tracks[row] for row, column in pairs if overlap[row, column]}


def _liver_points_mm(labels: LabelMap) -> Vector:
    """(points, 3) places in LPS, evenly many of the liver's voxels."""
    flat = np.flatnonzero(structure_mask(labels.voxels, Structure.WHOLE_LIVER))
    some = flat[:: max(1, len(flat) // _LIVER_POINTS)]
    return labels.geometry.to_lps_mm(np.stack(np.unravel_index(some, labels.voxels.shape), axis=-1))


def _share_in_liver(places_lps_mm: Vector, labels: LabelMap) -> float:
    index = np.rint(labels.geometry.to_index(places_lps_mm)).astype(np.int64)
    inside = ((index >= 0) & (index < labels.voxels.shape)).all(axis=1)
    values = labels.voxels[tuple(index[inside].T)]
    return float(structure_mask(values, Structure.WHOLE_LIVER).sum()) / len(places_lps_mm)


def _centroid_lps_mm(region: Region, geometry: Geometry) -> Vector:
    return geometry.to_lps_mm(region.indices.mean(axis=0))
