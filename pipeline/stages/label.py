"""From volumes to coarse labels: what the network draws first, post-processed and measured."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.config import CoarseConfig, config_digest
from pipeline.core.records import Phase, PhaseGuess, Problem, Severity
from pipeline.core.volume import LabelMap, Unit, Volume
from pipeline.stages.artefacts import CoarseLabel
from pipeline.stages.case import screened
from pipeline.workspace import Stage, Work, Workspace

if TYPE_CHECKING:
    from pipeline.segment.segmenter import LabelFacts, Segmenter

_loading = threading.Lock()
_segmenters: dict[tuple[Path, str], Segmenter] = {}


def _label_inputs(ws: Workspace, case_id: str | None) -> dict[str, str]:
    from pipeline.segment.models import find_model

    case_id, case = screened(ws, case_id)
    images = ws.hashes([ws.layout.image(case_id, phase) for phase in case.series], case_id)
    networks = [ws.config.coarse, *filter(None, [ws.config.coarse.lesions])]
    models = {f"model {number}": find_model(network, ws.root).sha256 for number, network in enumerate(networks, 1)}
    return {**images, **models}


def _label(ws: Workspace, case_id: str | None) -> Work:
    from pipeline.image.nifti import read_volume, write_nifti
    from pipeline.segment.phases import phase_disagreement

    case_id, case = screened(ws, case_id)
    labels: dict[Phase, LabelMap] = {}
    found: dict[Phase, CoarseLabel] = {}
    problems: list[Problem] = []
    for phase in case.series:
        volume = read_volume(ws.layout.image(case_id, phase), ws.unit)
        labels[phase], facts = _labelled(ws, volume)
        write_nifti(ws.layout.coarse(case_id, phase), labels[phase])
        found[phase], noticed = _judged(case_id, case.guesses[phase], phase, volume, labels[phase], facts)
        problems += [problem.about(f"{case_id} {phase}") for problem in noticed]
    apart = phase_disagreement(labels)
    for phase, label in found.items():
        of_phase = label.model_copy(update={"phase_disagreement": apart.get(phase)})
        of_phase.save(ws.layout.coarse_provenance(case_id, phase))
    files = (ws.layout.coarse, ws.layout.coarse_provenance)
    return Work(tuple(file(case_id, phase) for phase in found for file in files), tuple(problems))


def _judged(
    case_id: str, guess: PhaseGuess, phase: Phase, volume: Volume, labels: LabelMap, facts: LabelFacts
) -> tuple[CoarseLabel, tuple[Problem, ...]]:
    """What is recorded of a label, and what speaks against the scan it was made on."""
    from pipeline.cohort.image_quality import measure_quality, quality_problems
    from pipeline.image.nifti import content_sha256

    quality = measure_quality(volume, labels)
    label = CoarseLabel(
        case_id=case_id,
        phase=phase,
        phase_disagreement=None,
        liver_cut=quality.cut,
        image_sha256=content_sha256(volume),
        label_sha256=content_sha256(labels),
        facts=facts,
    )
    conflicts = _phase_problems(guess, volume.unit, quality.liver_hu, facts.aorta_hu)
    return label, (*quality_problems(quality, volume.unit), *conflicts)


def _phase_problems(guess: PhaseGuess, unit: Unit, liver_hu: float, aorta_hu: float | None) -> tuple[Problem, ...]:
    """A flag where liver and aorta are not as bright as in the phase that text and timing say."""
    from pipeline.dicom.group.phase import confirmed, from_image

    if unit is not Unit.HU or math.isnan(liver_hu):
        return ()
    seen = confirmed(guess, from_image(liver_hu, aorta_hu))
    if not seen.needs_person:
        return ()
    message = f"the image contradicts the phase ({'; '.join(seen.evidence)})"
    return (Problem("phase-conflict", Severity.FLAG, message, "look at the volume and decide in decisions.csv"),)


def _labelled(ws: Workspace, volume: Volume) -> tuple[LabelMap, LabelFacts]:
    """The network's label after post-processing, and how it came about."""
    from pipeline.segment.facts import label_facts
    from pipeline.segment.postprocess import postprocess

    segmentation = segmenter_of(ws.config.coarse, ws.root).segment(volume)
    cleaned = postprocess(segmentation.labels, ws.config.coarse)
    return cleaned.labels, label_facts(segmentation, cleaned)


def segmenter_of(coarse: CoarseConfig, root: Path, *, allow_unpinned: bool = False) -> Segmenter:
    """One network a process for the same settings: loading it costs more than a small case."""
    from pipeline.segment.chain import open_segmenter

    with _loading:
        key = root, config_digest(coarse)
        if key not in _segmenters:
            _segmenters[key] = open_segmenter(coarse, root, allow_unpinned=allow_unpinned)
        return _segmenters[key]


LABEL = Stage(
    name="label",
    sections=lambda config: (config.coarse,),
    inputs=_label_inputs,
    work=_label,
)
