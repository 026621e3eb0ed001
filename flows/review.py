"""From returned masks to the consensus that a release is cut from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows.tasks import run_on_cases, run_on_dataset, state_of
from pipeline import stages
from pipeline.workspace import Workspace


@flow(name="collect reviews", validate_parameters=False)
def collect_reviews(root: Path) -> State[Any]:
    """Outcomes of checking returns, of each case's agreement, vote, measures and preparation, and of the reports.

    A case whose ratings are not complete waits.
    """
    outcomes = run_on_dataset(root, [stages.COLLECT])
    outcomes += run_on_cases(root, stages.REVIEW_STAGES, stages.case_ids(Workspace.open(root)))
    outcomes += run_on_dataset(root, [stages.REPORT])
    return state_of(outcomes)
