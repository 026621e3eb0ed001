"""What boxes in order of their scores are worth: average precision, the best F1, FROC, each in many draws at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluate.estimates import Draws, ratio

RECALLS = np.linspace(0.0, 1.0, 101)
"""Where COCO reads precision off; average precision is the mean of these."""

FROC_RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False positives a volume at which LUNA16 reads sensitivity off."""


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """Boxes from the surest to the least sure, equal ones as they came, as in COCO.

    Attributes:
        patients: place of each box's patient in a draw.
        scores: how sure each is.
        is_right: whether each matched a lesion.
    """

    patients: NDArray[np.int64]
    scores: NDArray[np.float64]
    is_right: NDArray[np.bool_]

    def weights(self, draws: Draws) -> NDArray[np.float64]:
        """(draws, boxes) how often each counts."""
        return draws[:, self.patients].astype(np.float64)


def ranked(boxes: Iterable[tuple[int, float, bool]]) -> Ranked:
    """Boxes in the order of their scores.

    Args:
        boxes: patient, score and whether it matched, of each.
    """
    found = sorted(boxes, key=lambda box: -box[1])
    patients, scores, is_right = ([box[part] for box in found] for part in range(3))
    return Ranked(np.array(patients, np.int64), np.array(scores, np.float64), np.array(is_right, np.bool_))


def average_precision(boxes: Ranked, draws: Draws, truths: NDArray[np.float64]) -> NDArray[np.float64]:
    """(draws) COCO's average precision: precision at 101 recalls, made to fall; NaN where there is nothing to find.

    Args:
        boxes: of one kind of lesion.
        draws: how often each patient counts.
        truths: (draws) how many boxes there are to find.
    """
    right, seen = _counted(boxes, draws)
    precision = np.where(seen > 0, ratio(right, seen), 0.0)
    falling = np.pad(np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1], ((0, 0), (0, 1)))
    recalls = ratio(right, truths[:, np.newaxis])
    places = np.array([np.searchsorted(row, RECALLS) for row in recalls], np.int64).reshape(len(draws), len(RECALLS))
    return np.where(truths > 0, np.take_along_axis(falling, places, axis=1).mean(axis=1), np.nan)


def best_f1(boxes: Ranked, draws: Draws, truths: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Precision, recall and F1 at the score where F1 is largest, the highest of equal ones, and that score.

    All 0 where no box is right, NaN where there is nothing to find.

    Args:
        boxes: of all kinds.
        draws: how often each patient counts.
        truths: (draws) how many boxes there are to find.
    """
    ends = np.append(boxes.scores[1:] < boxes.scores[:-1], True)[: len(boxes.scores)]  # equal scores count together
    right, seen = (np.pad(counts[:, ends], ((0, 0), (1, 0))) for counts in _counted(boxes, draws))
    scores = np.append(np.nan, boxes.scores[ends])
    f1 = np.nan_to_num(ratio(2 * right, seen + truths[:, np.newaxis]))
    rows, best = np.arange(len(draws)), f1.argmax(axis=1)
    right, seen = right[rows, best], seen[rows, best]
    values = {
        "precision": np.where(seen > 0, ratio(right, seen), 0.0),
        "recall": ratio(right, truths),
        "f1": f1[rows, best],
        "score": scores[best],
    }
    return {name: np.where(truths > 0, value, np.nan) for name, value in values.items()}


def froc_curve(
    lesions: Ranked, wrong: Ranked, draws: Draws, volumes: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(draws, scores) false positives a volume and share of lesions found, from no box on; neither ever falls.

    Args:
        lesions: each with the score of its surest box, -inf for one that has none.
        wrong: boxes that match no lesion.
        draws: how often each patient counts.
        volumes: (draws) how many volumes there are.
    """
    scores = np.unique(np.concatenate([lesions.scores, wrong.scores]))[::-1]
    scores = scores[np.isfinite(scores)]
    found, false = (_reached(boxes, draws, scores) for boxes in (lesions, wrong))
    there = lesions.weights(draws).sum(axis=1)
    return ratio(false, volumes[:, np.newaxis]), ratio(found, there[:, np.newaxis])


def sensitivities(
    lesions: Ranked, wrong: Ranked, draws: Draws, volumes: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """Share of lesions found at each of `FROC_RATES`, read off the straight lines of the curve, and their mean.

    Args: as of `froc_curve`.
    """
    curves = zip(*froc_curve(lesions, wrong, draws, volumes), strict=True)
    read = np.array([np.interp(FROC_RATES, *curve) for curve in curves]).reshape(len(draws), len(FROC_RATES))
    shares = {f"sensitivity_at_{rate:g}": read[:, column] for column, rate in enumerate(FROC_RATES)}
    return shares | {"froc": read.mean(axis=1)}


def _counted(boxes: Ranked, draws: Draws) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(draws, boxes) how many are right and how many there are, down to each box."""
    weights = boxes.weights(draws)
    return np.cumsum(weights * boxes.is_right, axis=1), np.cumsum(weights, axis=1)


def _reached(boxes: Ranked, draws: Draws, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """(draws, 1 + scores) how many boxes are at or above each score, after none at all."""
    summed = np.pad(np.cumsum(boxes.weights(draws), axis=1), ((0, 0), (1, 0)))
    places = np.searchsorted(-boxes.scores, -scores, side="right")
    return np.pad(summed[:, places], ((0, 0), (1, 0)))
