"""The `dataset.toml` that `liverset init --from` writes: the template, fitted to what an export holds."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.config import PATIENT_ID, Config, InclusionConfig
from pipeline.core.words import counted

if TYPE_CHECKING:
    from pipeline.cohort.inclusion import FlowStep
    from pipeline.stages.survey import Survey

Finding = tuple[str, str, str]
"""A key of the template, its value as TOML, and why."""

COMMENT_COLUMN = 35

NEEDS_THE_TABLE = ("min_age_years", "diagnosis")
"""Rules that would exclude every patient whose row of the clinical table is not filled in yet."""


def fitted_settings(template: str, found: Survey, root: Path, *, clinical: str, hospitals: str) -> str:
    """The template with what was found in it, a comment wherever that decided, and what each rule would exclude.

    Args:
        template: the `dataset.toml` of an empty dataset.
        found: what the export holds.
        root: the dataset folder.
        clinical: the clinical table, as the settings name it.
        hospitals: the table of hospitals, as a comment names it.
    """
    from pipeline.stages.survey import flow_of

    text = template
    for key, value, why in _findings(found, _config(template).inclusion, clinical):
        text = _set(text, key, value, why)
    for key in NEEDS_THE_TABLE:
        text = _set(text, key, "", f"once {clinical} is filled in", is_off=True)
    if found.patient == PATIENT_ID and found.without_number[0]:
        text = text.replace("if files hold no PatientID", f"{_share(*found.without_number)} hold no PatientID")
    note = f"{counted(found.hospitals(), 'hospital')} found, listed in {hospitals} with series of no recognised phase."
    text = text.replace("# If a site names", f"# {note}\n# If a site names")
    counts = _counts(flow_of(root, found, _config(text)))
    return text.replace("\n\n[deidentification]", f"\n{counts}\n\n[deidentification]")


def _findings(found: Survey, usual: InclusionConfig, clinical: str) -> Iterator[Finding]:
    """What the export decides."""
    from pipeline.stages.survey import fewest_slices, limits

    yield "modality", f'"{found.modality}"', "that of most series"
    yield "paths", json.dumps([found.path], ensure_ascii=False), "relative to this file"
    yield "clinical", f'"{clinical}"', "one row for each patient found; fill in age, sex, diagnosis"
    if found.patient != PATIENT_ID:
        yield "patient", f'"{found.patient}"', "no file holds a PatientID; each first folder holds one study"
    phases = ", ".join(f"{phase} {count}" for phase, count in found.patients_of_phase().items())
    if found.required():
        listed = json.dumps([str(phase) for phase in found.required()])
        yield "required", listed, f"phases found, of {counted(found.patients(), 'patient')}: {phases}"
    else:
        yield "required", "", "no phase was recognised; these are the usual ones"
    thickness = found.measured(lambda one: one.facts.slice_thickness_mm)
    spacing = found.measured(lambda one: one.facts.slice_spacing_mm)
    slices = found.measured(lambda one: one.facts.slice_count)
    for key, values in (("slice_thickness_mm", thickness), ("slice_spacing_mm", spacing)):
        bounds = getattr(usual, key)
        if values and bounds:
            yield key, json.dumps(limits(values, bounds)), f"found {_span(values)}, the thinnest of each phase"
    if slices:
        yield (
            "min_slices",
            str(fewest_slices(slices, usual.min_slices)),
            f"found {_span(slices)}, the thinnest of each phase",
        )


def _counts(flow: Sequence[FlowStep]) -> str:
    """Comment lines: how many series and patients pass, and how many each rule speaks against."""
    lines = []
    for of in ("series", "patients"):
        first, *rules, last = [step for step in flow if step.of == of]
        end = ":" if rules else ""
        lines.append(
            f"# These rules keep {last.remaining} of {first.remaining} {of}, the clinical table not asked{end}"
        )
        lines += [f"#   {step.rule} speaks against {step.against}" for step in rules]
    return "\n".join(lines)


def _set(text: str, key: str, value: str, why: str, *, is_off: bool = False) -> str:
    """The text with another value and comment for a key, which may be commented out; "" keeps the value.

    Comment lines that belong to the old comment are left out.
    """
    line = re.search(rf"^(?:# )?({key} = )([^#\n]*?) *(?:#.*)?$(?:\n {{20,}}#.*$)*", text, re.MULTILINE)
    if line is None:
        raise LookupError(f"the template has no line for {key}")
    setting = f"{'# ' if is_off else ''}{line[1]}{value or line[2]}"
    return f"{text[: line.start()]}{setting:<{COMMENT_COLUMN}} # {why}{text[line.end() :]}"


def _config(text: str) -> Config:
    return Config.model_validate(tomllib.loads(text))


def _span(values: Sequence[float]) -> str:
    return f"{values[0]:g}" if values[0] == values[-1] else f"{values[0]:g} to {values[-1]:g}"


def _share(count: int, of_all: int) -> str:
    return f"{count} of {counted(of_all, 'file')}"
