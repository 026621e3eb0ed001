"""`liverset review`: send cases to radiologists and check what they return."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.console import EXIT_PROBLEMS, as_json_option, finish, folder_argument, problem_lines, progress, show
from pipeline.cli.next_step import next_lines
from pipeline.cli.sessions import open_flows
from pipeline.core.words import counted

if TYPE_CHECKING:
    from pipeline.workspace import Stage


@click.group()
def review() -> None:
    """Send cases to radiologists and check what they return."""


@review.command(epilog="Example: `liverset review pack my-dataset`")
@folder_argument
@as_json_option
def pack(folder: Path, *, as_json: bool) -> None:
    """Write one zip per rater with new labelled volumes.

    Packs every labelled volume that was not handed out before, into review/round-N/outbox/.
    """
    from pipeline import stages

    _hand_out(folder, stages.PACK, as_json=as_json)


@review.command(epilog="Example: `liverset review adjudicate my-dataset`")
@folder_argument
@as_json_option
def adjudicate(folder: Path, *, as_json: bool) -> None:
    """Write one zip for the lead radiologist with open votes.

    Packs every volume whose vote needs a decision, into review/adjudication-N/outbox/.
    """
    from pipeline import stages

    _hand_out(folder, stages.ADJUDICATE, as_json=as_json)


@review.command(epilog="Example: `liverset review check my-dataset`")
@folder_argument
@as_json_option
def check(folder: Path, *, as_json: bool) -> None:
    """Check returned masks, measure agreement, and vote.

    Reads the inbox folders below review/. Accepts masks or says what is wrong with them, votes where all masks of a
    case are accepted, measures lesions, and prepares settled cases for a release.
    """
    from pipeline import stages
    from pipeline.workspace import Workspace

    ws = Workspace.open(folder)
    with progress(quiet=as_json) as report, open_flows(ws, report) as flows:
        outcomes = flows.collect_reviews()
    returns = [row for row in stages.returned(ws) if row["verdict"] != "accept"]
    open_votes = stages.open_votes(ws)
    problems = (*(problem for outcome in outcomes for problem in outcome.problems), *open_votes)
    lines = [outcome.note for outcome in outcomes if outcome.stage == stages.COLLECT.name and outcome.note]
    lines += problem_lines(problems)
    lines += next_lines(ws, folder, outcomes=outcomes, command="review check")
    show({"returns": returns, "problems": [problem.to_json() for problem in problems]}, lines, as_json=as_json)
    finish(problems)


@review.command(epilog="Example: `liverset review accept my-dataset R1 P0003_C1`")
@folder_argument
@click.argument("rater")
@click.argument("item")
def accept(folder: Path, rater: str, item: str) -> None:
    """Accept a flagged mask after you looked at it.

    Uses the mask that RATER returned for ITEM as it is, from the next `review check` on.
    """
    from pipeline import stages
    from pipeline.workspace import Workspace

    stages.accept_flagged(Workspace.open(folder), rater, item)
    click.echo(f"{item} of {rater} is accepted.\nNext: `liverset review check {folder}`")


@review.command(epilog="Example: `liverset review status my-dataset`")
@folder_argument
@as_json_option
def status(folder: Path, *, as_json: bool) -> None:
    """Show how many masks each rater has returned.

    Prints one line for each rater and round, the lead radiologist included, and the fix for each mask that is not
    accepted.
    """
    from pipeline import stages
    from pipeline.workspace import Workspace

    ws = Workspace.open(folder)
    rows = stages.review_status(ws)
    lines = []
    for row in rows:
        masks = counted(row.assigned, "mask")
        lines.append(f"{row.kind} {row.round}, {row.rater}: {row.returned} of {masks} accepted")
        lines += [f"  {item}: {fix}" for item, fix in row.asked.items()]
    lines = [*(lines or ["no package was handed out yet"]), *next_lines(ws, folder)]
    show({"raters": [asdict(row) for row in rows]}, lines, as_json=as_json)


def _hand_out(folder: Path, stage: Stage, *, as_json: bool) -> None:
    """Run a stage that writes packages, and print which are new and what to do with them."""
    from pipeline import stages
    from pipeline.workspace import Workspace

    ws = Workspace.open(folder)
    before = stages.packages(ws)
    outcome = stage(ws)
    packages = stages.packages(ws)
    new = [path.relative_to(ws.root).as_posix() for path in packages if path not in before]
    lines = [*new, *problem_lines(outcome.problems), outcome.note or "no new package"]
    each = "each zip to the radiologist whose code it bears"
    lines += [f"Next: send {each if stage is stages.PACK else 'the zip to the lead radiologist'}"] if new else []
    lines += next_lines(ws, folder, outcomes=[outcome], command=f"review {stage.name}")
    content = {**outcome.to_json(), "packages": [path.relative_to(ws.root).as_posix() for path in packages]}
    show(content, lines, as_json=as_json)
    if not outcome.is_well:
        click.get_current_context().exit(EXIT_PROBLEMS)


COMMANDS = (review,)
