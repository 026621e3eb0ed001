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
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluate.curves import average_precision, best_f1, ranked, sensitivities
from pipeline.evaluate.estimates import Draws, Figure, mean_of_defined
from pipeline.evaluate.predictions import ScoredBox
from pipeline.evaluate.reference import Corners, LesionBox, Reference, VolumeName

MATCH_IOU = 0.5
"""From this intersection over union on a box matches, as mAP50 says; COCO counts one of exactly a half."""

MOST_BOXES = 100
"""Of a kind on a slice, the surest first: COCO's largest `maxDets`."""

DRAWN_AT_ONCE = 1_000_000
"""Draws times boxes that are counted in one go: some ten MB each array."""

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
        parts = max(1, len(draws) * len(self._all.scores) // DRAWN_AT_ONCE)
        found = [self._figures(some) for some in np.array_split(draws, parts)]
        return {figure: np.concatenate([one[figure] for one in found]) for figure in found[0]}

    def _figures(self, draws: Draws) -> dict[Figure, NDArray[np.float64]]:
        truths = {kind: draws[:, owners].sum(axis=1).astype(np.float64) for kind, owners in self._truths.items()}
        each = {kind: average_precision(boxes, draws, truths[kind]) for kind, boxes in self._boxes.items()}
        there = np.sum(list(truths.values()), axis=0) if truths else np.zeros(len(draws))
        volumes = draws[:, self._volumes].sum(axis=1).astype(np.float64)
        overall = {"map50": mean_of_defined(list(each.values()), len(draws)), **best_f1(self._all, draws, there)}
        overall |= sensitivities(self._lesions, self._wrong, draws, volumes)
        figures = {(ALL_KINDS, measure): value for measure, value in overall.items()}
        return figures | {(kind, "map50"): value for kind, value in each.items()}

    def _count(self, lesions: Sequence[LesionBox], predicted: Sequence[ScoredBox], reference: Reference) -> None:
        """Match every slice and kind; remember right and wrong boxes, and how sure the surest of each lesion was."""
        of_lesions = _grouped(lesions)
        of_predicted = _grouped(predicted)
        best = {(reference.slices[box.image].volume, box.kind, box.lesion): -np.inf for box in lesions}
        found: dict[str, list[tuple[int, float, bool]]] = defaultdict(list)
        wrong: list[tuple[int, float, bool]] = []
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
                wrong += [] if touched else [(patient, box.score, False)]
        self._boxes = {kind: ranked(found[kind]) for kind in sorted({box.kind for box in lesions} | set(found))}
        self._truths = {kind: self._owners(lesions, kind, reference) for kind in self._boxes}
        self._all = ranked(box for kind in sorted(found) for box in found[kind])
        self._lesions = ranked((self._place[volume[0]], score, True) for (volume, *_), score in sorted(best.items()))
        self._wrong = ranked(wrong)

    def _owners(self, lesions: Sequence[LesionBox], kind: str, reference: Reference) -> NDArray[np.int64]:
        """(boxes) the patient of each released box of a kind."""
        owners = [self._place[reference.slices[box.image].volume[0]] for box in lesions if box.kind == kind]
        return np.array(owners, dtype=np.int64)


def _grouped(boxes: Iterable[_Box]) -> Mapping[tuple[int, str], list[_Box]]:
    """Boxes by slice and kind."""
    groups: dict[tuple[int, str], list[_Box]] = defaultdict(list)
    for box in boxes:
        groups[box.image, box.kind].append(box)
    return groups
