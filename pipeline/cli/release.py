"""`liverset release`: cut, verify and compare versions."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from pipeline.cli.console import as_json_option, finish, folder_argument, problem_lines, progress, show
from pipeline.cli.sessions import open_flows
from pipeline.dataset.layout import ExportFormat

LAYOUTS = [layout.value for layout in ExportFormat]
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


@release.command()
@folder_argument
@version_option
@click.option("--against", help="The version to compare with; the one before if absent.")
@as_json_option
def diff(folder: Path, version: str, against: str | None, *, as_json: bool) -> None:
    """Tell what changed between two versions, volume by volume, with the Dice of changed masks."""
    from pipeline.dataset.difference import diff as compare
    from pipeline.dataset.release import latest_version
    from pipeline.workspace import Workspace

    layout = Workspace.open(folder).layout
    old = layout.release(against) if against else latest_version(layout.releases, before=version)
    difference = compare(old, layout.release(version))
    show(asdict(difference), [difference.to_markdown().rstrip()], as_json=as_json)


@release.command()
@folder_argument
@version_option
@click.option("--as", "layout", type=click.Choice(LAYOUTS), required=True, help="Who is to read it.")
@click.option("-o", "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Where to.")
@click.option("--number", default=1, show_default=True, help="Of the dataset, for nnU-Net and MSD.")
def export(folder: Path, version: str, layout: str, out: Path, number: int) -> None:
    """Lay a version out for nnU-Net, the Medical Segmentation Decathlon or BIDS."""
    from pipeline.dataset.export import export as lay_out
    from pipeline.workspace import Workspace

    release_folder = Workspace.open(folder).layout.release(version)
    click.echo(f"{lay_out(release_folder, out, ExportFormat(layout), number=number)} is written")


COMMANDS = (release,)
