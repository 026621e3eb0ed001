"""`liverset train` and `liverset evaluate`: train the next round's network on settled masks, and measure it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.console import (
    EXIT_PROBLEMS,
    as_json_option,
    folder_argument,
    show,
    table_lines,
    version_option,
)
from pipeline.core.files import remove

if TYPE_CHECKING:
    from pipeline.evaluate.evaluation import Evaluation
    from pipeline.workspace import Workspace

device_option = click.option("--device", default="cpu", show_default=True, help="Device: cpu or cuda.")
EVALUATION_COLUMNS = ("group", "value", "structure", "measure", "volumes", "mean", "sd")


@click.command(epilog="Example: `liverset train my-dataset --version 1.0.0 -o models/round-2 --pretrained demo`")
@folder_argument
@version_option
@click.option("-o", "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="New model folder.")
@click.option("--pretrained", help="Model to start from: a registered name or a folder.")
@click.option(
    "--full",
    is_flag=True,
    help="Use nnU-Net's full plans, one network per fold. Takes days on a GPU; resumes after an interruption.",
)
@click.option("--folds", is_flag=True, help="Train one network per fold of the version, and measure each on its fold.")
@click.option("--with-coarse", is_flag=True, help="Also train on coarse labels of cases that are not in the version.")
@device_option
def train(
    folder: Path,
    version: str,
    out: Path,
    pretrained: str | None,
    *,
    full: bool,
    folds: bool,
    with_coarse: bool,
    device: str,
) -> None:
    """Train a network on the training patients of a version.

    Writes a model folder with its checksum, ready to be named in dataset.toml. Test patients are never used. The small
    network takes minutes on one CPU core and is for trying out.

    With --folds the networks learn from the version's own images and masks, without the patients of their fold, and are
    measured on these: OUT holds the models, the predicted masks and the tables of `liverset evaluate`.
    """
    from pipeline.stages.learn import train_model
    from pipeline.workspace import Workspace

    if folds and with_coarse:
        raise click.UsageError("--folds trains from a version alone; remove --with-coarse")
    if folds:
        _train_folds(Workspace.open(folder), version, out, pretrained, full=full, device=device)
        return
    with _work_folder(out, is_kept=full) as work:
        model = train_model(
            Workspace.open(folder),
            version,
            out,
            work,
            device=device,
            pretrained=pretrained,
            full=full,
            with_coarse=with_coarse,
        )
    lines = [f"{out} written.", "Next: name the model in dataset.toml:", "[coarse]", f'model = "{out.resolve()}"']
    click.echo("\n".join([*lines, f'sha256 = "{model.sha256}"']))


def _train_folds(ws: Workspace, version: str, out: Path, pretrained: str | None, *, full: bool, device: str) -> None:
    from pipeline.stages.learn import train_folds

    with _work_folder(out, is_kept=full) as work:
        evaluation = train_folds(ws, version, out, work, device=device, pretrained=pretrained, full=full)
    click.echo("\n".join([*_evaluation_lines(evaluation), f"{out} written."]))


@contextmanager
def _work_folder(out: Path, *, is_kept: bool) -> Iterator[Path]:
    """For nnU-Net's intermediate files. One that is kept survives an interruption, so that training can resume."""
    if is_kept:
        work = out.with_name(f"{out.name}-unfinished")
        yield work
        remove(work)
    else:
        with tempfile.TemporaryDirectory(dir=out.parent if out.parent.is_dir() else None) as folder:
            yield Path(folder)


@click.command(
    epilog="Example: `liverset evaluate releases/1.0.0/ predictions/ -o results`, or "
    "`liverset evaluate my-dataset --version 1.0.0 --model models/round-2`"
)
@click.argument("places", type=click.Path(path_type=Path), nargs=-1, metavar="RELEASE PREDICTIONS|[FOLDER]")
@click.option("--version", help="Version of the dataset in FOLDER whose test patients a network is measured on.")
@click.option("--model", help="Network to measure: a registered name or a folder. By default that of [coarse].")
@click.option("-o", "--out", type=click.Path(path_type=Path, file_okay=False), help="Folder for the tables.")
@device_option
@as_json_option
def evaluate(
    places: tuple[Path, ...], version: str | None, model: str | None, out: Path | None, device: str, *, as_json: bool
) -> None:
    """Measure predictions, or a network, against a release.

    With RELEASE and PREDICTIONS: masks, boxes and class scores in a file or folder, by split, fold, site, vendor and
    more. What is missing counts as failed, is named, and gives exit code 1. With FOLDER and --version: the network's
    labels of whole scans, after the dataset's own post-processing, by phase, vendor and slice thickness.
    """
    if len(places) > 2 or (len(places) == 2) == (version is not None):
        raise click.UsageError("expected RELEASE and PREDICTIONS, or a dataset FOLDER with --version")
    if len(places) == 2:
        if not places[1].exists():
            raise click.UsageError("PREDICTIONS does not exist; check the path")
        _evaluate_predictions(*places, out, as_json=as_json)
    elif version is not None:
        _evaluate_network(places[0] if places else Path(), version, model, device, as_json=as_json)


def _evaluate_predictions(release: Path, predictions: Path, out: Path | None, *, as_json: bool) -> None:
    from pipeline.evaluate.evaluation import evaluate as measure
    from pipeline.evaluate.tables import write_evaluation

    evaluation = measure(release, predictions)
    written = write_evaluation(evaluation, out) if out else ()
    lines = [*_evaluation_lines(evaluation), *(f"{file} written" for file in written)]
    show(evaluation.to_json(), lines, as_json=as_json)
    if evaluation.missing:
        click.get_current_context().exit(EXIT_PROBLEMS)


def _evaluation_lines(evaluation: Evaluation) -> list[str]:
    """The tables as papers print them, and what to know before believing them."""
    from pipeline.evaluate.tables import printed_rows, tasks_of, warnings_of

    lines: list[str] = []
    for task in tasks_of(evaluation):
        rows = printed_rows(evaluation, task)
        lines += [task.capitalize(), *table_lines(list(rows[0]), [list(row.values()) for row in rows]), ""]
    return [*lines, *warnings_of(evaluation)]


def _evaluate_network(folder: Path, version: str, model: str | None, device: str, *, as_json: bool) -> None:
    from pipeline.stages.learn import evaluate_model
    from pipeline.workspace import Workspace

    rows = evaluate_model(Workspace.open(folder), version, model, device=device)
    shown = [[_shown(row[column]) for column in EVALUATION_COLUMNS] for row in rows]
    show({"rows": rows}, table_lines(EVALUATION_COLUMNS, shown), as_json=as_json)


def _shown(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else "-" if value is None else str(value)


COMMANDS = (train, evaluate)
