"""`liverset release`: cut, verify, compare and export versions."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from pipeline.cli.console import (
    as_json_option,
    finish,
    folder_argument,
    problem_lines,
    progress,
    show,
    version_option,
)
from pipeline.cli.sessions import open_flows
from pipeline.dataset.layout import ExportFormat

LAYOUTS = [layout.value for layout in ExportFormat]


@click.group()
def release() -> None:
    """Cut, verify, compare and export versions."""


@release.command(epilog="Example: `liverset release cut my-dataset --version 1.0.0`")
@folder_argument
@version_option
@as_json_option
def cut(folder: Path, version: str, *, as_json: bool) -> None:
    """Write a version from all settled cases, and verify it.

    Writes releases/VERSION, which never changes again, and names the cases that are not settled yet. Cutting the same
    version again from the same inputs changes nothing; from other inputs it is refused.
    """
    from pipeline import stages
    from pipeline.workspace import Workspace

    ws = Workspace.open(folder)
    with progress(quiet=as_json) as report, open_flows(ws, report) as flows:
        outcomes = flows.publish_release(version)
    problems = tuple(problem for outcome in outcomes for problem in outcome.problems)
    lines = [outcome.note for outcome in outcomes if outcome.note] + problem_lines(problems)
    if all(outcome.is_well for outcome in outcomes):
        page = stages.page_of_version(ws, version).relative_to(ws.root)
        lines.append(f"Next: open {page} in a browser")
    show({"outcomes": [outcome.to_json() for outcome in outcomes]}, lines, as_json=as_json)
    finish(problems)


@release.command(epilog="Example: `liverset release verify my-dataset --version 1.0.0`")
@folder_argument
@version_option
@as_json_option
def verify(folder: Path, version: str, *, as_json: bool) -> None:
    """Check every file of a version.

    Compares the files with their checksums, the manifest and the rules of a release, from the version's own files
    alone.
    """
    from pipeline import stages
    from pipeline.workspace import Workspace

    outcome = stages.verify_release(Workspace.open(folder), version)
    lines = [*problem_lines(outcome.problems), outcome.note]
    show(outcome.to_json(), lines, as_json=as_json)
    finish(outcome.problems)


@release.command(epilog="Example: `liverset release diff my-dataset --version 1.1.0 --against 1.0.0`")
@folder_argument
@version_option
@click.option("--against", help="Version to compare with; by default the one before.")
@as_json_option
def diff(folder: Path, version: str, against: str | None, *, as_json: bool) -> None:
    """Show what changed between two versions.

    Lists volumes added, removed and changed, with the Dice of old and new masks, and columns added or removed.
    """
    from pipeline.dataset.difference import diff as compare
    from pipeline.dataset.release import latest_version
    from pipeline.workspace import Workspace

    layout = Workspace.open(folder).layout
    old = layout.release(against) if against else latest_version(layout.releases, before=version)
    difference = compare(old, layout.release(version))
    show(asdict(difference), [difference.to_markdown().rstrip()], as_json=as_json)


@release.command(epilog="Example: `liverset release export my-dataset --version 1.0.0 --as nnunet -o exports`")
@folder_argument
@version_option
@click.option("--as", "layout", type=click.Choice(LAYOUTS), required=True, help="Layout to write.")
@click.option("-o", "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Output folder.")
@click.option("--number", default=1, show_default=True, help="Dataset number, for nnU-Net and MSD.")
def export(folder: Path, version: str, layout: str, out: Path, number: int) -> None:
    """Write a version in the layout of nnU-Net, MSD or BIDS.

    MSD is the Medical Segmentation Decathlon. Images and masks are hard links where the disk allows it.
    """
    from pipeline.dataset.export import export as lay_out
    from pipeline.workspace import Workspace

    release_folder = Workspace.open(folder).layout.release(version)
    click.echo(f"{lay_out(release_folder, out, ExportFormat(layout), number=number)} written")


COMMANDS = (release,)
