"""From series to volumes: HU, and a header rebuilt from an allow-list."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.config import DeidentificationOption
from pipeline.core.errors import DicomError, GeometryError, PrivacyError
from pipeline.core.files import PRIVATE_FILE_MODE, write_atomically
from pipeline.core.records import Phase, Problem, Series
from pipeline.core.series_file import load_series
from pipeline.core.volume import Volume
from pipeline.stages.artefacts import ConvertedVolume, ScreenedCase, SliceOrigin, TextSearch
from pipeline.stages.case import screened
from pipeline.stages.decisions import decision_inputs, was_looked_at
from pipeline.workspace import Stage, Work, Workspace

if TYPE_CHECKING:
    from pipeline.dicom.convert import Conversion, SliceRecord


def _convert_inputs(ws: Workspace, case_id: str | None) -> dict[str, str]:
    case_id, case = screened(ws, case_id)
    return {
        **decision_inputs(ws),
        **ws.hashes([ws.layout.series_record(case_id, phase) for phase in case.series], None),
    }


def _convert(ws: Workspace, case_id: str | None) -> Work:
    case_id, case = screened(ws, case_id)
    outputs: list[Path] = []
    problems: list[Problem] = []
    for phase in case.series:
        series = load_series(ws.layout.series_record(case_id, phase))
        conversion = _volume_of(ws, series, what=f"{case_id} {phase}")
        outputs += _write_volume(ws, case_id, phase, case, series, conversion)
        problems += [problem.about(f"{case_id} {phase}") for problem in conversion.problems]
    return Work(tuple(outputs), tuple(problems))


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


def _search_for_text(
    ws: Workspace, case: str, phase: Phase, series: Series, volume: Volume, content_sha256: str
) -> TextSearch | None:
    """What the search for burned-in text says of a volume; None where the settings ask for none.

    Raises:
        PrivacyError: when it looks as if it held text, until a person has looked.
    """
    from pipeline.text.find import SEARCH_RULES, find_text
    from pipeline.text.suspects import is_read, montage

    if DeidentificationOption.CLEAN_PIXELS not in ws.config.deidentification.options:
        return None
    slices = list(volume.voxels)
    finding = find_text(slices)
    if finding.is_suspect and not was_looked_at(ws, series):
        picture = ws.layout.text_montage(case, phase)
        write_atomically(picture, montage(slices, finding), mode=PRIVATE_FILE_MODE)
        opinion = " (tesseract reads letters there)" if is_read(slices, finding) else ""
        raise PrivacyError(
            f"{case} {phase} seems to have text burned into its pixels{opinion}; look at "
            f"private/montages/{picture.name} and add the series to decisions.csv with its phase, or with `none` to "
            "exclude it"
        )
    return TextSearch(content_sha256, SEARCH_RULES, finding.kinds, was_looked_at=finding.is_suspect)


def _write_volume(
    ws: Workspace, case_id: str, phase: Phase, case: ScreenedCase, series: Series, conversion: Conversion
) -> list[Path]:
    from pipeline.dicom.deid.deidentify import header_facts
    from pipeline.dicom.deid.value_rules import parsed_date
    from pipeline.image.nifti import content_sha256, write_nifti

    image, header = ws.layout.image(case_id, phase), ws.layout.header(case_id, phase)
    content = content_sha256(conversion.volume)
    search = _search_for_text(ws, case_id, phase, series, conversion.volume, content)
    write_nifti(image, conversion.volume)
    guess, first_day = case.guesses[phase], parsed_date(case.first_study_date)
    ConvertedVolume(
        case_id=case_id,
        phase=phase,
        phase_confidence=guess.confidence,
        phase_evidence=guess.evidence,
        content_sha256=content,
        text_search=search,
        header=header_facts(
            series,
            ws.crosswalk.pseudonyms,
            ws.config.deidentification,
            first_study_date=first_day,
            shows_face=_shows_face(series, conversion.volume),
        ),
        slices=tuple(_origin(ws, record) for record in conversion.slices),
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
