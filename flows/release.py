"""From the consensus to an immutable, verified version."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows.tasks import run_on_dataset, state_of
from pipeline import stages
from pipeline.workspace import Outcome, Workspace


@flow(name="publish release", validate_parameters=False)
def publish_release(root: Path, version: str) -> State[Any]:
    """Outcomes of cutting a version and, once it is cut, of verifying it."""
    steps = [_OfVersion("cut", stages.cut_release, version), _OfVersion("verify", stages.verify_release, version)]
    return state_of(run_on_dataset(root, steps))


@dataclass(frozen=True, slots=True)
class _OfVersion:
    name: str
    call: Callable[[Workspace, str], Outcome]
    version: str

    def __call__(self, workspace: Workspace, case_id: str | None) -> Outcome:
        return self.call(workspace, self.version)

    def why(self, workspace: Workspace, case_id: str | None) -> str | None:
        return "asked for"
