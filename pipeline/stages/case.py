"""A case as its stages left it: each stage reads what it needs once, at its start, and hands that down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pipeline.agreement.reasons import Doubt
from pipeline.agreement.records import Agreement, Explanation, FinalScores
from pipeline.core.errors import ConfigError
from pipeline.core.files import identity_of
from pipeline.core.pseudonyms import Pseudonyms
from pipeline.core.records import Phase
from pipeline.lesions.records import Enhancement, Lesion
from pipeline.stages.artefacts import (
    CoarseAgreement,
    CoarseLabel,
    ConvertedVolume,
    FinalAgreement,
    LeadDecision,
    MeasuredEnhancement,
    MeasuredLesions,
    PreparedVolume,
    RatedAgreement,
    ScreenedCase,
    VolumeKey,
    VotedMask,
)
from pipeline.stages.handed_out import was_replaced
from pipeline.stages.kept import kept_screened
from pipeline.workspace import Waiting, Workspace


@dataclass(frozen=True, slots=True)
class StandingVote:
    """The vote on one volume, and what the lead radiologist made of it.

    Attributes:
        explanation: what speaks for the voted mask.
        decision: of the lead radiologist; None while there is none about this very vote.
        mask: the mask that counts: the lead's, else the voted one.
    """

    explanation: Explanation
    decision: LeadDecision | None
    mask: Path

    @property
    def open_reasons(self) -> tuple[Doubt, ...]:
        """What only the lead radiologist can settle; empty once that is done, or need not be."""
        return () if self.decision else self.explanation.needs_adjudication

    @property
    def status(self) -> str:
        """How far the volume has come, in words."""
        if self.decision:
            return "adjudicated"
        return "voted, needs adjudication" if self.open_reasons else "voted"


@dataclass(frozen=True, slots=True)
class SettledVolume:
    """One volume with everything that a release says of it."""

    case_id: str
    phase: Phase
    converted: ConvertedVolume
    coarse: CoarseLabel
    agreement: Agreement
    against_final: tuple[FinalScores, ...]
    coarse_agreement: Agreement
    vote: StandingVote
    lesions: tuple[Lesion, ...]
    prepared: PreparedVolume


@dataclass(frozen=True, slots=True)
class SettledCase:
    """One case with everything that a release says of it; volumes in the order of their phases."""

    case_id: str
    screened: ScreenedCase
    volumes: tuple[SettledVolume, ...]
    enhancement: tuple[Enhancement, ...]


def screened_cases(ws: Workspace) -> Mapping[str, ScreenedCase]:
    """Every case that passed screening, by case_id and in its order; none before the first build.

    Raises:
        PrivacyError: when the project's secret is missing, or does not open the list.
    """
    path = ws.layout.screening
    return _read_screening(path, identity_of(path), ws.crosswalk.pseudonyms) if path.exists() else {}


def case_ids(ws: Workspace) -> tuple[str, ...]:
    """The cases that passed screening, in order; none before the first build."""
    return tuple(screened_cases(ws))


def screened(ws: Workspace, case_id: str | None) -> tuple[str, ScreenedCase]:
    """The case that a stage was called for, with its id.

    Raises:
        Waiting: when nothing is screened yet.
        ConfigError: when there is no such case.
    """
    cases = screened_cases(ws)
    if not ws.layout.screening.exists():
        raise Waiting("the sources are not screened yet; run `liverset build`")
    if case_id is None or case_id not in cases:
        raise ConfigError(f"{case_id} is not a case of this dataset; `liverset status` lists the cases")
    return case_id, cases[case_id]


def volumes(ws: Workspace) -> list[VolumeKey]:
    """Every volume of every case, in order."""
    return [(case_id, phase) for case_id, case in screened_cases(ws).items() for phase in case.series]


def standing(ws: Workspace) -> frozenset[VolumeKey]:
    """Volumes of the dataset whose image lies there: not those excluded, withdrawn or taken back."""
    return frozenset(volume for volume in volumes(ws) if ws.layout.image(*volume).is_file())


def read_vote(ws: Workspace, case_id: str, phase: Phase) -> StandingVote | None:
    """The vote as it stands on one volume; None before the vote, also when it was on an image that was replaced."""
    layout = ws.layout
    path = layout.consensus_explanation(case_id, phase)
    if not path.is_file() or was_replaced(ws, (case_id, phase)):
        return None
    explanation = VotedMask.load(path).explanation
    facts = layout.adjudication(case_id, phase)
    decision = LeadDecision.load(facts) if facts.is_file() else None
    if decision is None or decision.voted_sha256 != explanation.labels_sha256:
        return StandingVote(explanation, None, layout.consensus(case_id, phase))
    return StandingVote(explanation, decision, layout.adjudicated(case_id, phase))


def require_vote(ws: Workspace, case_id: str, phase: Phase) -> StandingVote:
    """The vote as it stands on one volume.

    Raises:
        Waiting: before the vote.
    """
    vote = read_vote(ws, case_id, phase)
    if vote is None:
        raise Waiting("no vote yet")
    return vote


def read_settled_case(ws: Workspace, case_id: str, case: ScreenedCase) -> SettledCase:
    """Everything that a release says of a case whose stages are all done.

    Raises:
        StorageError: when a file is missing or damaged.
    """
    enhancement = MeasuredEnhancement.load(ws.layout.enhancement(case_id)).rows
    return SettledCase(case_id, case, tuple(_settled_volume(ws, case_id, phase) for phase in case.series), enhancement)


def _settled_volume(ws: Workspace, case_id: str, phase: Phase) -> SettledVolume:
    layout = ws.layout
    return SettledVolume(
        case_id=case_id,
        phase=phase,
        converted=ConvertedVolume.load(layout.header(case_id, phase)),
        coarse=CoarseLabel.load(layout.coarse_provenance(case_id, phase)),
        agreement=RatedAgreement.load(layout.agreement(case_id, phase)).agreement,
        against_final=FinalAgreement.load(layout.final_agreement(case_id, phase)).scores,
        coarse_agreement=CoarseAgreement.load(layout.coarse_agreement(case_id, phase)).agreement,
        vote=require_vote(ws, case_id, phase),
        lesions=MeasuredLesions.load(layout.lesions(case_id, phase)).lesions,
        prepared=PreparedVolume.load(layout.preparation(case_id, phase)),
    )


@lru_cache(maxsize=1)
def _read_screening(path: Path, identity: tuple[int, int, int], pseudonyms: Pseudonyms) -> Mapping[str, ScreenedCase]:
    """Read once as long as the file stays the same: every stage of every case asks for it."""
    cases = kept_screened(path, pseudonyms)
    return {case_id: cases[case_id] for case_id in sorted(cases)}
