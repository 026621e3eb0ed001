"""One mask from several ratings, with what speaks for it and what a person must still settle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.agreement.decision import Decision, Ties, entropy_bits, nested_majority, plurality
from pipeline.agreement.detection import LesionMaps, joint_lesions, lesion_maps
from pipeline.agreement.disagreement import disagreement_slices, slices_to_look_at
from pipeline.agreement.instances import instance_majority
from pipeline.agreement.joint import LIVER_STRUCTURES, Joint, join
from pipeline.agreement.kinds import KindDecision, kinds_marked, vote_on_kinds, with_kinds
from pipeline.agreement.losses import dropped_pieces, liver_faults, lost_lesions
from pipeline.agreement.reasons import (
    Doubt,
    JointReview,
    LowDice,
    StapleUnsettled,
    TooManyTies,
    VolumeDifference,
    slices_of,
)
from pipeline.agreement.records import DisagreementSlice, Explanation, JointLesion, StapleCheck, TiedSlice
from pipeline.agreement.scores import overlap_of, overlaps
from pipeline.agreement.staple import MAX_ITERATIONS, staple
from pipeline.core.config import AdjudicateConfig, ConsensusConfig
from pipeline.core.labels import Label, LabelScheme, Structure
from pipeline.core.volume import LabelMap
from pipeline.frames import Tabular
from pipeline.image.nifti import content_sha256

RULES = {
    "nested-majority": "liver where more than half of the raters say liver or lesion, lesion where more than half say "
    "lesion; ties are exactly half",
    "instance-majority": "liver as by nested-majority; lesion where more than half of the raters marked the same "
    "lesion, lesions of two raters being the same where they match one to one; ties are exactly half",
    "plurality": "the most frequent label; ties are labels equally frequent",
    "staple": "STAPLE over the whole grid for the liver and for the lesions in it: what is more likely than not",
}


STAPLED = (Structure.WHOLE_LIVER, Structure.LESION)
"""STAPLE estimates one structure at a time; parenchyma is what these two leave."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Consensus(Tabular):
    """One mask from several ratings. Maps of the whole grid are made when asked for.

    Attributes:
        labels: the mask; 255 where the policy left a tie undecided.
        joint: what every rater said.
        decision: what the rule made of each pattern of labels.
        config: the rule, its tie policy and what sends a volume to a person.
        rating_sha256: content hash of each rating, by rater.
        lesions: every region that anybody marked as lesion, what the vote keeps of it included.
        needs_adjudication: everything the vote does not settle; empty when a person need not look.
        kinds: what the vote makes of the kinds of lesions; None where nobody named any.
    """

    labels: LabelMap
    joint: Joint
    decision: Decision
    config: ConsensusConfig
    rating_sha256: Mapping[str, str]
    lesions: tuple[JointLesion, ...]
    needs_adjudication: tuple[Doubt, ...]
    kinds: KindDecision | None

    columns = ("rule", "message")

    def rows(self) -> Sequence[Mapping[str, Any]]:
        """One row a reason why a person must look."""
        return [{"rule": doubt.rule, "message": doubt.sentence()} for doubt in self.needs_adjudication]

    def __repr__(self) -> str:
        reasons = len(self.needs_adjudication)
        return f"Consensus({', '.join(self.joint.raters)}; {reasons} reasons for a person to look)"

    @property
    def ties(self) -> NDArray[np.bool_]:
        """True where the votes alone did not decide."""
        return self.joint.painted(self.decision.ties)

    @property
    def entropy(self) -> NDArray[np.float32]:
        """Shannon entropy of the raters' labels in bits, 0 where all agree."""
        return self.joint.painted(entropy_bits(self.joint.patterns))

    def votes(self, structure: Structure) -> NDArray[np.uint8]:
        """How many raters marked the structure."""
        by_pattern = self.joint.members(structure.values).sum(axis=1)
        return self.joint.painted(by_pattern.astype(np.uint8))

    @property
    def kind(self) -> str:
        """What the mask may be called: two raters never give a consensus."""
        names = {1: "single rating", 2: "two ratings for joint review, no consensus"}
        return names.get(len(self.joint.raters), "consensus")

    @property
    def slices_to_look_at(self) -> tuple[int, ...]:
        """Where raters differ most, and every slice that a reason is about."""
        named = (index for doubt in self.needs_adjudication for index in slices_of(doubt))
        return tuple(sorted({*slices_to_look_at(self.joint), *named}))

    def explanation(self) -> Explanation:
        """What speaks for the mask: rule, raters, votes, ties, slices to look at, lesions, hashes, open reasons."""
        tied = self.joint.slice_counts @ self.decision.ties
        return Explanation(
            kind=self.kind,
            method=self.config.method,
            rule=RULES[self.config.method],
            ties=self.config.ties,
            raters=self.joint.raters,
            rating_sha256=dict(self.rating_sha256),
            labels_sha256=content_sha256(self.labels),
            voxels=_voxels(self.decision, self.joint, self.kinds),
            votes={name: _vote_counts(self.joint, values) for name, values in LIVER_STRUCTURES.items()},
            tied_voxels=int(tied.sum()),
            tied_slices=_by_slice(self.joint, tied),
            slices_to_look_at=self.slices_to_look_at,
            differing_slices=tuple(_differing(self.joint)),
            staple_check={of.value: _staple_check(self.joint, self.decision, of) for of in STAPLED},
            lesions=self.lesions,
            needs_adjudication=self.needs_adjudication,
            kind_votes=self.kinds.votes if self.kinds else (),
        )


def vote(ratings: Mapping[str, LabelMap], config: ConsensusConfig, *, scheme: LabelScheme | None = None) -> Consensus:
    """One mask from several ratings of a volume, explained.

    The rule decides on liver and lesion, whatever its kind; then a plurality decides on the kind of each lesion.

    Two raters give their intersection, which is no consensus and asks for joint review where they differ; one rater
    gives his own mask.

    Args:
        ratings: rater to mask, on one grid.
        config: the rule, its tie policy, and the limits beyond which a person must settle the volume.
        scheme: names the lesion kinds.

    Raises:
        GeometryError: when two masks lie on different grids.
        LabelError: when there is no rating.
    """
    joint, decision = _decide(join(ratings, highest=Label.LESION), config)
    maps = lesion_maps(joint, Structure.LESION.values)
    is_lesion = np.isin(decision.labels, Structure.LESION.values)
    lesions = joint_lesions(maps, is_lesion)
    labels = joint.painted(decision.labels)
    marked, names = kinds_marked(maps, ratings), (scheme or LabelScheme()).kind_names
    kinds = None if marked is None else vote_on_kinds(maps, marked, is_lesion[maps.codes], names)
    if marked is not None and kinds is not None:
        lesions = with_kinds(lesions, maps, marked, names)
        labels[tuple(kinds.places.T)] = kinds.labels
    doubts = (
        _doubts(joint, decision, config),
        _losses(maps, decision, lesions, config.adjudicate),
        kinds.doubts if kinds else (),
    )
    return Consensus(
        labels=LabelMap(labels, joint.geometry),
        joint=joint,
        decision=decision,
        config=config,
        rating_sha256={rater: content_sha256(ratings[rater]) for rater in joint.raters},
        lesions=lesions,
        needs_adjudication=tuple(chain.from_iterable(doubts)),
        kinds=kinds,
    )


def _decide(joint: Joint, config: ConsensusConfig) -> tuple[Joint, Decision]:
    """What the rule makes of the ratings, by pattern; a pattern is split where the rule decides more finely."""
    ties: Ties = "down" if config.ties == "adjudicator" else config.ties
    match config.method:
        case "staple":
            return joint, _staple_decision(joint)
        case "instance-majority":
            return instance_majority(joint, ties)
        case "plurality":
            return joint, plurality(joint.patterns, ties)
        case "nested-majority":
            return joint, nested_majority(joint.patterns, ties)


def _staple_decision(joint: Joint) -> Decision:
    liver, lesion = (staple(joint.members(structure.values), joint.counts).probability for structure in STAPLED)
    labels = (liver > 0.5) * (int(Label.LIVER) + (lesion > 0.5))
    return Decision(labels.astype(np.uint8), (liver == 0.5) | (lesion == 0.5))


def _staple_check(joint: Joint, decision: Decision, structure: Structure) -> StapleCheck:
    found = staple(joint.members(structure.values), joint.counts)
    voted = np.isin(decision.labels, structure.values)
    overlap = overlap_of(overlaps(joint, np.stack([found.probability > 0.5, voted], axis=1)), 0, 1)
    return StapleCheck(
        region="whole grid",
        voxels=overlap.voxels_a,
        dice_with_mask=overlap.dice,
        sensitivity=dict(zip(joint.raters, found.sensitivity.tolist(), strict=True)),
        specificity=dict(zip(joint.raters, found.specificity.tolist(), strict=True)),
        converged=found.converged,
    )


def _doubts(joint: Joint, decision: Decision, config: ConsensusConfig) -> Iterator[Doubt]:
    """What keeps the vote on the whole volume from being the last word."""
    limits = config.adjudicate
    yield from _joint_review(joint)
    yield from _ties(joint, decision, 0.0 if config.ties == "adjudicator" else limits.max_tie_fraction)
    if config.method == "staple":
        yield from _staple_unsettled(joint)
    yield from _volume_difference(joint, limits.max_volume_difference_ml)
    for structure in (Structure.WHOLE_LIVER, Structure.LESION) if joint.outlines_liver else (Structure.LESION,):
        yield from _low_dice(joint, structure, limits.min_dice)


def _losses(
    maps: LesionMaps, decision: Decision, lesions: tuple[JointLesion, ...], limits: AdjudicateConfig
) -> Iterator[Doubt]:
    """What the vote takes away of lesions and liver."""
    yield from lost_lesions(maps.joint, lesions)
    yield from dropped_pieces(maps, decision, limit_mm3=limits.min_piece_mm3)
    yield from liver_faults(maps.joint, decision, limit_mm3=limits.min_piece_mm3)


def _joint_review(joint: Joint) -> Iterator[Doubt]:
    differing = int(joint.counts[(joint.patterns != joint.patterns[:, :1]).any(axis=1)].sum())
    if len(joint.raters) == 2 and differing:
        yield JointReview(differing)


def _ties(joint: Joint, decision: Decision, most: float) -> Iterator[Doubt]:
    tied = int(joint.counts[decision.ties].sum())
    union = int(joint.counts[(joint.patterns > 0).any(axis=1)].sum())
    if len(joint.raters) > 2 and tied > most * union:
        yield TooManyTies(tied, union, most)


def _staple_unsettled(joint: Joint) -> Iterator[Doubt]:
    for structure in STAPLED:
        if not staple(joint.members(structure.values), joint.counts).converged:
            yield StapleUnsettled(structure.value, MAX_ITERATIONS)


def _volume_difference(joint: Joint, limit_ml: float) -> Iterator[Doubt]:
    sizes_ml = np.diag(overlaps(joint, joint.members(Structure.LESION.values))) * joint.geometry.voxel_volume_ml
    if np.ptp(sizes_ml) > limit_ml:
        yield VolumeDifference(joint.raters, tuple(sizes_ml.tolist()), limit_ml)


def _low_dice(joint: Joint, structure: Structure, limit: float) -> Iterator[Doubt]:
    common = overlaps(joint, joint.members(structure.values))
    pairs = {(a, b): overlap_of(common, a, b).dice for a, b in combinations(range(len(joint.raters)), 2)}
    low = {pair: dice for pair, dice in pairs.items() if dice < limit}
    if low:
        a, b = min(low, key=low.__getitem__)
        yield LowDice(structure.value, (joint.raters[a], joint.raters[b]), low[a, b], limit)


def _voxels(decision: Decision, joint: Joint, kinds: KindDecision | None) -> dict[str, int]:
    values = np.unique(decision.labels).tolist()
    counts = {value: int(joint.counts[decision.labels == value].sum()) for value in values}
    if kinds:
        found = np.bincount(kinds.labels)
        counts[int(Label.LESION)] = 0
        counts |= {value: int(found[value]) for value in np.flatnonzero(found).tolist()}
    return {str(value): counts[value] for value in sorted(counts)}


def _vote_counts(joint: Joint, values: tuple[int, ...]) -> tuple[int, ...]:
    """How many voxels got 0, 1, 2, ... votes."""
    votes = joint.members(values).sum(axis=1)
    counts = np.bincount(votes, weights=joint.counts, minlength=len(joint.raters) + 1)
    return tuple(int(count) for count in counts)


def _differing(joint: Joint) -> list[DisagreementSlice]:
    """The difference list that two raters go through together."""
    shown = (Structure.WHOLE_LIVER, Structure.LESION)
    return [found for structure in shown for found in disagreement_slices(joint, structure, structure.values)]


def _by_slice(joint: Joint, voxels: NDArray[np.int64]) -> tuple[TiedSlice, ...]:
    shown = np.flatnonzero(voxels).tolist()
    return tuple(TiedSlice(joint.start[0] + index, int(voxels[index])) for index in shown)
