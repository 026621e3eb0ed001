"""Distances between surfaces: one distance map a rater and structure, whatever the number of pairs.

A mask's surface is its edge: the voxels with a face neighbour outside the mask, where beyond the image's border counts
as outside. A distance runs from a voxel's centre to the nearest edge voxel's centre of the other mask, in mm. This is
the definition of MONAI and of most papers; tools that measure between surface elements or meshes give other numbers on
thick slices (Podobnik & Vrtovec 2024, arXiv 2410.02630).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from pipeline.agreement.joint import Joint, box_of
from pipeline.agreement.records import UNDEFINED, DistanceScores
from pipeline.core.geometry import Geometry
from pipeline.image.surface import distance_to, edge_voxels

PERCENTILE = 95.0

_ROUNDING_MM = 1e-5
"""Distances are float32: one of exactly the tolerance may come out this much longer, and still counts as touching."""


@dataclass(frozen=True, slots=True, eq=False)
class SurfaceDistances:
    """From each edge voxel of one mask to the nearest of the other, both ways; empty when either mask is empty.

    Attributes:
        a_to_b_mm: one distance an edge voxel of a.
        b_to_a_mm: one distance an edge voxel of b.
    """

    a_to_b_mm: NDArray[np.float32]
    b_to_a_mm: NDArray[np.float32]

    def scores(self, tolerance_mm: float) -> DistanceScores:
        """Every distance measure of the pair; all NaN when either mask is empty."""
        a, b = self.a_to_b_mm.astype(np.float64), self.b_to_a_mm.astype(np.float64)
        if not len(a) or not len(b):
            return UNDEFINED
        p95_a, p95_b = float(np.percentile(a, PERCENTILE)), float(np.percentile(b, PERCENTILE))
        touching = sum(np.count_nonzero(way <= tolerance_mm + _ROUNDING_MM) for way in (a, b))
        return DistanceScores(
            hd_mm=float(max(a.max(), b.max())),
            hd95_max_mm=max(p95_a, p95_b),
            hd95_pooled_mm=float(np.percentile(np.concatenate([a, b]), PERCENTILE)),
            hd95_mean_mm=(p95_a + p95_b) / 2,
            assd_mm=float((a.sum() + b.sum()) / (len(a) + len(b))),
            masd_mm=float((a.mean() + b.mean()) / 2),
            nsd=float(touching / (len(a) + len(b))),
        )


def surface_distances(joint: Joint, values: Sequence[int]) -> dict[tuple[int, int], SurfaceDistances]:
    """Distances between the surfaces of one structure, for every pair of raters (positions in `joint.raters`).

    Args:
        joint: the ratings.
        values: the labels that form the structure.
    """
    members = joint.members(values)
    box = box_of(joint.marked(values))
    codes = joint.codes[box]
    edges = [edge_voxels(of_rater[codes]) for of_rater in members.T]
    directed = _directed(edges, codes.shape, joint.geometry)
    return {(a, b): SurfaceDistances(directed[a, b], directed[b, a]) for a, b in directed if a < b}


def _directed(
    edges: Sequence[NDArray[np.int64]], shape: tuple[int, ...], geometry: Geometry
) -> dict[tuple[int, int], NDArray[np.float32]]:
    """(from, to) to distances, one field a rater; empty where either rater marked nothing."""
    directed = {pair: np.empty(0, dtype=np.float32) for pair in permutations(range(len(edges)), 2)}
    for target, edge in enumerate(edges):
        others = [source for source in range(len(edges)) if source != target and len(edges[source])]
        if not len(edge) or not others:
            continue
        to_edge_mm = distance_to(edge, shape, geometry)
        directed.update({(source, target): to_edge_mm(edges[source]) for source in others})
    return directed
