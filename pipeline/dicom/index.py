"""The headers of files already seen, so that an unchanged folder is not read again.

A file whose device, inode, size and time of change are those of the index is taken as unchanged (`verify` reads it
again). The index holds source identifiers: it lies in `private/`, mode 0600, and is only a cache; a damaged one, or
one of another version, is begun anew.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.core.errors import StorageError
from pipeline.core.files import PRIVATE_FILE_MODE, digest
from pipeline.dicom import header as words
from pipeline.dicom.sources import Stamp

_FORMAT = 1
_VERSION = int(digest([_FORMAT, list(words.KEYWORDS)])[:7], 16)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS entry (
    folder TEXT NOT NULL, name TEXT NOT NULL,
    device INTEGER NOT NULL, inode INTEGER NOT NULL, size INTEGER NOT NULL, changed_ns INTEGER NOT NULL,
    content TEXT NOT NULL,
    PRIMARY KEY (folder, name)
) WITHOUT ROWID
"""


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


class Index:
    """An SQLite file of headers by folder and name; a context that commits at its end."""

    def __init__(self, path: Path | None) -> None:
        self._connection = _connect(path) if path else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection:
            with suppress(sqlite3.Error):
                self._connection.commit()
            self._connection.close()

    def folder(self, folder: Path) -> dict[str, tuple[Stamp, str]]:
        """What is known of a folder's files: name to stamp and stored content."""
        if not self._connection:
            return {}
        rows = self._connection.execute(
            "SELECT name, device, inode, size, changed_ns, content FROM entry WHERE folder = ?", (str(folder),)
        )
        return {name: ((device, inode, size, changed), content) for name, device, inode, size, changed, content in rows}

    def store(self, folder: Path, rows: Iterable[tuple[str, Stamp, str]]) -> None:
        """Remember files of a folder; what cannot be stored is read again next time."""
        if self._connection:
            with suppress(sqlite3.Error, UnicodeError, OverflowError):
                self._connection.executemany(
                    "INSERT OR REPLACE INTO entry VALUES (?, ?, ?, ?, ?, ?, ?)",
                    [(str(folder), name, *_signed(stamp), content) for name, stamp, content in rows],
                )
                self._connection.commit()


def _signed(stamp: Stamp) -> Stamp:
    """SQLite's integers have 63 bits and a sign; an inode may use all 64."""
    device, inode, size, changed = (part if part < 1 << 63 else part - (1 << 64) for part in stamp)
    return device, inode, size, changed


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
        connection.execute("DROP TABLE IF EXISTS entry")
        connection.execute(f"PRAGMA user_version = {_VERSION}")
    connection.execute(_SCHEMA)
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def packed(entries: Iterable[Entry]) -> str:
    """Entries as text for the index."""
    return json.dumps(
        [(entry.member, dict(entry.header) if entry.header else None, entry.fate) for entry in entries],
        separators=(",", ":"),
    )


def unpacked(content: str) -> list[Entry]:
    """Entries as they were packed; a list in JSON was a tuple."""
    return [
        Entry(member, {key: _tupled(value) for key, value in header.items()} if header else None, tuple(fate))
        for member, header, fate in json.loads(content)
    ]


def _tupled(value: object) -> object:
    if isinstance(value, list):
        return tuple(_tupled(part) for part in value)
    return {key: _tupled(part) for key, part in value.items()} if isinstance(value, dict) else value
