"""Programs that use a Prefect server, run as a user would: each a process, with an empty home folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.server import prefect_server
from tests.places import ROOT


@pytest.fixture(scope="session")
def migrated_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Prefect home with an empty database of the newest form, which takes Prefect several seconds to make."""
    folder = tmp_path_factory.mktemp("prefect")
    with prefect_server(folder / "home", folder / "prefect.log") as server:
        server.wait()
    return folder / "home"


@pytest.fixture
def root(tmp_path: Path, migrated_home: Path) -> Path:
    """A dataset folder in which Prefect has run before."""
    shutil.copytree(migrated_home, tmp_path / "dataset" / ".prefect")
    return tmp_path / "dataset"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment of a user with an empty home folder and no settings for Prefect."""
    (tmp_path / "home").mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "DO_NOT_TRACK"))}
    return {**kept, "HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}


@pytest.fixture
def start(environment: dict[str, str]) -> Callable[..., subprocess.Popen[str]]:
    """Start a Python program with arguments, its output caught."""

    def starter(*arguments: str | Path, python: str = sys.executable, **extra: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [python, *map(str, arguments)],
            env={**environment, **extra},
            cwd=environment["HOME"],
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    return starter
