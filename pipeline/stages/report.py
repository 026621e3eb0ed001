"""What people look at: the quality page and the table of problems, at home and in a release."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.agreement.records import Agreement, FinalScores
from pipeline.cohort.inclusion import FlowStep
from pipeline.core.files import csv_text, digest, read_csv, write_text
from pipeline.core.labels import LabelScheme, Structure
from pipeline.core.problems import words_sha256
from pipeline.core.receipts import read_receipt
from pipeline.core.records import Phase, Problem, Severity
from pipeline.core.volume import LabelMap, Volume
from pipeline.stages.adjudicate import open_problems, open_votes
from pipeline.stages.artefacts import (
    CoarseAgreement,
    ConsortFlow,
    ConvertedVolume,
    FinalAgreement,
    MeasuredLesions,
    RatedAgreement,
    VolumeKey,
)
from pipeline.stages.case import SettledCase, StandingVote, read_vote, screened_cases, volumes
from pipeline.stages.recall import RECALL_COLUMNS, Recall, recall_problems, recalls
from pipeline.stages.tables import agreement_tables, coarse_volume, rated_volume
from pipeline.stages.way import DATASET_STAGES, HANDOUT_STAGES, TO_SETTLE
from pipeline.workspace import Stage, Work, Workspace

if TYPE_CHECKING:
    from pipeline.dataset.manifest import ManifestRow
    from pipeline.dataset.release_inputs import Summaries
    from pipeline.report.qc import QcVolume

REPORT_NAME = "report"
PROBLEM_COLUMNS = ("severity", "code", "message", "fix")


def standing_problems(ws: Workspace) -> tuple[Problem, ...]:
    """Everything that receipts say still stands against the dataset and its cases."""
    return _standing(ws, recalls(ws))


def _standing(ws: Workspace, recalled: Iterable[Recall]) -> tuple[Problem, ...]:
    of_cases = (problem for case_id in screened_cases(ws) for problem in _noticed(ws, TO_SETTLE, case_id))
    return (*_of_dataset(ws), *of_cases, *open_votes(ws), *recall_problems(recalled))


def read_consort(ws: Workspace) -> tuple[FlowStep, ...]:
    """How many series and patients fell at each rule; nothing before the first screening."""
    return ConsortFlow.load(ws.layout.consort).steps if ws.layout.consort.exists() else ()


def released_page(
    ws: Workspace, cases: Sequence[SettledCase], version: str, rows: Sequence[ManifestRow], summaries: Summaries
) -> str:
    """The quality page of a version: its own images and masks, and of each patient only what the manifest tells."""
    from pipeline.agreement.tables import page_tables
    from pipeline.report.qc import qc_page

    return qc_page(
        ws.config.dataset.name,
        (volume for case in cases for volume in _released_volumes(ws, case, rows)),
        version=version,
        tables=page_tables(summaries),
        flow=read_consort(ws),
        rows=rows,
    )


def _noticed(ws: Workspace, stages: Iterable[Stage], case_id: str | None) -> tuple[Problem, ...]:
    receipts = (read_receipt(stage.receipt(ws, case_id)) for stage in stages)
    return tuple(problem for receipt in receipts if receipt for problem in receipt.problems)


def _of_dataset(ws: Workspace) -> tuple[Problem, ...]:
    return _noticed(ws, (*DATASET_STAGES, *HANDOUT_STAGES), None)


def _inputs(ws: Workspace, case_id: str | None) -> dict[str, str]:
    own = ws.layout.dataset_receipt(REPORT_NAME)
    receipts = (*ws.layout.cases.glob("*/*.receipt.json"), *ws.layout.reports.glob("*.receipt.json"))
    contents = [path.read_text(encoding="utf-8") for path in sorted(receipts) if path != own]
    recalled = [one.row() for one in recalls(ws)]
    return {
        "receipts": digest(contents),
        "problems": words_sha256(),
        **({"recalls": digest(recalled)} if recalled else {}),
    }


def _report(ws: Workspace, case_id: str | None) -> Work:
    recalled, layout = recalls(ws), ws.layout
    rows = [problem.to_json() for problem in _standing(ws, recalled)]
    write_text(layout.problems_table, csv_text(PROBLEM_COLUMNS, rows))
    write_text(layout.recall_table, csv_text(RECALL_COLUMNS, [one.row() for one in recalled]))
    write_text(layout.qc_page, _page(ws))
    return Work((layout.qc_page, layout.problems_table, layout.recall_table), recall_problems(recalled))


def _page(ws: Workspace) -> str:
    """The quality page of everything built so far, in full; never released."""
    from pipeline.agreement.tables import page_tables
    from pipeline.report.qc import qc_page

    tables = _tables(ws)
    return qc_page(
        ws.config.dataset.name,
        _volumes_so_far(ws),
        tables=page_tables(tables) if tables else {},
        flow=read_consort(ws),
        exclusions=read_csv(ws.layout.exclusions_table),
        problems=_of_dataset(ws),
    )


def _tables(ws: Workspace) -> dict[str, Any]:
    """Agreement over all cases of which every volume was rated."""
    layout = ws.layout
    rated = [
        (case_id, phase)
        for case_id, case in screened_cases(ws).items()
        if all(layout.agreement(case_id, phase).is_file() for phase in case.series)
        for phase in case.series
    ]
    found = [
        rated_volume(
            ConvertedVolume.load(layout.header(*volume)),
            RatedAgreement.load(layout.agreement(*volume)).agreement,
            _against_final(ws, *volume),
        )
        for volume in rated
    ]
    return agreement_tables(ws, found, rated) | _coarse_tables(ws)


def _coarse_tables(ws: Workspace) -> dict[str, Any]:
    """The coarse labels against every final mask that was measured."""
    from pipeline.agreement.tables import coarse_table

    layout = ws.layout
    found = [
        coarse_volume(
            ConvertedVolume.load(layout.header(*volume)),
            CoarseAgreement.load(layout.coarse_agreement(*volume)).agreement,
            MeasuredLesions.load(layout.lesions(*volume)).lesions,
        )
        for volume in volumes(ws)
        if layout.coarse_agreement(*volume).is_file()
    ]
    return {"coarse": coarse_table(found)} if found else {}


def _against_final(ws: Workspace, case_id: str, phase: Phase) -> tuple[FinalScores, ...]:
    """Each rater against the mask that counts; nothing before it was measured."""
    path = ws.layout.final_agreement(case_id, phase)
    return FinalAgreement.load(path).scores if path.is_file() else ()


def _volumes_so_far(ws: Workspace) -> Iterator[QcVolume]:
    """Every labelled volume with the best labels there are: those that count, or the network's."""
    from pipeline.image.nifti import read_labels, read_volume

    for case_id, case in screened_cases(ws).items():
        noticed = tuple(p for p in _noticed(ws, TO_SETTLE, case_id) if p.severity is not Severity.NOTE)
        for phase in (phase for phase in case.series if ws.layout.coarse(case_id, phase).is_file()):
            vote = read_vote(ws, case_id, phase)
            converted = ConvertedVolume.load(ws.layout.header(case_id, phase))
            yield _qc_volume(
                (case_id, phase),
                _facts(case.patient.diagnosis, converted.text("Manufacturer"), converted.text("ManufacturerModelName")),
                read_volume(ws.layout.image(case_id, phase), ws.unit),
                read_labels(vote.mask if vote else ws.layout.coarse(case_id, phase)),
                vote,
                RatedAgreement.load(ws.layout.agreement(case_id, phase)).agreement if vote else None,
                noticed,
                scheme=ws.config.labels.scheme,
            )


def _released_volumes(ws: Workspace, case: SettledCase, rows: Sequence[ManifestRow]) -> Iterator[QcVolume]:
    from pipeline.image.nifti import read_labels, read_volume

    told = {(row.patient_id, row.phase): row for row in rows}
    noticed = tuple(p for p in _noticed(ws, TO_SETTLE, case.case_id) if p.severity is not Severity.NOTE)
    for volume in case.volumes:
        row = told[case.case_id, volume.phase]
        yield _qc_volume(
            (case.case_id, volume.phase),
            _facts(row.cancer_type, row.manufacturer, row.model),
            read_volume(ws.layout.prepared_image(case.case_id, volume.phase), ws.unit),
            read_labels(ws.layout.prepared_labels(case.case_id, volume.phase)),
            volume.vote,
            volume.agreement,
            noticed,
            scheme=ws.config.labels.scheme,
            first_slice=volume.prepared.first_slice,
        )


def _qc_volume(
    name: VolumeKey,
    facts: Mapping[str, str],
    image: Volume,
    labels: LabelMap,
    vote: StandingVote | None,
    agreement: Agreement | None,
    noticed: Sequence[Problem],
    *,
    scheme: LabelScheme,
    first_slice: int = 0,
) -> QcVolume:
    from pipeline.report.qc import QcVolume

    case_id, phase = name
    own = tuple(problem for problem in noticed if problem.message.startswith(f"{case_id} {phase}:"))
    disputed = _disputed(agreement) if agreement else {}
    return QcVolume(
        case_id=case_id,
        phase=phase,
        image=image,
        labels=labels,
        status=vote.status if vote else "coarse label only",
        facts=facts,
        liver_dice=agreement.dice_by_pair(Structure.WHOLE_LIVER) if agreement else {},
        lesion_dice=agreement.dice_by_pair(Structure.LESION) if agreement else {},
        disagreement={index - first_slice: voxels for index, voxels in disputed.items() if index >= first_slice},
        problems=(*own, *(open_problems(name, vote) if vote else ())),
        scheme=scheme,
    )


def _facts(diagnosis: str | None, manufacturer: str | None, model: str | None) -> dict[str, str]:
    """What a card says of a volume besides its figures; the names are those of the manifest, which `verify` knows."""
    return {
        "diagnosis": diagnosis or "unknown",
        "manufacturer": manufacturer or "unknown",
        "model": model or "unknown",
    }


def _disputed(agreement: Agreement) -> dict[int, int]:
    """Slice to the most voxels of one structure that raters do not agree on."""
    disputed: dict[int, int] = {}
    for found in agreement.slices:
        disputed[found.slice] = max(disputed.get(found.slice, 0), found.disagreeing_voxels)
    return disputed


REPORT = Stage(
    name=REPORT_NAME,
    sections=lambda config: (config.dataset, config.image, config.labels),
    inputs=_inputs,
    work=_report,
)
