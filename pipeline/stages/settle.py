"""From ratings to a settled mask: agreement, vote, lesion measures, and the copy that is released."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pipeline.core.files import finite, read_json, write_json
from pipeline.core.records import Phase, Problem, Severity
from pipeline.core.volume import LabelMap, Volume
from pipeline.stages.handout import assigned_raters, volumes
from pipeline.stages.imaging import phases_of
from pipeline.stages.returns import adjudicated_mask
from pipeline.workspace import Stage, Waiting, Work, Workspace

ADJUDICATION_FIX = "`liverset review adjudicate` packs it for the lead radiologist"


def _rating_files(ws: Workspace, case: str, phases: tuple[Phase, ...]) -> dict[Phase, dict[str, Path]]:
    """Each volume's ratings by rater, when all that were asked for are back."""
    asked = {phase: assigned_raters(ws, case, phase) for phase in phases}
    files = {
        phase: {rater: ws.layout.rating(case, phase, rater) for rater in raters} for phase, raters in asked.items()
    }
    wanted = [file for raters in files.values() for file in raters.values()]
    back = sum(file.is_file() for file in wanted)
    if not wanted or back < len(wanted):
        raise Waiting(f"{back} of {len(wanted)} masks are back" if wanted else "not handed out yet")
    return files


def _ratings_inputs(ws: Workspace, case_id: str | None) -> dict[str, str]:
    case, phases = phases_of(ws, case_id)
    files = _rating_files(ws, case, phases)
    return ws.hashes([file for raters in files.values() for file in raters.values()], None)


def _ratings(files: Mapping[str, Path]) -> dict[str, LabelMap]:
    from pipeline.image.nifti import read_labels

    return {rater: read_labels(file) for rater, file in sorted(files.items())}


def _agree(ws: Workspace, case_id: str | None) -> Work:
    from pipeline.agreement.agree import agree

    case, phases = phases_of(ws, case_id)
    outputs = []
    for phase, files in _rating_files(ws, case, phases).items():
        outputs.append(ws.layout.agreement(case, phase))
        write_json(outputs[-1], finite(agree(_ratings(files)).to_json()))
    return Work(tuple(outputs))


def _vote(ws: Workspace, case_id: str | None) -> Work:
    from pipeline.agreement.consensus import vote
    from pipeline.image.nifti import write_nifti

    case, phases = phases_of(ws, case_id)
    outputs: list[Path] = []
    for phase, files in _rating_files(ws, case, phases).items():
        consensus = vote(_ratings(files), ws.config.consensus)
        mask, explanation = ws.layout.consensus(case, phase), ws.layout.consensus_explanation(case, phase)
        write_nifti(mask, consensus.labels)
        write_json(explanation, finite(consensus.to_json()))
        outputs += [mask, explanation]
    return Work(tuple(outputs))


def open_votes(ws: Workspace) -> tuple[Problem, ...]:
    """What the votes leave to settle and the lead has not settled yet; one problem a reason."""
    return tuple(problem for case_id, phase in volumes(ws) for problem in open_vote(ws, case_id, phase))


def open_vote(ws: Workspace, case_id: str, phase: Phase) -> tuple[Problem, ...]:
    """What the vote of one volume leaves to settle; nothing before the vote, or once the lead has settled it."""
    explanation = ws.layout.consensus_explanation(case_id, phase)
    if not explanation.is_file() or adjudicated_mask(ws, case_id, phase) is not None:
        return ()
    reasons = ((reason["rule"], reason["message"]) for reason in read_json(explanation)["needs_adjudication"])
    return tuple(
        Problem(f"adjudicate-{rule}", Severity.FLAG, f"{case_id} {phase}: {message}", ADJUDICATION_FIX)
        for rule, message in reasons
    )


def final_mask(ws: Workspace, case_id: str, phase: Phase) -> Path:
    """The mask that counts: the lead's where there is one about the vote as it stands, else the voted one."""
    decided = adjudicated_mask(ws, case_id, phase)
    return ws.layout.consensus(case_id, phase) if decided is None else decided[0]


def _consensus_inputs(ws: Workspace, case_id: str | None) -> dict[str, str]:
    case, phases = phases_of(ws, case_id)
    if not all(ws.layout.consensus(case, phase).is_file() for phase in phases):
        raise Waiting("not voted yet")
    masks = [final_mask(ws, case, phase) for phase in phases]
    return ws.hashes([*masks, *(ws.layout.image(case, phase) for phase in phases)], case)


def _measure(ws: Workspace, case_id: str | None) -> Work:
    from pipeline.lesions.enhancement import PhaseReading, enhancement
    from pipeline.lesions.measure import measure_lesions

    case, phases = phases_of(ws, case_id)
    readings = {phase: PhaseReading(*settled_volume(ws, case, phase)) for phase in phases}
    for phase, reading in readings.items():
        lesions = [lesion.to_json() for lesion in measure_lesions(reading.labels, reading.image)]
        write_json(ws.layout.lesions(case, phase), {"case_id": case, "phase": phase, "lesions": finite(lesions)})
    write_json(ws.layout.enhancement(case), {"rows": [row.to_json() for row in enhancement(readings)]})
    return Work((*(ws.layout.lesions(case, phase) for phase in phases), ws.layout.enhancement(case)))


def settled_volume(ws: Workspace, case_id: str, phase: Phase) -> tuple[LabelMap, Volume]:
    """The mask that counts and its image."""
    from pipeline.image.nifti import read_labels, read_volume

    image = read_volume(ws.layout.image(case_id, phase), ws.unit)
    return read_labels(final_mask(ws, case_id, phase)), image


def _prepare(ws: Workspace, case_id: str | None) -> Work:
    case, phases = phases_of(ws, case_id)
    outputs: list[Path] = []
    problems: list[Problem] = []
    for phase in phases:
        files, problem = _prepare_volume(ws, case, phase)
        outputs += files
        problems += problem
    return Work(tuple(outputs), tuple(problems))


def _prepare_volume(ws: Workspace, case: str, phase: Phase) -> tuple[list[Path], list[Problem]]:
    from pipeline.image.nifti import write_nifti
    from pipeline.image.slices import crop_slices, liver_slices
    from pipeline.image.window import apply_window

    layout, image_config = ws.layout, ws.config.image
    labels, image = settled_volume(ws, case, phase)
    found = liver_slices(labels, image_config.slices.margin_mm)
    whole = slice(0, labels.geometry.shape[0])
    kept = found if found is not None and image_config.slices.keep == "liver" else whole
    image, labels = crop_slices(image, kept), crop_slices(labels, kept)
    if image_config.window is not None:
        image = apply_window(image, image_config.window)
    write_nifti(layout.prepared_image(case, phase), image, for_release=True)
    write_nifti(layout.prepared_labels(case, phase), labels, for_release=True)
    window = image_config.window.model_dump() if image_config.window else None
    facts = {"first_slice": kept.start, "scan_slices": whole.stop, "slices": kept.stop - kept.start, "window": window}
    write_json(layout.preparation(case, phase), facts)
    missing = Problem(
        "no-liver", Severity.FLAG, f"{case} {phase}: the voted mask holds no liver", "look at the ratings"
    )
    outputs = [layout.prepared_image(case, phase), layout.prepared_labels(case, phase), layout.preparation(case, phase)]
    return outputs, [missing] if found is None else []


AGREE = Stage(
    name="agree",
    code=("core", "agreement", "image", "stages/settle.py"),
    packages=("numpy", "scipy", "edt", "connected-components-3d"),
    sections=lambda config: (config.labels,),
    inputs=_ratings_inputs,
    work=_agree,
)

VOTE = Stage(
    name="vote",
    code=("core", "agreement", "image", "stages/settle.py"),
    packages=("numpy", "scipy", "connected-components-3d"),
    sections=lambda config: (config.consensus, config.labels),
    inputs=_ratings_inputs,
    work=_vote,
)

MEASURE = Stage(
    name="measure",
    code=("core", "lesions", "image", "stages/settle.py"),
    packages=("numpy", "scipy", "edt", "connected-components-3d"),
    sections=lambda config: (),
    inputs=_consensus_inputs,
    work=_measure,
)

PREPARE = Stage(
    name="prepare",
    code=("core", "image", "stages/settle.py"),
    packages=("numpy", "deflate"),
    sections=lambda config: (config.image,),
    inputs=_consensus_inputs,
    work=_prepare,
)
