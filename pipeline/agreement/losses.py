"""What a vote takes away: lesions and pieces of lesions that raters marked, and holes it leaves in the liver.

A border that one rater puts a little further out is no lost lesion. So what the vote keeps of the lesions is widened by
`BORDER_MM`, by one voxel within the slice and by one slice at least: large voxels make steps that are no disagreement.
A rater who puts the whole border further out, all around a voted lesion, has a wider border: what the rater left on its
narrowest side, up to `WIDEST_BORDER` of the lesion's diameter, is added to that rater's limit. What a rater marked
beyond is a piece, and so is every lesion of a rater of which nothing is kept, however near it lies.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from pipeline.agreement.decision import UNDECIDED, Decision
from pipeline.agreement.detection import LesionMaps, components, groups_of
from pipeline.agreement.joint import Joint
from pipeline.agreement.reasons import (
    Doubt,
    DroppedPiece,
    LesionOutsideLiver,
    LiverHole,
    LostLesion,
    MinorityLesion,
    Seen,
    Span,
)
from pipeline.agreement.records import JointLesion
from pipeline.core.geometry import Geometry
from pipeline.core.labels import Label, Structure
from pipeline.image.components import holes
from pipeline.image.surface import depth_mm, widened_in_slices

BORDER_MM = 2.0
"""How far two outlines of one border may lie apart: the tolerance at which NSD counts them as touching."""

WIDEST_BORDER = 1 / 3
"""Of the diameter of a voted lesion, taken as a ball: what a rater marks around it further out is no border."""


def lost_lesions(joint: Joint, lesions: Sequence[JointLesion]) -> Iterator[Doubt]:
    """Every lesion that half of the raters or fewer marked, or of which the vote keeps nothing."""
    raters = len(joint.raters)
    for lesion in lesions:
        seen_by = tuple(rater for rater, digit in zip(joint.raters, lesion.pattern, strict=True) if digit == "1")
        span = Span(lesion.first_slice, lesion.last_slice)
        seen = Seen(lesion.number, lesion.union_ml, span, seen_by, raters)
        if 2 * lesion.seen_by <= raters:
            yield MinorityLesion(seen, lesion.kept_ml)
        elif not lesion.kept_ml:
            yield LostLesion(seen)


def dropped_pieces(maps: LesionMaps, decision: Decision, *, limit_mm3: float) -> Iterator[Doubt]:
    """Every piece that the vote drops of lesions of which it keeps something.

    Args:
        maps: the lesions of every rater.
        decision: what the vote made of each pattern.
        limit_mm3: smallest volume of a piece; a whole lesion of a rater is named whatever its size.
    """
    if not len(maps.positions):
        return
    kept = _keeping(decision)[maps.codes]
    whole = _of_lost_lesions(maps, kept)
    corner = maps.positions.min(axis=0)
    places, shape = tuple((maps.positions - corner).T), tuple(np.ptp(maps.positions, axis=0) + 1)
    beyond = _beyond_borders(maps, kept, places, shape)
    pieces = components(_painted(beyond | whole, places, shape))[places]
    ml = maps.joint.geometry.voxel_volume_ml
    is_kept = np.bincount(maps.union, weights=kept) > 0
    for voxels in groups_of(pieces):
        number, volume_ml = int(maps.union[voxels[0]]), len(voxels) * ml
        is_large = volume_ml * 1000 >= limit_mm3 * (1 - 1e-9)
        if is_kept[number] and (is_large or whole[voxels].any()):
            seen_by = maps.raters_who_marked(voxels)
            seen = Seen(number, volume_ml, _span(maps.positions[voxels]), seen_by, len(maps.joint.raters))
            yield DroppedPiece(seen, limit_mm3)


def _beyond_borders(
    maps: LesionMaps, kept: NDArray[np.bool_], places: tuple[NDArray[np.int64], ...], shape: tuple[int, ...]
) -> NDArray[np.bool_]:
    """(voxels) True where any rater marked what lies beyond the rater's own border of the vote."""
    geometry = maps.joint.geometry
    voted = _painted(kept, places, shape)
    near = widened_in_slices(voted, geometry, BORDER_MM)[places]
    numbers = components(voted)
    beyond = np.zeros(len(kept), dtype=bool)
    for marked in maps.by_rater > 0:
        far = marked & ~near
        if far.any():
            far &= ~_wider_border(numbers, _painted(marked, places, shape), geometry)[places]
        beyond |= far
    return beyond


def _wider_border(numbers: NDArray[np.int64], marked: NDArray[np.bool_], geometry: Geometry) -> NDArray[np.bool_]:
    """The voted lesions that a rater surrounds, and all near them, by what the rater left where it is narrowest.

    Args:
        numbers: (slices, rows, columns) of the voted lesions, 0 outside.
        marked: what the rater marked.
        geometry: for the spacing.
    """
    inside = numbers > 0
    voxels = np.bincount(numbers[inside])
    narrowest_mm = np.full(len(voxels), np.inf)
    np.minimum.at(narrowest_mm, numbers[inside], depth_mm(marked, geometry)[inside])
    widest_mm = WIDEST_BORDER * np.cbrt(6000 * voxels * geometry.voxel_volume_ml / math.pi)
    wider_mm = np.minimum(narrowest_mm - min(geometry.spacing_mm), widest_mm)
    boxes, border = find_objects(numbers), np.zeros_like(marked)
    for number in np.flatnonzero(wider_mm > 0).tolist():
        reach_mm = BORDER_MM + float(wider_mm[number])
        steps = [int(reach_mm / mm) + 1 for mm in geometry.spacing_mm]
        around = zip(boxes[number - 1], steps, strict=True)
        box = tuple(slice(max(0, extent.start - step), extent.stop + step) for extent, step in around)
        border[box] |= widened_in_slices(numbers[box] == number, geometry, reach_mm)
    return border


def liver_faults(joint: Joint, decision: Decision, *, limit_mm3: float) -> Iterator[Doubt]:
    """Holes in the voted liver at places that raters marked, and voted lesions that touch no liver.

    Nothing where no rater outlined a liver.

    Args:
        joint: the ratings.
        decision: what the vote made of each pattern.
        limit_mm3: smallest volume of a hole.
    """
    if not joint.outlines_liver:
        return
    ml = joint.geometry.voxel_volume_ml
    voted = decision.labels[joint.codes]
    whole = voted != Label.BACKGROUND
    marked = (joint.patterns != Label.BACKGROUND).any(axis=1)[joint.codes]
    for place in _parts(holes(whole) & marked):
        if len(place) * ml * 1000 >= limit_mm3 * (1 - 1e-9):
            yield LiverHole(len(place) * ml, _span(place + joint.start), limit_mm3)
    for place in _parts(_without_liver(voted)):
        yield LesionOutsideLiver(len(place) * ml, _span(place + joint.start))


def _keeping(decision: Decision) -> NDArray[np.bool_]:
    """(patterns) True where the vote takes nothing away: it says lesion, or leaves the voxel open."""
    return np.isin(decision.labels, (*Structure.LESION.values, UNDECIDED))


def _without_liver(voted: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Connected parts of the voted liver and lesions that hold no liver."""
    numbered = components(voted != Label.BACKGROUND)
    holds_liver = np.zeros(int(numbered.max(initial=0)) + 1, dtype=bool)
    holds_liver[numbered[voted == Label.LIVER]] = holds_liver[0] = True
    return np.asarray(~holds_liver[numbered])


def _of_lost_lesions(maps: LesionMaps, kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(voxels) True in every lesion of a rater of which nothing is kept."""
    lost = np.zeros(len(kept), dtype=bool)
    for components_of_rater in maps.by_rater:
        kept_voxels = np.bincount(components_of_rater, weights=kept)
        kept_voxels[0] = 1
        lost |= kept_voxels[components_of_rater] == 0
    return lost


def _painted(
    voxels: NDArray[np.bool_], places: tuple[NDArray[np.int64], ...], shape: tuple[int, ...]
) -> NDArray[np.bool_]:
    mask = np.zeros(shape, dtype=bool)
    mask[places] = voxels
    return mask


def _parts(mask: NDArray[np.bool_]) -> Iterator[NDArray[np.int64]]:
    """(voxels, 3) indices of each connected part of a mask."""
    places = np.argwhere(mask)
    numbered = components(mask)[tuple(places.T)] if len(places) else np.empty(0, dtype=np.int64)
    return (places[voxels] for voxels in groups_of(numbered))


def _span(positions: NDArray[np.int64]) -> Span:
    return Span(int(positions[:, 0].min()), int(positions[:, 0].max()))
