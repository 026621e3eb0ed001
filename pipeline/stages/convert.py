"""From series to volumes: HU, and a header rebuilt from an allow-list."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.boxes import BETWEEN_BOXES, Box, blanked, boxes_text
from pipeline.core.config import DeidentificationOption
from pipeline.core.decisions import ways_to_decide
from pipeline.core.errors import DicomError, GeometryError, PrivacyError
from pipeline.core.files import PRIVATE_FILE_MODE, remove, write_atomically
from pipeline.core.problems import meaning_of
from pipeline.core.records import Phase, Problem, Series, Severity
from pipeline.core.volume import AIR_HU, Unit, Volume
from pipeline.stages.artefacts import ConvertedVolume, ScreenedCase, SliceOrigin, TextSearch
from pipeline.stages.case import screened
from pipeline.stages.decisions import series_name, text_decision, text_inputs
from pipeline.stages.kept import kept_series
from pipeline.workspace import Stage, Work, Workspace

if TYPE_CHECKING:
    from pipeline.dicom.convert import Conversion, SliceRecord
    from pipeline.text.find import TextFinding


def _convert_inputs(ws: Workspace, case_id: str | None) -> dict[str, str]:
    case_id, case = screened(ws, case_id)
    return {
        **text_inputs(ws, case.series.values()),
        **ws.hashes([ws.layout.series_record(case_id, phase) for phase in case.series], None),
    }


def _convert(ws: Workspace, case_id: str | None) -> Work:
    case_id, case = screened(ws, case_id)
    outputs: list[Path] = []
    problems: list[Problem] = []
    suspects: list[str] = []
    for phase in case.series:
        series = kept_series(ws, case_id, phase)
        conversion = _volume_of(ws, series, what=f"{case_id} {phase}")
        try:
            cleared = _cleared(ws, case_id, phase, series, conversion.volume)
        except PrivacyError as error:
            _forget(ws, case_id, phase)
            suspects.append(f"{case_id} {phase}, series {series_name(ws, series.key)}: {error}")
            continue
        outputs += _write_volume(ws, case_id, phase, case, series, conversion.slices, cleared)
        problems += [problem.about(f"{case_id} {phase}") for problem in (*conversion.problems, *cleared.problems)]
    if suspects:
        raise PrivacyError("; ".join(suspects))
    return Work(tuple(outputs), tuple(problems))


def _forget(ws: Workspace, case_id: str, phase: Phase) -> None:
    """Remove a volume that an earlier decision let pass, and what was made of it; what people outlined stays."""
    layout, image = ws.layout, ws.layout.image(case_id, phase)
    by_people = {place(case_id, phase) for place in (layout.ratings, layout.adjudicated, layout.adjudication)}
    for path in sorted(image.parent.glob("*")):
        if path not in by_people:
            remove(path)


def _volume_of(ws: Workspace, series: Series, *, what: str) -> Conversion:
    from pipeline.dicom.convert import read_series
    from pipeline.dicom.read.pixels import SliceError

    try:
        return read_series(series, allow_tilt=ws.config.inclusion.allow_tilt)
    except SliceError as error:
        number = [slice_.source for slice_ in series.instances].index(error.source) + 1
        raise DicomError(f"{what}: slice {number} of {len(series.instances)}: {error}") from None
    except DicomError as error:
        raise DicomError(f"{what}: {error}") from None
    except GeometryError as error:
        raise GeometryError(f"{what}: {error}") from None


@dataclass(frozen=True, slots=True, eq=False)
class _Cleared:
    """A volume that may be used, and what was said and done about text in it; no search where none is asked for."""

    volume: Volume
    content_sha256: str
    search: TextSearch | None = None
    problems: tuple[Problem, ...] = ()


def _cleared(ws: Workspace, case_id: str, phase: Phase, series: Series, volume: Volume) -> _Cleared:
    """A volume once it was searched for burned-in text, and masked where a person said so.

    Raises:
        PrivacyError: when it looks as if it held text, and no person who looked decided what becomes of it.
    """
    from pipeline.image.nifti import content_sha256
    from pipeline.text.find import SEARCH_RULES, find_text
    from pipeline.text.marks import beside, find_boxes

    decision = text_decision(ws, series.key)
    masks = decision is not None and decision.masks
    if DeidentificationOption.CLEAN_PIXELS not in ws.config.deidentification.options and not masks:
        return _Cleared(volume, content_sha256(volume))
    slices = list(volume.voxels)
    boxes = (decision.boxes or find_boxes(slices)) if decision and masks else ()
    left = beside(slices, boxes)
    finding = find_text(left)
    if finding.is_suspect and not (decision and decision.publishes):
        raise PrivacyError(_suspicion(ws, case_id, phase, series, left, finding, boxes))
    masked = replace(volume, voxels=blanked(volume.voxels, boxes, _background(volume))) if boxes else volume
    content = content_sha256(masked)
    search = TextSearch(
        content_sha256=content,
        rules=SEARCH_RULES,
        found=finding.kinds,
        was_looked_at=finding.is_suspect,
        masked=tuple(map(str, boxes)),
        decision=str(decision or ""),
    )
    return _Cleared(masked, content, search, tuple(_decided_problems(search)))


def _background(volume: Volume) -> float:
    """What a masked voxel becomes: air in a CT, the lowest value of any other image."""
    return AIR_HU if volume.unit is Unit.HU else float(np.nanmin(volume.voxels))


def _decided_problems(search: TextSearch) -> Iterator[Problem]:
    """Notes on what a person decided, for the table of problems."""
    if search.masked:
        yield Problem("text-masked", Severity.NOTE, f"{meaning_of('text-masked')}: {BETWEEN_BOXES.join(search.masked)}")
    if search.was_looked_at:
        yield Problem("text-published", Severity.NOTE, f"{meaning_of('text-published')}: {', '.join(search.found)}")


def _suspicion(
    ws: Workspace,
    case_id: str,
    phase: Phase,
    series: Series,
    left: Sequence[NDArray[Any]],
    finding: TextFinding,
    masked: Sequence[Box],
) -> str:
    """Where text seems to stand and how a person decides about it; the montage to look at is written."""
    from pipeline.text.marks import find_boxes
    from pipeline.text.montage import montage
    from pipeline.text.suspects import is_read

    boxes, name = find_boxes(left, finding), series_name(ws, series.key)
    picture = ws.layout.text_montage(case_id, phase)
    write_atomically(picture, montage(left, boxes), mode=PRIVATE_FILE_MODE)
    opinion = " (tesseract reads letters there)" if is_read(left, finding) else ""
    still = "still seems" if masked else "seems"
    return (
        f"{still} to have text burned into its pixels{opinion} at {boxes_text(boxes)}. "
        f"Look at {picture.relative_to(ws.root).as_posix()}, "
        f"then run in the dataset folder {ways_to_decide('', name, boxes, masked)}"
    )


def _write_volume(
    ws: Workspace,
    case_id: str,
    phase: Phase,
    case: ScreenedCase,
    series: Series,
    slices: Sequence[SliceRecord],
    cleared: _Cleared,
) -> list[Path]:
    from pipeline.dicom.deid.deidentify import header_facts, method_codes
    from pipeline.dicom.deid.value_rules import parsed_date
    from pipeline.image.nifti import write_nifti

    image, header = ws.layout.image(case_id, phase), ws.layout.header(case_id, phase)
    write_nifti(image, cleared.volume)
    guess, first_day = case.guesses[phase], parsed_date(case.first_study_date)
    facts = header_facts(
        series,
        ws.crosswalk.pseudonyms,
        ws.config.deidentification,
        first_study_date=first_day,
        shows_face=_shows_face(series, cleared.volume),
    )
    codes = method_codes(ws.config.deidentification, is_text_free=cleared.search is not None)
    ConvertedVolume(
        case_id=case_id,
        phase=phase,
        phase_confidence=guess.confidence,
        phase_evidence=guess.evidence,
        content_sha256=cleared.content_sha256,
        text_search=cleared.search,
        header={**facts, "DeidentificationMethodCodeSequence": [{**code} for code in codes]},
        slices=tuple(_origin(ws, record) for record in slices),
    ).save(header)
    return [image, header]


def _shows_face(series: Series, volume: Volume) -> bool | None:
    from pipeline.faces import every_so_often, has_face

    depth_mm, _, pixel_mm = volume.geometry.spacing_mm
    slices = volume.voxels[every_so_often(len(volume.voxels), depth_mm)]
    return has_face(series.first.text("BodyPartExamined"), series.first.text("Modality"), slices, pixel_mm)


def _origin(ws: Workspace, record: SliceRecord) -> SliceOrigin:
    return SliceOrigin(
        instance=ws.crosswalk.pseudonyms.token("instance", record.sop_instance_sha256),
        frame=record.frame,
        position_lps_mm=record.position_lps_mm,
        slope=record.slope,
        intercept=record.intercept,
        padded_pixels=record.padded_pixels,
    )


CONVERT = Stage(
    name="convert",
    sections=lambda config: (config.deidentification, config.inclusion),
    inputs=_convert_inputs,
    work=_convert,
)
