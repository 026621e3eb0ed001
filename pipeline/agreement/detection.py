"""Which lesions were seen by whom: all raters jointly, and pair by pair.

A lesion is a connected component (26 neighbours: faces, edges and corners). Whether raters found the same lesions is
told apart from how well they outlined them: after the blinded reading of LIDC-IDRI all four readers had marked only a
third of the nodules (Armato et al. 2011, Medical Physics 38(2)).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline.agreement.joint import Joint, box_of
from pipeline.agreement.records import Detection, JointLesion
from pipeline.image.components import label_components

WELL_MATCHED_IOU = 0.5
"""Above this intersection over union two lesions are one, and neither can be that of a third, so that no assignment is
needed. Source: Kirillov et al. 2019, Panoptic Segmentation, arXiv 1801.00868."""


@dataclass(frozen=True, slots=True, eq=False)
class LesionMaps:
    """Components of every rater and of all together, on the voxels that anybody marked.

    Attributes:
        joint: the ratings.
        positions: (voxels, 3) indices in the whole grid.
        codes: (voxels) row of `joint.patterns`.
        union: (voxels) component of the union, from 1, largest first.
        by_rater: (raters, voxels) component of each rater, 0 where he marked nothing.
    """

    joint: Joint
    positions: NDArray[np.int64]
    codes: NDArray[np.unsignedinteger[Any]]
    union: NDArray[np.int64]
    by_rater: NDArray[np.int64]

    def shared(self, a: int, b: int) -> Shared:
        """Which components of two raters have voxels in common."""
        first, second = self.by_rater[a], self.by_rater[b]
        both = (first > 0) & (second > 0)
        width = int(second.max(initial=0)) + 1
        pairs, voxels = np.unique(first[both] * width + second[both], return_counts=True)
        return Shared(pairs // width, pairs % width, voxels)

    def overlapping(self, a: int, b: int) -> tuple[Shared, NDArray[np.float64]]:
        """The same with the intersection over union of each pair."""
        shared = self.shared(a, b)
        together = self.sizes(a)[shared.first] + self.sizes(b)[shared.second]
        return shared, shared.voxels / (together - shared.voxels)

    def raters_who_marked(self, voxels: NDArray[np.int64]) -> tuple[str, ...]:
        """The raters who marked any of some voxels."""
        by_rater = zip(self.joint.raters, self.by_rater, strict=True)
        return tuple(rater for rater, component in by_rater if component[voxels].any())

    def sizes(self, rater: int) -> NDArray[np.int64]:
        """Voxels of each component of a rater, by its number; 0 stands for what he did not mark."""
        return np.bincount(self.by_rater[rater], minlength=1)


@dataclass(frozen=True, slots=True, eq=False)
class Shared:
    """Pairs of components, one of each rater, that have voxels in common.

    Attributes:
        first: component of the first rater, one a pair.
        second: component of the second rater.
        voxels: how many both hold.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    voxels: NDArray[np.int64]


def lesion_maps(joint: Joint, values: Sequence[int]) -> LesionMaps:
    """Connected lesions of each rater and of all raters together."""
    members = joint.members(values)
    marked = joint.marked(values)
    box = box_of(marked)
    codes, union = joint.codes[box], marked[box]
    corner = np.array(joint.start) + [extent.start for extent in box]
    inside = np.nonzero(union)
    by_rater = [components(of_rater[codes])[inside] for of_rater in members.T]
    positions = np.stack(inside, axis=-1) + corner
    return LesionMaps(joint, positions, codes[inside], _largest_first(components(union)[inside]), np.stack(by_rater))


def components(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Number of the connected component of each voxel, from 1; 0 outside the mask."""
    return label_components(mask)[0].astype(np.int64)


def groups_of(numbers: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Positions of each number from 1 on, in order; 0 belongs to none."""
    order = np.argsort(numbers, kind="stable")
    return np.split(order, np.cumsum(np.bincount(numbers, minlength=1)))[1:-1]


def joint_lesions(maps: LesionMaps, kept: NDArray[np.bool_] | None = None) -> tuple[JointLesion, ...]:
    """Every region that anybody marked, largest first; what a minority saw is kept and says so.

    Args:
        maps: the lesions of every rater.
        kept: (patterns) True where a vote says lesion; by default where more than half of the raters do.
    """
    merged, split = _merges(maps)
    kept_voxels = kept[maps.codes] if kept is not None else 2 * (maps.by_rater > 0).sum(axis=0) > len(maps.by_rater)
    return tuple(
        _joint_lesion(maps, number, voxels, kept_voxels[voxels], merged[number], split[number])
        for number, voxels in enumerate(groups_of(maps.union), start=1)
    )


def detections(maps: LesionMaps) -> tuple[Detection, ...]:
    """How the lesions of every pair of raters match."""
    pairs = combinations(range(len(maps.joint.raters)), 2)
    return tuple(_detection(maps, a, b) for a, b in pairs)


def _merges(maps: LesionMaps) -> tuple[dict[int, set[str]], dict[int, set[str]]]:
    """By component of the union: raters who drew as one what another drew apart, and those who drew it apart."""
    merged: dict[int, set[str]] = defaultdict(set)
    split: dict[int, set[str]] = defaultdict(set)
    for a, b in permutations(range(len(maps.by_rater)), 2):
        covered = np.flatnonzero(np.bincount(maps.shared(a, b).first) > 1)
        numbers, firsts = np.unique(maps.by_rater[a], return_index=True)
        for where in maps.union[firsts[np.isin(numbers, covered)]].tolist():
            merged[where].add(maps.joint.raters[a])
            split[where].add(maps.joint.raters[b])
    return merged, split


def _joint_lesion(
    maps: LesionMaps,
    number: int,
    voxels: NDArray[np.int64],
    kept: NDArray[np.bool_],
    merged: set[str],
    split: set[str],
) -> JointLesion:
    geometry = maps.joint.geometry
    drawn = maps.by_rater[:, voxels]
    marked = np.count_nonzero(drawn, axis=1)
    positions = maps.positions[voxels]
    x, y, z = geometry.to_lps_mm(positions.mean(axis=0)).tolist()
    return JointLesion(
        number=number,
        pattern="".join("1" if count else "0" for count in marked),
        volumes_ml=tuple((marked * geometry.voxel_volume_ml).tolist()),
        components=tuple(len(np.unique(row[row > 0])) for row in drawn),
        union_ml=len(voxels) * geometry.voxel_volume_ml,
        kept_ml=int(np.count_nonzero(kept)) * geometry.voxel_volume_ml,
        first_slice=int(positions[:, 0].min()),
        last_slice=int(positions[:, 0].max()),
        centroid_lps_mm=(x, y, z),
        merged_by=tuple(sorted(merged)),
        split_by=tuple(sorted(split)),
    )


def _largest_first(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers from 1 on given anew by how often they occur; equal ones keep their order."""
    order = np.argsort(-np.bincount(numbers, minlength=1)[1:], kind="stable")
    renumbered = np.zeros(len(order) + 1, dtype=np.int64)
    renumbered[order + 1] = np.arange(1, len(order) + 1)
    return renumbered[numbers]


def _detection(maps: LesionMaps, a: int, b: int) -> Detection:
    shared, iou = maps.overlapping(a, b)
    matched = best_matching(shared, iou)
    dice = 2 * iou[matched] / (1 + iou[matched])
    return Detection(
        raters=(maps.joint.raters[a], maps.joint.raters[b]),
        lesions_a=int(maps.by_rater[a].max(initial=0)),
        lesions_b=int(maps.by_rater[b].max(initial=0)),
        touching=len(matched),
        well_matched=int(np.count_nonzero(iou > WELL_MATCHED_IOU)),
        matched_dice=float(dice.mean()) if len(dice) else math.nan,
    )


def best_matching(shared: Shared, weights: NDArray[np.float64]) -> NDArray[np.int64]:
    """Which pairs form the one-to-one matching with the largest sum of weights, positions in ascending order.

    Components that share nothing, directly or through others, are matched apart, so that many specks stay cheap.
    """
    if not len(weights):
        return np.empty(0, dtype=np.int64)
    seconds = shared.second + int(shared.first.max()) + 1
    size = int(seconds.max()) + 1
    graph = coo_array((np.ones(len(weights)), (shared.first, seconds)), shape=(size, size))
    group = connected_components(graph, directed=False)[1][shared.first]
    order = np.argsort(group, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
    return np.sort(np.concatenate([_best_of_group(pairs, shared, weights) for pairs in groups]))


def _best_of_group(pairs: NDArray[np.int64], shared: Shared, weights: NDArray[np.float64]) -> NDArray[np.int64]:
    if len(pairs) == 1:
        return pairs
    rows, columns = (np.unique(side[pairs], return_inverse=True)[1] for side in (shared.first, shared.second))
    table = np.zeros((rows.max() + 1, columns.max() + 1))
    place = np.full(table.shape, -1)
    table[rows, columns], place[rows, columns] = weights[pairs], pairs
    chosen = place[linear_sum_assignment(table, maximize=True)]
    matched: NDArray[np.int64] = chosen[chosen >= 0]
    return matched
