"""How far several raters of one volume agree: every pair, all together, and each against the vote."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.agreement.decision import nested_majority
from pipeline.agreement.detection import Detection, JointLesion, detections, joint_lesions, lesion_maps
from pipeline.agreement.disagreement import DisagreementSlice, disagreement_slices
from pipeline.agreement.distances import UNDEFINED, DistanceScores, surface_distances
from pipeline.agreement.joint import LIVER_STRUCTURES, Joint, Structures, join
from pipeline.agreement.raters import Reliability, reliability, reliability_of_labels
from pipeline.agreement.scores import Overlap, overlap_of, overlaps
from pipeline.core.files import finite
from pipeline.core.labels import Label, Structure
from pipeline.core.volume import LabelMap

DEFINITIONS = {
    "dice": "2 |A and B| / (|A| + |B|); undefined when both masks are empty, 0 when one is",
    "jaccard": "|A and B| / |A or B|; undefined when both masks are empty, 0 when one is",
    "surface": "voxels with a face neighbour outside the mask, beyond the image counts as outside; distances run from "
    "voxel centre to voxel centre in mm, undefined when either mask is empty",
    "hd_mm": "largest surface distance, both ways",
    "hd95_max_mm": "the larger of the two directed 95th percentiles, as MONAI computes it; use this one by default",
    "hd95_pooled_mm": "95th percentile of both directions together, as medpy computes it",
    "hd95_mean_mm": "mean of the two directed 95th percentiles",
    "assd_mm": "mean of all surface distances, both ways together",
    "masd_mm": "mean of the two directed means",
    "nsd": "share of both surfaces within tolerance_mm of the other; 0 when one mask is empty",
    "empty": "both: nothing to agree on, left out of means and counted apart; one: a missed structure, never left out",
    "volume_difference_ml": "volume of the first rater minus volume of the second",
    "volume_difference_percent": "volume_difference_ml in percent of the mean of both volumes",
    "dice_with_vote": "Dice of a rater with the strict majority of all raters, himself among them: too high",
    "dice_with_vote_of_others": "Dice of a rater with the strict majority of the other raters: fair; the majority of "
    "two is what both say",
    "fleiss_kappa": "in or out of the structure, over the voxels that at least one rater marked",
    "fleiss_kappa_whole_volume": "the same over all voxels: grows with the background, compare only like with like",
    "krippendorff_alpha": "in or out of the structure, nominal, over the voxels that at least one rater marked",
    "all_labels": "all labels at once: kappa nominal, alpha ordinal (background, liver, lesion) where they are nested",
    "lesion": "component connected over faces, edges or corners; pattern has one digit a rater in the order of raters",
    "f1": "share of both raters' lesions with a one-to-one match that touches; f1_iou50: that overlaps by half",
    "slice": "index on the first axis, from 0",
}
"""What each number means; stands in every output, since tools differ by up to 35 % under the same name."""


@dataclass(frozen=True, slots=True)
class PairScores:
    """How far two raters agree on one structure.

    Attributes:
        raters: a and b.
        structure: what was compared.
        empty: "none", "one" or "both" of the masks.
        overlap: voxels of a, of b, of both.
        volumes_ml: of a and of b.
        distances: between the two surfaces.
    """

    raters: tuple[str, str]
    structure: str
    empty: str
    overlap: Overlap
    volumes_ml: tuple[float, float]
    distances: DistanceScores

    @property
    def volume_difference_ml(self) -> float:
        """Volume of a minus volume of b."""
        return self.volumes_ml[0] - self.volumes_ml[1]

    @property
    def volume_difference_percent(self) -> float:
        """The difference in percent of the mean volume; NaN when both masks are empty."""
        total = sum(self.volumes_ml)
        return 200 * self.volume_difference_ml / total if total else math.nan

    def to_json(self) -> dict[str, Any]:
        """All scores in one flat mapping; undefined is null."""
        scores = {
            "raters": self.raters,
            "structure": self.structure,
            "empty": self.empty,
            "dice": self.overlap.dice,
            "jaccard": self.overlap.jaccard,
            "volumes_ml": self.volumes_ml,
            "volume_difference_ml": self.volume_difference_ml,
            "volume_difference_percent": self.volume_difference_percent,
        } | asdict(self.distances)
        return dict(finite(scores | ({"nsd": 0.0} if self.empty == "one" else {})))


@dataclass(frozen=True, slots=True)
class VoteScores:
    """How far one rater agrees with the strict majority, with and without his own vote.

    Attributes:
        rater: whose mask.
        structure: what was compared.
        dice_with_vote: against the vote he took part in.
        dice_with_vote_of_others: against the vote of the others; NaN with fewer than three raters.
        volume_ml: what he marked.
        vote_ml: what the vote he took part in gives.
    """

    rater: str
    structure: str
    dice_with_vote: float
    dice_with_vote_of_others: float
    volume_ml: float
    vote_ml: float


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far the raters of one volume agree.

    Attributes:
        raters: in alphabetical order.
        tolerance_mm: of the normalised surface distance.
        pairs: one a pair and structure.
        against_vote: one a rater and structure.
        reliability: one a structure, and one of `ALL_LABELS`.
        slices: where raters differ, one a structure and slice, lowest slice first.
        lesions: every region that anybody marked as lesion.
        detections: how the lesions of each pair match.
    """

    raters: tuple[str, ...]
    tolerance_mm: float
    pairs: tuple[PairScores, ...]
    against_vote: tuple[VoteScores, ...]
    reliability: tuple[Reliability, ...]
    slices: tuple[DisagreementSlice, ...]
    lesions: tuple[JointLesion, ...]
    detections: tuple[Detection, ...]

    def to_json(self) -> dict[str, Any]:
        """Everything, with the definitions; undefined is null, so that any JSON reader takes it."""
        content = asdict(self) | {
            "definitions": DEFINITIONS,
            "pairs": [pair.to_json() for pair in self.pairs],
            "detections": [asdict(found) | {"f1": found.f1, "f1_iou50": found.f1_iou50} for found in self.detections],
        }
        return dict(finite(content))


def agree(
    ratings: Mapping[str, LabelMap], *, tolerance_mm: float = 2.0, structures: Structures = LIVER_STRUCTURES
) -> Agreement:
    """How far the raters of one volume agree, by every measure that `DEFINITIONS` names.

    Args:
        ratings: rater to mask, on one grid; a single rater gives no pair and undefined reliability.
        tolerance_mm: largest surface distance that still counts as touching.
        structures: what to report; lesions are looked for where the structure "lesion" is among them.

    Raises:
        GeometryError: when two masks lie on different grids.
        LabelError: when there is no rating.
    """
    joint = join(ratings)
    lesion_values = structures.get(Structure.LESION, ())
    maps = lesion_maps(joint, lesion_values)
    return Agreement(
        raters=joint.raters,
        tolerance_mm=tolerance_mm,
        pairs=tuple(pair for name in structures for pair in _pairs(joint, name, structures[name], tolerance_mm)),
        against_vote=tuple(score for name in structures for score in _against_vote(joint, name, structures[name])),
        reliability=(
            *(reliability(joint, name, structures[name]) for name in structures),
            reliability_of_labels(joint),
        ),
        slices=tuple(found for name in structures for found in disagreement_slices(joint, name, structures[name])),
        lesions=joint_lesions(maps),
        detections=detections(maps),
    )


def _pairs(joint: Joint, name: str, values: Sequence[int], tolerance_mm: float) -> list[PairScores]:
    common = overlaps(joint, joint.members(values))
    distances = surface_distances(joint, values)
    ml = joint.geometry.voxel_volume_ml
    pairs = []
    for a, b in combinations(range(len(joint.raters)), 2):
        overlap = overlap_of(common, a, b)
        empty = ("none", "one", "both")[(overlap.voxels_a == 0) + (overlap.voxels_b == 0)]
        volumes_ml = overlap.voxels_a * ml, overlap.voxels_b * ml
        scores = UNDEFINED if empty != "none" else distances[a, b].scores(tolerance_mm)
        pairs.append(PairScores((joint.raters[a], joint.raters[b]), name, empty, overlap, volumes_ml, scores))
    return pairs


def _against_vote(joint: Joint, name: str, values: Sequence[int]) -> list[VoteScores]:
    members = joint.members(values)
    vote = _voted(joint.patterns, values)
    scores = []
    for index, rater in enumerate(joint.raters):
        others = _voted(np.delete(joint.patterns, index, axis=1), values)
        common = overlaps(joint, np.stack([members[:, index], vote, others], axis=1))
        fair = overlap_of(common, 0, 2).dice if len(joint.raters) > 2 else math.nan
        rater_ml, vote_ml, _ = (np.diag(common) * joint.geometry.voxel_volume_ml).tolist()
        scores.append(VoteScores(rater, name, overlap_of(common, 0, 1).dice, fair, rater_ml, vote_ml))
    return scores


def _voted(patterns: NDArray[np.uint8], values: Sequence[int]) -> NDArray[np.bool_]:
    """(patterns) what the vote makes this structure: nested for liver and lesion, else by strict majority alone."""
    if patterns.max(initial=0) <= Label.LESION:
        return np.isin(nested_majority(patterns).labels, tuple(values))
    votes = np.isin(patterns, tuple(values)).sum(axis=1)
    return np.asarray(2 * votes > patterns.shape[1])
