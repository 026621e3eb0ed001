"""A Prefect server for as long as a block runs: our own child process, or one that is already there.

Prefect's settings come from the environment and are read when `prefect` is imported. So this module imports nothing of
Prefect itself; what does is imported inside the block.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from pipeline.core.errors import PipelineError, StorageError
from pipeline.core.files import make_private_folder

START_LIMIT_S = 180.0
"""A new database takes 8 to 12 s on two idle cores, most of it Prefect's migrations; a busy machine many times that."""
STOP_LIMIT_S = 15.0
DRAIN_LIMIT_S = 30.0
FOUND_LIMIT_S = 10.0
ANSWER_LIMIT_S = 10.0
POLL_S = 0.05
HOST = "127.0.0.1"

UNUSED_SERVICES = ("EVENT_PERSISTER",)
"""Not needed by any run; stored events would double the database. Runs, states and logs are kept without."""
SCHEDULE_SERVICES = (
    "CANCELLATION_CLEANUP",
    "CLEANUP_RECONCILER",
    "FOREMAN",
    "LATE_RUNS",
    "PAUSE_EXPIRATIONS",
    "REPOSSESSOR",
    "SCHEDULER",
    "TRIGGERS",
)
"""Needed to keep a schedule, never by a run started by hand."""


class Server:
    """A Prefect server, coming up or there already.

    Attributes:
        api_url: where.
        pid: our child process; None for a server that was already there.
    """

    def __init__(self, api_url: str, process: subprocess.Popen[bytes] | None) -> None:
        self.api_url = api_url
        self.pid = process.pid if process else None
        self._process = process

    def wait(self) -> None:
        """Come back once it answers: after 2.5 s with a database that is there, four times that with a new one.

        Raises:
            PipelineError: when it ends early or does not answer in time.
        """
        deadline = time.monotonic() + (FOUND_LIMIT_S if self._process is None else START_LIMIT_S)
        while not self._is_healthy():
            if self._process is not None and self._process.poll() is not None:
                code = self._process.returncode
                raise PipelineError(
                    f"Prefect's server stopped at start (exit code {code}); see logs/ in the dataset folder"
                )
            if time.monotonic() > deadline:
                raise PipelineError(self._silence())
            time.sleep(POLL_S)

    def _is_healthy(self) -> bool:
        try:
            return ask(self, "/health") is True
        except NoAnswer:
            return False

    def _silence(self) -> str:
        if self._process is None:
            return "no Prefect server answers at PREFECT_API_URL; start it, or unset the variable to use liverset's own"
        return f"Prefect's server did not answer within {START_LIMIT_S:.0f} s; see logs/ in the dataset folder"


class NoAnswer(Exception):
    """A server cannot be reached, or its answer makes no sense."""


def ask(server: Server, path: str, query: Mapping[str, Any] | None = None) -> Any:
    """What a server answers, as JSON holds it.

    Raises:
        NoAnswer: when it does not.
    """
    data = None if query is None else json.dumps(query).encode()
    request = urllib.request.Request(server.api_url + path, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_LIMIT_S) as answer:
            return json.load(answer)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NoAnswer(type(error).__name__) from None


@contextmanager
def prefect_server(home: Path, log: Path, *, scheduled: bool = False) -> Iterator[Server]:
    """A Prefect server coming up, with the environment set so that Prefect uses it; all of it undone afterwards.

    The server of PREFECT_API_URL where that is set, else a child process of ours on a free loopback port. It is stopped
    when the block ends, whichever way, and ends by itself when this process is killed. Call `Server.wait` before the
    first use, and do other work first: it starts meanwhile.

    Args:
        home: folder of Prefect's database and settings, made if missing (mode 0700).
        log: what the server and Prefect's client have to say; the terminal stays clean.
        scheduled: with the services that scheduled runs need.

    Raises:
        StorageError: when `home` or `log` cannot be written.
    """
    make_private_folder(home)
    given = os.environ.get("PREFECT_API_URL")
    with (
        _environment(_settings(home, log)),
        _given(given) if given else _child(home, log, scheduled=scheduled) as server,
        _environment({"PREFECT_API_URL": server.api_url}),
    ):
        _reload_settings()
        try:
            yield server
        finally:
            _drain()


def _settings(home: Path, log: Path) -> dict[str, str]:
    """Telemetry off, state in the dataset, loopback past any proxy, no server but the one meant."""
    unproxied = ",".join(filter(None, [os.environ.get("NO_PROXY") or os.environ.get("no_proxy"), HOST]))
    return {
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "PREFECT_LOGGING_SETTINGS_PATH": str(Path(__file__).with_name("prefect_logging.yml")),
        "PREFECT_LOGGING_HANDLERS_FILE_FILENAME": str(log),
        "NO_PROXY": unproxied,
        "no_proxy": unproxied,
    }


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _given(api_url: str) -> Iterator[Server]:
    yield Server(api_url, None)


@contextmanager
def _child(home: Path, log: Path, *, scheduled: bool) -> Iterator[Server]:
    """A server of ours, stopped afterwards.

    It leads a session of its own: Ctrl-C reaches only us, and the runs that it stops are still recorded.
    """
    program = [sys.executable, "-P", str(Path(__file__).with_name("server_process.py"))]
    with socket.socket() as port, _appended(log) as output:
        port.bind((HOST, 0))
        process = subprocess.Popen(
            [*program, str(port.fileno()), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=home,
            env={**os.environ, **_server_settings(scheduled=scheduled)},
            pass_fds=[port.fileno()],
            start_new_session=True,
        )
        number = port.getsockname()[1]
    try:
        yield Server(f"http://{HOST}:{number}/api", process)
    finally:
        _stop(process)


def _appended(log: Path) -> BinaryIO:
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        return log.open("ab")
    except OSError as error:
        raise StorageError(f"cannot write {log.name} ({error.strerror}); check who owns the dataset folder") from None


def _server_settings(*, scheduled: bool) -> dict[str, str]:
    idle = UNUSED_SERVICES if scheduled else UNUSED_SERVICES + SCHEDULE_SERVICES
    return {
        "PREFECT_SERVER_UI_ENABLED": "false",
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "25",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
        **{f"PREFECT_SERVER_SERVICES_{service}_ENABLED": "false" for service in idle},
    }


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _reload_settings() -> None:
    """Let a Prefect that was imported before see the environment as it is now."""
    if "prefect" in sys.modules:
        from prefect.context import refresh_global_settings_context

        refresh_global_settings_context()


def _drain() -> None:
    """Send what is still waiting to be recorded, while there is a server to take it."""
    if "prefect" in sys.modules:
        from prefect.events.worker import EventsWorker
        from prefect.logging.handlers import APILogWorker

        EventsWorker.drain_all(timeout=DRAIN_LIMIT_S)
        APILogWorker.drain_all(timeout=DRAIN_LIMIT_S)
