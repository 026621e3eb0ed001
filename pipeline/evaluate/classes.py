"""Class scores against the classes of a release's patients, and LiQA's two tasks on the stage of fibrosis.

Several classes may apply to one patient (LiMT), so each is a question of its own, answered by a score of one half or
more. Over classes the figures are "macro", the mean over those that any patient of the group has, and "micro", all
answers together; accuracy over classes is the share of patients with every class right. AUC is the probability that a
patient with the class scores higher than one without, ties counted half (Mann-Whitney; Hanley & McNeil 1982).

A patient without scores counts as wrong in every class, and for the AUC as the worst of all.

LiQA (CARE 2024, track 3) asks for cirrhosis, stage S4 against S1 to S3, and for substantial fibrosis, S2 to S4 against
S1, by accuracy and AUC over the patients whose stage is known. Scores of the stages are probabilities: those of each
side are added, and the sides scaled to 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluate.estimates import Draws, Figure, mean_of_defined, ratio

THRESHOLD = 0.5
"""From this score on a class is said to apply."""

FIBROSIS_STAGES = ("S1", "S2", "S3", "S4")
STAGING_TASKS = {"cirrhosis (S4 / S1-3)": ("S4",), "substantial fibrosis (S2-4 / S1)": ("S2", "S3", "S4")}

CLASS_MEASURES = ("accuracy", "precision", "recall", "f1", "auc")
STAGING_MEASURES = ("accuracy", "auc")
MACRO, MICRO = "macro", "micro"

Scores: TypeAlias = Mapping[str, Mapping[str, float]]
"""Patient and class to a score from 0 to 1."""


@dataclass(frozen=True, slots=True, eq=False)
class _Question:
    """One class, asked of every patient: whether it applies, and what the scores say."""

    truth: NDArray[np.bool_]
    answers: NDArray[np.bool_]
    ranks: NDArray[np.float64]

    @property
    def is_right(self) -> NDArray[np.bool_]:
        """(patients) whether the answer is the truth."""
        return np.asarray(self.truth == self.answers)

    def counts(self, weights: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        """(draws) how often it applies and is said to, is said to, and applies."""
        parts = (self.truth & self.answers, self.answers, self.truth)
        return tuple(np.asarray(weights @ part) for part in parts)


class ClassSample:
    """Answers of some patients, ready to be counted in any mixture of them.

    Args:
        patients: all that are asked for, those without scores too.
        classes: names of the classes.
        truth: patient to the classes that apply.
        scores: what was handed in.
    """

    def __init__(
        self, patients: Iterable[str], classes: Sequence[str], truth: Mapping[str, frozenset[str]], scores: Scores
    ) -> None:
        self.patients = tuple(sorted(set(patients)))
        self._truth, self._scores = truth, scores
        self._questions = {name: self._asked({name}, (name,)) for name in classes}
        tasks = STAGING_TASKS if set(FIBROSIS_STAGES) <= set(classes) else {}
        self._staging = {task: self._asked(set(stages), FIBROSIS_STAGES) for task, stages in tasks.items()}
        staged = [bool(truth[patient] & set(FIBROSIS_STAGES)) for patient in self.patients]
        self._is_staged = np.array(staged, dtype=bool)

    def figures(self, draws: Draws) -> dict[Figure, NDArray[np.float64]]:
        """The measures of each class, over all classes, and of the stages where the classes are stages."""
        weights = draws.astype(np.float64)
        figures: dict[Figure, NDArray[np.float64]] = {}
        for name, question in self._questions.items():
            figures |= {(name, measure): value for measure, value in _measured(question, weights).items()}
        figures |= self._over_classes(figures, weights)
        for task, question in self._staging.items():
            measured = _measured(question, weights * self._is_staged)
            figures |= {(task, measure): measured[measure] for measure in STAGING_MEASURES}
        return figures

    def _asked(self, wanted: set[str], among: Sequence[str]) -> _Question:
        """Whether one of the wanted classes applies, by their share of the scores of all among which they stand."""
        applies = np.array([bool(self._truth[patient] & wanted) for patient in self.patients], dtype=bool)
        said = np.array(
            [_score(self._scores.get(patient), wanted, among) for patient in self.patients], dtype=np.float64
        )
        missing = np.isnan(said)
        answers = np.where(missing, ~applies, said >= THRESHOLD)
        return _Question(applies, answers, np.where(missing, np.where(applies, -np.inf, np.inf), said))

    def _over_classes(
        self, of_class: Mapping[Figure, NDArray[np.float64]], weights: NDArray[np.float64]
    ) -> dict[Figure, NDArray[np.float64]]:
        questions = list(self._questions.values())
        if not questions:
            return {}
        macro = {
            (MACRO, measure): mean_of_defined([of_class[name, measure] for name in self._questions], len(weights))
            for measure in CLASS_MEASURES[1:]
        }
        both, said, there = np.sum([question.counts(weights) for question in questions], axis=0)
        all_right = np.logical_and.reduce([question.is_right for question in questions])
        micro = dict(zip(CLASS_MEASURES[1:], _precision_recall_f1(both, said, there), strict=False))
        exact = {(MACRO, "accuracy"): ratio(weights @ all_right, weights.sum(axis=1))}
        return exact | macro | {(MICRO, measure): value for measure, value in micro.items()}


def _score(own: Mapping[str, float] | None, wanted: set[str], among: Sequence[str]) -> float:
    """The score of the wanted classes; NaN for a patient without one."""
    if own is None:
        return np.nan
    if len(among) == 1:
        return own[among[0]]
    total = sum(own[name] for name in among)
    return sum(own[name] for name in among if name in wanted) / total if total else np.nan


def _measured(question: _Question, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    accuracy = ratio(weights @ question.is_right, weights.sum(axis=1))
    values = (accuracy, *_precision_recall_f1(*question.counts(weights)), auc(question.truth, question.ranks, weights))
    return dict(zip(CLASS_MEASURES, values, strict=True))


def _precision_recall_f1(
    both: NDArray[np.float64], said: NDArray[np.float64], there: NDArray[np.float64]
) -> tuple[NDArray[np.float64], ...]:
    """NaN where the class never applies; a precision of 0 where it applies and is never said to."""
    precision, recall = np.where(said > 0, ratio(both, said), 0.0), ratio(both, there)
    f1 = ratio(2 * both, said + there)
    return tuple(np.where(there > 0, value, np.nan) for value in (precision, recall, f1))


def auc(truth: NDArray[np.bool_], scores: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """(draws) area under the ROC curve; NaN where all patients of a draw are of one side.

    Args:
        truth: (patients) whether the class applies.
        scores: (patients) higher for surer; may be infinite.
        weights: (draws, patients) how often each patient counts.
    """
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.append(True, np.diff(_ranked(scores[order])) > 0))[: len(order)]
    positive, negative = (
        np.add.reduceat((weights * side)[:, order], starts, axis=1) if len(order) else np.zeros((len(weights), 0))
        for side in (truth, ~truth)
    )
    below = np.cumsum(negative, axis=1) - negative / 2
    return ratio((positive * below).sum(axis=1), positive.sum(axis=1) * negative.sum(axis=1))


def _ranked(ordered: NDArray[np.float64]) -> NDArray[np.int64]:
    """Ranks of scores in order, equal ones alike; finite where scores are not."""
    return np.unique(ordered, return_inverse=True)[1].astype(np.int64)
