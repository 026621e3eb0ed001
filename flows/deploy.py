"""The nightly flow by the clock, on a Prefect server that is ours or the hospital's."""

from __future__ import annotations

import warnings
from pathlib import Path

from tzlocal import get_localzone_name

from flows.server import prefect_server
from pipeline.core.errors import ConfigError
from pipeline.workspace import Workspace


def serve_nightly(root: Path, *, cron: str) -> None:
    """Run `flows.nightly.nightly` whenever the schedule says, one run at a time, until interrupted or terminated.

    Args:
        root: the dataset folder.
        cron: five fields, such as "0 2 * * *" for every night at two, in this machine's time zone.

    Raises:
        ConfigError: when the folder is no dataset or the schedule is none.
        PipelineError: when Prefect's server does not start.
    """
    workspace = Workspace.open(root)
    layout = workspace.layout
    with prefect_server(layout.prefect_home, layout.prefect_log, scheduled=True) as server:
        from prefect.client.schemas.schedules import CronSchedule
        from prefect.schedules import Cron
        from prefect.types.entrypoint import EntrypointType

        try:
            CronSchedule(cron=cron)
        except ValueError:
            raise ConfigError(f'{cron!r} is not a schedule; expected five cron fields such as "0 2 * * *"') from None
        from flows.nightly import nightly

        server.wait()
        with warnings.catch_warnings():
            # On SIGTERM Prefect 3.8's runner stops in good order but leaves a coroutine unawaited, and Python says so.
            warnings.filterwarnings("ignore", "coroutine 'Runner.astop' was never awaited", RuntimeWarning)
            nightly.serve(
                name=workspace.config.dataset.name,
                schedule=Cron(cron, timezone=get_localzone_name()),
                parameters={"root": str(workspace.root)},
                limit=1,
                print_starting_message=False,
                entrypoint_type=EntrypointType.MODULE_PATH,
            )
