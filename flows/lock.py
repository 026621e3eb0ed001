"""One run at a time in a dataset."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.core.errors import PipelineError
from pipeline.core.files import make_private_folder


@contextmanager
def only_run(lock: Path) -> Iterator[None]:
    """While the block runs, no other run can start in the dataset that a lock file belongs to.

    The operating system lets go of the lock when this process ends, however it ends.

    Raises:
        PipelineError: when another run holds it.
    """
    make_private_folder(lock.parent)
    with lock.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PipelineError(
                "another liverset run is working on this dataset; wait until it ends, then try again"
            ) from None
        yield
