"""Every file below some paths: a DICOM object with its header, or set aside with a reason."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from pipeline.core.records import Fate, FileFate, Instance, SourceFile
from pipeline.dicom.index import Entry, Index, packed, unpacked
from pipeline.dicom.slow import READ_FAULTS, read_slowly
from pipeline.dicom.sources import HEAD_BYTES, ArchiveError, Folder, Stamp, is_archive, members, walk

MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"

_NOT_DICOM = (Fate.EXCLUDED.value, "not-dicom", "not a DICOM file")
_EMPTY = (Fate.UNREADABLE.value, "empty", "the file has no bytes")
_DIRECTORY = (Fate.EXCLUDED.value, "directory-file", "a DICOMDIR: an index of other files, which are read themselves")
_NESTED = (Fate.EXCLUDED.value, "nested-archive", "an archive inside an archive; unpack it first")


@dataclass(frozen=True, slots=True)
class ScanResult:
    """Everything found, each file in exactly one of the two.

    Attributes:
        instances: DICOM objects, in order of path and member.
        set_aside: what is no DICOM object, or cannot be read.
    """

    instances: tuple[Instance, ...]
    set_aside: tuple[FileFate, ...]


def scan(paths: Sequence[Path], *, index: Path | None = None, verify: bool = False) -> ScanResult:
    """All DICOM objects below the given folders, files and archives, and what became of every other file.

    Args:
        paths: folders of any depth, single files, zip and tar archives.
        index: SQLite file that remembers headers from scan to scan; None remembers nothing.
        verify: read every file again, even where the index knows it unchanged.

    Raises:
        StorageError: when the index cannot be opened or written at all.
    """
    instances: list[Instance] = []
    aside: list[FileFate] = []
    with Index(index) as known:
        for found in walk(paths):
            if isinstance(found, FileFate):
                aside.append(found)
                continue
            for path, entries in _entries(found, known, verify=verify):
                for entry in entries:
                    source = SourceFile(path, entry.member)
                    if entry.header is not None:
                        instances.append(Instance(source, MappingProxyType(dict(entry.header))))
                    else:
                        fate, code, reason = entry.fate
                        aside.append(FileFate(source, Fate(fate), code, reason))
    return ScanResult(tuple(sorted(instances, key=_place)), tuple(sorted(aside, key=_place)))


def _place(item: Instance | FileFate) -> tuple[str, str]:
    return str(item.source.path), item.source.member or ""


def _entries(folder: Folder, known: Index, *, verify: bool) -> Iterator[tuple[Path, list[Entry]]]:
    remembered = {} if verify else known.folder(folder.path)
    fresh: list[tuple[str, Stamp, str]] = []
    for name, stamp in folder.files:
        path = folder.path / name
        stored = remembered.get(name)
        if stored and stored[0] == stamp:
            yield path, unpacked(stored[1])
            continue
        entries = _read(path, stamp)
        fresh.append((name, stamp, packed(entries)))
        yield path, entries
    if fresh:
        known.store(folder.path, fresh)


def _read(path: Path, stamp: Stamp) -> list[Entry]:
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
            if is_archive(head):
                return _read_archive(path)
            return [_read_object(None, head, file, stamp[2])]
    except OSError as error:
        return [_unreadable(None, type(error).__name__)]


def _read_archive(path: Path) -> list[Entry]:
    entries = []
    try:
        for name, content in members(path):
            head = content[:HEAD_BYTES]
            if is_archive(head):
                entries.append(Entry(name, None, _NESTED))
            else:
                entries.append(_read_object(name, head, io.BytesIO(content), len(content)))
    except ArchiveError as error:
        entries.append(Entry(None, None, (Fate.UNREADABLE.value, "bad-archive", str(error))))
    return entries


def _read_object(member: str | None, head: bytes, file: BinaryIO, size: int) -> Entry:
    if not head:
        return Entry(member, None, _EMPTY)
    if not looks_like_dicom(head):
        return Entry(member, None, _NOT_DICOM)
    try:
        file.seek(0)
        header = read_slowly(file, size)
    except READ_FAULTS as error:
        return _unreadable(member, type(error).__name__)
    if header.get("SOPClassUID") == MEDIA_DIRECTORY or "DirectoryRecordSequence" in header:
        return Entry(member, None, _DIRECTORY)
    if "SOPInstanceUID" not in header and "SOPClassUID" not in header and "Rows" not in header:
        return (
            _unreadable(member, "no attribute of an image")
            if head[128:132] == b"DICM"
            else Entry(member, None, _NOT_DICOM)
        )
    return Entry(member, header)


def looks_like_dicom(head: bytes) -> bool:
    """True when a file begins as DICOM does, with or without its 128 bytes of preamble."""
    if head[128:132] == b"DICM":
        return True
    group = head[:2]
    little, big = group in (b"\x02\x00", b"\x08\x00"), group in (b"\x00\x02", b"\x00\x08")
    explicit = head[4:6] in (b"UL", b"CS", b"UI", b"DA", b"OB", b"SQ", b"SH", b"LO", b"TM")
    implicit = little and len(head) > 8 and int.from_bytes(head[4:8], "little") < 1024
    return (explicit and (little or big)) or implicit


def _unreadable(member: str | None, why: str) -> Entry:
    return Entry(member, None, (Fate.UNREADABLE.value, "unreadable", f"the header cannot be read ({why})"))
