"""One zip for the lead radiologist with every vote that is open and was not asked about before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.core.records import Problem, Severity
from pipeline.core.words import counted
from pipeline.dataset.layout import ADJUDICATION
from pipeline.stages.artefacts import AskedItem, AskedOfLead, VolumeKey
from pipeline.stages.case import StandingVote, read_vote, volumes
from pipeline.stages.pack import hashes_of_volumes, scheme_of
from pipeline.stages.privacy import require_clean, require_searched_for_text
from pipeline.stages.recall import images_sent
from pipeline.workspace import Stage, Waiting, Work, Workspace

if TYPE_CHECKING:
    from pipeline.review.adjudication import AdjudicationItem


def adjudications(ws: Workspace) -> dict[int, tuple[AskedItem, ...]]:
    """What the lead radiologist was asked to settle, by round."""
    numbers = ws.layout.numbers(ADJUDICATION)
    return {number: AskedOfLead.load(ws.layout.assignment(number, ADJUDICATION)).items for number in numbers}


def open_votes(ws: Workspace) -> tuple[Problem, ...]:
    """What the votes leave to settle and the lead has not settled yet; one problem a reason."""
    votes = ((volume, read_vote(ws, *volume)) for volume in volumes(ws))
    return tuple(problem for volume, vote in votes if vote for problem in open_problems(volume, vote))


def open_problems(volume: VolumeKey, vote: StandingVote) -> tuple[Problem, ...]:
    """What the vote of one volume leaves to settle, as problems."""
    case_id, phase = volume
    return tuple(
        Problem(f"adjudicate-{reason.rule}", Severity.FLAG, f"{case_id} {phase}: {reason.sentence()}")
        for reason in vote.open_reasons
    )


def _inputs(ws: Workspace, case_id: str | None) -> dict[str, str]:
    explanations = [(volume[0], ws.layout.consensus_explanation(*volume)) for volume in volumes(ws)]
    voted = [(case, file) for case, file in explanations if file.is_file()]
    if not voted:
        raise Waiting("no volume has a vote yet; run `liverset review check`")
    return hashes_of_volumes(ws, voted)


def _adjudicate(ws: Workspace, case_id: str | None) -> Work:
    from pipeline.review.adjudication import build_adjudication_package

    new = to_adjudicate(ws)
    if not new:
        return Work((), note="no new vote needs the lead radiologist")
    require_searched_for_text(ws, new)
    number = max(ws.layout.numbers(ADJUDICATION), default=0) + 1
    package = build_adjudication_package(
        ws.layout.outbox(number, ADJUDICATION),
        [_item(ws, volume, vote) for volume, vote in new.items()],
        scheme_of(ws),
        round_number=number,
        dataset=ws.config.dataset.name,
        unit=ws.unit,
    )
    require_clean(ws, [package], what="the adjudication package")
    items = tuple(AskedItem(*volume, vote.explanation.labels_sha256) for volume, vote in new.items())
    assignment = ws.layout.assignment(number, ADJUDICATION)
    AskedOfLead(items=items, images=images_sent(ws, new)).save(assignment)
    return Work(
        (package, assignment), note=f"adjudication {number}: {counted(len(new), 'volume')} for the lead radiologist"
    )


def to_adjudicate(ws: Workspace) -> dict[VolumeKey, StandingVote]:
    """Votes that need the lead radiologist and were not sent to the lead yet."""
    asked = {item.voted_sha256 for items in adjudications(ws).values() for item in items}
    votes = {volume: vote for volume in volumes(ws) if (vote := read_vote(ws, *volume))}
    return {
        volume: vote
        for volume, vote in votes.items()
        if vote.explanation.needs_adjudication and vote.explanation.labels_sha256 not in asked
    }


def _item(ws: Workspace, volume: VolumeKey, vote: StandingVote) -> AdjudicationItem:
    from pipeline.review.adjudication import AdjudicationItem
    from pipeline.review.assignment import item_id_of

    case_id, phase = volume
    return AdjudicationItem(
        item_id=item_id_of(case_id, phase),
        case_id=case_id,
        phase=phase,
        image=ws.layout.image(case_id, phase),
        voted=ws.layout.consensus(case_id, phase),
        ratings={rater: ws.layout.rating(case_id, phase, rater) for rater in vote.explanation.raters},
        reasons=vote.explanation.needs_adjudication,
        slices_to_look_at=vote.explanation.slices_to_look_at,
    )


ADJUDICATE = Stage(
    name="adjudicate",
    sections=lambda config: (config.review, config.labels, config.dataset),
    inputs=_inputs,
    work=_adjudicate,
)
