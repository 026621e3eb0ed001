"""How each lesion takes up contrast from phase to phase: what models of dynamic enhancement learn to predict.

Every phase has its own mask, drawn on its own image. Lesions of two phases are the same when their outlines overlap in
the patient's frame, one to one, for the largest overlap. Where a phase has no outline of a lesion, that of the phase
which shows it largest is carried over by position, and the row says so; nothing is registered, so a patient who
breathed differently shows in `shift_mm`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from pipeline.core.geometry import Geometry, require_same_space
from pipeline.core.records import Phase
from pipeline.core.volume import LabelMap, Volume
from pipeline.image.components import Box
from pipeline.lesions.appearance import appearances
from pipeline.lesions.records import Appearance, Enhancement
from pipeline.lesions.regions import Region, lesion_regions


@dataclass(frozen=True, slots=True, eq=False)
class PhaseReading:
    """One phase's image and mask, on one grid.

    Raises:
        GeometryError: when the two lie on different grids.
    """

    labels: LabelMap
    image: Volume

    def __post_init__(self) -> None:
        require_same_space(self.image.geometry, self.labels.geometry, what="the mask")


@dataclass(frozen=True, slots=True, eq=False)
class _Track:
    """One lesion over phases: its outline on each phase where it was drawn."""

    outlines: dict[Phase, Region]
    numbers: dict[Phase, int]
    volumes_ml: dict[Phase, float]

    @property
    def largest(self) -> Phase:
        return max(self.volumes_ml, key=lambda phase: self.volumes_ml[phase])


def enhancement(readings: Mapping[Phase, PhaseReading]) -> tuple[Enhancement, ...]:
    """Every lesion on every phase, largest lesion first, phases in the order given.

    Args:
        readings: phase to image and mask; grids may differ between phases.
    """
    tracks = _tracks(readings)
    tracks.sort(key=lambda track: -track.volumes_ml[track.largest])
    by_phase = {phase: _on_phase(phase, tracks, readings) for phase in readings}
    plain = by_phase.get(Phase.PLAIN, (None,) * len(tracks))
    return tuple(
        _row(number, phase, track, readings, by_phase[phase][number - 1], plain[number - 1])
        for number, track in enumerate(tracks, start=1)
        for phase in readings
    )


def carried(region: Region, source: Geometry, target: Geometry) -> Region:
    """A region of one grid as voxels of another: those whose centre lies nearest to a voxel of the region.

    The box has no voxels where the target does not reach.
    """
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


def _tracks(readings: Mapping[Phase, PhaseReading]) -> list[_Track]:
    tracks: list[_Track] = []
    for phase, reading in readings.items():
        regions = lesion_regions(reading.labels)
        found = _matches(tracks, regions, phase, readings)
        for number, region in enumerate(regions, start=1):
            if number not in found:
                tracks.append(_Track({}, {}, {}))
            track = found.get(number, tracks[-1])
            track.outlines[phase], track.numbers[phase] = region, number
            track.volumes_ml[phase] = int(region.mask.sum()) * reading.labels.geometry.voxel_volume_ml
    return tracks


def _matches(
    tracks: Sequence[_Track], regions: Sequence[Region], phase: Phase, readings: Mapping[Phase, PhaseReading]
) -> dict[int, _Track]:
    """Number of a phase's region to the lesion it continues, one to one, for the largest overlap in all."""
    numbered = np.zeros(readings[phase].labels.geometry.shape, dtype=np.int32)
    for number, region in enumerate(regions, start=1):
        numbered[region.box][region.mask] = number
    overlap = np.zeros((len(tracks), len(regions)), dtype=np.int64)
    for row, track in enumerate(tracks):
        moved = _outline(track, phase, readings)
        overlap[row] = np.bincount(numbered[moved.box][moved.mask], minlength=len(regions) + 1)[1:]
    rows, columns = linear_sum_assignment(overlap, maximize=True)
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    return {column + 1: tracks[row] for row, column in pairs if overlap[row, column]}


def _outline(track: _Track, phase: Phase, readings: Mapping[Phase, PhaseReading]) -> Region:
    """The lesion's own outline on a phase, or the largest of the others carried over."""
    if phase in track.outlines:
        return track.outlines[phase]
    source = readings[track.largest].labels.geometry
    return carried(track.outlines[track.largest], source, readings[phase].labels.geometry)


def _on_phase(phase: Phase, tracks: Sequence[_Track], readings: Mapping[Phase, PhaseReading]) -> tuple[Appearance, ...]:
    regions = [_outline(track, phase, readings) for track in tracks]
    return appearances(regions, readings[phase].labels, readings[phase].image)


def _row(
    number: int,
    phase: Phase,
    track: _Track,
    readings: Mapping[Phase, PhaseReading],
    seen: Appearance,
    plain: Appearance | None,
) -> Enhancement:
    return Enhancement(
        lesion=number,
        phase=phase,
        number_on_phase=track.numbers.get(phase),
        outline_from=phase if phase in track.outlines else track.largest,
        volume_ml=seen.whole.voxels * readings[phase].labels.geometry.voxel_volume_ml,
        shift_mm=_shift_mm(track, phase, readings),
        appearance=seen,
        enhancement=seen.level - plain.level if plain else math.nan,
        liver_enhancement=seen.liver.mean - plain.liver.mean if plain else math.nan,
    )


def _shift_mm(track: _Track, phase: Phase, readings: Mapping[Phase, PhaseReading]) -> float:
    if phase not in track.outlines:
        return math.nan
    here, there = (_centroid_lps_mm(track.outlines[of], readings[of].labels.geometry) for of in (phase, track.largest))
    return float(np.linalg.norm(here - there))


def _centroid_lps_mm(region: Region, geometry: Geometry) -> NDArray[np.float64]:
    return geometry.to_lps_mm(region.indices.mean(axis=0))
