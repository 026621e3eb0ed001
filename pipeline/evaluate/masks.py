"""Predicted masks against the masks of a release: overlap, distances, and lesions found, volume by volume.

A missing mask is scored as an empty one. Where one of two masks is empty, Dice and Jaccard are 0 and a distance is the
diagonal of the volume, as in BraTS: leaving it out would make a network better for every lesion it misses. Where both
are empty there is nothing to measure, and the volume is in no mean.

Each lesion kind is a structure too, where the released masks hold kinds and any predicted mask does. A network that
marks lesions whatever their kind says nothing of kinds, and is not measured by them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.agreement.agree import agree
from pipeline.agreement.joint import LIVER_STRUCTURES, Structures
from pipeline.agreement.records import Detection, PairScores
from pipeline.core.errors import EvaluationError, PipelineError
from pipeline.core.geometry import Geometry
from pipeline.core.labels import Label, LabelScheme, Structure
from pipeline.core.volume import LabelMap
from pipeline.evaluate.estimates import Draws, Figure, ratio
from pipeline.evaluate.reference import Meaning, Reference, VolumeName
from pipeline.image.loading import MaskMeaning, labels_in, placed_exactly
from pipeline.image.masks import read_mask

MASK_MEASURES = ("dice", "jaccard", "asd_mm", "hd95_mm")
LESION_MEASURES = ("lesion_precision", "lesion_recall", "lesion_f1")

_HELD: Mapping[Meaning, tuple[Structure, ...]] = {
    "labels": (Structure.WHOLE_LIVER, Structure.LESION),
    "lesion": (Structure.LESION,),
    "liver": (Structure.WHOLE_LIVER,),
}


@dataclass(frozen=True, slots=True)
class MaskScores:
    """One structure of one volume.

    Attributes:
        volume: patient and phase.
        structure: what was compared; a lesion kind by its name.
        empty: "none", "one" or "both" of the masks.
        values: of `MASK_MEASURES`; NaN where both masks are empty.
        lesions: predicted, released and found; None but for lesions and their kinds.
        is_missing: no mask was handed in.
    """

    volume: VolumeName
    structure: str
    empty: str
    values: tuple[float, ...]
    lesions: tuple[int, int, int] | None
    is_missing: bool = False


@dataclass(frozen=True, slots=True)
class MasksScored:
    """What predicted masks are worth.

    Attributes:
        scores: one a volume and structure, lesion kinds included where they are measured.
        kinds_unnamed: lesion kinds that the released masks hold, where no predicted mask holds any.
    """

    scores: tuple[MaskScores, ...]
    kinds_unnamed: tuple[str, ...] = ()


def score_masks(
    masks: Mapping[VolumeName, Mapping[Meaning, Path]], asked: Sequence[VolumeName], reference: Reference
) -> MasksScored:
    """Every volume that is asked for, structure by structure.

    Args:
        masks: the files of each volume, by what they hold.
        asked: the volumes; one without a mask counts as failed.
        reference: the release.

    Raises:
        EvaluationError: when masks cannot be read, or do not lie on the grid of their volume; all are named.
    """
    handed_in = {structure for own in masks.values() for meaning in own for structure in _HELD[meaning]}
    scores: list[MaskScores] = []
    faults: list[str] = []
    for volume in asked:
        try:
            scores += _of_volume(volume, masks.get(volume, {}), handed_in, reference)
        except PipelineError as error:
            faults.append(str(error))
    if faults:
        raise EvaluationError("\n".join(faults))
    return _without_idle_kinds(scores, [kind.name for kind in reference.scheme.kinds])


def _without_idle_kinds(scores: Sequence[MaskScores], kinds: Sequence[str]) -> MasksScored:
    """The scores without kinds that no mask holds, and without all kinds where one side names none."""
    predicted, released = (
        {one.structure for one in scores if one.structure in kinds and one.lesions and one.lesions[side]}
        for side in (0, 1)
    )
    idle = set(kinds) - (predicted | released if predicted and released else set())
    unnamed = () if predicted else tuple(kind for kind in kinds if kind in released)
    return MasksScored(tuple(one for one in scores if one.structure not in idle), unnamed)


def _of_volume(
    volume: VolumeName, files: Mapping[Meaning, Path], wanted: Set[Structure], reference: Reference
) -> Iterator[MaskScores]:
    truth = reference.labels(volume)
    for meaning, file in files.items():
        predicted = _predicted(file, meaning, reference, truth.geometry)
        yield from _scores_of(volume, predicted, truth, _HELD[meaning])
        if meaning == "labels":
            yield from _kind_scores(volume, predicted, truth, reference.scheme)
    held = {structure for meaning in files for structure in _HELD[meaning]}
    missing = [structure for structure in _HELD["labels"] if structure in wanted - held]
    nothing = LabelMap(np.zeros_like(truth.voxels), truth.geometry)
    kinds = () if "labels" in files else _kind_scores(volume, nothing, truth, reference.scheme)
    for scores in chain(_scores_of(volume, nothing, truth, missing), kinds):
        yield replace(scores, is_missing=True)


def _kind_scores(volume: VolumeName, predicted: LabelMap, truth: LabelMap, scheme: LabelScheme) -> Iterator[MaskScores]:
    """Every lesion kind as if no other lesion were there."""
    for kind in scheme.kinds:
        ours, theirs = (
            LabelMap((mask.voxels == kind.value) * np.uint8(Label.LESION), mask.geometry) for mask in (predicted, truth)
        )
        for scores in _scores_of(volume, ours, theirs, [Structure.LESION]):
            yield replace(scores, structure=kind.name)


def _scores_of(
    volume: VolumeName, predicted: LabelMap, truth: LabelMap, wanted: Sequence[Structure]
) -> Iterator[MaskScores]:
    structures: Structures = {name: LIVER_STRUCTURES[name] for name in wanted}
    agreement = agree({"prediction": predicted, "release": truth}, structures=structures)
    for pair in (pair for pair in agreement.pairs if pair.structure in structures):
        detection = agreement.detections[0] if pair.structure == Structure.LESION else None
        yield _scored(volume, pair, detection, truth.geometry)


def _predicted(file: Path, meaning: Meaning, reference: Reference, grid: Geometry) -> LabelMap:
    """A predicted mask on the grid of its volume.

    Raises: as `read_mask`, `labels_in` and `placed_exactly`.
    """
    how: MaskMeaning = "lesion" if meaning == "lesion" else "labels"
    labels = labels_in(read_mask(file), reference.scheme, how, what=file.name).labels
    return placed_exactly(labels, grid, what=file.name).labels


def _scored(volume: VolumeName, pair: PairScores, detection: Detection | None, grid: Geometry) -> MaskScores:
    far_mm = diagonal_mm(grid) if pair.empty == "one" else math.nan
    apart = pair.distances
    distances = (far_mm, far_mm) if pair.empty != "none" else (apart.assd_mm, apart.hd95_max_mm)
    lesions = (detection.lesions_a, detection.lesions_b, detection.well_matched) if detection else None
    values = (pair.overlap.dice, pair.overlap.jaccard, *distances)
    return MaskScores(volume, pair.structure, pair.empty, values, lesions)


def diagonal_mm(grid: Geometry) -> float:
    """From the centre of a volume's first voxel to that of its last: no two voxels are further apart."""
    corners = grid.to_lps_mm(np.array([(0, 0, 0), np.array(grid.shape) - 1]))
    return float(np.linalg.norm(corners[1] - corners[0]))


@dataclass(frozen=True, eq=False)
class MaskSample:
    """Scores of some volumes, summed by patient, so that any mixture of patients is a product of matrices."""

    scores: tuple[MaskScores, ...]

    @cached_property
    def patients(self) -> tuple[str, ...]:
        """Whose volumes they are, each once."""
        return tuple(sorted({score.volume[0] for score in self.scores}))

    def figures(self, draws: Draws) -> dict[Figure, NDArray[np.float64]]:
        """Mean over volumes of each measure of each structure; of lesions the shares that were found and are right."""
        weights = draws.astype(np.float64)
        return {figure: ratio(weights @ above, weights @ below) for figure, (above, below) in self._sums.items()}

    @cached_property
    def _sums(self) -> dict[Figure, tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Of each figure what stands above and below the line, by patient."""
        place = {patient: index for index, patient in enumerate(self.patients)}
        sums: dict[Figure, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
        for score in self.scores:
            for measure, (above, below) in _parts(score).items():
                figure = score.structure, measure
                both = sums.setdefault(figure, (np.zeros(len(place)), np.zeros(len(place))))
                both[0][place[score.volume[0]]] += above
                both[1][place[score.volume[0]]] += below
        return sums


def _parts(score: MaskScores) -> dict[str, tuple[float, float]]:
    """What a volume adds above and below the line of each figure."""
    parts = {
        measure: (0.0, 0.0) if math.isnan(value) else (value, 1.0)
        for measure, value in zip(MASK_MEASURES, score.values, strict=True)
    }
    if score.lesions is not None:
        predicted, released, found = score.lesions
        shares = ((found, predicted), (found, released), (2 * found, predicted + released))
        parts |= dict(zip(LESION_MEASURES, shares, strict=True))
    return parts
