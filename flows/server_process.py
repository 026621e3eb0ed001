"""The embedded Prefect server as a process: serves a port it was given, and ends when its parent does.

Run by path, with `python -P`, so that no folder comes before the standard library. (Prefect's own ephemeral server puts
`site-packages` first, where the stray `argparse` that nnunetv2's dependencies bring hides the standard library's.)
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time

PARENT_CHECK_S = 0.5
GOODBYE_S = 2
"""How long open connections may take to close once the server was told to stop."""


def main(port_descriptor: int, parent: int) -> None:
    """Serve until told to stop, or until the parent process is gone, however it went.

    Args:
        port_descriptor: an open socket, bound to a loopback port; clients are refused until the server is ready.
        parent: the process that started this one.
    """
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    import uvicorn
    from prefect.server.api.server import create_app

    config = uvicorn.Config(create_app(final=True), log_level="warning", timeout_graceful_shutdown=GOODBYE_S)
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=port_descriptor)])


def _end_with(parent: int) -> None:
    """Ask this process to stop once it has another parent: the first one was killed and could not say so."""
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK_S)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
