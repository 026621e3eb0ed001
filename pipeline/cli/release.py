"""`liverset release`: cut, verify and compare versions."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from pipeline.cli.console import as_json_option, finish, folder_argument, problem_lines, progress, show
from pipeline.cli.sessions import open_flows

version_option = click.option("--version", "version", required=True, help="Such as 1.0.0 (semantic versioning).")


@click.group()
def release() -> None:
    """Cut, verify and compare versions of the dataset."""


@release.command()
@folder_argument
@version_option
@as_json_option
def cut(folder: Path, version: str, *, as_json: bool) -> None:
    """Write releases/VERSION from everything that is settled, and verify it."""
    from pipeline.workspace import Workspace

    ws = Workspace.open(folder)
    with progress(quiet=as_json) as report, open_flows(ws, report) as flows:
        outcomes = flows.publish_release(version)
    problems = tuple(problem for outcome in outcomes for problem in outcome.problems)
    lines = [outcome.note for outcome in outcomes if outcome.note] + problem_lines(problems)
    show({"outcomes": [asdict(outcome) for outcome in outcomes]}, lines, as_json=as_json)
    finish(problems)


@release.command()
@folder_argument
@version_option
@as_json_option
def verify(folder: Path, version: str, *, as_json: bool) -> None:
    """Check every file of a version against its checksums, its manifest and its own rules."""
    from pipeline import stages
    from pipeline.workspace import Workspace

    outcome = stages.verify_release(Workspace.open(folder), version)
    lines = [*problem_lines(outcome.problems), outcome.note]
    show(asdict(outcome), lines, as_json=as_json)
    finish(outcome.problems)


COMMANDS = (release,)
