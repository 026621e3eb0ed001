"""Stages as Prefect tasks: one a stage and case, named "convert P0001", that ends in a state which says how it went.

Receipts decide what is up to date, so no task is ever taken from Prefect's cache. Nor is one retried: a stage that
failed on some bytes fails on them again, and the next run takes up what is left. Prefect's database is plain text: only
stage names, case ids and outcomes get there, and of an error that nobody foresaw only its type and place.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from traceback import extract_tb
from typing import Any

from prefect import Task, allow_failure, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture, as_completed
from prefect.states import Completed, Failed
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner

from pipeline.core.config import RunConfig
from pipeline.core.errors import ConfigError, PipelineError
from pipeline.core.records import Problem, Severity
from pipeline.workspace import Outcome, Stage, Status, Workspace

HOUSE = Path(__file__).resolve().parents[1]
STOPS_A_CHAIN = (Status.FAILED, Status.WAITING)


@dataclass(frozen=True, slots=True)
class StageRun:
    """A stage's outcome and when it ran.

    Attributes:
        outcome: how it ended.
        began: by this machine's monotonic clock, in seconds.
        ended: by the same clock.
    """

    outcome: Outcome
    began: float
    ended: float


Listener = Callable[[StageRun], None]
_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """While the block runs, each stage that ends in a flow of this thread is told to a listener."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def task_runner(config: RunConfig) -> TaskRunner[Any]:
    """What spreads the tasks of a flow, as `[run]` asks.

    Raises:
        ConfigError: when the runner's package is not installed.
    """
    match config.runner:
        case "processes":
            return ProcessPoolTaskRunner(max_workers=config.jobs)
        case "dask":
            return _dask_runner(config.jobs)
        case "ray":
            return _ray_runner(config.jobs)
        case _:
            return ThreadPoolTaskRunner(max_workers=config.jobs)


def run_on_dataset(root: Path, stages: Sequence[Stage]) -> list[Outcome]:
    """Outcomes of stages of the whole dataset, one after another; those after one that did not end well wait."""
    return _collect(_submitted(root, stages, [None]))


def run_on_cases(root: Path, stages: Sequence[Stage], case_ids: Sequence[str]) -> list[Outcome]:
    """Outcomes of stages of each case, in the order they ended: stages of a case one after another, cases side by side.

    What goes wrong with one case stops only this case.
    """
    return _collect(_submitted(root, stages, case_ids))


def run_step(root: Path, name: str, step: Callable[[Workspace], Outcome]) -> list[Outcome]:
    """The outcome of one step that is more than a stage, such as cutting a version."""
    return _collect([_as_task(name, f"{name} dataset", step).submit(root)])


def state_of(outcomes: Sequence[Outcome]) -> State[Any]:
    """How a flow ended, as Prefect shows it: failed when any stage failed, with the outcomes as its result."""
    failed = sum(outcome.status is Status.FAILED for outcome in outcomes)
    if failed:
        return Failed(message=f"{failed} of {len(outcomes)} stage runs failed", data=list(outcomes))
    return Completed(message=f"{len(outcomes)} stage runs", data=list(outcomes))


def outcomes_of(state: State[Any]) -> tuple[Outcome, ...]:
    """The outcomes a flow ended with; what stopped it early is raised again."""
    outcomes = state.result(raise_on_failure=False)
    if isinstance(outcomes, BaseException):
        raise outcomes
    return tuple(outcomes)


def _submitted(
    root: Path, stages: Sequence[Stage], case_ids: Sequence[str | None]
) -> list[PrefectFuture[State[StageRun]]]:
    """Tasks of all cases for the first stage, then for the next: so no worker waits for a task that has none yet."""
    futures = []
    last: dict[str | None, Any] = dict.fromkeys(case_ids)
    for stage in stages:
        for case_id in case_ids:
            step = _as_task(stage.name, f"{stage.name} {case_id or 'dataset'}", _OnCase(stage, case_id))
            future = step.submit(root, case_id, last[case_id])
            last[case_id] = allow_failure(future)
            futures.append(future)
    return futures


@dataclass(frozen=True, slots=True)
class _OnCase:
    stage: Stage
    case_id: str | None

    def __call__(self, workspace: Workspace) -> Outcome:
        return self.stage(workspace, self.case_id)


def _as_task(name: str, run_name: str, step: Callable[[Workspace], Outcome]) -> Task[..., Any]:
    @task(name=name, task_run_name=run_name, cache_policy=NO_CACHE, persist_result=False)
    def run(root: Path, case_id: str | None = None, before: StageRun | None = None) -> State[StageRun]:
        began = time.monotonic()
        if before is not None and before.outcome.status in STOPS_A_CHAIN:
            outcome = Outcome(name, case_id, Status.WAITING, note=f"waits for {before.outcome.stage}")
        else:
            outcome = _attempt(name, case_id, root, step)
        return _state(StageRun(outcome, began, time.monotonic()))

    return run


def _attempt(name: str, case_id: str | None, root: Path, step: Callable[[Workspace], Outcome]) -> Outcome:
    """A step's outcome; failed where it raised, so that one case does not stop the rest.

    Only a wrong configuration is raised on: it is wrong for every case.
    """
    began = time.monotonic()
    try:
        return step(Workspace.open(root))
    except ConfigError:
        raise
    except PipelineError as error:
        problem = Problem(f"{name}-failed", Severity.REFUSE, str(error))
    except Exception as error:  # noqa: BLE001 - its message may quote a header, so only its type and place go on
        cure = "this is a fault of liverset, not of the data; report this line"
        problem = Problem("unexpected-error", Severity.REFUSE, f"{type(error).__name__} {_place(error)}", cure)
    return Outcome(name, case_id, Status.FAILED, (problem,), time.monotonic() - began)


def _place(error: Exception) -> str:
    """The line of ours that an error came from, such as "at pipeline/dicom/series.py:81"."""
    ours = tuple(str(HOUSE / package) + os.sep for package in ("pipeline", "flows"))
    frame = [frame for frame in extract_tb(error.__traceback__) if frame.filename.startswith(ours)][-1]
    return f"at {Path(frame.filename).relative_to(HOUSE).as_posix()}:{frame.lineno}"


def _state(run: StageRun) -> State[StageRun]:
    outcome = run.outcome
    message = "; ".join([outcome.note, *(problem.message for problem in outcome.problems)]).strip("; ")
    if outcome.status is Status.FAILED:
        return Failed(message=message, data=run)
    return Completed(name=outcome.status.capitalize(), message=message, data=run)


def _collect(futures: Sequence[PrefectFuture[Any]]) -> list[Outcome]:
    listener = _listener.get()
    outcomes = []
    for future in as_completed(list(futures)):
        run = future.result(raise_on_failure=False)
        if isinstance(run, BaseException):
            raise run
        outcomes.append(run.outcome)
        if listener:
            listener(run)
    return outcomes


def _dask_runner(jobs: int) -> TaskRunner[Any]:
    try:
        from prefect_dask import DaskTaskRunner
    except ImportError:
        raise ConfigError('run.runner is "dask", but prefect-dask is not installed; install "liverset[dask]"') from None
    runner: TaskRunner[Any] = DaskTaskRunner(
        cluster_kwargs={"n_workers": jobs, "threads_per_worker": 1, "dashboard_address": None}
    )
    return runner


def _ray_runner(jobs: int) -> TaskRunner[Any]:
    try:
        from prefect_ray import RayTaskRunner
    except ImportError:
        raise ConfigError('run.runner is "ray", but prefect-ray is not installed; install "liverset[ray]"') from None
    runner: TaskRunner[Any] = RayTaskRunner(init_kwargs={"num_cpus": jobs, "include_dashboard": False})
    return runner
