"""A figure with what chance makes of it: an interval over patients, and mean and spread over folds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipeline.agreement.summary import BOOTSTRAP_SAMPLES

Figure: TypeAlias = tuple[str, str]
"""Of what (a structure, a kind, a class) and which measure."""

Draws: TypeAlias = NDArray[np.int64]
"""(draws, patients) how often each patient counts in each draw."""


class Sample(Protocol):
    """Predictions of some patients, ready to be counted in any mixture of them."""

    @property
    def patients(self) -> Sequence[str]:
        """Whose they are, each once."""
        ...

    def figures(self, draws: Draws) -> Mapping[Figure, NDArray[np.float64]]:
        """Every figure in each draw; NaN where a draw leaves nothing to compute it from."""
        ...


@dataclass(frozen=True, slots=True)
class Estimate:
    """One figure; NaN where undefined.

    Attributes:
        value: over all patients.
        ci_low: lower end of the 95 % interval.
        ci_high: upper end.
        folds: in how many folds it is defined; 0 unless each patient was held out by one.
        fold_mean: mean over folds.
        fold_sd: sample standard deviation over folds; NaN below two.
    """

    value: float
    ci_low: float
    ci_high: float
    folds: int
    fold_mean: float
    fold_sd: float


def estimates(sample: Sample, folds: Mapping[str, int | None], *, seed: int) -> dict[Figure, Estimate]:
    """Every figure of a sample with its interval and its spread over folds.

    Args:
        sample: of at least one patient.
        folds: of each patient; None for those that no fold held out.
        seed: of the bootstrap.

    Source: percentile bootstrap (Efron & Tibshirani 1993) over patients, all volumes of a patient together.
    """
    count = len(sample.patients)
    ones = np.ones((1, count), dtype=np.int64)
    whole = sample.figures(ones)
    by_fold = sample.figures(_fold_draws([folds[patient] for patient in sample.patients]))
    drawn = sample.figures(_drawn(count, seed)) if count > 1 else {}
    return {
        figure: _estimate(float(value[0]), drawn.get(figure, np.empty(0)), by_fold[figure])
        for figure, value in whole.items()
    }


def _drawn(count: int, seed: int) -> Draws:
    return np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), BOOTSTRAP_SAMPLES)


def _fold_draws(folds: Sequence[int | None]) -> Draws:
    """One draw a fold: its patients once, all others never; none where a patient has no fold."""
    known = sorted({fold for fold in folds if fold is not None}) if None not in folds else []
    return np.array([[own == fold for own in folds] for fold in known], dtype=np.int64).reshape(-1, len(folds))


def _estimate(value: float, drawn: NDArray[np.float64], by_fold: NDArray[np.float64]) -> Estimate:
    defined, folds = drawn[~np.isnan(drawn)], by_fold[~np.isnan(by_fold)]
    low, high = np.percentile(defined, [2.5, 97.5]).tolist() if len(defined) else (math.nan, math.nan)
    mean = float(folds.mean()) if len(folds) else math.nan
    return Estimate(value, low, high, len(folds), mean, float(folds.std(ddof=1)) if len(folds) > 1 else math.nan)


def ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    """Above over below, NaN where below is 0."""
    shares = np.full(np.broadcast(above, below).shape, np.nan)
    np.divide(above, below, out=shares, where=below != 0)
    return shares


def mean_of_defined(values: Sequence[NDArray[np.float64]], draws: int) -> NDArray[np.float64]:
    """(draws) the mean of what is not NaN; NaN where all are, or there is nothing.

    Args:
        values: (draws) each.
        draws: how many.
    """
    stacked = np.reshape(values, (len(values), draws))
    defined = ~np.isnan(stacked)
    return ratio(np.where(defined, stacked, 0.0).sum(axis=0), defined.sum(axis=0).astype(np.float64))
