"""`liverset train` and `liverset evaluate`: the settled masks teach the next round's network, and measure it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from pipeline.cli.console import as_json_option, folder_argument, show, table_lines
from pipeline.cli.release import version_option
from pipeline.core.files import remove_folder

device_option = click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
EVALUATION_COLUMNS = ("group", "value", "structure", "measure", "volumes", "mean", "sd")


@click.command()
@folder_argument
@version_option
@click.option("-o", "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="The new model.")
@click.option("--pretrained", help="Name or folder of a model to go on from.")
@click.option(
    "--full", is_flag=True, help="nnU-Net's full plans, one network a fold: days on a GPU; killed, it goes on."
)
@click.option("--with-coarse", is_flag=True, help="Learn from coarse labels too, of cases not in the version.")
@device_option
def train(
    folder: Path, version: str, out: Path, pretrained: str | None, *, full: bool, with_coarse: bool, device: str
) -> None:
    """Teach a network with the training patients of a version: nnU-Net plans, trains, and the model is pinned."""
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
    lines = [f"{out} is trained.", "Next: name it in dataset.toml:", "[coarse]", f'model = "{out.resolve()}"']
    click.echo("\n".join([*lines, f'sha256 = "{model.sha256}"']))


@contextmanager
def _work_folder(out: Path, *, is_kept: bool) -> Iterator[Path]:
    """For nnU-Net's intermediate files. One that is kept outlives whatever interrupts the training, to go on from."""
    if is_kept:
        work = out.with_name(f"{out.name}-unfinished")
        yield work
        remove_folder(work)
    else:
        with tempfile.TemporaryDirectory(dir=out.parent if out.parent.is_dir() else None) as folder:
            yield Path(folder)


@click.command()
@folder_argument
@version_option
@click.option("--model", default="demo", show_default=True, help="A registered model's name, or a folder.")
@device_option
@as_json_option
def evaluate(folder: Path, version: str, model: str, device: str, *, as_json: bool) -> None:
    """Measure a network on the settled masks of a version's test patients, by phase, vendor and slice thickness."""
    from pipeline.stages.learn import evaluate_model
    from pipeline.workspace import Workspace

    rows = evaluate_model(Workspace.open(folder), version, model, device=device)
    shown = [[_shown(row[column]) for column in EVALUATION_COLUMNS] for row in rows]
    show({"rows": rows}, table_lines(EVALUATION_COLUMNS, shown), as_json=as_json)


def _shown(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else "-" if value is None else str(value)


COMMANDS = (train, evaluate)
