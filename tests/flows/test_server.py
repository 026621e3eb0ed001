"""The embedded server: comes up, goes away whatever happens, and keeps out of everybody's way."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sysconfig
import time
import venv
from collections.abc import Callable
from importlib.metadata import distributions
from pathlib import Path

import psutil
import pytest

from flows.server import Server, prefect_server
from flows.session import busy_seconds
from flows.tasks import StageRun
from pipeline.core.errors import PipelineError
from pipeline.workspace import Outcome, Status
from tests.places import ROOT

Start = Callable[..., subprocess.Popen[str]]
HOLD = """
import sys, time
from pathlib import Path
from flows.server import prefect_server
with prefect_server(Path(sys.argv[1]), Path(sys.argv[1], "prefect.log")) as server:
    server.wait()
    print(server.pid, flush=True)
    time.sleep(60)
"""


def is_gone(pid: int, *, within_s: float = 10.0) -> bool:
    deadline = time.monotonic() + within_s
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not psutil.pid_exists(pid)


def test_busy_time_counts_overlaps_once():
    outcome = Outcome("convert", "P0001", Status.DONE)
    spans = [(0.0, 2.0), (1.0, 3.0), (1.5, 1.6), (5.0, 6.0)]
    assert busy_seconds(StageRun(outcome, *span, is_task=True) for span in spans) == 4.0
    assert busy_seconds([]) == 0.0


def test_installed_versions_are_the_pinned_ones():
    pins = dict(re.findall(r"^([\w.-]+)==([\w.!]+)", (ROOT / "constraints.txt").read_text(), flags=re.MULTILINE))
    wanted = {name.lower().replace("_", "-"): version for name, version in pins.items()}
    installed = {d.metadata["Name"].lower().replace("_", "-"): d.version.split("+")[0] for d in distributions()}
    for name, bound in {"fastapi": (0, 155), "sqlalchemy": (2, 1)}.items():
        assert tuple(map(int, wanted[name].split(".")[:2])) < bound
    guarded = ("prefect", "fastapi", "sqlalchemy", "torch", "nnunetv2")
    assert {name: installed[name] for name in guarded} == {name: wanted[name] for name in guarded}


@pytest.mark.slow
class TestServer:
    def test_environment_is_as_before_and_the_server_gone_after_an_error(self, root: Path):
        before = dict(os.environ)
        seen: list[tuple[Server, str]] = []

        def fail_inside() -> None:
            with prefect_server(root / ".prefect", root / "prefect.log") as server:
                seen.append((server, os.environ["PREFECT_API_URL"]))
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail_inside()
        ((server, api_url),) = seen
        assert dict(os.environ) == before
        assert server.api_url == api_url
        assert api_url.startswith("http://127.0.0.1:")
        assert server.pid is not None
        assert not psutil.pid_exists(server.pid)

    def test_server_ends_when_its_parent_is_killed(self, root: Path, start: Start):
        program = start("-c", HOLD, root / ".prefect")
        assert program.stdout is not None
        pid = int(program.stdout.readline())
        program.kill()
        program.communicate()
        assert is_gone(pid)

    def test_a_server_that_is_already_there_is_used_and_left_alone(self, root: Path):
        with prefect_server(root / ".prefect", root / "prefect.log") as first:
            first.wait()
            assert first.pid is not None
            with prefect_server(root / "other", root / "other.log") as second:
                assert (second.api_url, second.pid) == (first.api_url, None)
                second.wait()
            assert psutil.pid_exists(first.pid)
        assert not (root / "other.log").exists()

    def test_a_server_that_is_not_where_it_should_be_is_one_clear_error(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr("flows.server.FOUND_LIMIT_S", 0.2)
        monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
        with (
            prefect_server(root / ".prefect", root / "prefect.log") as server,
            pytest.raises(PipelineError, match="no Prefect server answers at PREFECT_API_URL; start it, or unset"),
        ):
            server.wait()

    def test_a_server_that_cannot_start_is_one_clear_error(self, root: Path):
        (root / ".prefect" / "prefect.db").write_bytes(b"this is no database" * 1000)
        with prefect_server(root / ".prefect", root / "prefect.log") as server:
            message = r"server stopped at start \(exit code \d+\); see logs/ in the dataset folder"
            with pytest.raises(PipelineError, match=message):
                server.wait()

    def test_stray_argparse_in_site_packages_does_no_harm(self, root: Path, tmp_path: Path, start: Start):
        venv.create(tmp_path / "venv", symlinks=True)
        packages = next((tmp_path / "venv").glob("lib/python*/site-packages"))
        (packages / "argparse.py").write_text("__version__ = '1.4.0'\n")
        (packages / "house.pth").write_text(sysconfig.get_path("purelib") + "\n")
        program = start("-c", HOLD, root / ".prefect", python=str(tmp_path / "venv" / "bin" / "python"))
        assert program.stdout is not None
        assert int(program.stdout.readline())
        program.kill()
        program.communicate()

    def test_interrupt_stops_a_running_flow_without_a_trace(self, root: Path, start: Start):
        program = start("-c", INTERRUPTED, root)
        while not (root / "cases" / "P0001" / "convert.txt").exists():
            assert program.poll() is None, program.communicate()
            time.sleep(0.1)
        program.send_signal(signal.SIGINT)
        printed, noise = program.communicate(timeout=30)
        assert (printed, noise, program.returncode) == ("interrupted\n", "", 0)


INTERRUPTED = """
import sys
from pathlib import Path
from tests.flows.tiny import main
try:
    main(Path(sys.argv[1]), 3.0)
except KeyboardInterrupt:
    print("interrupted")
"""
