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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from pipeline.core.errors import PipelineError, StorageError
from pipeline.core.files import make_private_folder

START_LIMIT_S = 180.0
"""A new database takes 8 to 12 s on two idle cores, most of it Prefect's migrations; a busy machine many times that."""
STOP_LIMIT_S = 15.0
DRAIN_LIMIT_S = 30.0
RECORD_LIMIT_S = 10.0
ANSWER_LIMIT_S = 10.0
POLL_S = 0.05
HOST = "127.0.0.1"

IDLE_SERVICES = (
    "CANCELLATION_CLEANUP",
    "CLEANUP_RECONCILER",
    "EVENT_PERSISTER",
    "FOREMAN",
    "LATE_RUNS",
    "PAUSE_EXPIRATIONS",
    "REPOSSESSOR",
    "SCHEDULER",
    "TRIGGERS",
)
"""Services of the server that a run started by hand never needs; a schedule needs them all."""


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

    def wait(self) -> float:
        """Seconds until it answered; it takes 2.5 s with a database that is there, four times that with a new one.

        Raises:
            PipelineError: when it ends early or does not answer in time.
        """
        started = time.monotonic()
        while self._process is not None and not _is_healthy(self.api_url):
            if self._process.poll() is not None:
                code = self._process.returncode
                raise PipelineError(f"Prefect's server ended at once (exit code {code}); the dataset's logs/ say why")
            if time.monotonic() > started + START_LIMIT_S:
                raise PipelineError(f"Prefect's server did not answer within {START_LIMIT_S:.0f} s; see logs/")
            time.sleep(POLL_S)
        return time.monotonic() - started


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


def wait_until_recorded(server: Server, flow_run_ids: Sequence[str], task_runs: int) -> bool:
    """True once the end of every task run is in the database of our own server; it takes them down a little later.

    Stopping the server earlier would lose the last ones. False when they are still missing after RECORD_LIMIT_S.
    """
    ended = {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"]}}
    query = {"flow_runs": {"id": {"any_": list(flow_run_ids)}}, "task_runs": {"state": ended}}
    deadline = time.monotonic() + RECORD_LIMIT_S
    while (
        recorded := _ask(server.api_url, "POST", "/task_runs/count", query)
    ) < task_runs and time.monotonic() < deadline:
        time.sleep(POLL_S)
    return bool(recorded >= task_runs)


def record_killed_runs(server: Server) -> int:
    """How many flow runs the history still called running, though their process is gone; it calls them crashed now.

    Only for a server of ours, and only by the one run that holds the dataset's lock.
    """
    query = {"flow_runs": {"state": {"type": {"any_": ["RUNNING", "CANCELLING"]}}}}
    killed = _ask(server.api_url, "POST", "/flow_runs/filter", query)
    crashed = {"state": {"type": "CRASHED", "message": "its process was killed"}, "force": True}
    for run in killed:
        _ask(server.api_url, "POST", f"/flow_runs/{run['id']}/set_state", crashed)
    return len(killed)


def _ask(api_url: str, method: str, path: str, query: Mapping[str, Any] | None = None) -> Any:
    """What a server on this machine answers; asked directly, past any proxy."""
    address = urlsplit(api_url)
    connection = http.client.HTTPConnection(address.netloc, timeout=ANSWER_LIMIT_S)
    try:
        connection.request(method, address.path + path, json.dumps(query), {"Content-Type": "application/json"})
        return json.load(connection.getresponse())
    finally:
        connection.close()


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
        raise StorageError(
            f"{log.name} cannot be written ({error.strerror}); check who owns the dataset folder"
        ) from None


def _server_settings(*, scheduled: bool) -> dict[str, str]:
    idle = () if scheduled else IDLE_SERVICES
    return {
        "PREFECT_SERVER_UI_ENABLED": "false",
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "25",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
        **{f"PREFECT_SERVER_SERVICES_{service}_ENABLED": "false" for service in idle},
    }


def _is_healthy(api_url: str) -> bool:
    try:
        return _ask(api_url, "GET", "/health") is True
    except (OSError, http.client.HTTPException, ValueError):
        return False


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
