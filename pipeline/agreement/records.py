"""What agreement and vote come to, as plain records: computed once, stored, read again, printed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.agreement.reasons import Doubt
from pipeline.core.artefacts import FloatOrNaN, OmittedIfEmpty
from pipeline.core.files import finite
from pipeline.core.labels import Structure
from pipeline.frames import Tabular


@dataclass(frozen=True, slots=True)
class Overlap:
    """Voxels two raters marked: each of them, and both."""

    voxels_a: int
    voxels_b: int
    voxels_both: int

    @property
    def dice(self) -> float:
        """Share of both masks that they have in common, 0.0 to 1.0; NaN when both are empty. Source: Dice 1945."""
        total = self.voxels_a + self.voxels_b
        return 2 * self.voxels_both / total if total else math.nan

    @property
    def jaccard(self) -> float:
        """Intersection over union, 0.0 to 1.0; NaN when both are empty. Source: Jaccard 1912."""
        union = self.voxels_a + self.voxels_b - self.voxels_both
        return self.voxels_both / union if union else math.nan


@dataclass(frozen=True, slots=True)
class DistanceScores:
    """Distance measures of a pair, each by its exact name.

    Attributes:
        hd_mm: Hausdorff distance, the largest of all.
        hd95_max_mm: the larger of the two directed 95th percentiles (MONAI's and nnU-Net users' HD95).
        hd95_pooled_mm: 95th percentile of both directions together (medpy's HD95).
        hd95_mean_mm: mean of the two directed 95th percentiles.
        assd_mm: average symmetric surface distance: mean over both directions together.
        masd_mm: mean of the two directed means.
        nsd: normalised surface distance (surface Dice): share of both edges within the tolerance of the other.
    """

    hd_mm: FloatOrNaN
    hd95_max_mm: FloatOrNaN
    hd95_pooled_mm: FloatOrNaN
    hd95_mean_mm: FloatOrNaN
    assd_mm: FloatOrNaN
    masd_mm: FloatOrNaN
    nsd: FloatOrNaN


UNDEFINED = DistanceScores(*[math.nan] * 7)


@dataclass(frozen=True, slots=True)
class Reliability:
    """How far all raters together agree beyond chance on the voxels of one structure, or of `ALL_LABELS`."""

    structure: str
    fleiss_kappa: FloatOrNaN
    fleiss_kappa_whole_volume: FloatOrNaN
    krippendorff_alpha: FloatOrNaN


@dataclass(frozen=True, slots=True)
class DisagreementSlice:
    """A slice on which not all raters say the same.

    Attributes:
        structure: of what.
        slice: index on the first axis, from 0.
        disagreeing_voxels: marked by some raters but not by all.
        union_voxels: marked by any.
    """

    structure: str
    slice: int
    disagreeing_voxels: int
    union_voxels: int


@dataclass(frozen=True, slots=True)
class JointLesion:
    """One connected region that at least one rater marked as lesion.

    Attributes:
        number: 1, 2, ... from the largest region to the smallest.
        pattern: one digit a rater in the order of `Joint.raters`: "11010" when raters 1, 2 and 4 marked it.
        volumes_ml: what each rater marked of it.
        components: how many separate lesions each rater drew in it.
        union_ml: what anybody marked of it.
        kept_ml: what the vote makes lesion of it, the strict majority where there is no other; 0.0 when it drops it.
        first_slice: lowest slice (axis 0, from 0).
        last_slice: highest slice.
        centroid_lps_mm: of the union.
        merged_by: raters one of whose lesions covers several lesions of another rater.
        split_by: raters several of whose lesions lie in one lesion of another rater.
        kinds: what each rater says it is, "" where a rater names no kind; empty where nobody names any.
    """

    number: int
    pattern: str
    volumes_ml: tuple[float, ...]
    components: tuple[int, ...]
    union_ml: float
    kept_ml: float
    first_slice: int
    last_slice: int
    centroid_lps_mm: tuple[float, float, float]
    merged_by: tuple[str, ...]
    split_by: tuple[str, ...]
    kinds: OmittedIfEmpty[tuple[str, ...]] = ()

    @property
    def seen_by(self) -> int:
        """Number of raters who marked any of it."""
        return self.pattern.count("1")


@dataclass(frozen=True, slots=True)
class Detection:
    """How two raters' lesions match, one to one, for the largest sum of intersection over union.

    Attributes:
        raters: a and b.
        lesions_a: number of lesions a drew.
        lesions_b: number of lesions b drew.
        touching: matched pairs that overlap at all.
        well_matched: pairs with an intersection over union above one half, whatever else touches.
        matched_dice: mean Dice of the matched pairs; NaN without any.
    """

    raters: tuple[str, str]
    lesions_a: int
    lesions_b: int
    touching: int
    well_matched: int
    matched_dice: FloatOrNaN

    @property
    def f1(self) -> float:
        """Share of both raters' lesions that touch a match, 0.0 to 1.0; NaN when neither drew any."""
        return self._share(self.touching)

    @property
    def f1_iou50(self) -> float:
        """The same, counting only pairs with an intersection over union above one half."""
        return self._share(self.well_matched)

    def _share(self, matched: int) -> float:
        drawn = self.lesions_a + self.lesions_b
        return 2 * matched / drawn if drawn else math.nan


@dataclass(frozen=True, slots=True)
class KindPair:
    """How many matching lesions two raters call by two kinds, which may be the same; "" where one names none."""

    raters: tuple[str, str]
    kind_a: str
    kind_b: str
    lesions: int


@dataclass(frozen=True, slots=True)
class KindVote:
    """What the raters say a lesion of the vote is, or a part of one where a rater outlined several kinds in it.

    Attributes:
        lesion: number of the region it belongs to, see `JointLesion`.
        voxels: how many.
        volume_ml: of these.
        first_slice: lowest slice (axis 0, from 0).
        last_slice: highest slice.
        by_rater: the say of everyone who saw the lesion; "" for a lesion of unknown kind.
        kind: what the vote says; "" where it leaves that open.
    """

    lesion: int
    voxels: int
    volume_ml: float
    first_slice: int
    last_slice: int
    by_rater: Mapping[str, str]
    kind: str

    @property
    def named(self) -> dict[str, int]:
        """How many raters name each kind, most first."""
        return dict(Counter(kind for kind in self.by_rater.values() if kind).most_common())


KIND_DEFINITIONS = {
    "kinds": "what each rater says a lesion is: the kind of most of the rater's voxels in it",
    "kind_pairs": "lesions of two raters that match one to one, by the kinds the two give them",
    "kind_votes": "the kind that most raters who saw a lesion give it; equally many votes leave it open; where a rater "
    "outlined several kinds that touch, each part is voted on by itself",
    "lesion kind": "scores of a lesion kind stand where any rater of the volume marked it",
}
"""The same for lesion kinds, where there are any."""

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
    "empty": "both masks: nothing to compare, excluded from means and counted separately; one mask: a missed "
    "structure, always included",
    "volume_difference_ml": "volume of the first rater minus volume of the second",
    "volume_difference_percent": "volume_difference_ml in percent of the mean of both volumes",
    "dice_with_vote": "Dice of a rater with the strict majority of all raters, this rater included: biased upwards",
    "dice_with_vote_of_others": "Dice of a rater with the strict majority of the other raters: unbiased; the majority "
    "of two is what both marked",
    "fleiss_kappa": "in or out of the structure, over the voxels that at least one rater marked",
    "fleiss_kappa_whole_volume": "the same over all voxels: grows with the background, compare equal sizes only",
    "krippendorff_alpha": "in or out of the structure, nominal, over the voxels that at least one rater marked",
    "all_labels": "all labels at once: kappa nominal, alpha ordinal (background, liver, lesion) where they are nested",
    "lesion": "component connected over faces, edges or corners; pattern has one digit per rater, in their order",
    "kept_ml": "what the vote makes lesion of it; where raters are only compared, what more than half of them marked",
    "f1": "share of both raters' lesions with a one-to-one match that touches; f1_iou50: with a partner of which "
    "intersection over union is above one half, as in panoptic quality",
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
    dice_with_vote: FloatOrNaN
    dice_with_vote_of_others: FloatOrNaN
    volume_ml: float
    vote_ml: float


@dataclass(frozen=True, slots=True)
class FinalScores:
    """How far one rater agrees with the mask that counts: the vote by the configured rule, or the lead's.

    Attributes:
        rater: whose mask.
        structure: what was compared.
        dice_with_final: NaN when both masks are empty.
    """

    rater: str
    structure: str
    dice_with_final: FloatOrNaN


@dataclass(frozen=True, slots=True, repr=False)
class Agreement(Tabular):
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
        kind_pairs: which kinds the raters of each pair give matching lesions; empty where nobody names any.
    """

    raters: tuple[str, ...]
    tolerance_mm: float
    pairs: tuple[PairScores, ...]
    against_vote: tuple[VoteScores, ...]
    reliability: tuple[Reliability, ...]
    slices: tuple[DisagreementSlice, ...]
    lesions: tuple[JointLesion, ...]
    detections: tuple[Detection, ...]
    kind_pairs: OmittedIfEmpty[tuple[KindPair, ...]] = ()

    columns = ("rater_a", "rater_b", "structure", "dice", "jaccard")

    def rows(self) -> Sequence[Mapping[str, Any]]:
        """One row a pair and structure."""
        return [_row_of(pair) for pair in self.pairs]

    def dice_by_pair(self, structure: Structure) -> dict[str, float | None]:
        """Dice of each pair of raters, such as "R1 R2"; None where both masks are empty."""
        pairs = (pair for pair in self.pairs if pair.structure == structure)
        return {" ".join(pair.raters): None if math.isnan(pair.overlap.dice) else pair.overlap.dice for pair in pairs}

    def to_json(self) -> dict[str, Any]:
        """Everything, with the definitions; undefined is null, so that any JSON reader takes it."""
        content = _content(self) | {
            "definitions": DEFINITIONS | (KIND_DEFINITIONS if any(lesion.kinds for lesion in self.lesions) else {}),
            "pairs": [pair.to_json() for pair in self.pairs],
            "detections": [asdict(found) | {"f1": found.f1, "f1_iou50": found.f1_iou50} for found in self.detections],
        }
        return dict(finite(content))


@dataclass(frozen=True, slots=True)
class StapleCheck:
    """What STAPLE makes of one structure of the same ratings: reported beside the vote, never in its place.

    Attributes:
        region: over which voxels it was estimated.
        voxels: more likely than not.
        dice_with_mask: Dice of these with the voted mask.
        sensitivity: by rater.
        specificity: by rater.
        converged: False when the estimate still moved at the last iteration allowed.
    """

    region: str
    voxels: int
    dice_with_mask: FloatOrNaN
    sensitivity: Mapping[str, FloatOrNaN]
    specificity: Mapping[str, FloatOrNaN]
    converged: bool


@dataclass(frozen=True, slots=True)
class TiedSlice:
    """How many voxels of a slice (axis 0, from 0) the votes alone did not decide."""

    slice: int
    voxels: int


@dataclass(frozen=True, slots=True)
class Explanation:
    """What speaks for a voted mask, and what a person must still settle.

    Attributes:
        kind: what the mask may be called: two raters never give a consensus.
        method: name of the rule.
        rule: the rule in words.
        ties: what a tie became.
        raters: in alphabetical order.
        rating_sha256: content hash of each rating, by rater.
        labels_sha256: content hash of the voted mask.
        voxels: of each label value in the voted mask.
        votes: by structure, how many voxels got 0, 1, 2, ... votes.
        tied_voxels: that the votes alone did not decide.
        tied_slices: the same, slice by slice.
        slices_to_look_at: where raters differ most.
        differing_slices: the difference list that two raters go through together.
        staple_check: by structure that STAPLE estimates.
        lesions: every region that anybody marked as lesion, what the vote keeps of it included.
        needs_adjudication: everything the vote does not settle; empty when a person need not look.
        kind_votes: what raters say each lesion of the vote is; empty where nobody names a kind.
    """

    kind: str
    method: str
    rule: str
    ties: str
    raters: tuple[str, ...]
    rating_sha256: Mapping[str, str]
    labels_sha256: str
    voxels: Mapping[str, int]
    votes: Mapping[str, tuple[int, ...]]
    tied_voxels: int
    tied_slices: tuple[TiedSlice, ...]
    slices_to_look_at: tuple[int, ...]
    differing_slices: tuple[DisagreementSlice, ...]
    staple_check: Mapping[str, StapleCheck]
    lesions: tuple[JointLesion, ...]
    needs_adjudication: tuple[Doubt, ...]
    kind_votes: OmittedIfEmpty[tuple[KindVote, ...]] = ()

    def to_json(self) -> dict[str, Any]:
        """Everything, each reason in words too, with the definitions of its terms; undefined is null."""
        named = ("lesion", "kept_ml", "slice")
        content = _content(self) | {
            "needs_adjudication": [asdict(doubt) | {"message": doubt.sentence()} for doubt in self.needs_adjudication],
            "definitions": {name: DEFINITIONS[name] for name in named} | (KIND_DEFINITIONS if self.kind_votes else {}),
        }
        return dict(finite(content))


_WHERE_KINDS_ARE = frozenset({"kinds", "kind_pairs", "kind_votes"})


def _content(record: Agreement | Explanation) -> dict[str, Any]:
    """Every field; those of lesion kinds only where there are kinds."""
    return asdict(
        record,
        dict_factory=lambda fields: {name: value for name, value in fields if value or name not in _WHERE_KINDS_ARE},
    )


def _row_of(pair: PairScores) -> dict[str, Any]:
    (rater_a, rater_b), (ml_a, ml_b) = pair.raters, pair.volumes_ml
    scores = {name: value for name, value in pair.to_json().items() if name not in ("raters", "volumes_ml")}
    return {"rater_a": rater_a, "rater_b": rater_b, **scores, "volume_ml_a": ml_a, "volume_ml_b": ml_b}
