"""Predictions measured against a release: every figure over all, by split, fold, site, scanner and more."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

from pipeline.core.files import finite
from pipeline.evaluate.boxes import BoxSample
from pipeline.evaluate.classes import ClassSample
from pipeline.evaluate.estimates import Sample, estimates
from pipeline.evaluate.masks import MASK_MEASURES, MaskSample, MaskScores, MasksScored, score_masks
from pipeline.evaluate.predictions import Predictions, read_predictions
from pipeline.evaluate.reference import Reference, VolumeName, groups_of, open_reference

SEED = 7
"""Of the bootstrap."""

SEGMENTATION, DETECTION, CLASSIFICATION = "segmentation", "detection", "classification"

_MakeSample: TypeAlias = Callable[[Sequence[VolumeName]], Sample]

EVALUATION_DEFINITIONS = {
    "value": "over all patients of the group; of masks the mean over volumes",
    "ci_low, ci_high": "95 % percentile interval from a bootstrap over patients, all volumes of a patient together",
    "fold_mean, fold_sd": "mean and sample standard deviation over the folds, where they held all patients out",
    "missing": "volumes or patients without a prediction: scored as an empty mask, as no box, as wrong in every class",
    "of": "a structure, a lesion kind, a class; each lesion kind of masks as if no other lesion were there, where any "
    "predicted mask holds kinds",
    "dice, jaccard": "0 where one mask is empty; where both are, the volume is in no mean",
    "asd_mm": "mean of all surface distances, both ways together; the volume's diagonal where one mask is empty",
    "hd95_mm": "the larger of the two directed 95th percentiles of surface distances; as asd_mm where one is empty",
    "lesion_precision, lesion_recall, lesion_f1": "lesions of masks, all volumes counted together; found from an "
    "intersection over union above one half, in three dimensions",
    "map50": "average precision of boxes at an intersection over union of one half, COCO's 101 recalls; mean "
    "over kinds of lesions",
    "precision, recall, f1, score": "of boxes: at the score where F1 over all kinds is largest",
    "sensitivity_at_*, froc": "share of lesions found at 1/8 to 8 false positives a volume, and their mean, as LUNA16",
    "accuracy": "of a class: share of patients answered rightly from a score of one half on; of macro: with every "
    "class right",
    "macro, micro": "mean over the classes that any patient of the group has; all answers counted together",
    "auc": "area under the ROC curve, ties counted half; of macro the mean over classes",
}
"""What each number means; stands in every output."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What predictions are worth.

    Attributes:
        version: of the release.
        rows: one a task, group, thing and measure.
        volumes: scores of every mask, one row a volume and structure.
        missing: by task, what has no prediction, in the order of the manifest.
        left_out: splits, phases and lesion kinds of the release without any prediction, which were not asked for.
        unused: names of files that hold no prediction.
    """

    version: str
    rows: tuple[Mapping[str, Any], ...]
    volumes: tuple[Mapping[str, Any], ...]
    missing: Mapping[str, tuple[str, ...]]
    left_out: tuple[str, ...]
    unused: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Everything, with the definitions; undefined is null."""
        return dict(finite({**asdict(self), "definitions": EVALUATION_DEFINITIONS}))


@dataclass(frozen=True, slots=True)
class _Task:
    """What one kind of prediction is measured by."""

    name: str
    asked: tuple[VolumeName, ...]
    missing: tuple[str, ...]
    sample_of: _MakeSample


def evaluate(release: Path, predictions: Path, *, seed: int = SEED) -> Evaluation:
    """What a folder or file of predictions is worth against a release.

    A split or phase is asked for as soon as one prediction of it is there; then every volume of it counts.

    Args:
        release: folder of one version.
        predictions: as `read_predictions` takes them.
        seed: of the bootstrap.

    Raises:
        ReleaseError: when there is no release.
        EvaluationError: when predictions do not fit the release; all that is wrong is named.
        StorageError: when a file cannot be read.
    """
    reference = open_reference(release)
    found = read_predictions(predictions, reference)
    masks = MasksScored(())
    tasks: list[_Task] = []
    if found.masks:
        asked = _asked(found.masks, reference)
        masks = score_masks(found.masks, asked, reference)
        tasks.append(_segmentation(asked, masks.scores))
    tasks += [_detection(found, reference)] if found.boxes is not None else []
    tasks += [_classification(found, reference)] if found.scores is not None else []
    return Evaluation(
        version=reference.version,
        rows=tuple(row for task in tasks for row in _rows(task, reference, seed)),
        volumes=tuple(_volume_row(score) for score in masks.scores),
        missing={task.name: task.missing for task in tasks if task.missing},
        left_out=(
            *(place for task in tasks for place in _left_out(task, reference)),
            *(f"{SEGMENTATION}: {kind}" for kind in masks.kinds_unnamed),
        ),
        unused=found.unused,
    )


def _asked(predicted: Iterable[VolumeName], reference: Reference) -> tuple[VolumeName, ...]:
    """Every volume of a split and of a phase that any prediction is of, in the order of the manifest."""
    rows = [reference.rows[volume] for volume in predicted]
    splits, phases = {row.split for row in rows}, {row.phase for row in rows}
    return tuple(name for name, row in reference.rows.items() if row.split in splits and row.phase in phases)


def _segmentation(asked: tuple[VolumeName, ...], masks: Sequence[MaskScores]) -> _Task:
    missing = tuple(dict.fromkeys(" ".join(score.volume) for score in masks if score.is_missing))

    def sample_of(volumes: Sequence[VolumeName]) -> Sample:
        chosen = frozenset(volumes)
        return MaskSample(tuple(score for score in masks if score.volume in chosen))

    return _Task(SEGMENTATION, asked, missing, sample_of)


def _detection(found: Predictions, reference: Reference) -> _Task:
    """Boxes; a volume without one may be a volume without lesions, so nothing can be missing."""
    boxes = found.boxes or ()
    predicted = dict.fromkeys(reference.slices[box.image].volume for box in boxes)
    asked = _asked(predicted or reference.rows, reference)
    return _Task(DETECTION, asked, (), lambda volumes: BoxSample(volumes, boxes, reference))


def _classification(found: Predictions, reference: Reference) -> _Task:
    """Scores of patients: every patient of a split that any score is of, by the first of the patient's volumes."""
    scores = found.scores or {}
    splits = {row.split for (patient, _), row in reference.rows.items() if patient in scores}
    asked: dict[str, VolumeName] = {}
    for (patient, phase), row in reference.rows.items():
        if row.split in splits or not scores:
            asked.setdefault(patient, (patient, phase))
    missing = tuple(patient for patient in asked if patient not in scores)

    def sample_of(volumes: Sequence[VolumeName]) -> Sample:
        return ClassSample((patient for patient, _ in volumes), reference.classes, reference.truth, scores)

    return _Task(CLASSIFICATION, tuple(asked.values()), missing, sample_of)


def _left_out(task: _Task, reference: Reference) -> list[str]:
    """Splits and phases that a task says nothing of, such as "segmentation: test-ood"."""
    asked = [reference.rows[volume] for volume in task.asked]
    of_all = reference.rows.values()
    splits = sorted({row.split for row in of_all} - {row.split for row in asked})
    phases = sorted({str(row.phase) for row in of_all} - {str(row.phase) for row in asked})
    return [f"{task.name}: {place}" for place in (*splits, *(phases if task.name != CLASSIFICATION else ()))]


def _rows(task: _Task, reference: Reference, seed: int) -> list[dict[str, Any]]:
    folds = {patient: reference.rows[patient, phase].fold for patient, phase in task.asked}
    missing = frozenset(task.missing)
    rows: list[dict[str, Any]] = []
    for (group, value), volumes in _groups(task, reference).items():
        absent = sum(not missing.isdisjoint((patient, f"{patient} {phase}")) for patient, phase in volumes)
        counts = {"patients": len({patient for patient, _ in volumes}), "volumes": len(volumes), "missing": absent}
        for (thing, measure), estimate in estimates(task.sample_of(volumes), folds, seed=seed).items():
            named = {"task": task.name, "group": group, "value_of_group": value, "of": thing, "measure": measure}
            rows.append(dict(finite({**named, **counts, **asdict(estimate)})))
    return rows


def _groups(task: _Task, reference: Reference) -> dict[tuple[str, str], list[VolumeName]]:
    """All volumes that are asked for, and those of each group; of classes only what all volumes of a patient share.

    What does not part the volumes, such as a single vendor, is no group; the split always is.
    """
    groups: dict[tuple[str, str], list[VolumeName]] = {("all", "all"): list(task.asked)}
    told = groups_of(reference.rows[volume] for volume in task.asked)
    of_patients = ("split", "fold", "site")
    for name in dict.fromkeys(name for own in told for name in own):
        if task.name != CLASSIFICATION or name in of_patients:
            values = sorted({own.get(name, "") for own in told})
            for value in filter(None, values if len(values) > 1 or name == "split" else ()):
                members = [volume for volume, own in zip(task.asked, told, strict=True) if own.get(name) == value]
                groups[name, value] = members
    return groups


def _volume_row(score: MaskScores) -> dict[str, Any]:
    patient, phase = score.volume
    named = {"patient_id": patient, "phase": phase, "structure": score.structure, "missing": score.is_missing}
    values = {name: None if math.isnan(one) else one for name, one in zip(MASK_MEASURES, score.values, strict=True)}
    lesions = dict(zip(("lesions_predicted", "lesions", "lesions_found"), score.lesions or (None,) * 3, strict=True))
    return {**named, "empty": score.empty, **values, **lesions}
