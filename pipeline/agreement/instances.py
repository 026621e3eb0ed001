"""The vote lesion by lesion, which keeps two lesions apart that a vote over labels would join.

Where each rater outlined two lesions with a gap, but not at the same place, most raters mark the gap as one lesion or
the other. A vote over labels paints it; a vote over instances asks for more than half of the raters for one of the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline.agreement.decision import Decision, Ties, settled
from pipeline.agreement.detection import LesionMaps, best_matching, lesion_maps
from pipeline.agreement.joint import Joint
from pipeline.core.errors import LabelError
from pipeline.core.geometry import require_same_space
from pipeline.core.labels import Label, Structure
from pipeline.core.volume import LabelMap

_LEVELS = int(Label.LESION) + 1


def instance_majority(joint: Joint, ties: Ties) -> tuple[Joint, Decision]:
    """The liver by nested majority, lesions instance by instance; the ratings again, for what is now decided apart.

    Args:
        joint: the ratings.
        ties: as of `nested_majority`.
    """
    maps = lesion_maps(joint, Structure.LESION.values)
    members = joint.members(Structure.WHOLE_LIVER.values)
    for_liver = 2 * members.sum(axis=1)
    lower = (for_liver > len(joint.raters)).astype(np.uint8)[joint.codes]
    upper = (for_liver >= len(joint.raters)).astype(np.uint8)[joint.codes]
    places = tuple((maps.positions - joint.start).T)
    for_lesion = 2 * _most_votes(maps)
    lower[places] += for_lesion > len(joint.raters)
    upper[places] += for_lesion >= len(joint.raters)
    apart, outcomes = joint.split(lower * _LEVELS + upper, _LEVELS**2)
    return apart, settled(outcomes // _LEVELS, outcomes % _LEVELS, ties)


def instances_of(maps: LesionMaps) -> NDArray[np.int64]:
    """(raters, voxels) the instance that each rater's lesion is, from 1; 0 where no lesion was marked.

    Lesions of two raters are one instance when they match one to one, as in `detections`; so are all that match
    through others.
    """
    firsts = np.cumsum([0, *(int(row.max(initial=0)) for row in maps.by_rater)])
    edges = [np.empty((2, 0), dtype=np.int64)]
    for a, b in combinations(range(len(maps.by_rater)), 2):
        shared, iou = maps.overlapping(a, b)
        matched = best_matching(shared, iou)
        edges.append(np.stack([firsts[a] + shared.first[matched] - 1, firsts[b] + shared.second[matched] - 1]))
    rows, columns = np.concatenate(edges, axis=1)
    graph = coo_array((np.ones(len(rows)), (rows, columns)), shape=(firsts[-1], firsts[-1]))
    instance = connected_components(graph, directed=False)[1] + 1
    own = (np.append(0, instance[first:stop]) for first, stop in pairwise(firsts))
    return np.stack([numbers[row] for numbers, row in zip(own, maps.by_rater, strict=True)])


def _most_votes(maps: LesionMaps) -> NDArray[np.int64]:
    """(voxels) how many raters marked a voxel as the same instance, of the instance that most did."""
    instances = instances_of(maps)
    votes = [((instances == one) & (one > 0)).sum(axis=0) for one in instances]
    most: NDArray[np.int64] = np.max(votes, axis=0)
    return most


@dataclass(frozen=True, slots=True, eq=False)
class RatedInstance:
    """One organ or lesion as several raters drew it.

    Attributes:
        label: what the instance is painted with.
        masks: rater to mask, every value but 0 inside; a rater who did not see it has no entry.
    """

    label: int
    masks: Mapping[str, LabelMap]


def vote_instances(instances: Sequence[RatedInstance], *, raters: int) -> LabelMap:
    """Strict majority of each instance by itself, for masks saved one file an instance, as KiTS does.

    They are painted one over the other, lowest label first.

    Args:
        instances: all of one volume, on one grid.
        raters: how many looked; an instance needs more than half of them.

    Raises:
        LabelError: when there is no instance.
        GeometryError: when two masks lie on different grids.
    """
    masks = [(rater, mask) for instance in instances for rater, mask in instance.masks.items()]
    if not masks:
        raise LabelError("no instance was given, expected at least one mask")
    geometry = masks[0][1].geometry
    for rater, mask in masks:
        require_same_space(geometry, mask.geometry, what=f"an instance outlined by {rater}")
    painted = np.zeros(geometry.shape, dtype=np.uint8)
    for instance in sorted(instances, key=lambda instance: instance.label):
        votes = np.zeros(geometry.shape, dtype=np.uint8)
        for mask in instance.masks.values():
            votes += mask.voxels > 0
        painted[votes > raters // 2] = instance.label
    return LabelMap(painted, geometry)
