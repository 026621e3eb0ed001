"""From DICOM to coarse labels: what is new or changed since the last run, and only that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows.tasks import run_on_cases, run_on_dataset, state_of
from pipeline import stages
from pipeline.workspace import Status, Workspace


@flow(name="build dataset", validate_parameters=False)
def build_dataset(root: Path) -> State[Any]:
    """Outcomes of finding and screening the source, then of converting and labelling each case, then of the reports."""
    outcomes = run_on_dataset(root, stages.DATASET_STAGES)
    if all(outcome.status in (Status.DONE, Status.CURRENT) for outcome in outcomes):
        outcomes += run_on_cases(root, stages.CASE_STAGES, stages.case_ids(Workspace.open(root)))
        outcomes += run_on_dataset(root, [stages.REPORT])
    return state_of(outcomes)
