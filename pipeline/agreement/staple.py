"""STAPLE on the histogram: exact, because voxels with the same votes have the same posterior."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONVERGED = 1e-7
"""Largest change of any sensitivity or specificity that ends the iteration, as SimpleITK's filter has it."""

MAX_ITERATIONS = 1000

_START = 0.99999


@dataclass(frozen=True, slots=True, eq=False)
class Staple:
    """What STAPLE estimates for one structure.

    Attributes:
        probability: (patterns) that a voxel with this pattern truly belongs to the structure.
        sensitivity: one a rater.
        specificity: one a rater.
    """

    probability: NDArray[np.float64]
    sensitivity: NDArray[np.float64]
    specificity: NDArray[np.float64]


def staple(members: NDArray[np.bool_], counts: NDArray[np.integer]) -> Staple:
    """The structure's probability and each rater's performance, by expectation maximisation.

    The result hangs on how much background is counted: the prior is the mean share of voxels that the raters marked.

    Args:
        members: (patterns, raters), True where the rater marked the structure.
        counts: (patterns) voxels that show each pattern.

    Source: Warfield, Zou & Wells 2004, IEEE TMI 23(7).
    """
    marked = members.astype(np.float64)
    sensitivity = specificity = np.full(members.shape[1], _START)
    prior = float((marked.mean(axis=1) @ counts) / counts.sum())
    for _ in range(MAX_ITERATIONS):
        probability = _posterior(marked, prior, sensitivity, specificity)
        weight, rest = probability * counts, (1 - probability) * counts
        updated = (_share(weight @ marked, weight), _share(rest @ (1 - marked), rest))
        change = max(np.abs(updated[0] - sensitivity).max(), np.abs(updated[1] - specificity).max())
        sensitivity, specificity = updated
        if change < CONVERGED:
            break
    return Staple(probability, sensitivity, specificity)


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
