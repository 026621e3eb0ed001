"""What would run, and why; how far each case has come. Reads receipts, changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pipeline.core.errors import ConfigError, PipelineError
from pipeline.core.receipts import read_receipt
from pipeline.stages import CASE_STAGES, DATASET_STAGES, REPORT, REVIEW_STAGES, case_ids
from pipeline.workspace import Stage, Waiting, Workspace


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step that `build` would take: the stage, the case (None for the whole dataset) and why."""

    stage: str
    case_id: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class CaseProgress:
    """How far a case has come: stage to "done", "to do", "waiting" or "failed"."""

    case_id: str
    steps: Mapping[str, str]


def plan_build(ws: Workspace, *, verify: bool = False) -> tuple[PlannedStep, ...]:
    """Every step that a build would take now; empty when all is current.

    Args:
        ws: the dataset.
        verify: hash outputs again instead of trusting size and time.

    Raises:
        ConfigError: when the sources or tables that `dataset.toml` names are not there.
    """
    return tuple(_stale_steps(ws, verify=verify))


def case_progress(ws: Workspace) -> tuple[CaseProgress, ...]:
    """One row a case; none before the first build."""
    stages = (*CASE_STAGES, *REVIEW_STAGES)
    return tuple(
        CaseProgress(case_id, {stage.name: _standing(stage, ws, case_id) for stage in stages})
        for case_id in case_ids(ws)
    )


def explain(ws: Workspace, case_id: str) -> dict[str, str]:
    """Stage to what stands with it for a case, in words.

    Raises:
        ConfigError: when there is no such case.
    """
    if case_id not in case_ids(ws):
        raise ConfigError(f"{case_id} is not a case of this dataset; `liverset status` lists the cases")
    return {stage.name: _story(stage, ws, case_id) for stage in (*CASE_STAGES, *REVIEW_STAGES)}


def _stale_steps(ws: Workspace, *, verify: bool) -> Iterator[PlannedStep]:
    for stage in DATASET_STAGES:
        reason = stage.why(ws, verify=verify)
        if reason is not None:
            yield PlannedStep(stage.name, None, reason)
    for case_id in case_ids(ws):
        yield from _stale_case_steps(ws, case_id, verify=verify)
    reason = REPORT.why(ws, verify=verify)
    if reason is not None:
        yield PlannedStep(REPORT.name, None, reason)


def _stale_case_steps(ws: Workspace, case_id: str, *, verify: bool) -> Iterator[PlannedStep]:
    """A case's steps in order; what follows a stale step is stale with it."""
    before: str | None = None
    for stage in CASE_STAGES:
        reason = f"follows {before}" if before else stage.why(ws, case_id, verify=verify)
        if reason is not None:
            before = stage.name
            yield PlannedStep(stage.name, case_id, reason)


def _standing(stage: Stage, ws: Workspace, case_id: str) -> str:
    receipt = read_receipt(stage.receipt(ws, case_id))
    if receipt is not None and not receipt.finished:
        return "failed"
    try:
        return "done" if stage.why(ws, case_id) is None else "to do"
    except (Waiting, PipelineError):
        return "waiting"


def _story(stage: Stage, ws: Workspace, case_id: str) -> str:
    receipt = read_receipt(stage.receipt(ws, case_id))
    noticed = "; ".join(problem.message for problem in receipt.problems) if receipt else ""
    try:
        reason = stage.why(ws, case_id)
    except (Waiting, PipelineError) as waiting:
        return f"waiting: {waiting}"
    state = "current" if reason is None else f"to do ({reason})"
    return f"{state}; {noticed}" if noticed else state
