"""Take what stages made before the program changed as if the program of today had made it: a person says so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from pipeline.core.receipts import CURRENT
from pipeline.stages import CASE_STAGES, REVIEW_STAGES, STAGES, case_ids
from pipeline.workspace import Stage, Waiting, Workspace


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What became of the receipts of one stage.

    Attributes:
        stage: the stage's name.
        accepted: how many receipts were accepted.
        current: how many were current already.
        left: how many were left as they are, by the reason.
    """

    stage: str
    accepted: int
    current: int
    left: Mapping[str, int]


def accept_code_changes(ws: Workspace, names: Collection[str], *, verify: bool = False) -> tuple[Acceptance, ...]:
    """Accept the finished receipts of stages of which only the program changed; the others stay as they are.

    Args:
        ws: the dataset; no run may be at work in it.
        names: of the stages, out of `STAGES`.
        verify: hash every output again instead of trusting size and time.
    """
    return tuple(_accepted(ws, stage, verify=verify) for stage in STAGES if stage.name in names)


def _accepted(ws: Workspace, stage: Stage, *, verify: bool) -> Acceptance:
    cases = case_ids(ws) if stage in (*CASE_STAGES, *REVIEW_STAGES) else (None,)
    reasons = Counter(_reason(ws, stage, case_id, verify=verify) for case_id in cases)
    accepted, current = reasons.pop(None, 0), reasons.pop(CURRENT, 0)
    return Acceptance(stage.name, accepted, current, {str(reason): count for reason, count in reasons.items()})


def _reason(ws: Workspace, stage: Stage, case_id: str | None, *, verify: bool) -> str | None:
    try:
        return stage.accept_code(ws, case_id, verify=verify)
    except Waiting as waiting:
        return str(waiting)
