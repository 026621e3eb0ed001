"""Every file of the sources: read, used or set aside with a reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.errors import ConfigError, DicomError
from pipeline.core.files import csv_text, digest, make_private_folder, write_text
from pipeline.core.problems import words_sha256
from pipeline.core.records import FileFate, Series
from pipeline.core.words import counted
from pipeline.workspace import Stage, Work, Workspace

if TYPE_CHECKING:
    from pipeline.dataset.sealed import Seal
    from pipeline.dicom.read.scan import ScanResult
    from pipeline.dicom.read.sources import Folder

FILES_COLUMNS = ("status", "code", "reason", "files")


def source_roots(ws: Workspace) -> tuple[Path, ...]:
    """Where the exports lie, or lay."""
    from pipeline.dicom.read.sources import root_of

    return tuple(root_of(ws.root / path) for path in ws.config.source.paths)


def source_folders(ws: Workspace) -> tuple[Path, ...]:
    """Where the exports lie.

    Raises:
        ConfigError: when one of them is not there.
    """
    found = source_roots(ws)
    missing = [name for name, path in zip(ws.config.source.paths, found, strict=True) if not path.exists()]
    if missing:
        raise ConfigError(f"[source] paths: {', '.join(missing)} not found; put the exports there or correct the path")
    return found


def source_fingerprint(ws: Workspace) -> str:
    """Changes when a source file comes, goes, or changes its size or time."""
    from pipeline.dicom.read.sources import walk

    return digest(sorted(map(listed, walk(source_folders(ws)))))


def source_inputs(ws: Workspace, case_id: str | None) -> dict[str, str]:
    """What a stage that reads the sources depends on."""
    return {"sources": source_fingerprint(ws), "problems": words_sha256()}


def listed(found: Folder | FileFate) -> tuple[str, list[tuple[str, int, int]]]:
    """What a change of the sources changes: place, size and time of each file, wherever the sources lie."""
    if isinstance(found, FileFate):
        return found.code, []
    return ascii(found.key), [(ascii(name), size, mtime_ns) for name, (_, _, size, mtime_ns) in found.files]


def scan_sources(ws: Workspace) -> ScanResult:
    """Every file of the sources; what did not change since the last time is not read again."""
    from pipeline.dicom.read.index import Index
    from pipeline.dicom.read.patients import identified
    from pipeline.dicom.read.scan import scan

    make_private_folder(ws.layout.private)
    folders = source_folders(ws)
    found = scan(folders, index=Index(ws.layout.dicom_index, index_seal(ws)))
    return identified(found, folders, ws.config.source.patient)


def index_seal(ws: Workspace) -> Seal:
    """What closes the index of headers."""
    from pipeline.dataset.sealed import Seal

    return Seal("dicom-index 1", ws.crosswalk.pseudonyms)


def _scan(ws: Workspace, case_id: str | None) -> Work:
    from pipeline.dicom.group.series import group_series

    found = scan_sources(ws)
    if not found.instances:
        names = ", ".join(ws.config.source.paths)
        files_found = counted(len(found.set_aside), "file")
        raise DicomError(f"{names}: found {files_found} but no DICOM image; expected a DICOM export")
    grouping = group_series(found.instances, found.set_aside)
    _write_files_table(ws, (*found.set_aside, *grouping.set_aside), grouping.series)
    files = len(found.instances) + len(found.set_aside)
    return Work((ws.layout.files_table,), note=f"{counted(files, 'file')}, {len(grouping.series)} series")


def _write_files_table(ws: Workspace, set_aside: Sequence[FileFate], series: Sequence[Series]) -> None:
    counts = Counter((str(fate.fate), fate.code, fate.reason) for fate in set_aside)
    counts["used", "", ""] = sum(len(one.instances) for one in series)
    rows = [dict(zip(FILES_COLUMNS, (*key, count), strict=True)) for key, count in sorted(counts.items())]
    write_text(ws.layout.files_table, csv_text(FILES_COLUMNS, rows))


SCAN = Stage(
    name="scan",
    sections=lambda config: (),
    inputs=source_inputs,
    work=_scan,
)
