"""`liverset agree`, `consensus` and `lesions`: masks in, numbers out, without a dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click

from pipeline.cli.console import EXIT_PROBLEMS, as_json_option, show, table_lines
from pipeline.core.config import ConsensusConfig, load_config
from pipeline.core.files import write_json
from pipeline.core.words import counted, slice_ranges

if TYPE_CHECKING:
    from pipeline.image.loading import MaskMeaning

if TYPE_CHECKING:
    from pipeline.core.labels import LabelScheme

_Command = TypeVar("_Command", bound=Callable[..., Any])
_existing = click.Path(path_type=Path, dir_okay=False)
masks_argument = click.argument("masks", type=_existing, nargs=-1, required=True)
labels_option = click.option(
    "--labels", type=_existing, help="A dataset.toml whose [labels] list the lesion kinds used as segment names."
)

image_option = click.option("--image", type=_existing, help="The image the masks belong to: its slices are counted.")
as_option = click.option(
    "--as",
    "meaning",
    type=click.Choice(["labels", "lesion"]),
    default="labels",
    show_default=True,
    help="What the values mean: liver (1) and lesion (2), or a binary mask in which all that is marked is lesion.",
)

SHOWN = ("dice", "jaccard", "hd95_max_mm", "assd_mm", "nsd", "volume_difference_ml")


def _setting(name: str, field: str, meaning: str) -> Callable[[_Command], _Command]:
    """An option that takes what a setting under [consensus] takes."""
    setting = ConsensusConfig.model_fields[field]
    choices = click.Choice(get_args(setting.annotation))
    return click.option(name, type=choices, default=setting.default, show_default=True, help=meaning)


@click.command(epilog="Example: `liverset agree R1.nii.gz R2.seg.nrrd R3.dcm --json`")
@masks_argument
@image_option
@as_option
@labels_option
@click.option("--nsd-mm", default=2.0, show_default=True, help="Tolerance of the normalised surface distance in mm.")
@click.option("-o", "--out", type=_existing, help="Write everything as JSON to this file.")
@as_json_option
def agree(
    masks: tuple[Path, ...],
    image: Path | None,
    meaning: MaskMeaning,
    labels: Path | None,
    nsd_mm: float,
    out: Path | None,
    *,
    as_json: bool,
) -> None:
    """Measure how far the raters of one volume agree.

    Takes one mask per rater, on one grid, in any orientation: .nii, .nii.gz, .nrrd, .seg.nrrd, .mha or DICOM SEG.
    Prints Dice, Jaccard, HD95, ASSD, NSD and volumes for each pair, kappa, and each lesion with who marked it.
    """
    from pipeline.agreement.files import agree_files
    from pipeline.standalone import read_any_mask

    found = agree_files(
        masks, tolerance_mm=nsd_mm, image=image, meaning=meaning, scheme=_scheme(labels), read=read_any_mask
    )
    if out is not None:
        write_json(out, found)
    _warn(found, as_json=as_json)
    show(found, _agreement_lines(found), as_json=as_json)


@click.command(epilog="Example: `liverset consensus R1.nii.gz R2.nii.gz R3.nii.gz -o consensus.nii.gz`")
@masks_argument
@click.option("-o", "--out", type=_existing, required=True, help="Voted mask, .nii.gz; its maps are written beside it.")
@_setting(
    "--tie", "ties", "What a tie becomes: not marked, marked, not marked and sent to the lead radiologist, or 255."
)
@_setting("--method", "method", "How the masks are combined.")
@image_option
@as_option
@labels_option
@as_json_option
def consensus(
    masks: tuple[Path, ...],
    out: Path,
    tie: str,
    method: str,
    image: Path | None,
    meaning: MaskMeaning,
    labels: Path | None,
    *,
    as_json: bool,
) -> None:
    """Combine the masks of several raters into one.

    Takes one mask per rater. Writes the voted mask, maps of ties and entropy, and an explanation. Exits with 1 when
    the vote needs a lead radiologist.
    """
    from pipeline.agreement.files import consensus_files
    from pipeline.standalone import read_any_mask

    config = ConsensusConfig.model_validate({"method": method, "ties": tie})
    found = consensus_files(
        masks, out, config=config, image=image, meaning=meaning, scheme=_scheme(labels), read=read_any_mask
    )
    tied = counted(found["tied_voxels"], "tied voxel")
    lines = [f"{out.name}: {found['kind']} of {', '.join(found['raters'])}; {tied}"]
    lines += [f"  {reason['rule']}: {reason['message']}" for reason in found["needs_adjudication"]]
    unsettled = [structure for structure, check in found["staple_check"].items() if not check["converged"]]
    lines += [f"  STAPLE, a check beside the vote, did not converge on {structure}" for structure in unsettled]
    if found["needs_adjudication"]:
        lines.append(f"Next: look at slices {slice_ranges(found['slices_to_look_at'])}")
    _warn(found, as_json=as_json)
    show(found, lines, as_json=as_json)
    if found["needs_adjudication"]:
        click.get_current_context().exit(EXIT_PROBLEMS)


@click.command(epilog="Example: `liverset lesions P.nii.gz C1.nii.gz C2.nii.gz mask.nii.gz`")
@click.argument("files", type=_existing, nargs=-1, required=True, metavar="[IMAGE]... MASK")
@image_option
@as_option
@labels_option
@as_json_option
def lesions(
    files: tuple[Path, ...], image: Path | None, meaning: MaskMeaning, labels: Path | None, *, as_json: bool
) -> None:
    """Measure every lesion of a mask.

    Takes any number of images and, last, the mask. Prints volume, diameters, distance to the liver's surface, slices,
    and the level of each lesion on each image.
    """
    from pipeline.lesions.files import lesions_files
    from pipeline.standalone import read_any_mask

    found = lesions_files(
        files[:-1], files[-1], image=image, meaning=meaning, scheme=_scheme(labels), read=read_any_mask
    )
    _warn(found, as_json=as_json)
    show(found, _lesion_lines(found["lesions"]) or ["no lesion found"], as_json=as_json)


def _warn(found: Mapping[str, Any], *, as_json: bool) -> None:
    """Warnings for people; the JSON holds them itself."""
    for warning in () if as_json else found["warnings"]:
        click.echo(f"Warning: {warning}", err=True)


def _scheme(labels: Path | None) -> LabelScheme:
    from pipeline.core.labels import LabelScheme

    return load_config(labels).labels.scheme if labels else LabelScheme()


def _agreement_lines(found: Mapping[str, Any]) -> list[str]:
    rows = [(*pair["raters"], pair["structure"], *(_number(pair[name]) for name in SHOWN)) for pair in found["pairs"]]
    lines = table_lines(("a", "b", "structure", *SHOWN), rows)
    for one in found["reliability"]:
        kappa = _number(one["fleiss_kappa"])
        lines.append(f"{one['structure']}: Fleiss' kappa {kappa} over voxels that any rater marked")
    for lesion in found["lesions"]:
        where = f"slices {slice_ranges(range(lesion['first_slice'], lesion['last_slice'] + 1))}"
        marked = [rater for rater, digit in zip(found["raters"], lesion["pattern"], strict=True) if digit == "1"]
        size = f"{_number(lesion['union_ml'])} ml"
        kinds = zip(found["raters"], lesion.get("kinds", ()), strict=False)
        said = [f"{rater} says {kind}" for rater, kind in kinds if kind]
        lines.append("; ".join((f"lesion {lesion['number']}: {size}, {where}, marked by {', '.join(marked)}", *said)))
    differing = len({here["slice"] for here in found["slices"]})
    lines.append(f"{counted(differing, 'slice')} with differences; `--json` lists them, and defines every measure")
    return lines


def _lesion_lines(found: Sequence[Mapping[str, Any]]) -> list[str]:
    names = ("number", "volume_ml", "max_diameter_mm", "axial_diameter_mm", "short_axis_mm", "distance_to_surface_mm")
    images = list(found[0]["appearance"]) if found else []
    rows = [
        (
            *(_number(lesion[name]) for name in names),
            slice_ranges(range(lesion["first_slice"], lesion["last_slice"] + 1)),
            *(_number(lesion["appearance"][image]["level"]) for image in images),
        )
        for lesion in found
    ]
    return table_lines((*names, "slices", *images), rows)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


COMMANDS = (agree, consensus, lesions)
