"""How reliable a group of raters is: chance-corrected agreement on voxels, from the histogram of votes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipeline.agreement.joint import Joint
from pipeline.agreement.records import Reliability
from pipeline.core.labels import Label

ALL_LABELS = "all_labels"

Level: TypeAlias = Literal["nominal", "ordinal"]


def fleiss_kappa(votes: NDArray[np.integer], weights: NDArray[np.integer]) -> float:
    """Agreement beyond chance of raters who all judged every item, at most 1.0.

    NaN with fewer than two raters, no item, or when all raters always chose one category (nothing was left to chance).

    Args:
        votes: (rows, categories), how many raters chose each category; every row sums to the number of raters.
        weights: (rows), how many items show this row.

    Source: Fleiss 1971, Psychological Bulletin 76(5).
    """
    items, raters = int(weights.sum()), int(votes[0].sum()) if len(votes) else 0
    if items == 0 or raters < 2:
        return math.nan
    by_row = (votes * (votes - 1)).sum(axis=1) / (raters * (raters - 1))
    observed = float(by_row @ weights) / items
    shares = (weights @ votes) / (items * raters)
    expected = float((shares**2).sum())
    return (observed - expected) / (1 - expected) if expected < 1 else math.nan


def cohen_kappa(counts: NDArray[np.integer]) -> float:
    """Agreement beyond chance of two raters, at most 1.0; NaN without an item, or when both always chose one category.

    Args:
        counts: (categories, categories), items that the first rater put into the row's category, the second into the
            column's.

    Source: Cohen 1960, Educational and Psychological Measurement 20(1).
    """
    items = int(counts.sum())
    if items == 0:
        return math.nan
    observed = float(np.trace(counts)) / items
    expected = float(counts.sum(axis=0) @ counts.sum(axis=1)) / items**2
    return (observed - expected) / (1 - expected) if expected < 1 else math.nan


def krippendorff_alpha(
    votes: NDArray[np.integer],
    weights: NDArray[np.integer],
    level: Level = "nominal",
) -> float:
    """Agreement beyond chance where not every rater judged every item, at most 1.0.

    NaN when no item was judged twice, or all judgements are the same category.

    Args:
        votes: (rows, categories), how many raters chose each category; rows may differ in their sum.
        weights: (rows), how many items show this row.
        level: "ordinal" when the categories stand in order and far ones differ more.

    Source: Krippendorff 2011, Computing Krippendorff's Alpha-Reliability.
    """
    judged = votes.sum(axis=1) >= 2
    votes, weights = votes[judged].astype(np.float64), weights[judged]
    per_value = weights / (votes.sum(axis=1) - 1)
    coincidences = (votes * per_value[:, np.newaxis]).T @ votes - np.diag(per_value @ votes)
    totals = coincidences.sum(axis=1)
    apart = _apart(totals, level)
    expected = float((np.outer(totals, totals) * apart).sum())
    if expected == 0:
        return math.nan
    return 1 - (float(totals.sum()) - 1) * float((coincidences * apart).sum()) / expected


def reliability(joint: Joint, name: str, values: Sequence[int]) -> Reliability:
    """How far the raters agree on what belongs to a structure: in or out."""
    inside = joint.members(values).sum(axis=1)
    votes = np.stack([len(joint.raters) - inside, inside], axis=1)
    return _reliability(joint, name, votes, "nominal")


def reliability_of_labels(joint: Joint) -> Reliability:
    """How far the raters agree on all labels at once."""
    labels = np.arange(int(joint.patterns.max(initial=0)) + 1)
    votes = (joint.patterns[:, :, np.newaxis] == labels).sum(axis=1)
    return _reliability(joint, ALL_LABELS, votes, "ordinal" if labels[-1] <= Label.LESION else "nominal")


def _reliability(joint: Joint, name: str, votes: NDArray[np.integer], level: Level) -> Reliability:
    """From votes whose first category is "none of it"; the region is where anybody chose another."""
    in_union = np.where(votes[:, 1:].any(axis=1), joint.counts, 0)
    return Reliability(
        structure=name,
        fleiss_kappa=fleiss_kappa(votes, in_union),
        fleiss_kappa_whole_volume=fleiss_kappa(votes, joint.counts),
        krippendorff_alpha=krippendorff_alpha(votes, in_union, level),
    )


def _apart(totals: NDArray[np.float64], level: Level) -> NDArray[np.float64]:
    """(categories, categories) squared difference between categories."""
    if level == "nominal":
        return 1.0 - np.eye(len(totals))
    middle = np.cumsum(totals) - totals / 2
    apart: NDArray[np.float64] = (middle[:, np.newaxis] - middle) ** 2
    return apart
