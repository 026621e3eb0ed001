"""Where DICOM files come from: folders of any depth, and members of zip and tar archives.

Everything found is told, nothing is followed twice, and every read has a bound: archives may lie about sizes, contain
paths that lead outside, or unpack to terabytes.
"""

from __future__ import annotations

import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, BinaryIO

from pipeline.core.files import GZIP_MAGIC
from pipeline.core.problems import meaning_of
from pipeline.core.records import Fate, FileFate, SourceFile

HEAD_BYTES = 8192
"""What one read takes in: holds nearly every header whole."""

MAX_FILE_BYTES = 4 << 30
"""A DICOM value cannot be longer; a longer file or member is not read."""

MAX_MEMBERS = 1_000_000
MAX_ARCHIVE_BYTES = 256 << 30
"""What one archive may unpack to; several of the largest studies there are."""

MAX_EXPANSION = 1000
"""Deflate cannot exceed about 1032:1 and images stay under 20:1: more is a bomb, not a scan."""

ARCHIVE_FAULTS: tuple[type[Exception], ...] = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    OSError,
    ValueError,
)
"""What the standard library raises on archives that are damaged, encrypted or dishonest."""

DICOMDIR = "DICOMDIR"
"""The index of a medium, in its uppermost folder (PS3.10 8.6)."""

Stamp = tuple[int, int, int, int]
"""Device, inode, size and time of change (ns): a file with the same four is the same file."""


@dataclass(frozen=True, slots=True)
class Folder:
    """Files of one folder.

    Attributes:
        path: the folder.
        files: (name, stamp) in order of name.
        key: number of the path it was found below, and its place there: stays when the sources move.
    """

    path: Path
    files: tuple[tuple[str, Stamp], ...]
    key: str


def walk(paths: Iterable[Path]) -> Iterator[Folder | FileFate]:
    """Every regular file below the given paths, folder by folder, each folder once however many links lead to it.

    What is no file (a socket, a dangling link) and what may not be entered comes as a fate with its reason.
    """
    visited: set[tuple[int, int]] = set()
    for number, path in enumerate(map(root_of, paths)):
        try:
            status = path.stat()
        except OSError as error:
            yield _fate(path, "unreachable", f"the path cannot be opened ({type(error).__name__})")
            continue
        if stat.S_ISDIR(status.st_mode):
            yield from _walk_folder(path, number, visited)
        else:
            stamp = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
            yield Folder(path.parent, ((path.name, stamp),), str(number))


def root_of(path: Path) -> Path:
    """What is gone through for a path: for a DICOMDIR the folder that it is the index of."""
    return path.parent if path.name.upper() == DICOMDIR else path


def _walk_folder(root: Path, number: int, visited: set[tuple[int, int]]) -> Iterator[Folder | FileFate]:
    pending = [root]
    while pending:
        folder = pending.pop()
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in visited:
                continue
            visited.add((status.st_dev, status.st_ino))
            names = sorted(os.listdir(folder))  # noqa: PTH208
        except OSError as error:
            yield _fate(folder, "unreachable", f"the folder cannot be listed ({type(error).__name__})")
            continue
        files = []
        within = f"{folder}{os.sep}"
        for name in names:
            try:
                status = os.stat(within + name)  # noqa: PTH116 - half a scan of unchanged files is spent here
            except OSError:
                yield _fate(folder / name, "dangling-link", meaning_of("dangling-link"))
                continue
            if stat.S_ISREG(status.st_mode):
                files.append((name, (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)))
            elif stat.S_ISDIR(status.st_mode):
                pending.append(folder / name)
            else:
                yield _fate(folder / name, "not-a-file", meaning_of("not-a-file"))
        if files:
            yield Folder(folder, tuple(files), f"{number}/{folder.relative_to(root).as_posix()}")


def _fate(path: Path, code: str, reason: str) -> FileFate:
    return FileFate(SourceFile(path), Fate.UNREADABLE, code, reason)


def is_archive(head: bytes) -> bool:
    """True when a file begins like a zip, a tar, or a gzipped tar."""
    if head.startswith(GZIP_MAGIC):
        head = gzip_beginning(head) or head
    return head.startswith((b"PK\x03\x04", b"PK\x05\x06")) or head[257:262] == b"ustar"


def is_gzip(head: bytes) -> bool:
    """True when a file begins like a gzip, and is no DICOM file whose free preamble happens to."""
    return head.startswith(GZIP_MAGIC) and head[128:132] != b"DICM"


def gzip_beginning(head: bytes) -> bytes:
    """The first bytes inside a gzip, as far as its own first bytes tell; b"" where it is damaged."""
    with suppress(zlib.error):
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(head, 512)
    return b""


def gunzipped(file: BinaryIO) -> bytes:
    """What a gzip of one file holds, its checksum verified.

    Args:
        file: the gzip, seekable; nothing of it is read where it is larger than any image.

    Raises:
        ArchiveError: when it is damaged, cut, or claims or holds more than an honest file.
    """
    size = file.seek(0, os.SEEK_END)
    if size > MAX_FILE_BYTES:
        raise ArchiveError("a gzip larger than any image")
    file.seek(0)
    packed = file.read(size)
    declared = int.from_bytes(packed[-4:], "little")
    if declared > MAX_EXPANSION * len(packed):
        raise ArchiveError("expands like a bomb")
    stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        content = stream.decompress(packed, declared + 1)
    except zlib.error:
        raise ArchiveError("a damaged gzip") from None
    if len(content) != declared or not stream.eof or stream.unused_data:
        raise ArchiveError("a gzip cut short, or of another size than it claims")
    return content


class ArchiveError(ValueError):
    """An archive is damaged, encrypted, or larger than anything honest; the text holds no names."""


def members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Every file inside an archive with its content, in the archive's order, one in memory at a time.

    Names are labels only: nothing is unpacked to the disk, so a name with ".." or a leading slash leads nowhere. Where
    one name comes again, a number tells the two apart.

    Raises:
        ArchiveError: when the archive is damaged or beyond the bounds above.
    """
    total = 0
    try:
        for count, (label, file, size) in enumerate(_opened_members(path)):
            content = _bounded(file, size)
            total += len(content)
            if count >= MAX_MEMBERS or total > MAX_ARCHIVE_BYTES:
                raise ArchiveError("unpacks to more than any honest export")
            yield label, content
    except ARCHIVE_FAULTS as error:
        raise ArchiveError(f"a damaged or encrypted archive ({type(error).__name__})") from None


def _opened_members(path: Path, wanted: Container[str] | None = None) -> Iterator[tuple[str, IO[bytes], int]]:
    """Label, open file and declared size of the members of an archive, or of those wanted."""
    labels = _Labels()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                label = "" if info.is_dir() else labels.of(info.filename)
                if not label or (wanted is not None and label not in wanted):
                    continue
                if info.file_size > MAX_EXPANSION * max(info.compress_size, 1):
                    raise ArchiveError("holds a member that expands like a bomb")
                with archive.open(info) as file:
                    yield label, file, info.file_size
        return
    with tarfile.open(path, "r:*") as tape:
        for entry in tape:
            label = labels.of(entry.name) if entry.isreg() and not entry.issparse() else ""
            content = tape.extractfile(entry) if label and (wanted is None or label in wanted) else None
            if content is not None:
                yield label, content, entry.size


class _Labels:
    """Names of members, those that come again numbered."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def of(self, name: str) -> str:
        count = self._counts[name] = self._counts.get(name, 0) + 1
        return name if count == 1 else f"{name}#{count}"


def _bounded(file: IO[bytes], declared: int) -> bytes:
    if declared > MAX_FILE_BYTES:
        raise ArchiveError("holds a member that claims more than 4 GiB")
    content = file.read(declared + 1)
    if len(content) != declared:
        raise ArchiveError("holds a member of another size than it claims")
    return content


@contextmanager
def opened(source: SourceFile) -> Iterator[BinaryIO]:
    """One source opened for reading, seekable; faults as of `each_opened`."""
    for _, file in each_opened([source]):
        yield file


def each_opened(sources: Iterable[SourceFile]) -> Iterator[tuple[SourceFile, BinaryIO]]:
    """Each source opened for reading, seekable, one after another; an archive is gone through once for all its members.

    A gzip of one file is opened as that file.

    Raises:
        ArchiveError: when an archive or a gzip is damaged.
        OSError: when a file vanished or may not be read.
    """
    wanted: dict[Path, set[str]] = {}
    for source in dict.fromkeys(sources):
        if source.member is None:
            with source.path.open("rb") as file:
                yield source, BytesIO(gunzipped(file)) if is_gzip(file.peek(132)) else file
        else:
            wanted.setdefault(source.path, set()).add(source.member)
    for path, labels in wanted.items():
        for label, content, size in _opened_members(path, labels):
            labels.discard(label)
            yield SourceFile(path, label), BytesIO(_bounded(content, size))
        if labels:
            raise ArchiveError("has lost members since it was scanned")
