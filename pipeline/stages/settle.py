"""From ratings to a settled mask: agreement, vote, lesion measures, and the copy that is released."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.records import Phase, Problem, Severity
from pipeline.core.volume import LabelMap, Volume
from pipeline.core.words import counted
from pipeline.stages.artefacts import (
    CoarseAgreement,
    FinalAgreement,
    MeasuredEnhancement,
    MeasuredLesions,
    PreparedVolume,
    RatedAgreement,
    VotedMask,
)
from pipeline.stages.case import require_vote, screened
from pipeline.stages.handed_out import assigned_raters, coarse_as_sent, was_replaced
from pipeline.workspace import Stage, Waiting, Work, Workspace

if TYPE_CHECKING:
    from pipeline.lesions.records import Enhancement


def _rating_files(ws: Workspace, case_id: str | None) -> tuple[str, dict[Phase, dict[str, Path]]]:
    """A case and each volume's ratings by rater, when all that were asked for are back."""
    case_id, case = screened(ws, case_id)
    files = {
        phase: {rater: ws.layout.rating(case_id, phase, rater) for rater in assigned_raters(ws, case_id, phase)}
        for phase in case.series
    }
    if any(was_replaced(ws, (case_id, phase)) for phase in case.series):
        raise Waiting("an image was replaced after it was handed out; run `liverset review pack`")
    wanted = [file for raters in files.values() for file in raters.values()]
    back = sum(file.is_file() for file in wanted)
    if not wanted or back < len(wanted):
        raise Waiting(f"{back} of {counted(len(wanted), 'mask')} accepted" if wanted else "not handed out yet")
    return case_id, files


def _ratings_inputs(ws: Workspace, case_id: str | None) -> dict[str, str]:
    _, files = _rating_files(ws, case_id)
    return ws.hashes([file for raters in files.values() for file in raters.values()], None)


def _ratings(files: Mapping[str, Path]) -> dict[str, LabelMap]:
    from pipeline.image.nifti import read_labels

    return {rater: read_labels(file) for rater, file in sorted(files.items())}


def _agree(ws: Workspace, case_id: str | None) -> Work:
    from pipeline.agreement.agree import agree

    case_id, files_by_phase = _rating_files(ws, case_id)
    outputs = []
    for phase, files in files_by_phase.items():
        outputs.append(ws.layout.agreement(case_id, phase))
        RatedAgreement(agreement=agree(_ratings(files), scheme=ws.config.labels.scheme)).save(outputs[-1])
    return Work(tuple(outputs))


def _vote(ws: Workspace, case_id: str | None) -> Work:
    from pipeline.agreement.consensus import vote
    from pipeline.image.nifti import write_nifti

    case_id, files_by_phase = _rating_files(ws, case_id)
    outputs: list[Path] = []
    for phase, files in files_by_phase.items():
        consensus = vote(_ratings(files), ws.config.consensus, scheme=ws.config.labels.scheme)
        mask, explanation = ws.layout.consensus(case_id, phase), ws.layout.consensus_explanation(case_id, phase)
        write_nifti(mask, consensus.labels)
        VotedMask(explanation=consensus.explanation()).save(explanation)
        outputs += [mask, explanation]
    return Work(tuple(outputs))


def _consensus_inputs(ws: Workspace, case_id: str | None) -> dict[str, str]:
    case_id, case = screened(ws, case_id)
    masks = [require_vote(ws, case_id, phase).mask for phase in case.series]
    return ws.hashes([*masks, *(ws.layout.image(case_id, phase) for phase in case.series)], case_id)


def settled_volume(ws: Workspace, case_id: str, phase: Phase) -> tuple[LabelMap, Volume]:
    """The mask that counts and its image.

    Raises:
        Waiting: before the vote.
    """
    from pipeline.image.nifti import read_labels, read_volume

    image = read_volume(ws.layout.image(case_id, phase), ws.unit)
    return read_labels(require_vote(ws, case_id, phase).mask), image


def _measure_inputs(ws: Workspace, case_id: str | None) -> dict[str, str]:
    named, case = screened(ws, case_id)
    coarse = ws.hashes([ws.layout.coarse(named, phase) for phase in case.series], named)
    return _ratings_inputs(ws, case_id) | _consensus_inputs(ws, case_id) | coarse


def _measure(ws: Workspace, case_id: str | None) -> Work:
    from pipeline.agreement.agree import against_final, coarse_against_final
    from pipeline.lesions.enhancement import PhaseReading, enhancement
    from pipeline.lesions.measure import measure_lesions

    case_id, files_by_phase = _rating_files(ws, case_id)
    scheme = ws.config.labels.scheme
    readings = {phase: PhaseReading(*settled_volume(ws, case_id, phase)) for phase in files_by_phase}
    for phase, reading in readings.items():
        scores = against_final(_ratings(files_by_phase[phase]), reading.labels, scheme=scheme)
        FinalAgreement(scores=scores).save(ws.layout.final_agreement(case_id, phase))
        coarse = coarse_against_final(coarse_as_sent(ws, case_id, phase), reading.labels, scheme=scheme)
        CoarseAgreement(agreement=coarse).save(ws.layout.coarse_agreement(case_id, phase))
        lesions = measure_lesions(reading.labels, reading.image, scheme=scheme)
        MeasuredLesions(case_id=case_id, phase=phase, lesions=lesions).save(ws.layout.lesions(case_id, phase))
    rows = enhancement(readings, scheme=scheme)
    MeasuredEnhancement(rows=rows).save(ws.layout.enhancement(case_id))
    of_volumes = (ws.layout.lesions, ws.layout.final_agreement, ws.layout.coarse_agreement)
    outputs = *(path(case_id, phase) for phase in readings for path in of_volumes), ws.layout.enhancement(case_id)
    return Work(outputs, _kinds_between_phases(case_id, rows))


def _kinds_between_phases(case_id: str, rows: Iterable[Enhancement]) -> tuple[Problem, ...]:
    """Lesions that the masks of two phases call by two kinds; nothing chooses between them."""
    from pipeline.lesions.enhancement import kinds_in_conflict

    return tuple(
        Problem(
            "kinds-between-phases",
            Severity.FLAG,
            f"{case_id} {row.phase}: lesion {row.number_on_phase} is {row.kind}, but {other.kind} on {other.phase}",
        )
        for row, other in kinds_in_conflict(rows)
    )


def _prepare(ws: Workspace, case_id: str | None) -> Work:
    case_id, case = screened(ws, case_id)
    outputs: list[Path] = []
    problems: list[Problem] = []
    for phase in case.series:
        files, noticed = _prepare_volume(ws, case_id, phase)
        outputs += files
        problems += noticed
    return Work(tuple(outputs), tuple(problems))


def _prepare_volume(ws: Workspace, case_id: str, phase: Phase) -> tuple[list[Path], list[Problem]]:
    from pipeline.image.nifti import write_nifti
    from pipeline.image.slices import crop_slices, liver_slices
    from pipeline.image.window import apply_window

    layout, wanted = ws.layout, ws.config.image
    labels, image = settled_volume(ws, case_id, phase)
    found = liver_slices(labels, wanted.slices.margin_mm)
    whole = slice(0, labels.geometry.shape[0])
    kept = found if found is not None and wanted.slices.keep == "liver" else whole
    image, labels = crop_slices(image, kept), crop_slices(labels, kept)
    if wanted.window is not None:
        image = apply_window(image, wanted.window)
    files = [layout.prepared_image(case_id, phase), layout.prepared_labels(case_id, phase)]
    write_nifti(files[0], image, for_release=True)
    write_nifti(files[1], labels, for_release=True)
    prepared = PreparedVolume(
        first_slice=kept.start, slices=kept.stop - kept.start, scan_slices=whole.stop, window=wanted.window
    )
    prepared.save(layout.preparation(case_id, phase))
    message = f"{case_id} {phase}: the final mask has no liver"
    missing = Problem("no-liver", Severity.FLAG, message, "check the ratings of this volume")
    return [*files, layout.preparation(case_id, phase)], [missing] if found is None else []


AGREE = Stage(
    name="agree",
    sections=lambda config: (config.labels,),
    inputs=_ratings_inputs,
    work=_agree,
)

VOTE = Stage(
    name="vote",
    sections=lambda config: (config.consensus, config.labels),
    inputs=_ratings_inputs,
    work=_vote,
)

MEASURE = Stage(
    name="measure",
    sections=lambda config: (config.labels,),
    inputs=_measure_inputs,
    work=_measure,
)

PREPARE = Stage(
    name="prepare",
    sections=lambda config: (config.image,),
    inputs=_consensus_inputs,
    work=_prepare,
)
