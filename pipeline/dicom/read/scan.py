"""Every file below some paths: a DICOM object with its header, or set aside with a reason."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, TypeAlias

from pipeline.core.problems import meaning_of
from pipeline.core.records import Fate, FileFate, Instance, SourceFile
from pipeline.dicom.read import header as words
from pipeline.dicom.read.by_pydicom import READ_FAULTS, read_slowly
from pipeline.dicom.read.index import Content, Entry, Index
from pipeline.dicom.read.kinds import MEDIA_DIRECTORY
from pipeline.dicom.read.sources import (
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
from pipeline.dicom.read.syntaxes import DEFLATED
from pipeline.dicom.read.walker import Verdict, Walker

LONG_HEAD_BYTES = 1 << 18
"""What a second read takes in, for headers with long private parts."""

FolderContents: TypeAlias = tuple[Folder, Iterable[Content]]
"""A folder, and what each of its files holds."""

Found: TypeAlias = Instance | FileFate

_PREFIX = b"DICM"
_DICOM_UIDS = b"1.2.840.10008."
_NIFTI_BEGINNINGS = tuple(size.to_bytes(4, order) for size in (348, 540) for order in ("little", "big"))
"""Volumes that lie beside their slices, too large to look into."""


def _aside(fate: Fate, code: str, reason: str = "") -> tuple[str, str, str]:
    return fate.value, code, reason or meaning_of(code)


_NOT_DICOM = _aside(Fate.EXCLUDED, "not-dicom")
_EMPTY = _aside(Fate.UNREADABLE, "empty", "the file has no bytes")
_DIRECTORY = _aside(Fate.EXCLUDED, "directory-file")
_NESTED = _aside(Fate.EXCLUDED, "nested-archive")


class ScanResult:
    """Everything found, each file in exactly one of the two; the records are made when first asked for.

    Attributes:
        instances: DICOM objects, by folder, name and, inside an archive, its own order.
        set_aside: what is no DICOM object, or cannot be read.
    """

    def __init__(self, found: Iterable[Found | FolderContents]) -> None:
        self._found = found

    @cached_property
    def instances(self) -> tuple[Instance, ...]:
        """DICOM objects."""
        return tuple(one for one in self._each if isinstance(one, Instance))

    @cached_property
    def set_aside(self) -> tuple[FileFate, ...]:
        """Other files, each with its reason."""
        return tuple(one for one in self._each if isinstance(one, FileFate))

    @cached_property
    def _each(self) -> list[Found]:
        each: list[Found] = []
        for found in self._found:
            if isinstance(found, Instance | FileFate):
                each.append(found)
            else:
                each.extend(_told_apart(*found))
        return each


def _told_apart(folder: Folder, contents: Iterable[Content]) -> Iterator[Found]:
    for (name, _), content in zip(folder.files, contents, strict=True):
        path = folder.path / name
        if isinstance(content, list):
            yield from (_of_entry(SourceFile(path, entry.member), entry) for entry in content)
        else:
            yield Instance(SourceFile(path), content)


def _of_entry(source: SourceFile, entry: Entry) -> Found:
    if entry.header is not None:
        return Instance(source, entry.header)
    fate, code, reason = entry.fate
    return FileFate(source, Fate(fate), code, reason)


def scan(paths: Sequence[Path], *, index: Index | None = None, verify: bool = False) -> ScanResult:
    """All DICOM objects below the given folders, files and archives, and what became of every other file.

    Args:
        paths: folders of any depth, single files (gzipped ones too), zip and tar archives.
        index: remembers headers from scan to scan; None remembers nothing.
        verify: read every file again, even where the index knows it unchanged.

    Raises:
        StorageError: when the index cannot be opened or written at all.
    """
    reader = _Reader()
    with index or nullcontext() as known:
        return ScanResult(
            [
                found if isinstance(found, FileFate) else (found, _contents(found, known, reader, verify=verify))
                for found in sorted(walk(paths), key=_place)
            ]
        )


def _place(found: Folder | FileFate) -> str:
    return str(found.source.path if isinstance(found, FileFate) else found.path)


def _contents(folder: Folder, known: Index | None, reader: _Reader, *, verify: bool) -> Iterable[Content]:
    remembered = known.folder(folder) if known and not verify else None
    if remembered and remembered.is_of(folder):
        return remembered.contents()
    before = remembered.by_file() if remembered else {}
    within = f"{folder.path}{os.sep}"
    contents = [
        before[file] if file in before else reader.read(within + file[0], size=file[1][2]) for file in folder.files
    ]
    if known:
        known.store(folder, contents)
    return contents


class _Reader:
    """Reads one file after another: fast where it can, through pydicom where it must."""

    def __init__(self) -> None:
        self._walker = Walker()
        self._head_bytes = HEAD_BYTES

    def read(self, path: str, size: int) -> Content:
        """Everything in one file: one object, or one a member of an archive."""
        try:
            head, header = self._read_head(path, size)
            if not isinstance(header, Verdict):
                return header
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
            entries.append(Entry(None, None, _aside(Fate.UNREADABLE, "bad-archive", str(error))))
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
    if header.get("SOPClassUID") == MEDIA_DIRECTORY:
        return Entry(member, None, _DIRECTORY)
    if header.keys() & {"SeriesInstanceUID", words.PIXEL_OFFSET} or header[words.TRANSFER_SYNTAX] == DEFLATED:
        return Entry(member, header)
    began = _has_preamble(head) or "SOPClassUID" in header or _was_dicom(head)
    return _unreadable(member, "it ends before its series and pixels") if began else Entry(member, None, _NOT_DICOM)


def _read_gzip(path: Path) -> Entry:
    try:
        with path.open("rb") as file:
            content = gunzipped(file)
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
    return Entry(member, None, _aside(Fate.UNREADABLE, "unreadable", f"the header cannot be read ({why})"))
