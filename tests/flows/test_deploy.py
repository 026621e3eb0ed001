"""A schedule is really kept: the server's own scheduler inserts the coming runs; stopping it leaves nothing behind."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows.deploy import serve_nightly
from pipeline.core.errors import ConfigError
from tests.flows.tiny import tiny_dataset

Start = Callable[..., subprocess.Popen[str]]
SERVE = """
import sys
from pathlib import Path
from flows.deploy import serve_nightly
from tests.flows.tiny import install_tiny_stages
install_tiny_stages()
serve_nightly(Path(sys.argv[1]), cron=sys.argv[2])
"""


def scheduled_runs(root: Path) -> list[tuple[Any, ...]]:
    sql = "select state_name, expected_start_time from flow_run where auto_scheduled order by 2"
    with closing(sqlite3.connect(root / ".prefect" / "prefect.db")) as database:
        return database.execute(sql).fetchall()


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=lambda how: how.name)
def test_coming_nights_are_scheduled_and_the_end_leaves_nothing(
    how: signal.Signals, root: Path, tmp_path: Path, start: Start
):
    program = start("-c", SERVE, tiny_dataset(root), "0 2 * * *", TZ="Asia/Shanghai")
    deadline = time.monotonic() + 60
    while len(runs := scheduled_runs(root)) < 3 and time.monotonic() < deadline:
        assert program.poll() is None, program.communicate()
        time.sleep(0.2)
    family = psutil.Process(program.pid).children(recursive=True)
    program.send_signal(how)
    printed, noise = program.communicate(timeout=60)
    assert len(runs) >= 3
    assert {when.split()[1][:5] for _, when in runs} == {"18:00"}
    assert (printed, noise, program.returncode) == ("", "", 0)
    assert not [process for process in family if process.is_running()]
    assert not list((tmp_path / "home").iterdir())


@pytest.mark.slow
def test_a_schedule_that_is_none_is_refused(root: Path):
    with pytest.raises(ConfigError, match='"0 2 \\* \\* \\*"'):
        serve_nightly(tiny_dataset(root), cron="every night")
