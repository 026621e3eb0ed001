"""How far raters agree on volumes, over many patients: bias, limits of agreement, intraclass correlation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LIMITS_OF_AGREEMENT = 1.96
"""Standard deviations around the bias that hold 95 % of differences. Source: Bland & Altman 1986, Lancet 327."""


@dataclass(frozen=True, slots=True)
class BlandAltman:
    """How two measurements of the same things differ, first minus second; NaN where undefined.

    Attributes:
        count: things measured twice.
        bias: mean difference.
        sd: sample standard deviation of the differences; NaN below two.
        low: lower limit of agreement.
        high: upper limit of agreement.
    """

    count: int
    bias: float
    sd: float
    low: float
    high: float


def bland_altman(first: NDArray[np.float64], second: NDArray[np.float64]) -> BlandAltman:
    """Bias and limits of agreement of paired measurements."""
    differences = first - second
    count = len(differences)
    bias = float(differences.mean()) if count else math.nan
    sd = float(differences.std(ddof=1)) if count > 1 else math.nan
    return BlandAltman(count, bias, sd, bias - LIMITS_OF_AGREEMENT * sd, bias + LIMITS_OF_AGREEMENT * sd)


def icc_2_1(scores: NDArray[np.float64]) -> float:
    """Intraclass correlation ICC(2,1): two-way random effects, absolute agreement, single rater; at most 1.0.

    NaN with fewer than two things or raters, or when nothing varies.

    Args:
        scores: (things, raters), complete.

    Source: Shrout & Fleiss 1979, Psychological Bulletin 86(2).
    """
    things, raters = scores.shape
    if things < 2 or raters < 2:
        return math.nan
    mean, of_thing, of_rater = scores.mean(), scores.mean(axis=1), scores.mean(axis=0)
    between_things = raters * float(((of_thing - mean) ** 2).sum()) / (things - 1)
    between_raters = things * float(((of_rater - mean) ** 2).sum()) / (raters - 1)
    rest = scores - of_thing[:, np.newaxis] - of_rater + mean
    error = float((rest**2).sum()) / ((things - 1) * (raters - 1))
    total = between_things + (raters - 1) * error + raters * (between_raters - error) / things
    return (between_things - error) / total if total > 0 else math.nan
