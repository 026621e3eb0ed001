"""How far several raters of one volume agree: every pair, all together, and each against the vote."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipeline.agreement.decision import nested_majority
from pipeline.agreement.detection import LesionMaps, detections, joint_lesions, lesion_maps
from pipeline.agreement.disagreement import disagreement_slices
from pipeline.agreement.distances import surface_distances
from pipeline.agreement.joint import LIVER_STRUCTURES, Joint, Structures, join
from pipeline.agreement.kinds import KindNames, kind_joint, kind_pairs, kinds_marked, with_kinds
from pipeline.agreement.raters import reliability, reliability_of_labels
from pipeline.agreement.records import (
    UNDEFINED,
    Agreement,
    FinalScores,
    PairScores,
    VoteScores,
)
from pipeline.agreement.scores import overlap_of, overlaps
from pipeline.core.kinds import kind_name
from pipeline.core.labels import Label, LabelScheme, Structure
from pipeline.core.volume import LabelMap

_Part: TypeAlias = tuple[Joint, str, tuple[int, ...]]
"""The ratings as they are counted, a structure's name, and the labels that form it."""

_FINAL = "final mask"
"""Stands among the raters where all masks are counted together; no code has a space."""


def agree(
    ratings: Mapping[str, LabelMap],
    *,
    tolerance_mm: float = 2.0,
    structures: Structures = LIVER_STRUCTURES,
    scheme: LabelScheme | None = None,
) -> Agreement:
    """How far the raters of one volume agree, by every measure that `DEFINITIONS` names.

    A lesion of any kind is a lesion. Every lesion kind that a rater marked is a structure of its own.

    Args:
        ratings: rater to mask, on one grid; a single rater gives no pair and undefined reliability.
        tolerance_mm: largest surface distance that still counts as touching.
        structures: what to report; lesions are looked for where the structure "lesion" is among them. Labels of other
            things than `Structure` names have no lesion kinds.
        scheme: names the lesion kinds.

    Raises:
        GeometryError: when two masks lie on different grids.
        LabelError: when there is no rating.
    """
    is_nested = structures.items() <= LIVER_STRUCTURES.items()
    joint = join(ratings, highest=Label.LESION) if is_nested else join(ratings)
    maps = lesion_maps(joint, structures.get(Structure.LESION, ()))
    marked = kinds_marked(maps, ratings) if is_nested else None
    names = (scheme or LabelScheme()).kind_names
    parts = [(joint, name, values) for name, values in structures.items()]
    parts += _kind_parts(maps, marked, names)
    lesions = joint_lesions(maps)
    return Agreement(
        raters=joint.raters,
        tolerance_mm=tolerance_mm,
        pairs=tuple(pair for part in parts for pair in _pairs(*part, tolerance_mm)),
        against_vote=tuple(score for part in parts for score in _against_vote(*part)),
        reliability=(*(reliability(*part) for part in parts), reliability_of_labels(joint)),
        slices=tuple(found for part in parts for found in disagreement_slices(*part)),
        lesions=lesions if marked is None else with_kinds(lesions, maps, marked, names),
        detections=detections(maps),
        kind_pairs=() if marked is None else kind_pairs(maps, marked, names),
    )


def against_final(
    ratings: Mapping[str, LabelMap], final: LabelMap, *, scheme: LabelScheme | None = None
) -> tuple[FinalScores, ...]:
    """How far each rater agrees with the mask that counts, structure by structure.

    Args:
        ratings: rater to mask.
        final: the vote by the configured rule, or the lead radiologist's mask, on the same grid.
        scheme: names the lesion kinds.

    Raises:
        GeometryError: when two masks lie on different grids.
    """
    masks = {**ratings, _FINAL: final}
    joint = join(masks, highest=Label.LESION)
    maps = lesion_maps(joint, Structure.LESION.values)
    parts: list[_Part] = [(joint, name, values) for name, values in LIVER_STRUCTURES.items()]
    parts += _kind_parts(maps, kinds_marked(maps, masks), (scheme or LabelScheme()).kind_names)
    column = joint.raters.index(_FINAL)
    scores = []
    for part, name, values in parts:
        common = overlaps(part, part.members(values))
        others = ((index, rater) for index, rater in enumerate(joint.raters) if index != column)
        scores += [FinalScores(rater, name, overlap_of(common, index, column).dice) for index, rater in others]
    return tuple(scores)


def _kind_parts(maps: LesionMaps, marked: NDArray[np.uint8] | None, names: KindNames) -> list[_Part]:
    """Each lesion kind that anybody marked, as a structure of its own; none where there are no kinds."""
    if marked is None:
        return []
    joint = kind_joint(maps, marked)
    values = np.unique(joint.patterns[1:]).tolist()
    return [(joint, kind_name(value, names), (value,)) for value in values if value]


def coarse_against_final(coarse: LabelMap, final: LabelMap, *, scheme: LabelScheme | None = None) -> Agreement:
    """How far the label that raters started from agrees with the mask that counts, as LiMT's Table VIII has it.

    The coarse label is the first of the pair, so that a volume difference above 0 is too much of it.

    Raises:
        GeometryError: when the two lie on different grids.
    """
    return agree({"coarse": coarse, "final": final}, scheme=scheme)


def _pairs(joint: Joint, name: str, values: Sequence[int], tolerance_mm: float) -> list[PairScores]:
    common = overlaps(joint, joint.members(values))
    distances = surface_distances(joint, values)
    ml = joint.geometry.voxel_volume_ml
    pairs = []
    for a, b in combinations(range(len(joint.raters)), 2):
        overlap = overlap_of(common, a, b)
        empty = ("none", "one", "both")[(overlap.voxels_a == 0) + (overlap.voxels_b == 0)]
        volumes_ml = overlap.voxels_a * ml, overlap.voxels_b * ml
        scores = UNDEFINED if empty != "none" else distances[a, b].scores(tolerance_mm)
        pairs.append(PairScores((joint.raters[a], joint.raters[b]), name, empty, overlap, volumes_ml, scores))
    return pairs


def _against_vote(joint: Joint, name: str, values: Sequence[int]) -> list[VoteScores]:
    members = joint.members(values)
    vote = _voted(joint.patterns, values)
    scores = []
    for index, rater in enumerate(joint.raters):
        others = _voted(np.delete(joint.patterns, index, axis=1), values)
        common = overlaps(joint, np.stack([members[:, index], vote, others], axis=1))
        fair = overlap_of(common, 0, 2).dice if len(joint.raters) > 2 else math.nan
        rater_ml, vote_ml, _ = (np.diag(common) * joint.geometry.voxel_volume_ml).tolist()
        scores.append(VoteScores(rater, name, overlap_of(common, 0, 1).dice, fair, rater_ml, vote_ml))
    return scores


def _voted(patterns: NDArray[np.uint8], values: Sequence[int]) -> NDArray[np.bool_]:
    """(patterns) what the vote makes this structure: nested for liver and lesion, else by strict majority alone."""
    if patterns.max(initial=0) <= Label.LESION:
        return np.isin(nested_majority(patterns).labels, tuple(values))
    votes = np.isin(patterns, tuple(values)).sum(axis=1)
    return np.asarray(2 * votes > patterns.shape[1])
