"""What to do next with a dataset: only steps that have work now."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.words import counted

if TYPE_CHECKING:
    from pipeline.workspace import Outcome, Workspace

FIRST_VERSION = "1.0.0"


def next_lines(ws: Workspace, folder: Path, *, outcomes: Sequence[Outcome] = (), command: str = "build") -> list[str]:
    """One or two lines that begin with "Next:".

    Args:
        ws: the dataset.
        folder: its folder as the person named it.
        outcomes: what the command that ends now came to; after a failure no release is proposed.
        command: to run again once what failed is fixed.
    """
    from pipeline.workspace import Status

    if any(outcome.status is Status.FAILED for outcome in outcomes):
        again = f"fix the problems above, then `liverset {command} {folder}`"
        steps = [again, _review_step(ws, folder)]
    else:
        steps = [_review_step(ws, folder) or _release_step(ws, folder)]
    return [f"Next: {step}" for step in steps if step]


def _review_step(ws: Workspace, folder: Path) -> str:
    """The first step of a review that has work; "" when there is none."""
    from pipeline import stages

    if _has_returns(ws):
        return f"`liverset review check {folder}`"
    if stages.to_pack(ws):
        return f"`liverset review pack {folder}`"
    if stages.to_adjudicate(ws):
        return f"`liverset review adjudicate {folder}`"
    missing = sum(row.assigned - row.returned for row in stages.review_status(ws))
    if not missing:
        return ""
    masks = counted(missing, "mask")
    return (
        f"put returned masks into the inbox folders below review/, then `liverset review check {folder}`; "
        f"{masks} missing or not accepted"
    )


def _has_returns(ws: Workspace) -> bool:
    """True when something in an inbox was not checked yet."""
    from pipeline import stages
    from pipeline.dataset.layout import ADJUDICATION, ROUND
    from pipeline.workspace import Waiting

    layout = ws.layout
    inboxes = [layout.inbox(number, kind) for kind in (ROUND, ADJUDICATION) for number in layout.numbers(kind)]
    if not any(path for inbox in inboxes for path in inbox.glob("*")):
        return False
    try:
        return stages.COLLECT.why(ws) is not None
    except Waiting:
        return False


def _release_step(ws: Workspace, folder: Path) -> str:
    """Cut the first version, or the one after the newest; build, or fix what is wrong, where no case is settled."""
    from pipeline import stages
    from pipeline.dataset.release import latest_version

    if not ws.layout.screening.exists():
        return f"`liverset build {folder}`"
    if stages.waiting(ws) and not stages.case_ids(ws):
        return f"`liverset build {folder}` when the export is complete"
    if not stages.settled_cases(ws):
        return f"fix the problems that reports/problems.csv lists, then `liverset build {folder}`"
    newest = latest_version(ws.layout.releases)
    if newest is None:
        return f"`liverset release cut {folder} --version {FIRST_VERSION}`"
    major, minor, patch = newest.name.split(".")
    version = f"{major}.{minor}.{int(patch) + 1}"
    return f"`liverset release cut {folder} --version {version}`, if anything changed since {newest.name}"
