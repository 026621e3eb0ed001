"""One session on a real server: what runs, what waits, what Prefect remembers, and what it must never learn."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from flows.lock import only_run
from flows.session import flow_session
from pipeline.core.errors import ConfigError, PipelineError
from pipeline.core.files import write_text
from pipeline.dataset.layout import Layout
from tests.flows.tiny import CASES, PHI, REFUSAL, tiny_dataset

Start = Callable[..., subprocess.Popen[str]]


def query(root: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(root / ".prefect" / "prefect.db")) as database:
        return database.execute(sql).fetchall()


def statuses(outcomes: list[dict[str, Any]]) -> dict[tuple[str, str | None], str]:
    return {(outcome["stage"], outcome["case_id"]): outcome["status"] for outcome in outcomes}


def test_a_wrong_configuration_is_told_before_any_server_starts(tmp_path: Path):
    write_text(tmp_path / "dataset.toml", '[dataset]\nname = "tiny"\ncolour = "blue"\n')
    with pytest.raises(ConfigError, match="colour: unknown key"), flow_session(tmp_path, report=print):
        pytest.fail("the block must not start")
    assert not (tmp_path / ".prefect").exists()


def test_only_one_run_is_at_work_in_a_dataset(tmp_path: Path):
    def second() -> None:
        with flow_session(tmp_path, report=print):
            pytest.fail("the block must not start")

    lock = Layout(tiny_dataset(tmp_path)).run_lock
    with only_run(lock), pytest.raises(PipelineError, match="another liverset run is working on this dataset"):
        second()
    with only_run(lock):
        pass


@pytest.mark.slow
def test_a_killed_run_is_taken_up_again_and_told_as_crashed(root: Path, start: Start):
    killed = start("-m", "tests.flows.tiny", root, "60", "threads")
    while not (root / "cases" / CASES[-1] / "convert.txt").exists():
        assert killed.poll() is None, killed.communicate()
        time.sleep(0.05)
    killed.kill()
    killed.communicate()
    again = start("-m", "tests.flows.tiny", root, "0", "threads")
    printed, _ = again.communicate(timeout=120)
    build = statuses(json.loads(printed)["build"])
    assert build["scan", None] == build["convert", "P0001"] == "current"
    assert build["label", "P0001"] == "done"
    flows = query(
        root, "select state_name from flow_run join flow on flow.id = flow_id where flow.name = 'build dataset'"
    )
    assert sorted(flows) == [("Crashed",), ("Failed",)]


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["threads", "processes"])
def test_three_flows_run_and_leave_a_history_but_no_noise_and_no_patient(
    runner: str, root: Path, tmp_path: Path, start: Start
):
    program = start("-m", "tests.flows.tiny", root, "0", runner)
    printed, noise = program.communicate(timeout=120)
    assert (program.returncode, noise) == (0, "")
    told = json.loads(printed)

    build = statuses(told["build"])
    assert build.pop(("label", "P0002")) == "waiting"
    assert build.pop(("label", "P0003")) == build.pop(("convert", "P0002")) == "failed"
    assert set(build.values()) == {"done"}
    assert len(build) == 3 + 2 * len(CASES) - 3
    problems = {outcome["case_id"]: outcome["problems"] for outcome in told["build"] if outcome["status"] == "failed"}
    assert problems["P0002"][0]["message"] == REFUSAL
    assert problems["P0003"][0]["message"].startswith("unexpected ValueError at pipeline/workspace.py:")
    assert set(statuses(told["collect"]).values()) == {"done", "current"}
    assert [outcome["note"] for outcome in told["publish"]] == ["1.0.0", "1.0.0"]
    assert told["heard"] == [*told["build"], *told["collect"], *told["publish"]]
    assert 0 < told["seconds"]["overhead"] <= told["seconds"]["all"]

    flows = query(root, "select flow.name, flow_run.state_name from flow_run join flow on flow.id = flow_run.flow_id")
    assert dict(flows) == {"build dataset": "Failed", "collect reviews": "Completed", "publish release": "Completed"}
    recorded = Counter(query(root, "select name, state_name from task_run"))
    assert recorded["convert P0002", "Failed"] == recorded["label P0001", "Done"] == 1
    assert recorded.total() == len([outcome for outcome in told["heard"] if outcome["status"] in ("done", "failed")])

    left = [path for path in root.rglob("*") if path.is_file()]
    assert not [path.name for path in left if PHI.encode() in path.read_bytes()]
    assert not list((tmp_path / "home").iterdir())
