"""Keeps what Prefect remembers of a dataset true: every task's end recorded, no run called running that is not.

Only for a server of ours, and only by the one run that holds the dataset's lock. A server that does not answer costs us
its memory of this run, never the run.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress

from flows.server import POLL_S, NoAnswer, Server, ask

RECORD_LIMIT_S = 10.0
UNDER_WAY = ["RUNNING", "CANCELLING"]
ENDED = ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"]


def wait_until_recorded(server: Server, flow_run_ids: Sequence[str], task_runs: int) -> None:
    """Come back when the end of so many task runs is in the database, or after RECORD_LIMIT_S.

    The server takes them down a second late; stopping it earlier would lose the last ones.
    """
    query = {
        "flow_runs": {"id": {"any_": list(flow_run_ids)}},
        "task_runs": {"state": {"type": {"any_": ENDED}}},
    }
    deadline = time.monotonic() + RECORD_LIMIT_S
    with suppress(NoAnswer):
        while ask(server, "/task_runs/count", query) < task_runs and time.monotonic() < deadline:
            time.sleep(POLL_S)


def record_killed_runs(server: Server) -> None:
    """Call every flow run crashed that the history calls running: its process was killed and could not say so."""
    crashed = {"state": {"type": "CRASHED", "message": "the process was killed"}, "force": True}
    with suppress(NoAnswer):
        for run in ask(server, "/flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": UNDER_WAY}}}}):
            ask(server, f"/flow_runs/{run['id']}/set_state", crashed)
