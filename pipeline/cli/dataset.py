"""Commands on a dataset folder: make it, build it, ask how it stands."""

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
    table_lines,
)
from pipeline.cli.sessions import load, open_flows
from pipeline.core.config import CONFIG_NAME
from pipeline.core.errors import ConfigError
from pipeline.core.files import write_text

MEND = "Next: mend what is told above, then `liverset build` again"

TEMPLATE = Path(__file__).with_name(CONFIG_NAME)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
def init(folder: Path) -> None:
    """Make a dataset folder with a dataset.toml to edit."""
    path = folder / CONFIG_NAME
    if path.exists():
        raise ConfigError(f"{path.name} is there already; edit it, or choose another folder")
    write_text(path, TEMPLATE.read_text(encoding="utf-8"))
    click.echo(f"{path} is written.\nNext: edit it, then `liverset build {folder}`")


@click.command()
@folder_argument
@click.option("--verify", is_flag=True, help="Hash every file again instead of trusting size and time.")
@as_json_option
def plan(folder: Path, *, verify: bool, as_json: bool) -> None:
    """Say what `build` would do, and why; do nothing."""
    from pipeline.plan import plan_build
    from pipeline.workspace import Workspace

    steps = plan_build(Workspace.open(folder), verify=verify)
    lines = [f"{step.stage} {step.case_id or 'dataset'}: {step.reason}" for step in steps]
    lines.append(f"Next: `liverset build {folder}` runs these {len(steps)} steps" if steps else "nothing to do")
    show({"steps": [asdict(step) for step in steps]}, lines, as_json=as_json)


@click.command()
@folder_argument
@click.option("--verify", is_flag=True, help="Hash every file again instead of trusting size and time.")
@as_json_option
def build(folder: Path, *, verify: bool, as_json: bool) -> None:
    """Bring the dataset up to coarse labels: convert, de-identify and label what is new or changed."""
    from pipeline import stages
    from pipeline.plan import plan_build
    from pipeline.workspace import Workspace

    ws = Workspace.open(folder)
    if not plan_build(ws, verify=verify):
        problems = stages.standing_problems(ws)
        lines = [*problem_lines(problems), "nothing to do: everything is current"]
        show({"outcomes": [], "problems": [asdict(problem) for problem in problems]}, lines, as_json=as_json)
        return
    with progress(quiet=as_json) as report, open_flows(ws, report) as flows:
        outcomes = flows.build()
    problems = tuple(problem for outcome in outcomes for problem in outcome.problems)
    lines = [outcome.note for outcome in outcomes if outcome.note and outcome.case_id is None and outcome.is_well]
    lines += [*problem_lines(problems), f"Next: `liverset review pack {folder}`" if stages.case_ids(ws) else MEND]
    show({"outcomes": [asdict(outcome) for outcome in outcomes]}, lines, as_json=as_json)
    finish(problems)


@click.command()
@folder_argument
@as_json_option
def status(folder: Path, *, as_json: bool) -> None:
    """Show how far every case has come."""
    from pipeline.plan import case_progress
    from pipeline.workspace import Workspace

    rows = case_progress(Workspace.open(folder))
    lines = table_lines(("case", *rows[0].steps), [(row.case_id, *row.steps.values()) for row in rows]) if rows else []
    lines.append(f"{len(rows)} cases" if rows else f"nothing is built yet; run `liverset build {folder}`")
    show({"cases": [asdict(row) for row in rows]}, lines, as_json=as_json)


@click.command()
@click.argument("case_id", metavar="CASE")
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), default=Path(), help="The dataset folder.")
@as_json_option
def why(case_id: str, folder: Path, *, as_json: bool) -> None:
    """Tell what was done for a case, what stands against it, and what would run next."""
    from pipeline.plan import explain
    from pipeline.workspace import Workspace

    facts = explain(Workspace.open(folder), case_id)
    lines = [f"{stage}: {text}" for stage, text in facts.items()]
    show({"case": case_id, "stages": facts}, lines, as_json=as_json)


@click.command()
@folder_argument
@as_json_option
def report(folder: Path, *, as_json: bool) -> None:
    """Write the quality page and tables anew."""
    from pipeline import stages
    from pipeline.workspace import Workspace

    ws = Workspace.open(folder)
    outcome = stages.REPORT(ws)
    lines = [*problem_lines(outcome.problems), f"Next: open {ws.layout.qc_page.relative_to(ws.root)} in a browser"]
    show(asdict(outcome), lines, as_json=as_json)


@click.command()
@folder_argument
@click.option("--cron", default="0 2 * * *", show_default=True, help="When to build, as cron writes it.")
def serve(folder: Path, cron: str) -> None:
    """Build on a schedule until stopped with Ctrl-C."""
    from pipeline.workspace import Workspace

    root = Workspace.open(folder).root
    click.echo(f"building {folder} whenever {cron!r} says so; stop with Ctrl-C")
    load("serve")(root, cron=cron)


@click.command()
@folder_argument
@click.argument("case_id", metavar="CASE")
def crosswalk(folder: Path, case_id: str) -> None:
    """Tell which source patient a case is, for who may know; that it was asked is logged."""
    from pipeline.workspace import Workspace

    ws = Workspace.open(folder)
    if not ws.layout.crosswalk.exists():
        raise ConfigError(f"nothing is screened yet; run `liverset build {folder}`")
    click.echo(ws.crosswalk.patient_of(case_id))


@click.command()
@as_json_option
def doctor(*, as_json: bool) -> None:
    """Check the installation: versions, network model, device, disk, telemetry."""
    from pipeline.cli.checkup import checks

    rows = checks()
    lines = [
        f"{'ok ' if row.ok else 'BAD'} {row.what}: {row.found}" + ("" if row.ok else f"; {row.fix}") for row in rows
    ]
    show({"checks": [asdict(row) for row in rows]}, lines, as_json=as_json)
    if not all(row.ok for row in rows):
        click.get_current_context().exit(1)


COMMANDS = (init, plan, build, status, why, report, serve, crosswalk, doctor)
