"""Commands on plain files: in, out, and nothing else; each usable without a dataset."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline import standalone
from pipeline.cli.console import EXIT_PROBLEMS, as_json_option, show, table_lines
from pipeline.core.config import CONFIG_NAME
from pipeline.core.file_names import FILES_TABLE, SERIES_TABLE, SLICES_TABLE

existing_path = click.Path(path_type=Path, exists=True)
any_path = click.Path(path_type=Path)
config_option = click.option(
    "--config", "config_path", type=existing_path, help=f"A {CONFIG_NAME} whose settings apply."
)

SHOWN_COLUMNS = ("series", "status", "modality", "phase", "shape", "path", "reason")


@click.command()
@click.argument("source", type=existing_path)
@click.argument("out", type=any_path)
@config_option
@click.option("--keep-tilt", is_flag=True, help="Keep tilted series with their true, sheared grid.")
@as_json_option
def convert(source: Path, out: Path, config_path: Path | None, *, keep_tilt: bool, as_json: bool) -> None:
    """Convert DICOM below SOURCE to NIfTI in HU below OUT, and account for every file."""
    report = standalone.convert(source, out, config=config_path, keep_tilt=keep_tilt)
    rows = [[row[column] for column in SHOWN_COLUMNS] for row in report.series]
    counts = ", ".join(f"{count} {word}" for word, count in report.counts().items()) or "no files"
    lines = [
        *table_lines(SHOWN_COLUMNS, rows),
        counts,
        f"Next: look at {out / SERIES_TABLE}, {FILES_TABLE} and {SLICES_TABLE}",
    ]
    show(
        {"series": report.series, "files": report.files, "slices": report.slices, "counts": report.counts()},
        lines,
        as_json=as_json,
    )
    _exit(ok=report.is_clean)


@click.command()
@click.argument("source", type=existing_path)
@click.argument("out", type=any_path)
@click.option("--key", type=existing_path, help="File with the project secret; made in OUT's private folder if absent.")
@config_option
@as_json_option
def deidentify(source: Path, out: Path, key: Path | None, config_path: Path | None, *, as_json: bool) -> None:
    """Write a clean, renamed copy of every image below SOURCE that may enter a dataset."""
    report = standalone.deidentify(source, out, key=key, config=config_path)
    counts = ", ".join(f"{count} {word}" for word, count in report.counts().items()) or "no files"
    lines = [counts, f"Next: `liverset leaks {source} {out}` searches the copy for what the source holds"]
    show({"counts": report.counts()}, lines, as_json=as_json)
    _exit(ok=report.is_clean)


@click.command()
@click.argument("source", type=existing_path)
@click.argument("out", type=existing_path)
@as_json_option
def leaks(source: Path, out: Path, *, as_json: bool) -> None:
    """Search everything below OUT for the identifiers that SOURCE holds; tell where, never what."""
    found = standalone.find_leaks(source, out)
    rows = [(leak.where, leak.kind) for leak in found]
    lines = [
        *table_lines(("where", "kind"), rows),
        f"{len(rows)} leaks" if rows else "no identifier of the source was found",
    ]
    if found.unreadable:
        lines.append(f"{found.unreadable} source files cannot be read; what only they hold was not searched for")
    show({"leaks": [{"where": where, "kind": kind} for where, kind in rows]}, lines, as_json=as_json)
    _exit(ok=not rows)


@click.command()
@click.argument("images", type=existing_path, nargs=-1, required=True)
@click.option("-o", "--out", type=any_path, required=True, help="Folder for the labels.")
@click.option("--model", default="demo", show_default=True, help="A registered model's name, or a folder.")
@click.option("--sha256", help="Pin of a model that is not registered.")
@click.option("--allow-unpinned", is_flag=True, help="Take a folder without a pin, this once.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@as_json_option
def segment(
    images: tuple[Path, ...],
    out: Path,
    model: str,
    sha256: str | None,
    device: str,
    *,
    allow_unpinned: bool,
    as_json: bool,
) -> None:
    """Label liver and lesions in NIfTI images with nnU-Net."""
    report = standalone.segment(images, out, model=model, sha256=sha256, allow_unpinned=allow_unpinned, device=device)
    lines = [f"{image.name}: {image.outcome} {image.reason}".rstrip() for image in report.images]
    lines.append(
        f"{len(report.images) - len(report.failed)} of {len(report.images)} labelled in {report.seconds:.1f} s"
    )
    show(report.to_json(), lines, as_json=as_json)
    _exit(ok=not report.failed)


@click.command()
@click.argument("image", type=existing_path)
@click.option("-o", "--out", type=any_path, required=True, help="The windowed image.")
@click.option("--level", default=0.0, show_default=True, help="Centre in HU.")
@click.option("--width", default=400.0, show_default=True, help="Width in HU.")
def window(image: Path, out: Path, level: float, width: float) -> None:
    """Keep a window of the HU scale: values outside move to its bounds."""
    volume = standalone.window(standalone.read_volume(image), level_hu=level, width_hu=width)
    standalone.write(volume, out)
    click.echo(f"{out} holds {level - width / 2:g} to {level + width / 2:g} HU")


def _exit(*, ok: bool) -> None:
    if not ok:
        click.get_current_context().exit(EXIT_PROBLEMS)


COMMANDS = (convert, deidentify, leaks, segment, window)
