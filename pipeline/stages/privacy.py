"""The check before anything leaves the dataset folder: no identifier of the sources in it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.errors import LeakError
from pipeline.core.records import Problem, Severity
from pipeline.core.words import counted
from pipeline.stages.intake import source_fingerprint, source_folders
from pipeline.workspace import Workspace

if TYPE_CHECKING:
    from pipeline.leaks.search import Identifiers

PLACES_SHOWN = 5


def places_of_leaks(ws: Workspace, paths: Sequence[Path]) -> tuple[str, ...]:
    """Where identifiers of this dataset's sources stand in files about to leave; never what they are."""
    from pipeline.leaks.search import search

    return tuple(f"{leak.where} ({leak.kind})" for leak in search(_identifiers(ws), paths))


def unsearched(ws: Workspace) -> tuple[Problem, ...]:
    """A note when source files could not be read, since what they hold was not sought."""
    count = _identifiers(ws).unreadable
    files = counted(count, "source file")
    message = f"{files} could not be read, so the search for identifiers did not cover their content"
    return (Problem("unsearched-sources", Severity.NOTE, message, "see reports/files.csv"),) if count else ()


def require_clean(ws: Workspace, paths: Sequence[Path], *, what: str) -> None:
    """Remove the files and raise a `LeakError` when one of them holds an identifier of the sources."""
    places = places_of_leaks(ws, paths)
    if places:
        for path in paths:
            path.unlink(missing_ok=True)
        shown = "; ".join(places[:PLACES_SHOWN])
        raise LeakError(f"source identifiers found in {what}, at {counted(len(places), 'place')}; deleted: {shown}")


def _identifiers(ws: Workspace) -> Identifiers:
    clinical = () if ws.config.source.clinical is None else (ws.root / ws.config.source.clinical,)
    return _harvested((*source_folders(ws), *clinical), source_fingerprint(ws))


@cache
def _harvested(paths: tuple[Path, ...], fingerprint: str) -> Identifiers:
    """Identifiers of the sources as they lie now; read once a process as long as nothing changes."""
    from pipeline.leaks.search import harvest

    return harvest(paths)
