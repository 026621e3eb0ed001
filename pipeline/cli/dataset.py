"""Commands on a dataset folder: make it, build it, see how far it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.console import (
    EXIT_PROBLEMS,
    as_json_option,
    finish,
    folder_argument,
    problem_lines,
    progress,
    show,
    table_lines,
)
from pipeline.cli.next_step import next_lines
from pipeline.cli.sessions import load, open_flows
from pipeline.core.config import CONFIG_NAME
from pipeline.core.errors import ConfigError
from pipeline.core.files import PRIVATE_FILE_MODE, write_text
from pipeline.core.words import counted

if TYPE_CHECKING:
    from pipeline.stages.acceptance import Acceptance

TEMPLATE = Path(__file__).with_name(CONFIG_NAME)

verify_option = click.option(
    "--verify", is_flag=True, help="Hash every output again instead of trusting size and time."
)
case_argument = click.argument("case_id", metavar="CASE")


class StageName(click.ParamType[str]):
    """One of the stages there are; they are looked up only when a name is given, since to load them takes time."""

    name = "stage"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name; another one is refused with the list of all."""
        from pipeline.stages import STAGES

        return str(click.Choice([stage.name for stage in STAGES]).convert(value, param, ctx))


@click.command(epilog="Example: `liverset init my-dataset --from export/`")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--from", "source", type=click.Path(path_type=Path, exists=True), help="DICOM that the settings should fit."
)
def init(folder: Path, source: Path | None) -> None:
    """Make a dataset folder with a dataset.toml to edit.

    With --from, reads a folder, zip or tar of DICOM first. The settings then fit what it holds, and
    private/clinical.csv has a row for each patient to fill in.
    """
    path = folder / CONFIG_NAME
    if path.exists():
        raise ConfigError(f"{path.name} exists already; edit it, or choose another folder")
    template = TEMPLATE.read_text(encoding="utf-8")
    if source is None:
        write_text(path, template)
        click.echo(f"{path} written.\nNext: edit it, then `liverset build {folder}`")
        return
    for line in _init_from(folder, source, template):
        click.echo(line)


def _init_from(folder: Path, source: Path, template: str) -> Iterator[str]:
    """Write settings and tables fitted to an export; lines that say what was found."""
    from pipeline.cli.first_settings import fitted_settings
    from pipeline.dataset.layout import Layout
    from pipeline.stages.survey import survey

    found, layout = survey(folder, source), Layout(folder)
    clinical, hospitals = (table.relative_to(folder).as_posix() for table in (layout.clinical, layout.hospitals))
    text = fitted_settings(template, found, folder, clinical=clinical, hospitals=hospitals)
    if not layout.clinical.exists():
        write_text(layout.clinical, found.clinical_table(), mode=PRIVATE_FILE_MODE)
    write_text(layout.hospitals, found.hospital_table(), mode=PRIVATE_FILE_MODE)
    write_text(layout.config, text)
    yield f"{counted(len(found.series), 'series', 'series')} of {counted(found.patients(), 'patient')} looked at"
    yield f"{layout.config}, {layout.clinical} and {layout.hospitals} written; private/ leads back to patients"
    yield f"Next: fill in {layout.clinical}, read {layout.config}, then `liverset build {folder}`"


@click.command(epilog="Example: `liverset plan my-dataset`")
@folder_argument
@verify_option
@as_json_option
def plan(folder: Path, *, verify: bool, as_json: bool) -> None:
    """Show what `build` would do, and why.

    Changes nothing. Prints one line for each step with the reason it would run.
    """
    from pipeline.plan import plan_build
    from pipeline.workspace import Workspace

    ws = Workspace.open(folder)
    steps = plan_build(ws, verify=verify)
    lines = [f"{step.stage} {step.case_id or 'dataset'}: {step.reason}" for step in steps]
    runs = f"Next: `liverset build {folder}` runs {counted(len(steps), 'step')} and those that depend on them"
    lines += [runs] if steps else ["nothing to build: everything is current", *next_lines(ws, folder)]
    show({"steps": [asdict(step) for step in steps]}, lines, as_json=as_json)


@click.command(epilog="Example: `liverset build my-dataset`")
@folder_argument
@verify_option
@click.option(
    "--accept-code-change",
    "accepted_stages",
    type=StageName(),
    multiple=True,
    help="Keep what this stage made where only the program changed since; may be given several times.",
)
@as_json_option
def build(folder: Path, *, verify: bool, accepted_stages: tuple[str, ...], as_json: bool) -> None:
    """Convert, de-identify and label what is new or changed.

    Reads the sources that dataset.toml names. Writes images and coarse labels to cases/, tables and the quality page
    to reports/. Skips what is current and resumes after an interruption.
    """
    from pipeline import stages
    from pipeline.plan import plan_build
    from pipeline.workspace import Workspace

    ws = Workspace.open(folder)
    if not accepted_stages and not plan_build(ws, verify=verify):
        problems = stages.standing_problems(ws)
        lines = [*problem_lines(problems), "nothing to build: everything is current", *next_lines(ws, folder)]
        show({"outcomes": [], "problems": [problem.to_json() for problem in problems]}, lines, as_json=as_json)
        return
    with progress(quiet=as_json) as report, open_flows(ws, report) as flows:
        accepted = flows.accept_code_changes(accepted_stages, verify=verify)
        outcomes = flows.build()
    problems = tuple(problem for outcome in outcomes for problem in outcome.problems)
    lines = [line for one in accepted for line in acceptance_lines(one)]
    lines += [outcome.note for outcome in outcomes if outcome.note and outcome.case_id is None and outcome.is_well]
    lines += [*problem_lines(problems), *next_lines(ws, folder, outcomes=outcomes)]
    content = {"accepted": [asdict(one) for one in accepted], "outcomes": [outcome.to_json() for outcome in outcomes]}
    show(content, lines, as_json=as_json)
    finish(problems)


def acceptance_lines(found: Acceptance) -> Iterator[str]:
    """How many outputs of a stage were accepted, and why the others were not."""
    current = f", {found.current} were current already" if found.current else ""
    yield f"{found.stage}: {found.accepted} accepted as made by this version{current}"
    yield from (f"{found.stage}: {count} not accepted: {reason}" for reason, count in found.left.items())


@click.command(epilog="Example: `liverset status my-dataset`")
@folder_argument
@as_json_option
def status(folder: Path, *, as_json: bool) -> None:
    """Show how far each case has come.

    Prints one row for each case and one column for each stage: done, to do, waiting or failed. Patients whose files are
    still arriving come last.
    """
    from pipeline import stages
    from pipeline.plan import case_progress
    from pipeline.workspace import Workspace

    ws = Workspace.open(folder)
    rows, waiting, recalled = case_progress(ws), stages.waiting(ws), stages.recalls(ws)
    lines = table_lines(("case", *rows[0].steps), [(row.case_id, *row.steps.values()) for row in rows]) if rows else []
    nothing = f"nothing is built yet\nNext: `liverset build {folder}`"
    lines += [counted(len(rows), "case") if rows or waiting else nothing, *problem_lines(waiting, most=len(waiting))]
    lines += problem_lines(stages.recall_problems(recalled))
    content = {
        "cases": [asdict(row) for row in rows],
        "waiting": [problem.to_json() for problem in waiting],
        "recalls": [one.row() for one in recalled],
    }
    show(content, lines, as_json=as_json)


@click.command(epilog="Example: `liverset why my-dataset P0007`")
@folder_argument
@case_argument
@as_json_option
def why(folder: Path, case_id: str, *, as_json: bool) -> None:
    """Show what was done for a case and what is left to do.

    Prints one line for each stage: current, to do with the reason, or waiting and for what; then its problems.
    """
    from pipeline.plan import explain
    from pipeline.workspace import Workspace

    facts = explain(Workspace.open(folder), case_id)
    lines = [f"{stage}: {text}" for stage, text in facts.items()]
    show({"case": case_id, "stages": facts}, lines, as_json=as_json)


@click.command(epilog="Example: `liverset report my-dataset`")
@folder_argument
@as_json_option
def report(folder: Path, *, as_json: bool) -> None:
    """Write the quality page and the table of problems.

    Reads what the stages left. Writes reports/qc.html and reports/problems.csv. `build` and `review check` do so too.
    """
    from pipeline import stages
    from pipeline.workspace import Workspace

    ws = Workspace.open(folder)
    outcome = stages.REPORT(ws)
    lines = [*problem_lines(outcome.problems), f"Next: open {ws.layout.qc_page.relative_to(ws.root)} in a browser"]
    show(outcome.to_json(), lines, as_json=as_json)


@click.command(epilog='Example: `liverset serve my-dataset --cron "0 2 * * *"` runs every night at two.')
@folder_argument
@click.option("--cron", default="0 2 * * *", show_default=True, help="When to run, as five cron fields in local time.")
def serve(folder: Path, cron: str) -> None:
    """Build and check returns on a schedule until stopped.

    Each run does what `build` and `review check` do, one run at a time. Stop it with Ctrl-C.
    """
    from pipeline.workspace import Workspace

    root = Workspace.open(folder).root
    click.echo(f"runs {folder} on the schedule {cron!r}; stop with Ctrl-C")
    load("serve")(root, cron=cron)


@click.command(epilog="Example: `liverset crosswalk my-dataset P0007`")
@folder_argument
@case_argument
def crosswalk(folder: Path, case_id: str) -> None:
    """Print the patient number behind a case, for a withdrawal.

    Needs the project's secret. Each look-up is logged: the case, never the patient. Do not share the output.
    """
    from pipeline.workspace import Workspace

    ws = Workspace.open(folder)
    if not ws.layout.crosswalk.exists():
        raise ConfigError(f"no case has a patient yet; run `liverset build {folder}`")
    click.echo(ws.crosswalk.patient_of(case_id))


@click.command(epilog='Example: `liverset withdraw my-dataset P0007 --reason "letter of 3 May"`')
@folder_argument
@case_argument
@click.option("--reason", required=True, help="Why, in words that name nobody.")
@as_json_option
def withdraw(folder: Path, case_id: str, reason: str, *, as_json: bool) -> None:
    """Take a case out of the dataset for good: consent was withdrawn.

    Removes what was made of the case, takes it out of packages and returns that lie here, and never takes the patient
    up again. Lists the packages and versions that hold it: recall them yourself. Cannot be undone.
    """
    from datetime import date

    from pipeline import stages
    from pipeline.workspace import Workspace

    if not reason.strip():
        raise ConfigError('expected a reason that names nobody, such as --reason "letter of 3 May"')
    done = stages.withdraw(Workspace.open(folder), case_id, reason=reason, when=date.today().isoformat())
    recalled = stages.recall_problems(done.recalls)
    lines = [f"taken out of {name}" for name in done.changed]
    lines += [f"{case_id} is withdrawn", *problem_lines(recalled, most=len(recalled))]
    lines += [f"Next: delete the patient's files from the sources, then `liverset build {folder}`"]
    show({"changed": done.changed, "recalls": [one.row() for one in done.recalls]}, lines, as_json=as_json)


@click.command(epilog="Example: `liverset doctor`")
@as_json_option
def doctor(*, as_json: bool) -> None:
    """Check the installation: versions, network, device, disk.

    Prints one line for each check, with a fix where something is wrong.
    """
    from pipeline.cli.checkup import checks

    rows = checks()
    lines = [
        f"{'ok    ' if row.ok else 'failed'} {row.what}: {row.found}" + ("" if row.ok else f"; {row.fix}")
        for row in rows
    ]
    show({"checks": [asdict(row) for row in rows]}, lines, as_json=as_json)
    if not all(row.ok for row in rows):
        click.get_current_context().exit(EXIT_PROBLEMS)


@click.command(epilog="Example: `liverset decide my-dataset 77a0d21c55ef mask --by R9`")
@folder_argument
@click.argument("series")
@click.argument("decision")
@click.option("--boxes", default="", help='Mask these: "slices 3-5 rows 1-12 columns 4-60; ...".')
@click.option("--by", required=True, help="Code of the person who looked at the montage.")
@click.option("--note", default="", help="Why.")
def decide(folder: Path, series: str, decision: str, boxes: str, by: str, note: str) -> None:
    """Decide about text in a series after you looked at its montage.

    DECISION is `publish` (it is no text), `mask` (set the boxes to the background value; those of the search unless
    --boxes names others), `mask-and-publish` (mask, and what still looks like text is none) or `exclude`. Writes
    decisions.csv in FOLDER: a dataset, or the private folder of `deidentify`.
    """
    from pipeline.core.boxes import parse_boxes
    from pipeline.core.decisions import TextDecision, TextVerdict, decide_on_text
    from pipeline.core.file_names import DECISIONS

    if decision not in tuple(TextVerdict):
        raise ConfigError(f"{decision} is no decision; expected one of {', '.join(TextVerdict)}")
    named = _named_series(folder)
    if not named:
        raise ConfigError(f"{folder} holds no series to decide about; name a dataset, or the private folder of a copy")
    if series not in named:
        raise ConfigError(f"no series {series} here; give the name as the message or reports/series.csv has it")
    decided = TextDecision(TextVerdict(decision), by, parse_boxes(boxes))
    decide_on_text(folder / DECISIONS, series, decided, note)
    again = f"`liverset build {folder}`" if (folder / CONFIG_NAME).exists() else "run `liverset deidentify` again"
    click.echo(f"{series}: {decided} is written to {DECISIONS}\nNext: {again}")


def _named_series(folder: Path) -> set[str]:
    """Series that a person may decide about: those of the dataset, or those with a montage in a private folder."""
    from pipeline.core.files import read_csv
    from pipeline.dataset.layout import Layout

    montages = {path.stem.split("_")[1] for path in folder.glob("text_*.png")}
    return montages | {row["series"] for row in read_csv(Layout(folder).series_table)}


COMMANDS = (init, plan, build, decide, status, why, report, serve, crosswalk, withdraw, doctor)
