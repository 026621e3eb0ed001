"""The headers of files already seen, so that an unchanged folder is not read again.

A file whose device, inode, size and time of change are those of the index is taken as unchanged (`verify` reads it
again). The index holds source identifiers: it lies in `private/`, mode 0600, and is only a cache; a damaged one, or
one of another version, is begun anew.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pipeline.core.errors import StorageError
from pipeline.core.files import PRIVATE_FILE_MODE, digest
from pipeline.dicom import header as words
from pipeline.dicom.sources import Folder, Stamp

_FORMAT = 2
_VERSION = int(digest([_FORMAT, list(words.INDEXED)])[:7], 16)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS folder (path TEXT PRIMARY KEY, files TEXT NOT NULL, contents TEXT NOT NULL) WITHOUT ROWID
"""
"""`files`: JSON list of [name, [device, inode, size, changed_ns]]; `contents`: one line of JSON for each."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What was found in one file, or in one member of an archive.

    Attributes:
        member: name inside the archive, None for a plain file.
        header: the indexed attributes; None when it is no readable DICOM object.
        fate: value of `Fate`, code and reason where there is no header.
    """

    member: str | None
    header: Mapping[str, object] | None
    fate: tuple[str, str, str] = ("", "", "")


class StoredHeader(Mapping[str, object]):
    """A header as the index keeps it, parsed when it is first asked for."""

    __slots__ = ("_content",)

    def __init__(self, line: str) -> None:
        self._content: str | dict[str, object] = line

    def _parsed(self) -> dict[str, object]:
        if isinstance(self._content, str):
            self._content = _header_of(json.loads(self._content.removeprefix(_PLAIN)))
        return self._content

    def __getitem__(self, keyword: str) -> object:
        return self._parsed()[keyword]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parsed())

    def __len__(self) -> int:
        return len(self._parsed())


def _values_of(header: Mapping[str, object]) -> list[object]:
    return [header.get(keyword) for keyword in words.INDEXED]


def _header_of(values: list[Any]) -> dict[str, object]:
    pairs = zip(words.INDEXED, values, strict=True)
    return {keyword: _frozen(value) for keyword, value in pairs if value is not None}


def _frozen(value: Any) -> object:
    """Tuples, as they were before JSON made lists of them."""
    if isinstance(value, list):
        return tuple(_frozen(part) for part in value)
    return {key: _frozen(part) for key, part in value.items()} if isinstance(value, dict) else value


_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
_PLAIN = "="
"""First letter of a line that holds the header of a plain file, by far the most usual."""


def packed(entries: Sequence[Entry]) -> str:
    """The entries of one file as a line of text."""
    if len(entries) == 1 and entries[0].member is None and entries[0].header is not None:
        return _PLAIN + _encode(_values_of(entries[0].header))
    return _encode(
        [(entry.member, _values_of(entry.header) if entry.header else None, entry.fate) for entry in entries]
    )


def is_plain(line: str) -> bool:
    """True for the line of a plain file with a header."""
    return line[0] == _PLAIN


def unpacked(line: str) -> list[Entry]:
    """Entries as they were packed."""
    if is_plain(line):
        return [Entry(None, StoredHeader(line))]
    return [
        Entry(member, _header_of(values) if values else None, tuple(fate)) for member, values, fate in json.loads(line)
    ]


@dataclass(frozen=True, slots=True)
class Remembered:
    """What the index knows of one folder.

    Attributes:
        files: name and stamp of each file, as JSON.
        lines: packed entries of each file.
    """

    files: str
    lines: list[str]

    def is_of(self, folder: Folder) -> bool:
        """True when the folder is unchanged: the same files with the same stamps."""
        return self.files == _encode(folder.files)

    def by_file(self) -> dict[tuple[str, Stamp], str]:
        """Packed entries by name and stamp."""
        files = json.loads(self.files)
        return {(name, tuple(stamp)): line for (name, stamp), line in zip(files, self.lines, strict=True)}


class Index:
    """An SQLite file of headers by folder; a context that closes it at its end."""

    def __init__(self, path: Path | None) -> None:
        self._connection = _connect(path) if path else None

    @property
    def remembers(self) -> bool:
        """False for an index without a file."""
        return self._connection is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection:
            self._connection.close()

    def folder(self, folder: Folder) -> Remembered | None:
        """What is known of a folder; None when nothing is."""
        if not self._connection:
            return None
        with suppress(sqlite3.Error):
            query = "SELECT files, contents FROM folder WHERE path = ?"
            row = self._connection.execute(query, (folder.key,)).fetchone()
            return Remembered(row[0], row[1].split("\n")) if row else None
        return None

    def store(self, folder: Folder, lines: Sequence[str]) -> None:
        """Remember all files of a folder; what cannot be stored is read again next time."""
        if self._connection:
            row = folder.key, _encode(folder.files), "\n".join(lines)
            with suppress(sqlite3.Error, UnicodeError), self._connection:
                self._connection.execute("INSERT OR REPLACE INTO folder VALUES (?, ?, ?)", row)


def _connect(path: Path) -> sqlite3.Connection:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=PRIVATE_FILE_MODE)
        try:
            return _opened(path)
        except sqlite3.DatabaseError:
            path.unlink()
            path.touch(mode=PRIVATE_FILE_MODE)
            return _opened(path)
    except (OSError, sqlite3.Error) as error:
        raise StorageError(f"the DICOM index {path.name} cannot be opened ({type(error).__name__})") from None


def _opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=60)
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != _VERSION:
        connection.execute("DROP TABLE IF EXISTS folder")
        connection.execute(f"PRAGMA user_version = {_VERSION}")
    connection.execute(_SCHEMA)
    connection.execute("PRAGMA synchronous = OFF")  # after a power cut it may be damaged, and is then begun anew
    return connection
