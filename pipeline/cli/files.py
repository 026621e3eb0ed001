"""Commands on plain files: in, out, and nothing else; each usable without a dataset."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.console import EXIT_PROBLEMS, as_json_option, show, table_lines
from pipeline.core.config import CONFIG_NAME, CoarseConfig, Config, DeidentificationConfig, Modality, load_config
from pipeline.core.errors import ConfigError, DicomError
from pipeline.core.file_names import FILES_TABLE, SECRET, SERIES_TABLE, SLICES_TABLE

if TYPE_CHECKING:
    from pipeline.core.pseudonyms import Pseudonyms

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
    from pipeline.dicom.tree import convert_tree
    from pipeline.image.nifti import content_sha256, write_nifti

    phases = load_config(config_path).phases if config_path else Config.model_fields["phases"].default
    report = convert_tree(
        [source],
        out,
        _pseudonyms(None, _private_home(out)),
        write=partial(write_nifti, durable=False),
        content_sha256=content_sha256,
        phases=phases,
        allow_tilt=keep_tilt,
    )
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
    if not report.series:
        raise DicomError(f"{len(report.files)} files, none of them a DICOM image; expected a hospital's export")
    _exit(ok=report.is_clean)


@click.command()
@click.argument("source", type=existing_path)
@click.argument("out", type=any_path)
@click.option("--key", type=existing_path, help="File with the project secret; made in OUT's private folder if absent.")
@config_option
@as_json_option
def deidentify(source: Path, out: Path, key: Path | None, config_path: Path | None, *, as_json: bool) -> None:
    """Write a clean, renamed copy of every image below SOURCE that may enter a dataset."""
    from pipeline.dicom.deid.clean_tree import deidentify_tree

    config = load_config(config_path) if config_path else None
    options = config.deidentification if config else DeidentificationConfig()
    modality = config.dataset.modality if config else Modality.CT
    home = _private_home(out)
    report = deidentify_tree([source], out, _pseudonyms(key, home), options, modality=modality, private=home)
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
    from pipeline.leaks.search import harvest, search

    found = search(harvest([source]), [out])
    rows = [(leak.where, leak.kind) for leak in found]
    lines = [
        *table_lines(("where", "kind"), rows),
        f"{len(rows)} leaks" if rows else "no identifier of the source was found",
    ]
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
    from pipeline.segment.batch import segment_files
    from pipeline.segment.models import find_model

    settings = _checked(CoarseConfig, model=model, sha256=sha256, device=device)
    found = find_model(settings, Path.cwd(), allow_unpinned=allow_unpinned)
    report = segment_files(images, out, found, device, config=settings)
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
    from pipeline.core.config import WindowConfig
    from pipeline.image.nifti import read_volume, write_nifti
    from pipeline.image.window import apply_window

    write_nifti(out, apply_window(read_volume(image), _checked(WindowConfig, level_hu=level, width_hu=width)))
    click.echo(f"{out} holds {level - width / 2:g} to {level + width / 2:g} HU")


def _checked(section: type[Any], **settings: Any) -> Any:
    """A section of the configuration from options of the command line.

    Raises:
        ConfigError: when a value is impossible.
    """
    from pydantic import ValidationError

    try:
        return section(**settings)
    except ValidationError as error:
        faults = [f"--{fault['loc'][0]}: {fault['msg']}" for fault in error.errors()]
        raise ConfigError("\n".join(faults)) from None


def _private_home(out: Path) -> Path:
    """Beside what may be handed on, never in it."""
    whole = out.resolve()
    return whole.with_name(f"{whole.name}-private")


def _pseudonyms(key: Path | None, home: Path) -> Pseudonyms:
    from pipeline.core.files import make_private_folder
    from pipeline.core.pseudonyms import Pseudonyms
    from pipeline.dataset.crosswalk import read_secret, secret_of

    if key is not None:
        return Pseudonyms(read_secret(key))
    return Pseudonyms(secret_of(make_private_folder(home) / SECRET))


def _exit(*, ok: bool) -> None:
    if not ok:
        click.get_current_context().exit(EXIT_PROBLEMS)


COMMANDS = (convert, deidentify, leaks, segment, window)
