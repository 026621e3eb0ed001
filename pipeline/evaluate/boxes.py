"""Predicted boxes against the lesions of a release: average precision, precision and recall, FROC.

Boxes lie on slices. A box and a lesion of its kind match from an intersection over union of one half, boxes taken from
the surest to the least sure, each for the best lesion that is left, at most 100 a slice, as COCO evaluates (Lin et al.
2014, arXiv 1405.0312). Precision, recall and F1 are those at the score that makes F1 largest, since a detector's scores
mean nothing by themselves.

FROC counts lesions instead of boxes, as LUNA16 does (Setio et al. 2017, arXiv 1612.08012): a lesion is found when a box
matches it on any of its slices; a box that matches no lesion is a false positive, a further one on a lesion is neither.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluate.estimates import Draws, Figure, ratio
from pipeline.evaluate.predictions import ScoredBox
from pipeline.evaluate.reference import Corners, LesionBox, Reference, VolumeName

MATCH_IOU = 0.5
"""From this intersection over union on a box matches, as mAP50 says; COCO counts one of exactly a half."""

MOST_BOXES = 100
"""Of a kind on a slice, the surest first: COCO's largest `maxDets`."""

RECALLS = np.linspace(0.0, 1.0, 101)
"""Where COCO reads precision off; average precision is the mean of these."""

FROC_RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False positives a volume at which LUNA16 reads sensitivity off."""

_Box = TypeVar("_Box", LesionBox, ScoredBox)

ALL_KINDS = "all kinds"


def iou(first: Sequence[Corners], second: Sequence[Corners]) -> NDArray[np.float64]:
    """(first, second) intersection over union of every pair of boxes."""
    a, b = np.array(first, dtype=np.float64).reshape(-1, 1, 4), np.array(second, dtype=np.float64).reshape(1, -1, 4)
    low = np.maximum(a[..., :2], b[..., :2])
    high = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    shared = np.prod(np.maximum(high - low, 0.0), axis=-1)
    return np.asarray(shared / (np.prod(a[..., 2:], axis=-1) + np.prod(b[..., 2:], axis=-1) - shared))


def matched(overlap: NDArray[np.float64]) -> NDArray[np.int64]:
    """(predicted) the lesion each box gets, -1 for none.

    Args:
        overlap: (predicted, lesions) intersection over union on one slice, boxes from the surest.
    """
    free = np.ones(overlap.shape[1], dtype=bool)
    lesions = np.full(len(overlap), -1, dtype=np.int64)
    for box, row in enumerate(overlap):
        best = np.where(free, row, -1.0)[::-1]  # COCO takes the last of equal ones
        if best.size and best.max() >= MATCH_IOU:
            lesions[box] = best.size - 1 - int(best.argmax())
            free[lesions[box]] = False
    return lesions


@dataclass(frozen=True, slots=True, eq=False)
class _Boxes:
    """Boxes from the surest to the least sure, and whose they are."""

    patients: NDArray[np.int64]
    scores: NDArray[np.float64]
    is_right: NDArray[np.bool_]

    def __getitem__(self, chosen: NDArray[np.bool_]) -> _Boxes:
        return _Boxes(self.patients[chosen], self.scores[chosen], self.is_right[chosen])


class BoxSample:
    """Boxes of some volumes, matched once, ready to be counted in any mixture of patients.

    Args:
        volumes: all that are asked for, those without a box too.
        boxes: predicted; of other volumes they do not count.
        reference: the release.
    """

    def __init__(self, volumes: Iterable[VolumeName], boxes: Iterable[ScoredBox], reference: Reference) -> None:
        chosen = frozenset(volumes)
        self.patients = tuple(sorted({patient for patient, _ in chosen}))
        self._place = {patient: index for index, patient in enumerate(self.patients)}
        self._volumes = np.array([self._place[patient] for patient, _ in sorted(chosen)], dtype=np.int64)
        lesions = [box for box in reference.boxes if reference.slices[box.image].volume in chosen]
        predicted = [box for box in boxes if reference.slices[box.image].volume in chosen]
        self._count(lesions, predicted, reference)

    def figures(self, draws: Draws) -> dict[Figure, NDArray[np.float64]]:
        """mAP50 over kinds, precision and recall at the best F1, FROC, and average precision of each kind."""
        rows = [self._of_draw(draw) for draw in draws]
        names = self._of_draw(np.zeros(len(self.patients), dtype=np.int64))
        return {figure: np.array([row[figure] for row in rows], dtype=np.float64) for figure in names}

    def _count(self, lesions: Sequence[LesionBox], predicted: Sequence[ScoredBox], reference: Reference) -> None:
        """Match every slice and kind; remember right and wrong boxes, and how sure the surest of each lesion was."""
        of_lesions = _grouped(lesions)
        of_predicted = _grouped(predicted)
        best = {(reference.slices[box.image].volume, box.kind, box.lesion): -np.inf for box in lesions}
        found: dict[str, list[tuple[int, float, bool]]] = defaultdict(list)
        wrong: list[tuple[int, float]] = []
        for image, kind in sorted(of_predicted):
            volume = reference.slices[image].volume
            patient, truths = self._place[volume[0]], of_lesions.get((image, kind), [])
            own = sorted(of_predicted[image, kind], key=lambda box: -box.score)[:MOST_BOXES]
            overlap = iou([box.corners for box in own], [box.corners for box in truths])
            for box, lesion, row in zip(own, matched(overlap), overlap, strict=True):
                found[kind].append((patient, box.score, bool(lesion >= 0)))
                touched = [truths[place].lesion for place in np.flatnonzero(row >= MATCH_IOU)]
                for number in touched:
                    best[volume, kind, number] = max(best[volume, kind, number], box.score)
                wrong += [] if touched else [(patient, box.score)]
        self._boxes = {kind: _sorted(found[kind]) for kind in sorted({box.kind for box in lesions} | set(found))}
        self._truths = {kind: self._owners(lesions, kind, reference) for kind in self._boxes}
        self._all = _joined(list(self._boxes.values()))
        self._lesions = _sorted([(self._place[key[0][0]], score, True) for key, score in sorted(best.items())])
        self._wrong = _sorted([(patient, score, False) for patient, score in wrong])

    def _owners(self, lesions: Sequence[LesionBox], kind: str, reference: Reference) -> NDArray[np.int64]:
        """(boxes) the patient of each released box of a kind."""
        owners = [self._place[reference.slices[box.image].volume[0]] for box in lesions if box.kind == kind]
        return np.array(owners, dtype=np.int64)

    def _of_draw(self, draw: NDArray[np.int64]) -> dict[Figure, float]:
        each = {
            kind: average_precision(draw[boxes.patients], boxes.is_right, int(draw[self._truths[kind]].sum()))
            for kind, boxes in self._boxes.items()
        }
        defined = [value for value in each.values() if not np.isnan(value)]
        overall = {"map50": float(np.mean(defined)) if defined else np.nan, **self._best_f1(draw), **self._froc(draw)}
        figures = {(ALL_KINDS, measure): value for measure, value in overall.items()}
        return figures | {(kind, "ap50"): value for kind, value in each.items()}

    def _best_f1(self, draw: NDArray[np.int64]) -> dict[str, float]:
        """Precision, recall and F1 over all kinds at the score where F1 is largest, the highest of equal ones."""
        boxes = self._all
        truths = float(sum(draw[owners].sum() for owners in self._truths.values()))
        weights = draw[boxes.patients]
        right, all_boxes = np.cumsum(weights * boxes.is_right), np.cumsum(weights)
        ends = np.append(boxes.scores[1:] < boxes.scores[:-1], True)[: len(weights)]  # equal scores count together
        right, all_boxes, scores = right[ends], all_boxes[ends], boxes.scores[ends]
        f1 = ratio(2 * right.astype(np.float64), all_boxes + truths)
        if not truths or not len(f1) or not right[-1]:
            nothing = np.nan if not truths else 0.0
            return {"precision": nothing, "recall": nothing, "f1": nothing, "score": np.nan}
        best = int(np.nanargmax(f1))
        precision, recall = right[best] / all_boxes[best], right[best] / truths
        return {"precision": float(precision), "recall": recall, "f1": float(f1[best]), "score": float(scores[best])}

    def _froc(self, draw: NDArray[np.int64]) -> dict[str, float]:
        """Share of lesions found at each rate of false positives a volume, and the mean of these shares."""
        volumes, lesions = float(draw[self._volumes].sum()), float(draw[self._lesions.patients].sum())
        if not volumes or not lesions:
            return {_froc_name(rate): np.nan for rate in FROC_RATES} | {"froc": np.nan}
        rates, shares = froc_curve(
            (self._lesions.scores, draw[self._lesions.patients] / lesions),
            (self._wrong.scores, draw[self._wrong.patients] / volumes),
        )
        read = np.interp(FROC_RATES, rates, shares)
        return {_froc_name(rate): float(share) for rate, share in zip(FROC_RATES, read, strict=True)} | {
            "froc": float(read.mean())
        }


def average_precision(weights: NDArray[np.int64], is_right: NDArray[np.bool_], truths: int) -> float:
    """COCO's average precision at one intersection over union: 101 recalls, precision made to fall; NaN without truths.

    Args:
        weights: how often each box counts, from the surest to the least sure.
        is_right: whether it matched.
        truths: how many boxes there are to find.
    """
    if not truths:
        return np.nan
    counted = weights > 0
    right, all_boxes = np.cumsum(weights * is_right)[counted], np.cumsum(weights)[counted]
    falling = np.maximum.accumulate((right / all_boxes)[::-1])[::-1]
    places = np.searchsorted(right / truths, RECALLS, side="left")
    return float(np.append(falling, 0.0)[places].mean())


def froc_curve(
    lesions: tuple[NDArray[np.float64], NDArray[np.float64]], wrong: tuple[NDArray[np.float64], NDArray[np.float64]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """False positives a volume and share of lesions found, at every score from none on, neither ever falling.

    Args:
        lesions: how sure the surest box of each lesion was (-inf for one not found), and its share of all lesions.
        wrong: how sure each false positive was, and its share of a volume.
    """
    scores = np.unique(np.concatenate([lesions[0], wrong[0]]))[::-1]
    scores = scores[np.isfinite(scores)]
    shares, rates = (_reached(*of, scores) for of in (lesions, wrong))
    return rates, shares


def _reached(
    own: NDArray[np.float64], weights: NDArray[np.float64], scores: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How much weight is at or above each score, after nothing at all."""
    order = np.argsort(-own, kind="stable")
    summed = np.append(0.0, np.cumsum(weights[order]))
    reached: NDArray[np.float64] = summed[np.searchsorted(-own[order], -scores, side="right")]
    return np.append(0.0, reached)


def _froc_name(rate: float) -> str:
    return f"sensitivity_at_{rate:g}"


def _sorted(found: Sequence[tuple[int, float, bool]]) -> _Boxes:
    """From the surest on; equal ones keep their order, as in COCO."""
    patients = np.array([patient for patient, _, _ in found], dtype=np.int64)
    scores = np.array([score for _, score, _ in found], dtype=np.float64)
    is_right = np.array([right for _, _, right in found], dtype=bool)
    order = np.argsort(-scores, kind="stable")
    return _Boxes(patients[order], scores[order], is_right[order])


def _joined(parts: Sequence[_Boxes]) -> _Boxes:
    return _sorted([row for part in parts for row in zip(part.patients, part.scores, part.is_right, strict=True)])


def _grouped(boxes: Iterable[_Box]) -> Mapping[tuple[int, str], list[_Box]]:
    """Boxes by slice and kind."""
    groups: dict[tuple[int, str], list[_Box]] = defaultdict(list)
    for box in boxes:
        groups[box.image, box.kind].append(box)
    return groups
