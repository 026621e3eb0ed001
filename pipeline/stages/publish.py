"""From settled masks to a version: collect what is finished, cut, verify, and show it to people."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import PipelineError, ReleaseError
from pipeline.core.files import digest, read_csv, read_json, write_text
from pipeline.core.receipts import package_versions, read_receipt
from pipeline.core.records import Patient, Phase, Problem, Severity
from pipeline.stages.handout import PACK, assigned_raters
from pipeline.stages.imaging import CONVERT, LABEL
from pipeline.stages.intake import SCAN, SCREEN, case_ids, case_of, read_consort, site_of
from pipeline.stages.privacy import places_of_leaks, unsearched
from pipeline.stages.returns import COLLECT, adjudicated_mask
from pipeline.stages.settle import AGREE, MEASURE, PREPARE, VOTE, final_mask, open_vote, open_votes
from pipeline.workspace import Outcome, Stage, Status, Waiting, Work, Workspace

if TYPE_CHECKING:
    from pipeline.agreement.summary import RatedVolume
    from pipeline.dataset.manifest import ManifestRow
    from pipeline.dataset.release_inputs import ReleaseInputs, ReleaseVolume, ReviewFacts, ScanFacts
    from pipeline.report.qc import QcVolume

TO_SETTLE = (CONVERT, LABEL, AGREE, VOTE, MEASURE, PREPARE)
"""What a case must have behind it to be released."""

RELEASE_PACKAGES = ("numpy", "pandas", "pyarrow", "deflate", "nnunetv2", "torch", "pydicom", "simpleitk", "liverset")

NOT_SETTLED = "not-settled"

QC_PAGE = "qc/index.html"
SUMMARIES = ("overall", "plc_cect", "limt", "raters", "rater_pairs", "rater_groups", "repeats")


def cut_release(ws: Workspace, version: str) -> Outcome:
    """Write `releases/<version>` from every case that is settled; name those that are not."""
    return _timed("cut", lambda: _cut(ws, version))


def verify_release(ws: Workspace, version: str) -> Outcome:
    """Check a version against its own checksums, tables and rules."""
    return _timed("verify", lambda: _verify(ws, version))


def standing_problems(ws: Workspace) -> tuple[Problem, ...]:
    """Everything that receipts say still stands against the dataset and its cases."""
    of_cases = (problem for case_id in case_ids(ws) for problem in _noticed(ws, TO_SETTLE, case_id))
    return (*_noticed(ws, (SCAN, SCREEN, PACK, COLLECT), None), *of_cases, *open_votes(ws))


def release_inputs(ws: Workspace, version: str) -> tuple[ReleaseInputs, tuple[Problem, ...]]:
    """Everything of a version, and a note on each case that is not settled yet."""
    from pipeline.dataset.release_inputs import ReleaseInputs

    open_points = {case_id: point for case_id in case_ids(ws) if (point := _open_point(ws, case_id))}
    settled = [case_id for case_id in case_ids(ws) if case_id not in open_points]
    volumes = [_volume(ws, case_id, phase) for case_id in settled for phase in case_of(ws, case_id).series]
    tables = _tables(ws, settled) if settled else {}
    inputs = ReleaseInputs(
        version=version,
        config=ws.config,
        patients={case_id: _patient(ws, case_id) for case_id in settled},
        volumes=tuple(volumes),
        min_raters=ws.config.review.per_case,
        flow=read_consort(ws),
        agreement=[row for case_id in settled for row in agreement_rows(ws, case_id)],
        enhancement=[row for case_id in settled for row in _enhancement_rows(ws, case_id)],
        summaries={name: tables[name] for name in SUMMARIES if tables.get(name)},
        pages={QC_PAGE: lambda rows: _released_page(ws, settled, version, rows, tables)},
        provenance={"packages": package_versions(*RELEASE_PACKAGES)},
    )
    notes = tuple(
        Problem(NOT_SETTLED, Severity.NOTE, f"{case_id} is not in this version: {point}")
        for case_id, point in open_points.items()
    )
    return inputs, notes


def agreement_rows(ws: Workspace, case_id: str) -> list[dict[str, Any]]:
    """One row a volume, structure and pair of raters of a case."""
    return [
        {"patient_id": case_id, "phase": str(phase), **pair, "raters": " ".join(pair["raters"])}
        for phase in case_of(ws, case_id).series
        for pair in read_json(ws.layout.agreement(case_id, phase))["pairs"]
    ]


def _noticed(ws: Workspace, stages: Iterable[Stage], case_id: str | None) -> tuple[Problem, ...]:
    receipts = (read_receipt(stage.receipt(ws, case_id)) for stage in stages)
    return tuple(problem for receipt in receipts if receipt for problem in receipt.problems)


def _enhancement_rows(ws: Workspace, case_id: str) -> list[dict[str, Any]]:
    return [{"patient_id": case_id, **row} for row in read_json(ws.layout.enhancement(case_id))["rows"]]


def _tables(ws: Workspace, cases: Iterable[str]) -> dict[str, Any]:
    """Agreement over the dataset, as PLC-CECT and LiMT print it, by rater, and of raters with themselves."""
    from pipeline.agreement.tables import dataset_tables, repeat_table

    volumes = [(case, phase) for case in cases for phase in case_of(ws, case).series]
    repeats = [repeat for volume in volumes for repeat in _repeats(ws, *volume)]
    tables = dataset_tables([_rated(ws, *volume) for volume in volumes])
    return {**tables, "repeats": repeat_table(repeats)} if repeats else tables


def _repeats(ws: Workspace, case_id: str, phase: Phase) -> Iterator[RatedVolume]:
    """Both readings of each rater who read a volume twice without knowing."""
    from pipeline.agreement.agree import agree
    from pipeline.agreement.summary import RatedVolume
    from pipeline.image.nifti import read_labels

    for rater in assigned_raters(ws, case_id, phase):
        first, again = ws.layout.rating(case_id, phase, rater), ws.layout.repeat_rating(case_id, phase, rater)
        if again.is_file():
            both = agree({"first": read_labels(first), "again": read_labels(again)})
            yield RatedVolume(case_id, str(phase), both.to_json(), {"rater": rater})


def _rated(ws: Workspace, case_id: str, phase: Phase) -> RatedVolume:
    return rated_volume(ws, case_id, phase, read_json(ws.layout.agreement(case_id, phase)))


def rated_volume(ws: Workspace, case_id: str, phase: Phase, agreement: Mapping[str, Any]) -> RatedVolume:
    """A volume's agreement with what tables group it by: vendor and slice thickness, besides the phase."""
    from pipeline.agreement.summary import RatedVolume

    header = read_json(ws.layout.header(case_id, phase))["header"]
    groups = {
        "vendor": str(header.get("Manufacturer", "unknown")),
        "slice thickness": f"{header.get('SliceThickness', 'unknown')} mm",
    }
    return RatedVolume(case_id, str(phase), agreement, groups)


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
    folder = cut(
        inputs, ws.layout.releases, leak_check=lambda path: places_of_leaks(ws, [path]), jobs=ws.config.run.jobs
    )
    write_text(ws.layout.manifest, ReleaseLayout(folder).manifest.read_text(encoding="utf-8"))
    note = f"version {version}: {len(inputs.patients)} patients, {len(inputs.volumes)} volumes"
    return (*notes, *unsearched(ws)), note


def _verify(ws: Workspace, version: str) -> tuple[tuple[Problem, ...], str]:
    from pipeline.dataset.verify.release import verify

    folder = ws.layout.release(version)
    if not folder.is_dir():
        there = ", ".join(sorted(path.name for path in ws.layout.releases.glob("[0-9]*"))) or "none"
        raise ReleaseError(f"there is no version {version}; there are: {there}")
    problems = verify(folder, jobs=ws.config.run.jobs)
    return problems, f"version {version} is sound" if not problems else f"version {version} must not be used"


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
            return f"{stage.name} must run again ({reason})"
    left = sorted(f"{case_id} {phase}" for phase in case_of(ws, case_id).series if open_vote(ws, case_id, phase))
    return f"{', '.join(left)} must go to the lead radiologist" if left else None


def _patient(ws: Workspace, case_id: str) -> Patient:
    return case_of(ws, case_id).patient


def _volume(ws: Workspace, case_id: str, phase: Phase) -> ReleaseVolume:
    from pipeline.dataset.release_inputs import ReleaseVolume

    layout = ws.layout
    preparation = read_json(layout.preparation(case_id, phase))
    coarse = read_json(layout.coarse_provenance(case_id, phase))
    window = preparation["window"]
    return ReleaseVolume(
        case_id=case_id,
        phase=phase,
        image=layout.prepared_image(case_id, phase),
        labels=layout.prepared_labels(case_id, phase),
        scan=_scan_facts(ws, case_id, phase, preparation),
        review=_review_facts(ws, case_id, phase),
        first_slice=preparation["first_slice"],
        window_hu=(window["level_hu"], window["width_hu"]) if window else None,
        coarse_model=coarse["model"]["name"],
        coarse_sha256=coarse["model"]["sha256"],
        lesions=tuple(read_json(layout.lesions(case_id, phase))["lesions"]),
    )


def _scan_facts(ws: Workspace, case_id: str, phase: Phase, preparation: Mapping[str, Any]) -> ScanFacts:
    from pipeline.dataset.release_inputs import ScanFacts

    facts = read_json(ws.layout.header(case_id, phase))
    header = facts["header"]
    return ScanFacts(
        series=header["series_uid"],
        slices=preparation["scan_slices"],
        phase_confidence=facts["phase_confidence"],
        days_from_first_study=header.get("days_from_first_study"),
        site=site_of(ws, case_id),
        manufacturer=header.get("Manufacturer"),
        model=header.get("ManufacturerModelName"),
        kernel=header.get("ConvolutionKernel"),
        kvp=header.get("KVP"),
        slice_thickness_mm=header.get("SliceThickness"),
    )


def _review_facts(ws: Workspace, case_id: str, phase: Phase) -> ReviewFacts:
    from pipeline.dataset.release_inputs import ReviewFacts

    agreement = read_json(ws.layout.agreement(case_id, phase))
    consensus = read_json(ws.layout.consensus_explanation(case_id, phase))
    decided = adjudicated_mask(ws, case_id, phase)
    return ReviewFacts(
        raters=tuple(agreement["raters"]),
        liver_dice=_dice(agreement, "whole_liver"),
        lesion_dice=_dice(agreement, "lesion"),
        method=consensus["method"],
        open_reasons=tuple(reason["rule"] for reason in consensus["needs_adjudication"]),
        adjudicator=decided[1] if decided else None,
    )


def _dice(agreement: Mapping[str, Any], structure: str) -> tuple[float, ...]:
    return tuple(dice for dice in _dice_by_pair(agreement, structure).values() if dice is not None)


def _report_inputs(ws: Workspace, case_id: str | None) -> dict[str, str]:
    own = ws.layout.dataset_receipt("report")
    receipts = (*ws.layout.cases.glob("*/*.receipt.json"), *ws.layout.reports.glob("*.receipt.json"))
    return {"receipts": digest([path.read_text(encoding="utf-8") for path in sorted(receipts) if path != own])}


def _report(ws: Workspace, case_id: str | None) -> Work:
    write_text(ws.layout.problems_table, _problems_text(ws))
    write_text(ws.layout.qc_page, _page(ws, case_ids(ws)))
    return Work((ws.layout.qc_page, ws.layout.problems_table))


def _page(ws: Workspace, cases: Sequence[str]) -> str:
    """The quality page of everything built so far, in full; stays at home."""
    from pipeline.agreement.tables import page_tables
    from pipeline.report.qc import qc_page

    shown = [(case, phase) for case in cases for phase in case_of(ws, case).series if _has_labels(ws, case, phase)]
    rated = [case for case in cases if all(ws.layout.agreement(case, p).is_file() for p in case_of(ws, case).series)]
    return qc_page(
        ws.config.dataset.name,
        (_qc_volume(ws, case, phase) for case, phase in shown),
        tables=page_tables(_tables(ws, rated)) if rated else {},
        flow=read_consort(ws),
        exclusions=read_csv(ws.layout.exclusions_table),
        problems=_noticed(ws, (SCAN, SCREEN, PACK, COLLECT), None),
    )


def _released_page(
    ws: Workspace, cases: Sequence[str], version: str, rows: Sequence[ManifestRow], tables: Mapping[str, Any]
) -> str:
    """The quality page of a version: its own images and masks, nothing of what stayed at home."""
    from pipeline.agreement.tables import page_tables
    from pipeline.report.qc import qc_page

    volumes = ((case, phase) for case in cases for phase in case_of(ws, case).series)
    return qc_page(
        ws.config.dataset.name,
        (_as_released(ws, _qc_volume(ws, case, phase)) for case, phase in volumes),
        version=version,
        tables=page_tables(tables),
        flow=read_consort(ws),
        rows=rows,
    )


def _as_released(ws: Workspace, volume: QcVolume) -> QcVolume:
    from pipeline.image.nifti import read_labels, read_volume

    case, phase = volume.case_id, volume.phase
    first = read_json(ws.layout.preparation(case, phase))["first_slice"]
    return replace(
        volume,
        image=read_volume(ws.layout.prepared_image(case, phase), ws.unit),
        labels=read_labels(ws.layout.prepared_labels(case, phase)),
        disagreement={index - first: voxels for index, voxels in volume.disagreement.items() if index >= first},
    )


def _problems_text(ws: Workspace) -> str:
    from pipeline.dataset.manifest import csv_text

    rows = [asdict(problem) for problem in standing_problems(ws)]
    return csv_text(("severity", "code", "message", "fix"), rows)


def _has_labels(ws: Workspace, case_id: str, phase: Phase) -> bool:
    return ws.layout.coarse(case_id, phase).is_file()


def _qc_volume(ws: Workspace, case_id: str, phase: Phase) -> QcVolume:
    """A volume with the best labels there are: the voted ones, or the network's."""
    from pipeline.image.nifti import read_labels, read_volume
    from pipeline.report.qc import QcVolume

    layout = ws.layout
    voted = layout.consensus(case_id, phase).is_file()
    agreement = read_json(layout.agreement(case_id, phase)) if voted else {"pairs": [], "slices": []}
    header = read_json(layout.header(case_id, phase))["header"]
    return QcVolume(
        case_id=case_id,
        phase=phase,
        image=read_volume(layout.image(case_id, phase), ws.unit),
        labels=read_labels(final_mask(ws, case_id, phase) if voted else layout.coarse(case_id, phase)),
        status=_label_status(ws, case_id, phase) if voted else "coarse label only",
        facts={
            "diagnosis": _patient(ws, case_id).diagnosis or "unknown",
            "scanner": " ".join(str(header.get(key, "")) for key in ("Manufacturer", "ManufacturerModelName")).strip(),
        },
        liver_dice=_dice_by_pair(agreement, "whole_liver"),
        lesion_dice=_dice_by_pair(agreement, "lesion"),
        disagreement=_disputed(agreement),
        problems=_of_volume(ws, case_id, phase),
    )


def _label_status(ws: Workspace, case_id: str, phase: Phase) -> str:
    if adjudicated_mask(ws, case_id, phase) is not None:
        return "adjudicated"
    return "voted, waits for the lead" if open_vote(ws, case_id, phase) else "voted"


def _of_volume(ws: Workspace, case_id: str, phase: Phase) -> tuple[Problem, ...]:
    noticed = (p for p in _noticed(ws, TO_SETTLE, case_id) if p.message.startswith(f"{case_id} {phase}:"))
    return (*(p for p in noticed if p.severity is not Severity.NOTE), *open_vote(ws, case_id, phase))


def _dice_by_pair(agreement: Mapping[str, Any], structure: str) -> dict[str, float | None]:
    pairs = (pair for pair in agreement["pairs"] if pair["structure"] == structure)
    return {" ".join(pair["raters"]): pair["dice"] for pair in pairs}


def _disputed(agreement: Mapping[str, Any]) -> dict[int, int]:
    """Slice to the most voxels of one structure that raters do not agree on."""
    disputed: dict[int, int] = {}
    for entry in agreement["slices"]:
        disputed[entry["slice"]] = max(disputed.get(entry["slice"], 0), entry["disagreeing_voxels"])
    return disputed


REPORT = Stage(
    name="report",
    code=("core", "report", "dataset", "agreement", "stages/publish.py"),
    packages=("jinja2", "numpy", "pillow", "scikit-image"),
    sections=lambda config: (config.dataset, config.image),
    inputs=_report_inputs,
    work=_report,
)
