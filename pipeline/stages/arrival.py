"""Exports still on their way: a patient waits until the files have rested and what the headers promise is there.

The clock is asked only here. A folder that was taken up as it is stays taken up, however new a copy of it may be, so
that no table and no case depends on when a build ran.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.files import digest, json_text
from pipeline.core.records import Series
from pipeline.stages.intake import listed, source_folders
from pipeline.workspace import Workspace

if TYPE_CHECKING:
    from pipeline.dataset.sealed import Seal
    from pipeline.dicom.read.sources import Folder

SLICES_LOST = "slices-lost"
FILLED_BY_MORE = frozenset(
    {"slice-count", "slice-spacing", "coverage", "missing-slices", "uneven-spacing", "truncated"}
)
"""Rules that may speak against a series only because slices are still to come."""

_NS_A_MINUTE = 60 * 10**9


@dataclass(frozen=True, slots=True)
class Arrivals:
    """The folders of the sources at one moment.

    Attributes:
        restless: those in which a file changed within `settle_minutes` and that were not taken up yet.
        taken_up: digest of the files of each other folder.
    """

    restless: tuple[Folder, ...]
    taken_up: tuple[str, ...]

    @property
    def places(self) -> frozenset[Path]:
        """Where something is still being copied."""
        return frozenset(folder.path for folder in self.restless)


def arrivals(ws: Workspace) -> Arrivals:
    """What is still being copied; nothing where `settle_minutes` is 0."""
    from pipeline.dicom.read.sources import Folder, walk

    minutes = ws.config.source.settle_minutes
    if not minutes:
        return Arrivals((), ())
    before, since_ns = _kept(ws), time.time_ns() - round(minutes * _NS_A_MINUTE)
    folders = {digest(listed(found)): found for found in walk(source_folders(ws)) if isinstance(found, Folder)}
    restless = {
        name: folder for name, folder in folders.items() if name not in before and _last_change_ns(folder) > since_ns
    }
    return Arrivals(tuple(restless.values()), tuple(sorted(folders.keys() - restless)))


def arrival_inputs(ws: Workspace) -> dict[str, str]:
    """What of the clock a screening depends on; nothing where `settle_minutes` is 0."""
    if not ws.config.source.settle_minutes:
        return {}
    return {"arriving": digest(sorted(ascii(folder.key) for folder in arrivals(ws).restless))}


def keep_taken_up(ws: Workspace, now: Arrivals) -> None:
    """Remember, sealed, which folders were taken up as they are."""
    if ws.config.source.settle_minutes:
        _seal(ws).write(ws.layout.taken_up, json_text(now.taken_up).encode())


def awaited(ws: Workspace, series: Series, now: Arrivals, against: Collection[str], *, is_decided: bool) -> str:
    """What is still expected of a series, in words; "" where nothing is.

    Args:
        ws: says how long files must have rested.
        series: as found.
        now: what is still being copied.
        against: the rules that speak against the series as it is.
        is_decided: a person decided about the series: no more will come than is there.
    """
    minutes = ws.config.source.settle_minutes
    if any(one.source.path.parent in now.places for one in series.instances):
        return f"its files changed less than {minutes:g} minutes ago"
    promised = next((problem.message for problem in series.problems if problem.code == SLICES_LOST), "")
    return promised if minutes and not is_decided and FILLED_BY_MORE.issuperset(against) else ""


def _last_change_ns(folder: Folder) -> int:
    """When a file of a folder was last written, renamed or replaced, by the disk: copies keep old times."""
    try:
        return max((folder.path / name).stat().st_ctime_ns for name, _ in folder.files)
    except OSError:
        return time.time_ns()


def _kept(ws: Workspace) -> frozenset[str]:
    path = ws.layout.taken_up
    return frozenset(json.loads(_seal(ws).read(path))) if path.exists() else frozenset()


def _seal(ws: Workspace) -> Seal:
    from pipeline.dataset.sealed import Seal

    return Seal("taken-up 1", ws.crosswalk.pseudonyms)
