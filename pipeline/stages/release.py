"""From settled masks to a version: collect what is finished, cut, and verify."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.agreement.summary import RatedVolume, grouped_by
from pipeline.agreement.tables import KIND_TABLES
from pipeline.core.errors import PipelineError, ReleaseError
from pipeline.core.files import write_text
from pipeline.core.labels import Structure
from pipeline.core.receipts import package_versions, read_receipt
from pipeline.core.records import Problem, Severity
from pipeline.core.words import counted
from pipeline.stages.case import SettledCase, SettledVolume, read_settled_case, read_vote, screened_cases
from pipeline.stages.privacy import accepted_leaks, places_of_leaks, require_searched_for_text
from pipeline.stages.report import read_consort, released_page
from pipeline.stages.tables import agreement_tables
from pipeline.stages.way import DATASET_STAGES, HANDOUT_STAGES, TO_SETTLE
from pipeline.workspace import Outcome, Status, Waiting, Workspace, accepted_changes

if TYPE_CHECKING:
    from pipeline.agreement.records import Agreement
    from pipeline.dataset.manifest import ManifestRow
    from pipeline.dataset.release_inputs import ReleaseInputs, ReleaseVolume, ReviewFacts, ScanFacts, Summaries

RELEASE_PACKAGES = ("numpy", "pandas", "pyarrow", "deflate", "nnunetv2", "torch", "pydicom", "simpleitk", "liverset")
STAGES_BEFORE = (*DATASET_STAGES, *HANDOUT_STAGES, *TO_SETTLE)
NOT_SETTLED = "not-settled"
QC_PAGE = "qc/index.html"
SUMMARIES = ("overall", "plc_cect", "limt", "raters", "rater_pairs", "rater_groups", *KIND_TABLES, "coarse", "repeats")


def cut_release(ws: Workspace, version: str) -> Outcome:
    """Write `releases/<version>` from every case that is settled; name those that are not."""
    return _timed("cut", lambda: _cut(ws, version))


def verify_release(ws: Workspace, version: str) -> Outcome:
    """Check a version against its own checksums, tables and rules."""
    return _timed("verify", lambda: _verify(ws, version))


def release_inputs(ws: Workspace, version: str) -> tuple[ReleaseInputs, tuple[Problem, ...]]:
    """Everything of a version, and a note on each case that is not settled yet."""
    open_points = _open_points(ws)
    cases = [
        read_settled_case(ws, case_id, case)
        for case_id, case in screened_cases(ws).items()
        if case_id not in open_points
    ]
    notes = tuple(
        Problem(NOT_SETTLED, Severity.NOTE, f"{case_id} is not in this version: {point}")
        for case_id, point in open_points.items()
    )
    return _inputs_of(ws, cases, version), notes


def settled_cases(ws: Workspace) -> list[str]:
    """Cases that can be released: every volume has its final mask, and every stage is current."""
    open_points = _open_points(ws)
    return [case_id for case_id in screened_cases(ws) if case_id not in open_points]


def page_of_version(ws: Workspace, version: str) -> Path:
    """The quality page inside a version."""
    return ws.layout.release(version) / QC_PAGE


def _inputs_of(ws: Workspace, cases: Sequence[SettledCase], version: str) -> ReleaseInputs:
    from pipeline.dataset.exceptions import kinds_accepted
    from pipeline.dataset.release_inputs import ReleaseInputs

    settled = [case.case_id for case in cases]
    volumes = [volume for case in cases for volume in case.volumes]
    return ReleaseInputs(
        version=version,
        config=ws.config,
        patients={case.case_id: case.screened.patient for case in cases},
        volumes=tuple(_volume(ws, case, volume) for case in cases for volume in case.volumes),
        min_raters=ws.config.review.per_case,
        flow=read_consort(ws),
        agreement=[row for volume in volumes for row in pair_rows(volume, volume.agreement)],
        enhancement=[{"patient_id": case.case_id, **row.to_json()} for case in cases for row in case.enhancement],
        coarse=[row for volume in volumes for row in pair_rows(volume, volume.coarse_agreement)],
        summaries=lambda rows: _summaries(ws, volumes, rows),
        pages={QC_PAGE: lambda rows, summaries: released_page(ws, cases, version, rows, summaries)},
        accepted_leaks=kinds_accepted(accepted_leaks(ws)),
        provenance={
            "packages": package_versions(*RELEASE_PACKAGES),
            **accepted_changes(ws, STAGES_BEFORE, settled),
            **_masked_text(volumes),
        },
    )


def _summaries(ws: Workspace, volumes: Sequence[SettledVolume], rows: Sequence[ManifestRow]) -> Summaries:
    """Tables of agreement by what the manifest tells of each volume."""
    from pipeline.agreement.tables import coarse_table

    told = {(row.patient_id, row.phase): row for row in rows}
    rated = [_rated(volume, told[volume.case_id, volume.phase]) for volume in volumes]
    tables = agreement_tables(ws, rated, ((volume.case_id, volume.phase) for volume in volumes))
    tables["coarse"] = coarse_table([_coarse(volume, told[volume.case_id, volume.phase]) for volume in volumes])
    return {name: tables[name] for name in SUMMARIES if tables.get(name)}


def _rated(volume: SettledVolume, row: ManifestRow) -> RatedVolume:
    thickness = None if row.slice_thickness_mm is None else str(row.slice_thickness_mm)
    groups = grouped_by(row.manufacturer, thickness)
    return RatedVolume(volume.case_id, str(volume.phase), volume.agreement, groups, volume.against_final)


def _coarse(volume: SettledVolume, row: ManifestRow) -> RatedVolume:
    from pipeline.agreement.tables import volume_groups

    groups = volume_groups(row.manufacturer, row.kernel, row.slice_thickness_mm, row.largest_lesion_mm)
    return RatedVolume(volume.case_id, str(volume.phase), volume.coarse_agreement, groups)


def pair_rows(volume: SettledVolume, agreement: Agreement) -> list[dict[str, Any]]:
    """One row a structure and pair of masks of a volume."""
    named = {"patient_id": volume.case_id, "phase": str(volume.phase)}
    pairs = (pair.to_json() for pair in agreement.pairs)
    return [{**named, **pair, "raters": " ".join(pair["raters"])} for pair in pairs]


def _timed(name: str, step: Callable[[], tuple[tuple[Problem, ...], str]]) -> Outcome:
    started = time.monotonic()
    try:
        problems, note = step()
        status = Status.FAILED if any(problem.severity is Severity.REFUSE for problem in problems) else Status.DONE
    except PipelineError as error:
        if error.exit_code != 1:
            raise
        problems, note, status = (Problem(f"{name}-failed", Severity.REFUSE, str(error)),), "", Status.FAILED
    return Outcome(name, None, status, problems, time.monotonic() - started, note)


def _cut(ws: Workspace, version: str) -> tuple[tuple[Problem, ...], str]:
    from pipeline.dataset.layout import ReleaseLayout
    from pipeline.dataset.release import cut

    inputs, notes = release_inputs(ws, version)
    if notes and not inputs.volumes:
        missing = "\n".join(note.message for note in notes)
        raise ReleaseError(f"nothing can be released; run `liverset build`, then finish the review:\n{missing}")
    require_searched_for_text(ws, [(volume.case_id, volume.phase) for volume in inputs.volumes])
    folder = cut(
        inputs, ws.layout.releases, leak_check=lambda path: places_of_leaks(ws, [path]), jobs=ws.config.run.jobs
    )
    write_text(ws.layout.manifest, ReleaseLayout(folder).manifest.read_text(encoding="utf-8"))
    note = f"version {version}: {counted(len(inputs.patients), 'patient')}, {counted(len(inputs.volumes), 'volume')}"
    return notes, note


def _verify(ws: Workspace, version: str) -> tuple[tuple[Problem, ...], str]:
    from pipeline.dataset.verify.release import verify

    folder = ws.layout.release(version)
    if not folder.is_dir():
        there = ", ".join(sorted(path.name for path in ws.layout.releases.glob("[0-9]*"))) or "none"
        raise ReleaseError(f"version {version} does not exist; versions found: {there}")
    problems = verify(folder, leak_check=lambda path: places_of_leaks(ws, [path]), jobs=ws.config.run.jobs)
    failed = any(problem.severity is Severity.REFUSE for problem in problems)
    return problems, f"version {version} {'failed its checks: do not use it' if failed else 'passed all checks'}"


def _open_points(ws: Workspace) -> dict[str, str]:
    """Why each case that is not settled cannot be released yet."""
    return {case_id: point for case_id in screened_cases(ws) if (point := _open_point(ws, case_id))}


def _open_point(ws: Workspace, case_id: str) -> str | None:
    """Why a case cannot be released yet, in words."""
    for stage in TO_SETTLE:
        receipt = read_receipt(stage.receipt(ws, case_id))
        if receipt is None or not receipt.finished:
            return f"{stage.name} is not done"
        try:
            reason = stage.why(ws, case_id)
        except Waiting as waiting:
            return str(waiting)
        if reason is not None:
            return f"{stage.name} must run again: {reason}"
    votes = {phase: read_vote(ws, case_id, phase) for phase in screened_cases(ws)[case_id].series}
    left = sorted(f"{case_id} {phase}" for phase, vote in votes.items() if vote and vote.open_reasons)
    return f"{', '.join(left)}: the lead radiologist has not decided yet" if left else None


def _volume(ws: Workspace, case: SettledCase, volume: SettledVolume) -> ReleaseVolume:
    from pipeline.dataset.release_inputs import ReleaseVolume

    window, model = volume.prepared.window, volume.coarse.facts.model
    return ReleaseVolume(
        case_id=volume.case_id,
        phase=volume.phase,
        image=ws.layout.prepared_image(volume.case_id, volume.phase),
        labels=ws.layout.prepared_labels(volume.case_id, volume.phase),
        scan=_scan_facts(case, volume),
        review=_review_facts(volume),
        first_slice=volume.prepared.first_slice,
        window_hu=(window.level_hu, window.width_hu) if window else None,
        text_mask=volume.converted.text_mask or None,
        coarse_model=model["name"],
        coarse_sha256=model["sha256"],
        lesions=tuple(lesion.to_json() for lesion in volume.lesions),
    )


def _masked_text(volumes: Iterable[SettledVolume]) -> dict[str, Mapping[str, str]]:
    """For the provenance: what was masked in which volume; nothing where nothing was."""
    masks = {f"{volume.case_id} {volume.phase}": volume.converted.text_mask for volume in volumes}
    found = {name: mask for name, mask in masks.items() if mask}
    return {"masked_text": found} if found else {}


def _scan_facts(case: SettledCase, volume: SettledVolume) -> ScanFacts:
    from pipeline.dataset.release_inputs import ScanFacts

    converted = volume.converted
    days = converted.number("days_from_first_study")
    return ScanFacts(
        series=converted.text("series_uid") or "",
        slices=volume.prepared.scan_slices,
        phase_confidence=converted.phase_confidence,
        days_from_first_study=None if days is None else int(days),
        site=case.screened.site,
        manufacturer=converted.text("Manufacturer"),
        model=converted.text("ManufacturerModelName"),
        kernel=converted.text("ConvolutionKernel"),
        kvp=converted.number("KVP"),
        slice_thickness_mm=converted.number("SliceThickness"),
    )


def _review_facts(volume: SettledVolume) -> ReviewFacts:
    from pipeline.dataset.release_inputs import ReviewFacts

    vote = volume.vote
    return ReviewFacts(
        raters=volume.agreement.raters,
        liver_dice=_dice(volume, Structure.WHOLE_LIVER),
        lesion_dice=_dice(volume, Structure.LESION),
        method=vote.explanation.method,
        open_reasons=tuple(reason.rule for reason in vote.explanation.needs_adjudication),
        adjudicator=vote.decision.by if vote.decision else None,
    )


def _dice(volume: SettledVolume, structure: Structure) -> tuple[float, ...]:
    return tuple(dice for dice in volume.agreement.dice_by_pair(structure).values() if dice is not None)
