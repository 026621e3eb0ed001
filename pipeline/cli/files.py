"""Commands on plain files: in, out, and nothing else; each usable without a dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.console import EXIT_PROBLEMS, as_json_option, counting, show, table_lines
from pipeline.core.config import CONFIG_NAME
from pipeline.core.file_names import FILES_TABLE, SERIES_TABLE, SLICES_TABLE
from pipeline.core.words import counted

if TYPE_CHECKING:
    from pipeline.dicom.deid.text_gate import Suspect

existing_path = click.Path(path_type=Path, exists=True)
any_path = click.Path(path_type=Path)
config_option = click.option(
    "--config", "config_path", type=existing_path, help=f"Use the settings of this {CONFIG_NAME}."
)

SHOWN_COLUMNS = ("patient", "series_number", "status", "modality", "phase", "shape", "path", "reason")
key_option = click.option(
    "--key", type=existing_path, help="File with the project secret; by default made in OUT-private."
)

_NOTHING = "nothing was converted: no series forms a volume; the column reason says why"


@click.command(epilog="Example: `liverset convert export/ nifti/`")
@click.argument("source", type=existing_path)
@click.argument("out", type=any_path)
@key_option
@config_option
@click.option("--keep-tilt", is_flag=True, help="Convert series with a gantry tilt too, on their true, sheared grid.")
@as_json_option
def convert(
    source: Path, out: Path, key: Path | None, config_path: Path | None, *, keep_tilt: bool, as_json: bool
) -> None:
    """Convert DICOM to NIfTI and account for every file.

    Reads SOURCE: a folder, zip or tar. Writes volumes in HU to OUT, each under pseudonyms and with a JSON sidecar, and
    series.csv, files.csv and slices.csv. What leads back to the source goes to OUT-private: do not share that folder.
    """
    from pipeline import standalone

    with counting("slices", quiet=as_json) as count:
        report = standalone.convert(source, out, key=key, config=config_path, keep_tilt=keep_tilt, progress=count)
    rows = [[row[column] for column in SHOWN_COLUMNS] for row in report.series]
    counts = [_status_line(report.series, "series", "series"), _status_line(report.files, "file")]
    look = f"Next: check {out / SERIES_TABLE}, {FILES_TABLE} and {SLICES_TABLE}"
    nothing = [] if any(row["content_sha256"] for row in report.series) else [_NOTHING]
    lines = [*table_lines(SHOWN_COLUMNS, rows), *counts, *nothing, look]
    show(
        {"series": report.series, "files": report.files, "slices": report.slices, "counts": report.counts()},
        lines,
        as_json=as_json,
    )
    _exit(ok=report.is_clean)


@click.command(epilog="Example: `liverset deidentify export/ clean/`")
@click.argument("source", type=existing_path)
@click.argument("out", type=any_path)
@key_option
@click.option("--allow-faces", is_flag=True, help="Write series that show a head too; a face can be rebuilt from them.")
@config_option
@as_json_option
def deidentify(
    source: Path, out: Path, key: Path | None, config_path: Path | None, *, allow_faces: bool, as_json: bool
) -> None:
    """Write a de-identified copy of DICOM images.

    Reads SOURCE: a folder, zip or tar. Writes every image that may enter a dataset to OUT under a new name, with
    report.csv. What leads back to the source goes to OUT-private: do not share that folder. A series that looks as if
    it held text waits until you have looked at its montage there, and decided in decisions.csv beside it.
    """
    from pipeline import standalone
    from pipeline.core.problems import kind_of

    report = standalone.deidentify(source, out, key=key, config=config_path, allow_faces=allow_faces)
    counts = ", ".join(f"{count} {word}" for word, count in report.counts().items()) or "no files"
    lines = [counts, *(f"  {code}: {kind.meaning}" for code in report.counts() if (kind := kind_of(code)))]
    lines += [line for suspect in report.suspects for line in _suspect_lines(suspect, out)]
    search = f"Next: `liverset leaks {source} {out}` searches the copy for identifiers of the source"
    lines += [search if any(file.output for file in report.files) else "no image was written"]
    suspects = [asdict(suspect) for suspect in report.suspects]
    show({"counts": report.counts(), "suspects": suspects}, lines, as_json=as_json)
    _exit(ok=report.is_clean)


@click.command(epilog="Example: `liverset segment nifti/ct.nii.gz -o labels/`")
@click.argument("images", type=existing_path, nargs=-1, required=True)
@click.option("-o", "--out", type=any_path, required=True, help="Folder for the labels.")
@click.option("--model", default="demo", show_default=True, help="Registered name or folder of a model.")
@click.option("--sha256", help="Checksum that a model folder must have.")
@click.option("--allow-unpinned", is_flag=True, help="Use a model folder without a checksum, this once.")
@click.option("--device", default="auto", show_default=True, help="Device: auto, cpu, cuda or cuda:N.")
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
    """Label liver and lesions in NIfTI images with nnU-Net.

    Writes one mask per image to the output folder, each with a JSON file that says how it was made.
    """
    from pipeline import standalone

    report = standalone.segment(images, out, model=model, sha256=sha256, allow_unpinned=allow_unpinned, device=device)
    lines = [f"{image.name}: {image.outcome} {image.reason}".rstrip() for image in report.images]
    labelled = len(report.images) - len(report.failed)
    lines.append(f"{labelled} of {counted(len(report.images), 'image')} labelled in {report.seconds:.1f} s")
    show(report.to_json(), lines, as_json=as_json)
    _exit(ok=not report.failed)


@click.command(epilog="Example: `liverset window ct.nii.gz -o ct_window.nii.gz --level 0 --width 400`")
@click.argument("image", type=existing_path)
@click.option("-o", "--out", type=any_path, required=True, help="Output image, .nii or .nii.gz.")
@click.option("--level", default=0.0, show_default=True, help="Level (centre) of the window in HU.")
@click.option("--width", default=400.0, show_default=True, help="Width of the window in HU.")
def window(image: Path, out: Path, level: float, width: float) -> None:
    """Clip an image to a window of the HU scale.

    Values below the window become its lower bound, values above it its upper bound.
    """
    from pipeline import standalone

    volume = standalone.window(standalone.read_volume(image), level_hu=level, width_hu=width)
    standalone.write(volume, out)
    click.echo(f"{out} written, clipped to {level - width / 2:g} to {level + width / 2:g} HU")


def _suspect_lines(suspect: Suspect, out: Path) -> Iterator[str]:
    """Where a series seems to hold text, what to look at, and how to decide."""
    from pipeline.core.boxes import boxes_text
    from pipeline.core.decisions import ways_to_decide

    private, seems = f"{out}-private", "still seems" if suspect.masked else "seems"
    ways = ways_to_decide(private, suspect.series, suspect.boxes, suspect.masked)
    yield f"series {suspect.series} {seems} to have text burned into its pixels at {boxes_text(suspect.boxes)}"
    yield f"  look at {private}/{suspect.picture}, then run {ways}, and this command again"


def _status_line(rows: Sequence[Mapping[str, str]], noun: str, plural: str = "") -> str:
    """How many rows there are, and how many have each status: "4 series: 3 converted, 1 refused"."""
    statuses = Counter(row["status"] for row in rows)
    found = ", ".join(f"{number} {status}" for status, number in sorted(statuses.items()))
    return counted(len(rows), noun, plural) + (f": {found}" if found else "")


def _exit(*, ok: bool) -> None:
    if not ok:
        click.get_current_context().exit(EXIT_PROBLEMS)


COMMANDS = (convert, deidentify, segment, window)
