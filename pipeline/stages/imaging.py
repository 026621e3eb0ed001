"""From series to labelled volumes: HU and a rebuilt header, then the network's label."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.config import CoarseConfig, config_digest
from pipeline.core.errors import PipelineError
from pipeline.core.files import finite, write_json
from pipeline.core.records import Phase, Problem, Series
from pipeline.core.series_file import load_series
from pipeline.stages.intake import case_of, first_study_of, phase_guess
from pipeline.workspace import Stage, Work, Workspace

if TYPE_CHECKING:
    from pipeline.dicom.convert import Conversion, SliceRecord
    from pipeline.segment.models import Model
    from pipeline.segment.nnunet import NnunetSegmenter

_loading = threading.Lock()
_segmenters: dict[tuple[str, str], NnunetSegmenter] = {}


def phases_of(ws: Workspace, case_id: str | None) -> tuple[str, tuple[Phase, ...]]:
    """The case a stage was called for, and its phases in order."""
    if case_id is None:
        raise ValueError("this stage belongs to a case")
    return case_id, tuple(case_of(ws, case_id).series)


def model_of(ws: Workspace) -> Model:
    """The network that `dataset.toml` names, with its pins checked."""
    from pipeline.segment.models import find_model

    return find_model(ws.config.coarse, ws.root)


def _convert_inputs(ws: Workspace, case_id: str | None) -> dict[str, str]:
    case, phases = phases_of(ws, case_id)
    return ws.hashes([ws.layout.series_record(case, phase) for phase in phases], None)


def _convert(ws: Workspace, case_id: str | None) -> Work:
    case, phases = phases_of(ws, case_id)
    outputs: list[Path] = []
    problems: list[Problem] = []
    for phase in phases:
        series = load_series(ws.layout.series_record(case, phase))
        conversion = _volume_of(ws, series, what=f"{case} {phase}")
        outputs += _write_volume(ws, case, phase, series, conversion)
        problems += [_named(problem, f"{case} {phase}") for problem in conversion.problems]
    return Work(tuple(outputs), tuple(problems))


def _volume_of(ws: Workspace, series: Series, *, what: str) -> Conversion:
    from pipeline.dicom.convert import read_series

    try:
        return read_series(series, allow_tilt=ws.config.inclusion.allow_tilt)
    except PipelineError as error:
        raise type(error)(f"{what}: {error}") from None


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
    from pipeline.dicom.deidentify import header_facts

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
    return Problem(problem.code, problem.severity, f"{what}: {problem.message}", problem.cure)


def _label_inputs(ws: Workspace, case_id: str | None) -> dict[str, str]:
    case, phases = phases_of(ws, case_id)
    images = ws.hashes([ws.layout.image(case, phase) for phase in phases], case)
    return {**images, "model": model_of(ws).sha256}


def _label(ws: Workspace, case_id: str | None) -> Work:
    case, phases = phases_of(ws, case_id)
    return Work(tuple(output for phase in phases for output in _write_label(ws, case, phase)))


def _write_label(ws: Workspace, case: str, phase: Phase) -> list[Path]:
    from pipeline.image.nifti import content_sha256, read_volume, write_nifti
    from pipeline.segment.postprocess import postprocess

    layout = ws.layout
    volume = read_volume(layout.image(case, phase), ws.unit)
    segmentation = _segmenter(ws.config.coarse, ws.root).segment(volume)
    cleaned = postprocess(segmentation.labels, ws.config.coarse)
    write_nifti(layout.coarse(case, phase), cleaned.labels)
    provenance = {
        "case_id": case,
        "phase": phase,
        "image_content_sha256": content_sha256(volume),
        "label_content_sha256": content_sha256(cleaned.labels),
        "raw_sha256": segmentation.raw_sha256,
        "changed_voxels": cleaned.changed_voxels,
        "entropy": segmentation.entropy,
        "signals": dict(segmentation.signals),
        "device": segmentation.device,
        "model": dict(segmentation.model),
        "seconds": {step: round(seconds, 3) for step, seconds in segmentation.seconds.items()},
        "notes": segmentation.notes,
    }
    write_json(layout.coarse_provenance(case, phase), finite(provenance))
    return [layout.coarse(case, phase), layout.coarse_provenance(case, phase)]


def _segmenter(coarse: CoarseConfig, root: Path) -> NnunetSegmenter:
    """One network a process for the same settings: loading it costs more than a small case."""
    from pipeline.segment.models import find_model
    from pipeline.segment.nnunet import NnunetSegmenter

    model = find_model(coarse, root)
    with _loading:
        return _segmenters.setdefault(
            (model.sha256, config_digest(coarse)), NnunetSegmenter(model, coarse.device, coarse)
        )


CONVERT = Stage(
    name="convert",
    code=("core", "dicom", "image/nifti.py", "stages/imaging.py"),
    packages=("pydicom", "numpy", "imagecodecs", "pylibjpeg-openjpeg", "pylibjpeg-rle"),
    sections=lambda config: (config.deidentification, config.inclusion),
    inputs=_convert_inputs,
    work=_convert,
)

LABEL = Stage(
    name="label",
    code=("core", "segment", "image", "stages/imaging.py"),
    packages=("nnunetv2", "torch", "numpy", "connected-components-3d"),
    sections=lambda config: (config.coarse,),
    inputs=_label_inputs,
    work=_label,
)
