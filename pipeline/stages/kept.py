"""What the stages keep of the sources between them, sealed in `private/`: which files form a volume, who is a case."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from pipeline.core.errors import StorageError
from pipeline.core.pseudonyms import Pseudonyms
from pipeline.core.records import Phase, Series
from pipeline.core.series_file import series_of, series_record
from pipeline.dataset.sealed import Seal
from pipeline.stages.artefacts import ScreenedCase, ScreenedCases
from pipeline.stages.intake import source_roots
from pipeline.workspace import Workspace

_SERIES_KIND = "series-record 1"
_SCREENING_KIND = "screening 1"


def keep_series(ws: Workspace, case_id: str, phase: Phase, series: Series) -> Path:
    """Seal the series behind a volume; the file, which has the same bytes for the same series.

    Raises:
        StorageError: when the disk is full, or a source file has vanished.
    """
    path = ws.layout.series_record(case_id, phase)
    Seal(_SERIES_KIND, ws.crosswalk.pseudonyms).write(path, series_record(series, source_roots(ws)))
    return path


def kept_series(ws: Workspace, case_id: str, phase: Phase) -> Series:
    """The series behind a volume, its files below the sources of today.

    Raises:
        StorageError: when its record is missing or damaged.
        PrivacyError: when the project's secret does not open it.
    """
    path = ws.layout.series_record(case_id, phase)
    record = Seal(_SERIES_KIND, ws.crosswalk.pseudonyms).read(path)
    return series_of(record, source_roots(ws), path.name)


def keep_screened(ws: Workspace, cases: Mapping[str, ScreenedCase]) -> Path:
    """Seal every case that passed screening; the file."""
    content = ScreenedCases(cases=cases).to_text().encode()
    Seal(_SCREENING_KIND, ws.crosswalk.pseudonyms).write(ws.layout.screening, content)
    return ws.layout.screening


def kept_screened(path: Path, pseudonyms: Pseudonyms) -> Mapping[str, ScreenedCase]:
    """Every case that passed screening.

    Raises:
        PrivacyError: when the project's secret does not open the list.
    """
    return ScreenedCases.of(json.loads(Seal(_SCREENING_KIND, pseudonyms).read(path)), path.name).cases


def remove_others(ws: Workspace, records: Iterable[Path]) -> None:
    """Leave nothing of volumes that are no longer in the dataset, nor what earlier versions kept in clear."""
    try:
        for path in {*ws.layout.series_records.glob("*"), *ws.layout.once_in_clear} - set(records):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"an old record in private/ cannot be removed ({type(error).__name__})") from None
