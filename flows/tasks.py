"""Stages as Prefect tasks: one a stage and case, named "convert P0001", that ends in a state which says how it went.

Receipts decide what is up to date, so no task is ever taken from Prefect's cache. Nor is one retried: a stage that
failed on some bytes fails on them again, and the next run takes up what is left. Prefect's database is plain text: only
stage names, case ids and outcomes get there, and of an error that nobody foresaw only its type and place.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from traceback import extract_tb
from typing import Any, Protocol, cast

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture
from prefect.states import Completed, Failed
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner

from pipeline.core.config import RunConfig
from pipeline.core.errors import ConfigError, PipelineError
from pipeline.core.records import Problem, Severity
from pipeline.core.words import counted
from pipeline.workspace import Outcome, Status, Waiting, Workspace

HOUSE = Path(__file__).resolve().parents[1]
STOPS_A_CHAIN = (Status.FAILED, Status.WAITING)


class Step(Protocol):
    """What a task runs: a `pipeline.workspace.Stage`, or anything else with a name that ends in an outcome."""

    @property
    def name(self) -> str:
        """As logs and Prefect show it."""

    def __call__(self, workspace: Workspace, case_id: str | None, /) -> Outcome:
        """Run it, for the whole dataset where there is no case."""

    def why(self, workspace: Workspace, case_id: str | None, /) -> str | None:
        """The reason it has work; None when it has none. Raises `Waiting` when it cannot start."""


@dataclass(frozen=True, slots=True)
class StageRun:
    """A stage's outcome and when it ran.

    Attributes:
        outcome: how it ended.
        began: by this machine's monotonic clock, in seconds.
        ended: by the same clock.
        is_task: True when it ran as a Prefect task, of which the history tells.
    """

    outcome: Outcome
    began: float
    ended: float
    is_task: bool


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


def run_on_dataset(root: Path, steps: Sequence[Step]) -> list[Outcome]:
    """Outcomes of steps of the whole dataset, one after another; those after one that did not end well wait."""
    return _Chains(root, steps, [None]).run()


def run_on_cases(root: Path, steps: Sequence[Step], case_ids: Sequence[str]) -> list[Outcome]:
    """Outcomes of steps of each case, in the order they ended: steps of a case one after another, cases side by side.

    What goes wrong with one case stops only this case.
    """
    return _Chains(root, steps, case_ids).run()


def state_of(outcomes: Sequence[Outcome]) -> State[Any]:
    """How a flow ended, as Prefect shows it: failed when any stage failed, with the outcomes as its result."""
    failed = sum(outcome.status is Status.FAILED for outcome in outcomes)
    if failed:
        return Failed(message=f"{failed} of {counted(len(outcomes), 'stage run')} failed", data=list(outcomes))
    return Completed(message=counted(len(outcomes), "stage run"), data=list(outcomes))


def outcomes_of(state: State[Any]) -> tuple[Outcome, ...]:
    """The outcomes a flow ended with; what stopped it early is raised again."""
    outcomes = state.result(raise_on_failure=False)
    if isinstance(outcomes, BaseException):
        raise outcomes
    return tuple(outcomes)


class _Chains:
    """The same steps for every case, at most one of a case under way; the next is taken up when one ended well.

    Only a step that has work becomes a task: a night on which nothing is new adds nothing to Prefect's history.
    """

    def __init__(self, root: Path, steps: Sequence[Step], case_ids: Sequence[str | None]) -> None:
        self._workspace = Workspace.open(root)
        self._left = {case_id: deque(steps) for case_id in case_ids}
        self._ended: SimpleQueue[tuple[str | None, PrefectFuture[State[StageRun]]]] = SimpleQueue()
        self._under_way = 0
        self._outcomes: list[Outcome] = []

    def run(self) -> list[Outcome]:
        """All outcomes, in the order they ended."""
        for case_id in self._left:
            self._advance(case_id)
        while self._under_way:
            case_id, future = self._ended.get()
            self._under_way -= 1
            self._note(case_id, _result(future))
            self._advance(case_id)
        return self._outcomes

    def _advance(self, case_id: str | None) -> None:
        """Submit the next step of a case that has work, and settle those before it here."""
        while self._left[case_id]:
            step = self._left[case_id].popleft()
            if _has_work(step, self._workspace, case_id):
                future = _as_task(step, case_id).submit(self._workspace.root)
                future.add_done_callback(lambda future: self._ended.put((case_id, future)))
                self._under_way += 1
                return
            self._note(case_id, _attempt(step, case_id, self._workspace.root, is_task=False))

    def _note(self, case_id: str | None, run: StageRun) -> None:
        """Tell how a step ended; what comes after one that did not end well waits for it."""
        self._tell(run)
        if run.outcome.status in STOPS_A_CHAIN:
            for step in self._left[case_id]:
                outcome = Outcome(step.name, case_id, Status.WAITING, note=f"waits for {run.outcome.stage}")
                self._tell(StageRun(outcome, run.ended, run.ended, is_task=False))
            self._left[case_id].clear()

    def _tell(self, run: StageRun) -> None:
        self._outcomes.append(run.outcome)
        if listener := _listener.get():
            listener(run)


def _has_work(step: Step, workspace: Workspace, case_id: str | None) -> bool:
    try:
        return step.why(workspace, case_id) is not None
    except Waiting:
        return False
    except PipelineError:
        return True


def _as_task(step: Step, case_id: str | None) -> Task[[Path], State[StageRun]]:
    run_name = f"{step.name} {case_id or 'dataset'}"

    @task(name=step.name, task_run_name=run_name, cache_policy=NO_CACHE, persist_result=False)
    def run(root: Path) -> State[StageRun]:
        return _state(_attempt(step, case_id, root, is_task=True))

    return run


def _result(future: PrefectFuture[State[StageRun]]) -> StageRun:
    run: Any = future.result(raise_on_failure=False)
    if isinstance(run, BaseException):
        raise run
    return cast(StageRun, run)


def _attempt(step: Step, case_id: str | None, root: Path, *, is_task: bool) -> StageRun:
    """A step's outcome; failed where it raised, so that one case does not stop the rest.

    Only a wrong configuration is raised on: it is wrong for every case.
    """
    began = time.monotonic()
    try:
        outcome = step(Workspace.open(root), case_id)
    except ConfigError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, it stays with this case
        outcome = Outcome(step.name, case_id, Status.FAILED, (_problem(step, error),), time.monotonic() - began)
    return StageRun(outcome, began, time.monotonic(), is_task)


def _problem(step: Step, error: Exception) -> Problem:
    """What an error comes to; of one that nobody foresaw only type and place, as its message may quote a header."""
    if isinstance(error, PipelineError):
        return Problem(f"{step.name}-failed", Severity.REFUSE, str(error))
    fix = "run again with enough memory and disk; if it happens again, report this line as a bug of liverset"
    return Problem("unexpected-error", Severity.REFUSE, f"unexpected {type(error).__name__} {_place(error)}", fix)


def _place(error: Exception) -> str:
    """The line of ours that an error came from, such as "at pipeline/dicom/group/series.py:81"."""
    ours = tuple(str(HOUSE / package) + os.sep for package in ("pipeline", "flows"))
    frame = [frame for frame in extract_tb(error.__traceback__) if frame.filename.startswith(ours)][-1]
    return f"at {Path(frame.filename).relative_to(HOUSE).as_posix()}:{frame.lineno}"


def _state(run: StageRun) -> State[StageRun]:
    outcome = run.outcome
    message = "; ".join([outcome.note, *(problem.message for problem in outcome.problems)]).strip("; ")
    if outcome.status is Status.FAILED:
        return Failed(message=message, data=run)
    return Completed(name=outcome.status.capitalize(), message=message, data=run)


def _dask_runner(jobs: int) -> TaskRunner[Any]:
    try:
        from prefect_dask.task_runners import DaskTaskRunner
    except ImportError:
        raise ConfigError(
            '[run] runner is "dask", but prefect-dask is not installed; run `pip install "liverset[dask]"`'
        ) from None
    runner: TaskRunner[Any] = DaskTaskRunner(
        cluster_kwargs={"n_workers": jobs, "threads_per_worker": 1, "dashboard_address": None}
    )
    return runner


def _ray_runner(jobs: int) -> TaskRunner[Any]:
    try:
        from prefect_ray.task_runners import RayTaskRunner
    except ImportError:
        raise ConfigError(
            '[run] runner is "ray", but prefect-ray is not installed; run `pip install "liverset[ray]"`'
        ) from None
    runner: TaskRunner[Any] = RayTaskRunner(init_kwargs={"num_cpus": jobs, "include_dashboard": False})
    return runner
