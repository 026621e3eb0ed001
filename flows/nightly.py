"""What a scheduled run does: take up new exports and returned masks. Releases are cut by a person."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows.build import build_dataset
from flows.lock import only_run
from flows.review import collect_reviews
from flows.tasks import outcomes_of, state_of, task_runner
from pipeline.workspace import Workspace


@flow(name="nightly", validate_parameters=False)
def nightly(root: str) -> State[Any]:
    """Outcomes of `build_dataset`, then of `collect_reviews`.

    Raises:
        PipelineError: when another run is at work in the dataset; the next night takes up what is left.
    """
    workspace = Workspace.open(Path(root))
    runner = task_runner(workspace.config.run)
    with only_run(workspace.layout.run_lock):
        built = build_dataset.with_options(task_runner=runner)(Path(root), return_state=True)
        collected = collect_reviews.with_options(task_runner=runner)(Path(root), return_state=True)
    return state_of([*outcomes_of(built), *outcomes_of(collected)])
