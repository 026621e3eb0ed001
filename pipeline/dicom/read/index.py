"""The headers of files already seen, so that an unchanged folder is not read again.

A file whose device, inode, size and time of change are those of the index is taken as unchanged (`verify` reads it
again). The index holds source identifiers: every name and value in it is sealed. It is only a cache; a damaged one, or
one of another version or secret, is begun anew.

A folder is one row. Its headers are kept as what differs from one to the next, nearly nothing within a series.
"""

from __future__ import annotations

import json
import os
import sqlite3
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import compress
from operator import is_not
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from pipeline.core.errors import PrivacyError, StorageError
from pipeline.core.files import PRIVATE_FILE_MODE, digest
from pipeline.dicom.read import header as words
from pipeline.dicom.read.sources import Folder, Stamp

_INDEX_FORMAT = 5
_INDEX_VERSION = int(digest([_INDEX_FORMAT, list(words.INDEXED)])[:7], 16)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS folder (name BLOB PRIMARY KEY, files BLOB NOT NULL, contents BLOB NOT NULL) WITHOUT ROWID
"""
"""`name` is keyed. `files` holds the packed stamps, and the names parted by zeros. `contents` is two JSON lists: for
each file 0 where it is one object, else [member, fate] for each of its entries, fate null for an object; and the
objects' headers. Both are sealed."""

_STAMP = struct.Struct("<QQQq")
_COUNT = struct.Struct("<Q")


class Cipher(Protocol):
    """What seals an index, so that it tells nothing without a key."""

    def close(self, plain: bytes) -> bytes:
        """The content sealed."""

    def open(self, sealed: bytes, name: str) -> bytes:
        """What was sealed; raises a `PrivacyError` where that was damaged or done with another key."""

    def name_of(self, text: bytes) -> bytes:
        """A keyed name that stands for a text."""


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


def _packed_files(folder: Folder) -> bytes:
    """The files of a folder: how many, their stamps, their names."""
    names = "\0".join([name for name, _ in folder.files])
    stamps = [_STAMP.pack(*stamp) for _, stamp in folder.files]
    return b"".join((_COUNT.pack(len(stamps)), *stamps, os.fsencode(names)))


def _stamps_and_names(files: bytes) -> tuple[Iterator[Stamp], list[str]]:
    """The files of a folder, as they were packed."""
    end = _COUNT.size + _STAMP.size * _COUNT.unpack_from(files)[0]
    return _STAMP.iter_unpack(files[_COUNT.size : end]), os.fsdecode(files[end:]).split("\0")


def _packed_contents(contents: Sequence[Content]) -> bytes:
    """What the files of a folder hold."""
    kept: list[object] = []
    headers: list[Mapping[str, object]] = []
    for content in contents:
        if isinstance(content, list):
            kept.append([(entry.member, entry.fate if entry.header is None else None) for entry in content])
            headers.extend(entry.header for entry in content if entry.header is not None)
        else:
            kept.append(0)
            headers.append(content)
    return _encode([kept, list(_differences(headers))]).encode()


def _unpacked_contents(packed: bytes) -> Iterator[Content]:
    """What the files of a folder hold, as it was packed."""
    contents, headers = json.loads(packed)
    stored = _joined(headers)
    for kept in contents:
        if kept == 0:
            yield next(stored)
        else:
            yield [Entry(member, None, tuple(fate)) if fate else Entry(member, next(stored)) for member, fate in kept]


@dataclass(frozen=True, slots=True)
class Remembered:
    """What the index knows of one folder, in its own words.

    Attributes:
        files: name and stamp of each file.
        packed: what each file holds.
    """

    files: bytes
    packed: bytes

    def is_of(self, folder: Folder) -> bool:
        """True when the folder is unchanged: the same files with the same stamps."""
        return self.files == _packed_files(folder)

    def contents(self) -> Iterator[Content]:
        """What each file holds, parsed when the first is asked for."""
        return _unpacked_contents(self.packed)

    def by_file(self) -> dict[tuple[str, Stamp], Content]:
        """What each file holds, by name and stamp."""
        stamps, names = _stamps_and_names(self.files)
        return dict(zip(zip(names, stamps, strict=True), self.contents(), strict=True))


def known_stamps(path: Path, cipher: Cipher) -> list[Stamp] | None:
    """The stamp of every file that an index ever knew; None where there is no readable index."""
    if not path.is_file():
        return None
    try:
        with sqlite3.connect(path, timeout=60) as connection:
            rows = connection.execute("SELECT files FROM folder").fetchall()
        files = [cipher.open(column, path.name) for (column,) in rows]
    except (sqlite3.Error, PrivacyError):
        return None
    return [stamp for one in files for stamp in _stamps_and_names(one)[0]]


class Index:
    """An SQLite file of headers by folder, opened in a `with` block.

    Args:
        path: the file; made where there is none.
        cipher: seals what it holds.
    """

    def __init__(self, path: Path, cipher: Cipher) -> None:
        self._path = path
        self._cipher = cipher
        self._connection: sqlite3.Connection

    def __enter__(self) -> Self:
        """Raises a `StorageError` when the file cannot be opened or made."""
        self._connection = _connect(self._path)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def folder(self, folder: Folder) -> Remembered | None:
        """What is known of a folder; None when nothing is, or when it is damaged."""
        with suppress(sqlite3.Error, PrivacyError):
            query = "SELECT files, contents FROM folder WHERE name = ?"
            row = self._connection.execute(query, (self._name_of(folder),)).fetchone()
            if row:
                return Remembered(*(self._cipher.open(column, self._path.name) for column in row))
        return None

    def store(self, folder: Folder, contents: Sequence[Content]) -> None:
        """Remember all files of a folder; what cannot be stored is read again next time."""
        columns = map(self._cipher.close, (_packed_files(folder), _packed_contents(contents)))
        row = self._name_of(folder), *columns
        try:
            with self._connection:
                self._connection.execute("INSERT OR REPLACE INTO folder VALUES (?, ?, ?)", row)
        except sqlite3.OperationalError:
            return  # another scan is writing, or the disk is full
        except sqlite3.DatabaseError:
            self._connection.close()
            self._connection = _begun_anew(self._path)

    def _name_of(self, folder: Folder) -> bytes:
        return self._cipher.name_of(os.fsencode(folder.key))


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
    """Raises a `DatabaseError` for another version, whose pages could still hold what was not sealed."""
    is_new = not path.exists() or path.stat().st_size == 0
    path.touch(mode=PRIVATE_FILE_MODE)
    connection = sqlite3.connect(path, timeout=60)
    connection.execute("PRAGMA synchronous = OFF")  # after a power cut it may be damaged, and is then begun anew
    connection.execute("PRAGMA journal_mode = MEMORY")
    if is_new:
        connection.execute(f"PRAGMA user_version = {_INDEX_VERSION}")
    if connection.execute("PRAGMA user_version").fetchone()[0] != _INDEX_VERSION:
        connection.close()
        raise sqlite3.DatabaseError("of another version")
    connection.execute(_SCHEMA)
    return connection
