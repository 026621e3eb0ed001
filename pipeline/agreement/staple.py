"""STAPLE on the histogram: exact, because voxels with the same votes have the same posterior."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONVERGED = 1e-9
"""Largest change of any sensitivity or specificity that ends the iteration."""

MAX_ITERATIONS = 5_000
"""Raters who share a truth take tens; two who share no voxel never settle."""


@dataclass(frozen=True, slots=True, eq=False)
class Staple:
    """What STAPLE estimates for one structure.

    Attributes:
        probability: (patterns) that a voxel with this pattern truly belongs to the structure.
        sensitivity: one a rater.
        specificity: one a rater.
        converged: False when the iteration ended at `MAX_ITERATIONS`.
    """

    probability: NDArray[np.float64]
    sensitivity: NDArray[np.float64]
    specificity: NDArray[np.float64]
    converged: bool


def staple(members: NDArray[np.bool_], counts: NDArray[np.integer]) -> Staple:
    """The structure's probability and each rater's performance, by expectation maximisation.

    It starts, as ITK does, from the share of raters who marked a voxel: from perfect raters it ends in a worse optimum
    where they disagree. The result hangs on how much background is counted: the prior is the mean share of voxels that
    the raters marked.

    Args:
        members: (patterns, raters), True where the rater marked the structure.
        counts: (patterns) voxels that show each pattern.

    Source: Warfield, Zou & Wells 2004, IEEE TMI 23(7).
    """
    marked = members.astype(np.float64)
    probability = marked.mean(axis=1)
    prior = float((probability @ counts) / counts.sum())
    sensitivity = specificity = np.full(members.shape[1], np.inf)
    change = np.inf
    for _ in range(MAX_ITERATIONS):
        weight, rest = probability * counts, (1 - probability) * counts
        updated = (_share(weight @ marked, weight), _share(rest @ (1 - marked), rest))
        change = max(np.abs(updated[0] - sensitivity).max(), np.abs(updated[1] - specificity).max())
        sensitivity, specificity = updated
        probability = _posterior(marked, prior, sensitivity, specificity)
        if change < CONVERGED:
            break
    return Staple(probability, sensitivity, specificity, converged=bool(change < CONVERGED))


def _posterior(
    marked: NDArray[np.float64], prior: float, sensitivity: NDArray[np.float64], specificity: NDArray[np.float64]
) -> NDArray[np.float64]:
    inside = prior * np.where(marked == 1, sensitivity, 1 - sensitivity).prod(axis=1)
    outside = (1 - prior) * np.where(marked == 1, 1 - specificity, specificity).prod(axis=1)
    total = inside + outside
    posterior: NDArray[np.float64] = np.divide(inside, total, out=np.zeros_like(total), where=total > 0)
    return posterior


def _share(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """Parts of a whole; 1.0 of nothing, so that a structure nobody marked stays nobody's."""
    total = whole.sum()
    return part / total if total > 0 else np.ones_like(part)
