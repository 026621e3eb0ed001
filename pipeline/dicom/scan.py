"""Every file below some paths: a DICOM object with its header, or set aside with a reason."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pipeline.core.records import Fate, FileFate, Instance, SourceFile
from pipeline.dicom import header as words
from pipeline.dicom.index import Entry, Index, StoredHeader, is_plain, packed, unpacked
from pipeline.dicom.slow import DEFLATED, READ_FAULTS, read_slowly
from pipeline.dicom.sources import (
    HEAD_BYTES,
    ArchiveError,
    Folder,
    gunzipped,
    gzip_beginning,
    is_archive,
    is_gzip,
    members,
    walk,
)
from pipeline.dicom.walker import Verdict, Walker

LONG_HEAD_BYTES = 1 << 18
"""What a second read takes in, for headers with long private parts."""

_PREFIX = b"DICM"
_DICOM_UIDS = b"1.2.840.10008."
_NIFTI_BEGINNINGS = tuple(size.to_bytes(4, order) for size in (348, 540) for order in ("little", "big"))
"""Volumes that lie beside their slices, too large to look into."""
_NOT_DICOM = (Fate.EXCLUDED.value, "not-dicom", "not a DICOM file")
_EMPTY = (Fate.UNREADABLE.value, "empty", "the file has no bytes")
_DIRECTORY = (Fate.EXCLUDED.value, "directory-file", "a DICOMDIR: an index of other files, which are read themselves")
_NESTED = (Fate.EXCLUDED.value, "nested-archive", "an archive inside an archive; unpack it first")


@dataclass(frozen=True, slots=True)
class ScanResult:
    """Everything found, each file in exactly one of the two.

    Attributes:
        instances: DICOM objects, by folder, name and, inside an archive, its own order.
        set_aside: what is no DICOM object, or cannot be read.
    """

    instances: tuple[Instance, ...]
    set_aside: tuple[FileFate, ...]


def scan(paths: Sequence[Path], *, index: Path | None = None, verify: bool = False) -> ScanResult:
    """All DICOM objects below the given folders, files and archives, and what became of every other file.

    Args:
        paths: folders of any depth, single files (gzipped ones too), zip and tar archives.
        index: SQLite file that remembers headers from scan to scan; None remembers nothing.
        verify: read every file again, even where the index knows it unchanged.

    Raises:
        StorageError: when the index cannot be opened or written at all.
    """
    found = _Found()
    reader = _Reader()
    with Index(index) as known:
        for folder in sorted(walk(paths), key=_place):
            if isinstance(folder, FileFate):
                found.aside.append(folder)
            else:
                _scan_folder(folder, known, reader, found, verify=verify)
    return ScanResult(tuple(found.instances), tuple(found.aside))


def _place(found: Folder | FileFate) -> str:
    return str(found.source.path if isinstance(found, FileFate) else found.path)


class _Found:
    """What a scan has found so far."""

    __slots__ = ("aside", "instances")

    def __init__(self) -> None:
        self.instances: list[Instance] = []
        self.aside: list[FileFate] = []

    def add_line(self, path: Path, line: str) -> None:
        """Add what the index remembers of a file."""
        if is_plain(line):
            self.instances.append(Instance(SourceFile(path), StoredHeader(line)))
        else:
            self.add(path, unpacked(line))

    def add(self, path: Path, entries: Iterable[Entry]) -> None:
        for entry in entries:
            source = SourceFile(path, entry.member)
            if entry.header is not None:
                self.instances.append(Instance(source, entry.header))
            else:
                fate, code, reason = entry.fate
                self.aside.append(FileFate(source, Fate(fate), code, reason))


def _scan_folder(folder: Folder, known: Index, reader: _Reader, found: _Found, *, verify: bool) -> None:
    remembered = None if verify else known.folder(folder)
    if remembered and remembered.is_of(folder):
        for (name, _), line in zip(folder.files, remembered.lines, strict=True):
            found.add_line(folder.path / name, line)
        return
    lines = remembered.by_file() if remembered else {}
    kept = []
    for name, stamp in folder.files:
        path = folder.path / name
        line = lines.get((name, stamp), "")
        if line:
            found.add_line(path, line)
        else:
            entries = reader.read(str(path), stamp[2])
            found.add(path, entries)
            line = packed(entries) if known.remembers else ""
        kept.append(line)
    known.store(folder, kept)


class _Reader:
    """Reads one file after another: fast where it can, through pydicom where it must."""

    def __init__(self) -> None:
        self._walker = Walker()
        self._head_bytes = HEAD_BYTES

    def read(self, path: str, size: int) -> list[Entry]:
        """Everything in one file: one object, or one a member of an archive."""
        try:
            head, header = self._read_head(path, size)
            if not isinstance(header, Verdict):
                return [Entry(None, header)]
            if is_archive(head):
                return self._read_archive(Path(path))
            if is_gzip(head) and not gzip_beginning(head).startswith(_NIFTI_BEGINNINGS):
                return [_read_gzip(Path(path))]
            with Path(path).open("rb") as file:
                return [_read_object(None, head, file, size)]
        except OSError as error:
            return [_unreadable(None, type(error).__name__)]

    def _read_head(self, path: str, size: int) -> tuple[bytes, dict[str, object] | Verdict]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            head = os.read(descriptor, self._head_bytes)
            header = self._walker.walk(head, size)
            if header is Verdict.MORE:
                head += os.read(descriptor, LONG_HEAD_BYTES)
                header = self._walker.walk(head, size)
            if isinstance(header, dict):
                self._head_bytes = _needed(header)
        finally:
            os.close(descriptor)
        return head, header

    def _read_archive(self, path: Path) -> list[Entry]:
        entries = []
        try:
            for name, content in members(path):
                header = self._walker.walk(content, len(content))
                if not isinstance(header, Verdict):
                    entries.append(Entry(name, header))
                elif is_archive(content[:HEAD_BYTES]):
                    entries.append(Entry(name, None, _NESTED))
                else:
                    entries.append(_read_object(name, content[:HEAD_BYTES], io.BytesIO(content), len(content)))
        except ArchiveError as error:
            entries.append(Entry(None, None, (Fate.UNREADABLE.value, "bad-archive", str(error))))
        return entries


def _needed(header: Mapping[str, object]) -> int:
    """How much to read first of the next slice, which is likely one of the same series."""
    offset = header.get(words.PIXEL_OFFSET)
    return LONG_HEAD_BYTES if isinstance(offset, int) and offset > HEAD_BYTES else HEAD_BYTES


def _read_object(member: str | None, head: bytes, file: BinaryIO, size: int) -> Entry:
    if not head:
        return Entry(member, None, _EMPTY)
    if not looks_like_dicom(head):
        return _unreadable(member, "its beginning is damaged") if _was_dicom(head) else Entry(member, None, _NOT_DICOM)
    try:
        file.seek(0)
        header = read_slowly(file, size)
    except READ_FAULTS as error:
        return _unreadable(member, type(error).__name__)
    if header.get("SOPClassUID") == words.MEDIA_DIRECTORY:
        return Entry(member, None, _DIRECTORY)
    if header.keys() & {"SeriesInstanceUID", words.PIXEL_OFFSET} or header[words.TRANSFER_SYNTAX] == DEFLATED:
        return Entry(member, header)
    began = _has_preamble(head) or "SOPClassUID" in header or _was_dicom(head)
    return _unreadable(member, "it ends before its series and its pixels") if began else Entry(member, None, _NOT_DICOM)


def _read_gzip(path: Path) -> Entry:
    try:
        content = gunzipped(path.read_bytes())
    except ArchiveError as error:
        return _unreadable(None, str(error))
    return _read_object(None, content[:HEAD_BYTES], io.BytesIO(content), len(content))


def _was_dicom(head: bytes) -> bool:
    """True for what is left of a DICOM file: an empty preamble, or the standard's own UIDs, after a damaged start."""
    return head.startswith(bytes(min(len(head), 128))) or _DICOM_UIDS in head


def _has_preamble(head: bytes) -> bool:
    return head[128:132] == _PREFIX


def looks_like_dicom(head: bytes) -> bool:
    """True when a file begins as DICOM does, with or without its 128 bytes of preamble."""
    if _has_preamble(head):
        return True
    group = head[:2]
    little, big = group in (b"\x02\x00", b"\x08\x00"), group in (b"\x00\x02", b"\x00\x08")
    explicit = head[4:6] in (b"UL", b"CS", b"UI", b"DA", b"OB", b"SQ", b"SH", b"LO", b"TM")
    implicit = little and len(head) > 8 and int.from_bytes(head[4:8], "little") < 1024
    return (explicit and (little or big)) or implicit


def _unreadable(member: str | None, why: str) -> Entry:
    return Entry(member, None, (Fate.UNREADABLE.value, "unreadable", f"the header cannot be read ({why})"))
