"""`liverset train` and `liverset evaluate`: train the next round's network on settled masks, and measure it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from pipeline.cli.console import as_json_option, folder_argument, show, table_lines, version_option
from pipeline.core.files import remove

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
@click.option("--with-coarse", is_flag=True, help="Also train on coarse labels of cases that are not in the version.")
@device_option
def train(
    folder: Path, version: str, out: Path, pretrained: str | None, *, full: bool, with_coarse: bool, device: str
) -> None:
    """Train a network on the training patients of a version.

    Writes a model folder with its checksum, ready to be named in dataset.toml. Test patients are never used. The small
    network takes minutes on one CPU core and is for trying out.
    """
    from pipeline.stages.learn import train_model
    from pipeline.workspace import Workspace

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


@click.command(epilog="Example: `liverset evaluate my-dataset --version 1.0.0 --model models/round-2`")
@folder_argument
@version_option
@click.option("--model", default="demo", show_default=True, help="Registered name or folder of a model.")
@device_option
@as_json_option
def evaluate(folder: Path, version: str, model: str, device: str, *, as_json: bool) -> None:
    """Measure a network on the test patients of a version.

    Compares its labels with the settled masks: Dice, Jaccard, ASSD and HD95, by phase, vendor and slice thickness.
    """
    from pipeline.stages.learn import evaluate_model
    from pipeline.workspace import Workspace

    rows = evaluate_model(Workspace.open(folder), version, model, device=device)
    shown = [[_shown(row[column]) for column in EVALUATION_COLUMNS] for row in rows]
    show({"rows": rows}, table_lines(EVALUATION_COLUMNS, shown), as_json=as_json)


def _shown(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else "-" if value is None else str(value)


COMMANDS = (train, evaluate)
