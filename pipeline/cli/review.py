"""`liverset review`: hand cases to radiologists and take them back."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.console import EXIT_PROBLEMS, as_json_option, finish, folder_argument, problem_lines, progress, show
from pipeline.cli.sessions import open_flows

if TYPE_CHECKING:
    from pipeline.workspace import Stage


@click.group()
def review() -> None:
    """Hand cases to radiologists and take them back."""


@review.command()
@folder_argument
@as_json_option
def pack(folder: Path, *, as_json: bool) -> None:
    """Write one zip a rater for every labelled volume that was not handed out before."""
    from pipeline import stages

    _hand_out(folder, stages.PACK, "put what comes back into review/round-*/inbox/", as_json=as_json)


@review.command()
@folder_argument
@as_json_option
def adjudicate(folder: Path, *, as_json: bool) -> None:
    """Write one zip for the lead radiologist with every vote that leaves something to settle."""
    from pipeline import stages

    _hand_out(folder, stages.ADJUDICATE, "put what comes back into review/adjudication-*/inbox/", as_json=as_json)


@review.command()
@folder_argument
@as_json_option
def check(folder: Path, *, as_json: bool) -> None:
    """Check what came back, measure agreement, vote, and prepare what is settled."""
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
    settle, release = f"liverset review adjudicate {folder}", f"liverset release cut {folder} --version 1.0.0"
    if stages.packages(ws):
        lines.append(f"Next: `{settle}`" if open_votes else f"Next: `{release}`")
    show({"returns": returns, "problems": [asdict(problem) for problem in problems]}, lines, as_json=as_json)
    finish(problems)


@review.command()
@folder_argument
@click.argument("rater")
@click.argument("item")
def accept(folder: Path, rater: str, item: str) -> None:
    """Use a flagged mask of RATER for ITEM as it is: you looked at it."""
    from pipeline import stages
    from pipeline.workspace import Workspace

    stages.accept_flagged(Workspace.open(folder), rater, item)
    click.echo(f"{item} of {rater} counts from now on.\nNext: `liverset review check {folder}`")


@review.command()
@folder_argument
@as_json_option
def status(folder: Path, *, as_json: bool) -> None:
    """Show how far each rater and the lead radiologist have come."""
    from pipeline import stages
    from pipeline.workspace import Workspace

    rows = stages.review_status(Workspace.open(folder))
    lines = []
    for row in rows:
        lines.append(f"{row.kind} {row.round}, {row.rater}: {row.returned} of {row.assigned} back")
        lines += [f"  {item}: {fix}" for item, fix in row.asked.items()]
    lines = lines or ["nothing was handed out yet; run `liverset review pack`"]
    show({"raters": [asdict(row) for row in rows]}, lines, as_json=as_json)


def _hand_out(folder: Path, stage: Stage, fix: str, *, as_json: bool) -> None:
    """Run a stage that writes packages, and tell where they lie and what to do with them."""
    from pipeline import stages
    from pipeline.workspace import Workspace

    ws = Workspace.open(folder)
    outcome = stage(ws)
    packages = [path.relative_to(ws.root).as_posix() for path in stages.packages(ws)]
    lines = [*packages, *problem_lines(outcome.problems), outcome.note or str(outcome.status)]
    lines += [f"Next: hand them out; {fix}, then `liverset review check {folder}`"] if packages else []
    show({**asdict(outcome), "packages": packages}, lines, as_json=as_json)
    if not outcome.is_well:
        click.get_current_context().exit(EXIT_PROBLEMS)


COMMANDS = (review,)
