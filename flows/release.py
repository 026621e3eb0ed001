"""From the consensus to an immutable, verified version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows.tasks import run_step, state_of
from pipeline import stages
from pipeline.workspace import Outcome, Status, Workspace


@flow(name="publish release", validate_parameters=False)
def publish_release(root: Path, version: str) -> State[Any]:
    """Outcomes of cutting a version and, if it was cut, of verifying it."""

    def cut(workspace: Workspace) -> Outcome:
        return stages.cut_release(workspace, version)

    def verify(workspace: Workspace) -> Outcome:
        return stages.verify_release(workspace, version)

    outcomes = run_step(root, "cut", cut)
    if outcomes[-1].status in (Status.DONE, Status.CURRENT):
        outcomes += run_step(root, "verify", verify)
    return state_of(outcomes)
