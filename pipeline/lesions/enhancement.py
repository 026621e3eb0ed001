"""How each lesion takes up contrast from phase to phase: what models of dynamic enhancement learn to predict.

Every phase has its own mask, outlined on its own image. `tracks` says which lesions are the same. Where a phase has no
outline of a lesion, that of the phase which shows it largest is carried over by position and measured shift, and the
row says so.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from pipeline.core.geometry import require_same_space
from pipeline.core.labels import LabelScheme
from pipeline.core.records import Phase
from pipeline.core.volume import LabelMap, Volume
from pipeline.lesions.appearance import appearances
from pipeline.lesions.records import Appearance, Enhancement, Match
from pipeline.lesions.regions import kinds_of
from pipeline.lesions.tracks import Track, follow


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


def enhancement(
    readings: Mapping[Phase, PhaseReading], *, scheme: LabelScheme | None = None
) -> tuple[Enhancement, ...]:
    """Every lesion on every phase, largest lesion first, phases in the order given.

    Args:
        readings: phase to image and mask; grids may differ between phases.
        scheme: names the lesion kinds.
    """
    names = scheme or LabelScheme()
    followed = follow({phase: reading.labels for phase, reading in readings.items()})
    tracks = followed.tracks
    by_phase = {
        phase: appearances([followed.outline(track, phase) for track in tracks], reading.labels, reading.image)
        for phase, reading in readings.items()
    }
    plain = by_phase.get(Phase.PLAIN, (None,) * len(tracks))
    return tuple(
        replace(
            _row(number, phase, track, readings, by_phase[phase][number - 1], plain[number - 1]),
            kind=_kind(track, phase, readings, names),
        )
        for number, track in enumerate(tracks, start=1)
        for phase in readings
    )


def kinds_in_conflict(rows: Iterable[Enhancement]) -> Iterator[tuple[Enhancement, Enhancement]]:
    """Each lesion of a phase that is of another kind on another phase, with the first such phase."""
    outlined: dict[int, list[Enhancement]] = defaultdict(list)
    for row in rows:
        if row.kind and row.outline_from == row.phase:
            outlined[row.lesion].append(row)
    for same_lesion in outlined.values():
        for row in same_lesion:
            others = [other for other in same_lesion if other.kind != row.kind]
            yield from [(row, others[0])] if others else []


def _kind(track: Track, phase: Phase, readings: Mapping[Phase, PhaseReading], names: LabelScheme) -> str:
    """The lesion's kind on the phase its outline comes from; "" where it is unknown."""
    outlined = phase if phase in track.outlines else track.largest
    return next(iter(kinds_of(track.outlines[outlined], readings[outlined].labels, names)), "")


def _row(
    number: int,
    phase: Phase,
    track: Track,
    readings: Mapping[Phase, PhaseReading],
    seen: Appearance,
    plain: Appearance | None,
) -> Enhancement:
    return Enhancement(
        lesion=number,
        phase=phase,
        number_on_phase=track.numbers.get(phase),
        matched_by=track.matches.get(phase, Match.UNMATCHED),
        outline_from=phase if phase in track.outlines else track.largest,
        volume_ml=seen.whole.voxels * readings[phase].labels.geometry.voxel_volume_ml,
        shift_mm=_shift_mm(track, phase),
        appearance=seen,
        enhancement=seen.level - plain.level if plain else math.nan,
        liver_enhancement=seen.liver.mean - plain.liver.mean if plain else math.nan,
    )


def _shift_mm(track: Track, phase: Phase) -> float:
    if phase not in track.outlines:
        return math.nan
    return float(np.linalg.norm(track.centroids_lps_mm[phase] - track.centroids_lps_mm[track.largest]))
