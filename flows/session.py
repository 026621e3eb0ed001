"""The three flows, run here and now: the door through which the command line reaches Prefect."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.history import record_killed_runs, wait_until_recorded
from flows.lock import only_run
from flows.server import Server, prefect_server
from pipeline.core.errors import PipelineError
from pipeline.workspace import Outcome, Workspace

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.client.schemas.objects import State

    from flows.tasks import StageRun
    from pipeline.stages.acceptance import Acceptance


@contextmanager
def flow_session(root: Path, *, report: Callable[[Outcome], None]) -> Iterator[FlowSession]:
    """Flows of one dataset on a Prefect server that lives as long as the block.

    Args:
        root: the dataset folder.
        report: is told each outcome as its stage ends.

    Raises:
        ConfigError: when the folder is no dataset.
        PipelineError: when another run is at work in it.
        StorageError: when Prefect's folder or log cannot be written.
    """
    workspace = Workspace.open(root)
    layout = workspace.layout
    with only_run(layout.run_lock), prefect_server(layout.prefect_home, layout.prefect_log) as server:
        session = FlowSession(workspace, server, report)
        yield session
        with session.timed():
            session.wait_until_recorded()
        stopping = time.monotonic()
    session.overhead_seconds += time.monotonic() - stopping


class FlowSession:
    """Runs the flows of one dataset in this process, on a server that may still be coming up.

    Attributes:
        overhead_seconds: time that Prefect itself took so far, by the monotonic clock: to wait for the server, import
            Prefect and stop it again, and of the flows all time in which no stage was at work. The little that Prefect
            does in one thread while a stage works in another is not seen.
    """

    def __init__(self, workspace: Workspace, server: Server, report: Callable[[Outcome], None]) -> None:
        self.overhead_seconds = 0.0
        self._workspace = workspace
        self._server = server
        self._report = report
        self._runs: list[StageRun] = []
        self._flow_run_ids: list[str] = []

    def accept_code_changes(self, stages: Collection[str], *, verify: bool = False) -> tuple[Acceptance, ...]:
        """What `pipeline.stages.acceptance.accept_code_changes` accepted, while no other run is at work."""
        from pipeline.stages.acceptance import accept_code_changes

        return accept_code_changes(self._workspace, stages, verify=verify)

    def build(self) -> tuple[Outcome, ...]:
        """Outcomes of `flows.build.build_dataset`, in the order they ended."""
        with self.timed():
            from flows.build import build_dataset

            return self._run(build_dataset)

    def collect_reviews(self) -> tuple[Outcome, ...]:
        """Outcomes of `flows.review.collect_reviews`, in the order they ended."""
        with self.timed():
            from flows.review import collect_reviews

            return self._run(collect_reviews)

    def publish_release(self, version: str) -> tuple[Outcome, ...]:
        """Outcomes of `flows.release.publish_release`, in the order they ended."""
        with self.timed():
            from flows.release import publish_release

            return self._run(publish_release, version)

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Add to the overhead what the block takes while no stage is at work."""
        began, known = time.monotonic(), len(self._runs)
        try:
            yield
        finally:
            self.overhead_seconds += time.monotonic() - began - busy_seconds(self._runs[known:])

    def wait_until_recorded(self) -> None:
        """Come back when the history of all runs so far is in the database of a server of ours."""
        tasks = sum(run.is_task for run in self._runs)
        if self._server.pid is not None and tasks:
            wait_until_recorded(self._server, self._flow_run_ids, tasks)

    def _run(self, flow: Flow[..., State[Any]], *arguments: str) -> tuple[Outcome, ...]:
        from flows.tasks import listening, outcomes_of, task_runner

        if not self._flow_run_ids:
            self._come_up()
        spread = flow.with_options(task_runner=task_runner(self._workspace.config.run))
        with listening(self._heard), _prefect_trouble():
            state = spread(self._workspace.root, *arguments, return_state=True)
        self._flow_run_ids.append(str(state.state_details.flow_run_id))
        return outcomes_of(state)

    def _come_up(self) -> None:
        self._server.wait()
        if self._server.pid is not None:
            record_killed_runs(self._server)

    def _heard(self, run: StageRun) -> None:
        self._runs.append(run)
        self._report(run.outcome)


@contextmanager
def _prefect_trouble() -> Iterator[None]:
    """Say in one line what went wrong between Prefect and its server; no stage raises for a fault of its own."""
    try:
        yield
    except PipelineError:
        raise
    except Exception as error:
        cause = type(error).__name__
        raise PipelineError(
            f"Prefect lost its server ({cause}); finished work is kept, run the command again"
        ) from error


def busy_seconds(runs: Iterable[StageRun]) -> float:
    """Time in which at least one stage was at work; overlaps count once."""
    busy, until = 0.0, -math.inf
    for run in sorted(runs, key=lambda run: run.began):
        busy += max(0.0, run.ended - max(run.began, until))
        until = max(until, run.ended)
    return busy
