"""From series to labelled volumes: HU and a rebuilt header, then the network's label."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.core.config import CoarseConfig, DeidentificationOption, config_digest
from pipeline.core.errors import PipelineError, PrivacyError
from pipeline.core.files import PRIVATE_FILE_MODE, finite, write_atomically, write_json
from pipeline.core.records import Phase, Problem, Series, Severity
from pipeline.core.series_file import load_series
from pipeline.core.volume import LabelMap, Unit, Volume
from pipeline.stages.intake import case_of, decision_inputs, first_study_of, phase_guess, was_looked_at
from pipeline.workspace import Stage, Work, Workspace

if TYPE_CHECKING:
    from pipeline.dicom.convert import Conversion, SliceRecord
    from pipeline.segment.segmenter import Segmenter

_loading = threading.Lock()
_segmenters: dict[tuple[Path, str], Segmenter] = {}


def phases_of(ws: Workspace, case_id: str | None) -> tuple[str, tuple[Phase, ...]]:
    """The case a stage was called for, and its phases in order."""
    if case_id is None:
        raise ValueError("this stage belongs to a case")
    return case_id, tuple(case_of(ws, case_id).series)


def _convert_inputs(ws: Workspace, case_id: str | None) -> dict[str, str]:
    case, phases = phases_of(ws, case_id)
    return {
        **decision_inputs(ws),
        **ws.hashes([ws.layout.series_record(case, phase) for phase in phases], None),
    }


def _convert(ws: Workspace, case_id: str | None) -> Work:
    case, phases = phases_of(ws, case_id)
    outputs: list[Path] = []
    problems: list[Problem] = []
    for phase in phases:
        series = load_series(ws.layout.series_record(case, phase))
        conversion = _volume_of(ws, series, what=f"{case} {phase}")
        _require_no_text(ws, case, phase, series, conversion.volume)
        outputs += _write_volume(ws, case, phase, series, conversion)
        problems += [_named(problem, f"{case} {phase}") for problem in conversion.problems]
    return Work(tuple(outputs), tuple(problems))


def _volume_of(ws: Workspace, series: Series, *, what: str) -> Conversion:
    from pipeline.dicom.convert import read_series

    try:
        return read_series(series, allow_tilt=ws.config.inclusion.allow_tilt)
    except PipelineError as error:
        raise type(error)(f"{what}: {error}") from None


def _require_no_text(ws: Workspace, case: str, phase: Phase, series: Series, volume: Volume) -> None:
    """Keep a volume that looks as if text were burned into it at home until a person has looked."""
    from pipeline.text.find import find_text
    from pipeline.text.suspects import is_read, montage

    wanted = DeidentificationOption.CLEAN_PIXELS in ws.config.deidentification.options
    if not wanted or volume.voxels.dtype != np.int16:
        return
    slices = list(volume.voxels)
    finding = find_text(slices)
    if finding.is_suspect and not was_looked_at(ws, series):
        picture = ws.layout.text_montage(case, phase)
        write_atomically(picture, montage(slices, finding), mode=PRIVATE_FILE_MODE)
        opinion = ", and tesseract reads letters in it" if is_read(slices, finding) else ""
        raise PrivacyError(
            f"{case} {phase} looks as if text were burned into it{opinion}; look at private/montages/{picture.name} "
            "and write the series with its phase, or `none`, into decisions.csv"
        )


def _write_volume(ws: Workspace, case: str, phase: Phase, series: Series, conversion: Conversion) -> list[Path]:
    from pipeline.image.nifti import content_sha256, write_nifti

    image, header = ws.layout.image(case, phase), ws.layout.header(case, phase)
    write_nifti(image, conversion.volume)
    guess = phase_guess(ws, case, phase)
    facts = {
        "case_id": case,
        "phase": phase,
        "phase_confidence": guess.confidence,
        "phase_evidence": guess.evidence,
        "content_sha256": content_sha256(conversion.volume),
        "header": _header_facts(ws, case, series),
        "slices": [_slice_facts(ws, record) for record in conversion.slices],
    }
    write_json(header, facts)
    return [image, header]


def _header_facts(ws: Workspace, case: str, series: Series) -> dict[str, Any]:
    from pipeline.dicom.deid.deidentify import header_facts

    options, first_day = ws.config.deidentification, first_study_of(ws, case)
    return header_facts(series, ws.crosswalk.pseudonyms, options, first_study_date=first_day)


def _slice_facts(ws: Workspace, record: SliceRecord) -> dict[str, Any]:
    """Where a slice came from, in words that lead back only with the project's secret."""
    return {
        "instance": ws.crosswalk.pseudonyms.token("instance", record.sop_instance_sha256),
        "frame": record.frame,
        "position_lps_mm": record.position_lps_mm,
        "slope": record.slope,
        "intercept": record.intercept,
        "padded_pixels": record.padded_pixels,
    }


def _named(problem: Problem, what: str) -> Problem:
    return Problem(problem.code, problem.severity, f"{what}: {problem.message}", problem.fix)


def _label_inputs(ws: Workspace, case_id: str | None) -> dict[str, str]:
    from pipeline.segment.models import find_model

    case, phases = phases_of(ws, case_id)
    images = ws.hashes([ws.layout.image(case, phase) for phase in phases], case)
    networks = [ws.config.coarse, *filter(None, [ws.config.coarse.lesions])]
    models = {f"model {number}": find_model(network, ws.root).sha256 for number, network in enumerate(networks, 1)}
    return {**images, **models}


def _label(ws: Workspace, case_id: str | None) -> Work:
    from pipeline.cohort.image_quality import measure_quality, quality_problems
    from pipeline.image.nifti import read_volume, write_nifti
    from pipeline.segment.phases import phase_disagreement

    case, phases = phases_of(ws, case_id)
    labels: dict[Phase, LabelMap] = {}
    facts: dict[Phase, dict[str, Any]] = {}
    problems: list[Problem] = []
    for phase in phases:
        volume = read_volume(ws.layout.image(case, phase), ws.unit)
        labels[phase], facts[phase] = _labelled(ws, volume)
        write_nifti(ws.layout.coarse(case, phase), labels[phase])
        quality = measure_quality(volume, labels[phase])
        facts[phase]["liver_cut"] = list(quality.cut)
        found = (
            *quality_problems(quality, ws.unit),
            *_phase_problems(ws, case, phase, quality.liver_hu, facts[phase]["aorta_hu"]),
        )
        problems += [_named(problem, f"{case} {phase}") for problem in found]
    apart = phase_disagreement(labels)
    for phase in phases:
        content = {"case_id": case, "phase": phase, "phase_disagreement": apart.get(phase), **facts[phase]}
        write_json(ws.layout.coarse_provenance(case, phase), finite(content))
    outputs = [file(case, phase) for phase in phases for file in (ws.layout.coarse, ws.layout.coarse_provenance)]
    return Work(tuple(outputs), tuple(problems))


def _phase_problems(
    ws: Workspace, case: str, phase: Phase, liver_hu: float, aorta_hu: float | None
) -> tuple[Problem, ...]:
    """A flag where liver and aorta are not as bright as in the phase that text and timing tell."""
    from pipeline.dicom.group.phase import confirmed, from_image

    if ws.unit is not Unit.HU or math.isnan(liver_hu):
        return ()
    guess = confirmed(phase_guess(ws, case, phase), from_image(liver_hu, aorta_hu))
    if not guess.needs_person:
        return ()
    message = f"the image contradicts the phase ({'; '.join(guess.evidence)})"
    return (Problem("phase-conflict", Severity.FLAG, message, "look at it, and decide in decisions.csv"),)


def _labelled(ws: Workspace, volume: Volume) -> tuple[LabelMap, dict[str, Any]]:
    """The network's label after post-processing, and how it came about."""
    from pipeline.image.nifti import content_sha256
    from pipeline.segment.facts import label_facts
    from pipeline.segment.postprocess import postprocess

    segmentation = segmenter_of(ws.config.coarse, ws.root).segment(volume)
    cleaned = postprocess(segmentation.labels, ws.config.coarse)
    hashes = {"image_sha256": content_sha256(volume), "label_sha256": content_sha256(cleaned.labels)}
    return cleaned.labels, {**hashes, **label_facts(segmentation, cleaned)}


def segmenter_of(coarse: CoarseConfig, root: Path, *, allow_unpinned: bool = False) -> Segmenter:
    """One network a process for the same settings: loading it costs more than a small case."""
    from pipeline.segment.chain import open_segmenter

    with _loading:
        key = root, config_digest(coarse)
        if key not in _segmenters:
            _segmenters[key] = open_segmenter(coarse, root, allow_unpinned=allow_unpinned)
        return _segmenters[key]


CONVERT = Stage(
    name="convert",
    code=("core", "dicom", "text", "image/nifti.py", "stages/imaging.py"),
    packages=("pydicom", "numpy", "imagecodecs", "pylibjpeg-openjpeg", "pylibjpeg-rle"),
    sections=lambda config: (config.deidentification, config.inclusion),
    inputs=_convert_inputs,
    work=_convert,
)

LABEL = Stage(
    name="label",
    code=("core", "segment", "image", "cohort/image_quality.py", "dicom/group", "stages/imaging.py"),
    packages=("nnunetv2", "torch", "numpy", "connected-components-3d"),
    sections=lambda config: (config.coarse,),
    inputs=_label_inputs,
    work=_label,
)
