"""`liverset review`: hand cases to radiologists and take them back."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from pipeline.cli.console import as_json_option, finish, folder_argument, problem_lines, progress, show
from pipeline.cli.sessions import open_flows


@click.group()
def review() -> None:
    """Hand cases to radiologists and take them back."""


@review.command()
@folder_argument
@as_json_option
def pack(folder: Path, *, as_json: bool) -> None:
    """Write one zip a rater for every labelled volume that was not handed out before."""
    from pipeline import stages
    from pipeline.workspace import Workspace

    ws = Workspace.open(folder)
    outcome = stages.PACK(ws)
    packages = stages.packages(ws)
    lines = [f"{package.name}: {package.stat().st_size / 1e6:.1f} MB" for package in packages]
    lines += problem_lines(outcome.problems)
    lines.append(
        f"Next: hand them out; put what comes back into {ws.layout.review.name}/round-*/inbox/, "
        f"then `liverset review check {folder}`"
        if packages
        else outcome.note
    )
    content = {**asdict(outcome), "packages": [package.relative_to(ws.root).as_posix() for package in packages]}
    show(content, lines, as_json=as_json)
    finish(outcome.problems)


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
    returns = stages.returned(ws)
    problems = tuple(problem for outcome in outcomes for problem in outcome.problems)
    lines = [f"{row['file']}: {row['verdict']}. {row['message']}".rstrip() for row in returns]
    lines += problem_lines(problems)
    lines.append(f"Next: `liverset release cut {folder} --version 1.0.0` for what is settled")
    show({"returns": returns, "problems": [asdict(problem) for problem in problems]}, lines, as_json=as_json)
    finish(problems)


@review.command()
@folder_argument
@as_json_option
def status(folder: Path, *, as_json: bool) -> None:
    """Show how far each rater and each volume has come."""
    from pipeline import stages
    from pipeline.workspace import Workspace

    rows = stages.review_status(Workspace.open(folder))
    lines = [f"{row['rater']}: {row['returned']} of {row['assigned']} returned" for row in rows]
    show({"raters": rows}, lines or ["nothing was handed out yet; run `liverset review pack`"], as_json=as_json)


COMMANDS = (review,)
