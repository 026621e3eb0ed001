"""`liverset agree`, `consensus` and `lesions`: masks in, numbers out, usable without a dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import click

from pipeline.cli.console import EXIT_PROBLEMS, as_json_option, show, table_lines
from pipeline.core.config import ConsensusConfig, load_config
from pipeline.core.files import write_json
from pipeline.core.labels import LabelScheme
from pipeline.standalone import read_any_mask

_Command = TypeVar("_Command", bound=Callable[..., Any])
_existing = click.Path(path_type=Path, dir_okay=False)
masks_argument = click.argument("masks", type=_existing, nargs=-1, required=True)
labels_option = click.option(
    "--labels", type=_existing, help="A dataset.toml whose [labels] name the lesion kinds that segments may be called."
)

SHOWN = ("dice", "jaccard", "hd95_max_mm", "assd_mm", "nsd", "volume_difference_ml")


def _setting(name: str, field: str) -> Callable[[_Command], _Command]:
    """An option that takes what a setting under [consensus] takes."""
    setting = ConsensusConfig.model_fields[field]
    return click.option(
        name, type=click.Choice(get_args(setting.annotation)), default=setting.default, show_default=True
    )


@click.command()
@masks_argument
@labels_option
@click.option("--nsd-mm", default=2.0, show_default=True, help="Tolerance of the normalised surface distance, in mm.")
@click.option("-o", "--out", type=_existing, help="Write everything as JSON to this file.")
@as_json_option
def agree(masks: tuple[Path, ...], labels: Path | None, nsd_mm: float, out: Path | None, *, as_json: bool) -> None:
    """How far the raters of one volume agree: one MASK a rater, in any order of axes."""
    from pipeline.agreement.files import agree_files

    found = agree_files(masks, tolerance_mm=nsd_mm, scheme=_scheme(labels), read=read_any_mask)
    if out is not None:
        write_json(out, found)
    show(found, _agreement_lines(found), as_json=as_json)


@click.command()
@masks_argument
@click.option("-o", "--out", type=_existing, required=True, help="The voted mask, .nii.gz; maps lie beside it.")
@_setting("--tie", "ties")
@_setting("--method", "method")
@labels_option
@as_json_option
def consensus(masks: tuple[Path, ...], out: Path, tie: str, method: str, labels: Path | None, *, as_json: bool) -> None:
    """One mask from several: the vote of one MASK a rater, its ties, its entropy and its explanation."""
    from pipeline.agreement.files import consensus_files

    config = ConsensusConfig.model_validate({"method": method, "ties": tie})
    found = consensus_files(masks, out, config=config, scheme=_scheme(labels), read=read_any_mask)
    lines = [f"{out.name}: {found['kind']} of {', '.join(found['raters'])}; {found['tied_voxels']} tied voxels"]
    lines += [f"  {reason['rule']}: {reason['message']}" for reason in found["needs_adjudication"]]
    lines += [f"Next: look at slices {found['slices_to_look_at']}"] if found["needs_adjudication"] else []
    show(found, lines, as_json=as_json)
    if found["needs_adjudication"]:
        click.get_current_context().exit(EXIT_PROBLEMS)


@click.command()
@click.argument("files", type=_existing, nargs=-1, required=True, metavar="[IMAGE]... MASK")
@labels_option
@as_json_option
def lesions(files: tuple[Path, ...], labels: Path | None, *, as_json: bool) -> None:
    """Measure every lesion of a MASK (the last file), and how it looks on each IMAGE."""
    from pipeline.lesions.files import lesions_files

    found = lesions_files(files[:-1], files[-1], scheme=_scheme(labels), read=read_any_mask)
    show(found, _lesion_lines(found["lesions"]) or ["no lesion"], as_json=as_json)


def _scheme(labels: Path | None) -> LabelScheme:
    return LabelScheme(load_config(labels).labels.lesion_kinds if labels else ())


def _agreement_lines(found: Mapping[str, Any]) -> list[str]:
    rows = [(*pair["raters"], pair["structure"], *(_number(pair[name]) for name in SHOWN)) for pair in found["pairs"]]
    lines = table_lines(("a", "b", "structure", *SHOWN), rows)
    for one in found["reliability"]:
        lines.append(f"{one['structure']}: Fleiss' kappa {_number(one['fleiss_kappa'])} over what anybody marked")
    for lesion in found["lesions"]:
        where = f"slices {lesion['first_slice']} to {lesion['last_slice']}"
        lines.append(f"lesion {lesion['number']}: {_number(lesion['union_ml'])} ml, {where}, seen {lesion['pattern']}")
    differing = len({here["slice"] for here in found["slices"]})
    lines.append(f"{differing} slices differ; `--json` lists them, with every other measure and its definition")
    return lines


def _lesion_lines(found: Sequence[Mapping[str, Any]]) -> list[str]:
    names = ("number", "volume_ml", "max_diameter_mm", "axial_diameter_mm", "distance_to_surface_mm")
    images = list(found[0]["appearance"]) if found else []
    rows = [
        (
            *(_number(lesion[name]) for name in names),
            f"{lesion['first_slice']}-{lesion['last_slice']}",
            *(_number(lesion["appearance"][image]["level"]) for image in images),
        )
        for lesion in found
    ]
    return table_lines((*names, "slices", *images), rows)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


COMMANDS = (agree, consensus, lesions)
