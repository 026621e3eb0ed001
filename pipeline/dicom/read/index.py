"""The headers of files already seen, so that an unchanged folder is not read again.

A file whose device, inode, size and time of change are those of the index is taken as unchanged (`verify` reads it
again). The index holds source identifiers: it lies in `private/`, mode 0600, and is only a cache; a damaged one, or
one of another version, is begun anew.

A folder is one row. Its headers are kept as what differs from one to the next, nearly nothing within a series.
"""

from __future__ import annotations

import json
import os
import sqlite3
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import compress
from operator import is_not
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pipeline.core.errors import StorageError
from pipeline.core.files import PRIVATE_FILE_MODE, digest
from pipeline.dicom.read import header as words
from pipeline.dicom.read.sources import Folder, Stamp

_INDEX_FORMAT = 4
_INDEX_VERSION = int(digest([_INDEX_FORMAT, list(words.INDEXED)])[:7], 16)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS folder
(path BLOB PRIMARY KEY, names BLOB NOT NULL, stamps BLOB NOT NULL, contents BLOB NOT NULL, headers BLOB NOT NULL,
checksum INTEGER NOT NULL) WITHOUT ROWID
"""
"""`names` are parted by zeros, `stamps` packed. `contents` and `headers` are JSON lists: for each file 0 where
it is one object, else [member, fate] for each of its entries, fate null for an object; and the objects' headers."""

_STAMP = struct.Struct("<QQQq")


@dataclass(frozen=True, slots=True)
class Entry:
    """What was found in one member of an archive, or in a file that is no readable DICOM object.

    Attributes:
        member: name inside the archive, None for a plain file.
        header: the indexed attributes; None when it is no readable DICOM object.
        fate: value of `Fate`, code and reason where there is no header.
    """

    member: str | None
    header: Mapping[str, object] | None
    fate: tuple[str, str, str] = ("", "", "")


Content = Mapping[str, object] | list[Entry]
"""What one file holds: a DICOM object, told by its header, or entries."""


def _differences(headers: Sequence[Mapping[str, object]]) -> Iterator[object]:
    """Each header as what is not the selfsame object in the one before it; as [header] where it has other keys."""
    before: Mapping[str, object] = {}
    for header in headers:
        if [*header] == [*before]:
            is_new = map(is_not, header.values(), before.values())
            yield dict(compress(header.items(), is_new))
        else:
            yield [dict(header)]
        before = header


def _joined(differences: Iterable[Any]) -> Iterator[dict[str, object]]:
    header: dict[str, object] = {}
    for new in differences:
        header = header | _frozen(new) if isinstance(new, dict) else _frozen(new[0])
        yield header


def _frozen(value: Any) -> Any:
    """Tuples, as they were before JSON made lists of them."""
    if isinstance(value, list):
        return tuple(_frozen(part) for part in value)
    return {key: _frozen(part) for key, part in value.items()} if isinstance(value, dict) else value


_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def _packed_files(folder: Folder) -> tuple[bytes, bytes]:
    """The files of a folder, as columns `names` and `stamps`."""
    names = "\0".join([name for name, _ in folder.files])
    return os.fsencode(names), b"".join([_STAMP.pack(*stamp) for _, stamp in folder.files])


def _packed_contents(contents: Sequence[Content]) -> tuple[bytes, bytes]:
    """What the files of a folder hold, as columns `contents` and `headers`."""
    kept: list[object] = []
    headers: list[Mapping[str, object]] = []
    for content in contents:
        if isinstance(content, list):
            kept.append([(entry.member, entry.fate if entry.header is None else None) for entry in content])
            headers.extend(entry.header for entry in content if entry.header is not None)
        else:
            kept.append(0)
            headers.append(content)
    return _encode(kept).encode(), _encode(list(_differences(headers))).encode()


def _unpacked_contents(contents: bytes, headers: bytes) -> Iterator[Content]:
    """What the files of a folder hold, as it was packed."""
    stored = _joined(json.loads(headers))
    for kept in json.loads(contents):
        if kept == 0:
            yield next(stored)
        else:
            yield [Entry(member, None, tuple(fate)) if fate else Entry(member, next(stored)) for member, fate in kept]


def _checksum(columns: Sequence[bytes]) -> int:
    """SQLite does not notice a changed byte within a value."""
    checksum = 0
    for column in columns:
        checksum = zlib.crc32(column, checksum)
    return checksum


@dataclass(frozen=True, slots=True)
class Remembered:
    """What the index knows of one folder, in its own words.

    Attributes:
        files: name and stamp of each file.
        packed: what each file holds.
    """

    files: tuple[bytes, bytes]
    packed: tuple[bytes, bytes]

    def is_of(self, folder: Folder) -> bool:
        """True when the folder is unchanged: the same files with the same stamps."""
        return self.files == _packed_files(folder)

    def contents(self) -> Iterator[Content]:
        """What each file holds, parsed when the first is asked for."""
        return _unpacked_contents(*self.packed)

    def by_file(self) -> dict[tuple[str, Stamp], Content]:
        """What each file holds, by name and stamp."""
        names = os.fsdecode(self.files[0]).split("\0")
        return dict(zip(zip(names, _STAMP.iter_unpack(self.files[1]), strict=True), self.contents(), strict=True))


def known_files(path: Path, below: Sequence[Path]) -> Iterator[Stamp] | None:
    """The stamp of every file below some folders that an index knows; None where there is no readable index.

    The folders are compared as the index spells them, so that what it kept of another place does not count.
    """
    if not path.is_file():
        return None
    try:
        with sqlite3.connect(path, timeout=60) as connection:
            rows = connection.execute("SELECT path, stamps FROM folder").fetchall()
    except sqlite3.Error:
        return None
    return (
        stamp
        for key, stamps in rows
        if any(Path(os.fsdecode(key)).is_relative_to(folder) for folder in below)
        for stamp in _STAMP.iter_unpack(stamps)
    )


class Index:
    """An SQLite file of headers by folder; a context that closes it at its end."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._connection = _connect(path) if path else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection:
            self._connection.close()

    def folder(self, folder: Folder) -> Remembered | None:
        """What is known of a folder; None when nothing is, or when it is damaged."""
        if not self._connection:
            return None
        with suppress(sqlite3.Error):
            query = "SELECT names, stamps, contents, headers, checksum FROM folder WHERE path = ?"
            row = self._connection.execute(query, (os.fsencode(folder.key),)).fetchone()
            if row and _checksum(row[:4]) == row[4]:
                return Remembered(row[:2], row[2:4])
        return None

    def store(self, folder: Folder, contents: Sequence[Content]) -> None:
        """Remember all files of a folder; what cannot be stored is read again next time."""
        if not (self._connection and self._path):
            return
        columns = *_packed_files(folder), *_packed_contents(contents)
        row = os.fsencode(folder.key), *columns, _checksum(columns)
        try:
            with self._connection:
                self._connection.execute("INSERT OR REPLACE INTO folder VALUES (?, ?, ?, ?, ?, ?)", row)
        except sqlite3.OperationalError:
            return  # another scan is writing, or the disk is full
        except sqlite3.DatabaseError:
            self._connection.close()
            self._connection = _begun_anew(self._path)


def _connect(path: Path) -> sqlite3.Connection:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return _opened(path)
    except sqlite3.DatabaseError:
        return _begun_anew(path)
    except OSError as error:
        raise _explained(error, path) from None


def _begun_anew(path: Path) -> sqlite3.Connection:
    try:
        path.unlink(missing_ok=True)
        return _opened(path)
    except (OSError, sqlite3.Error) as error:
        raise _explained(error, path) from None


def _explained(error: Exception, path: Path) -> StorageError:
    return StorageError(f"the DICOM index {path.name} cannot be opened ({type(error).__name__})")


def _opened(path: Path) -> sqlite3.Connection:
    path.touch(mode=PRIVATE_FILE_MODE)
    connection = sqlite3.connect(path, timeout=60)
    connection.execute("PRAGMA synchronous = OFF")  # after a power cut it may be damaged, and is then begun anew
    connection.execute("PRAGMA journal_mode = MEMORY")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != _INDEX_VERSION:
        connection.execute("DROP TABLE IF EXISTS folder")
        connection.execute(f"PRAGMA user_version = {_INDEX_VERSION}")
    connection.execute(_SCHEMA)
    return connection
