"""Every file of the sources: read, used or set aside with a reason."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.errors import ConfigError, DicomError
from pipeline.core.files import digest, make_private_folder, write_text
from pipeline.core.problems import words_sha256
from pipeline.core.records import FileFate, Series
from pipeline.core.words import counted
from pipeline.workspace import Stage, Work, Workspace

if TYPE_CHECKING:
    from pipeline.dicom.read.scan import ScanResult

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
    return digest([entry for folder in source_folders(ws) for entry in _listing(folder, ws.root)])


def source_inputs(ws: Workspace, case_id: str | None) -> dict[str, str]:
    """What a stage that reads the sources depends on."""
    return {"sources": source_fingerprint(ws), "problems": words_sha256()}


def _listing(path: Path, root: Path) -> Iterator[tuple[str, int, int]]:
    """Name, size and time of every file below a path, in order: what a change of the sources changes."""
    files = (
        [path]
        if path.is_file()
        else sorted(Path(folder) / name for folder, _, names in os.walk(path) for name in names)
    )
    for file in files:
        try:
            status = file.stat()
        except OSError:
            continue  # a dangling link or a file that vanished: the scan reports it
        yield os.path.relpath(file, root), status.st_size, status.st_mtime_ns


def scan_sources(ws: Workspace) -> ScanResult:
    """Every file of the sources; what did not change since the last time is not read again."""
    from pipeline.dicom.read.patients import identified
    from pipeline.dicom.read.scan import scan

    make_private_folder(ws.layout.private)
    folders = source_folders(ws)
    return identified(scan(folders, index=ws.layout.dicom_index), folders, ws.config.source.patient)


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
    from pipeline.dataset.manifest import csv_text

    counts = Counter((str(fate.fate), fate.code, fate.reason) for fate in set_aside)
    counts["used", "", ""] = sum(len(one.instances) for one in series)
    rows = [dict(zip(FILES_COLUMNS, (*key, count), strict=True)) for key, count in sorted(counts.items())]
    write_text(ws.layout.files_table, csv_text(FILES_COLUMNS, rows))


SCAN = Stage(
    name="scan",
    sections=lambda config: (config.source,),
    inputs=source_inputs,
    work=_scan,
)
