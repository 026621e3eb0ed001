"""The only writer: whole files or none, read back as they were meant.

Bytes go to a temporary name in the same folder, are flushed to the disk, and take their final name in one step
(`os.replace`), so that a kill at any moment leaves the old file or the new one, never half of one.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from pipeline.core.errors import StorageError

PRIVATE_FILE_MODE = 0o600
PRIVATE_FOLDER_MODE = 0o700
PUBLISHED_FILE_MODE = 0o444

THREADS = min(4, os.cpu_count() or 1)
"""Files or blocks read, packed and written side by side; more threads wait for one another."""

GZIP_MAGIC = b"\x1f\x8b"
"""How a gzip begins (RFC 1952 2.3.1)."""


@contextmanager
def atomic_writer(path: Path, *, mode: int = 0o644, durable: bool = True) -> Iterator[BinaryIO]:
    """A binary file that takes its name only when the block ends without an error.

    Args:
        path: where to.
        mode: permissions of the file.
        durable: wait until the disk has it; False only for what can be made again at will, in thousands of files.

    Raises:
        StorageError: when the disk is full, or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise _explained(error, path) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(
    path: Path, data: bytes | bytearray | Iterable[bytes], *, mode: int = 0o644, durable: bool = True
) -> None:
    """Write a whole file or none, replacing what was there; arguments as of `atomic_writer`.

    Raises:
        StorageError: when the disk is full, or the folder cannot be written.
    """
    with atomic_writer(path, mode=mode, durable=durable) as file:
        for chunk in (data,) if isinstance(data, bytes | bytearray) else data:
            file.write(chunk)


def append_line(path: Path, line: str) -> None:
    """Add a line to a private log that only grows, and wait until the disk has it.

    Raises:
        StorageError: when the disk is full, or the folder cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, PRIVATE_FILE_MODE)
        with os.fdopen(descriptor, "ab") as file:
            file.write(f"{line}\n".encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise _explained(error, path) from error


def write_text(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Write UTF-8 text with LF line ends, whole or not at all."""
    write_atomically(path, text.encode("utf-8"), mode=mode)


def write_json(path: Path, content: Any, *, mode: int = 0o644) -> None:
    """Write JSON that a person can read and that is the same bytes every time."""
    write_text(path, json_text(content), mode=mode)


def json_text(content: Any) -> str:
    """JSON with sorted keys, two spaces, one newline at the end; NaN is refused."""
    return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def link_or_copy(source: Path, target: Path) -> None:
    """The same bytes under a second name: a hard link where the file system has them, else a copy.

    Raises:
        StorageError: when the source is missing, the disk is full, or the folder cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        os.link(source, target)
    except OSError:
        try:
            write_atomically(target, source.read_bytes())
        except OSError as error:
            raise _explained(error, source) from error


def publish_folder(staging: Path, final: Path) -> None:
    """Make every file read-only and give the folder its name in one step; an existing folder is never replaced.

    Raises:
        StorageError: when the name is taken or the disk refuses.
    """
    if final.exists():
        raise StorageError(f"{final.name} exists already and was not changed")
    try:
        for file in staging.rglob("*"):
            if file.is_file():
                file.chmod(PUBLISHED_FILE_MODE)
        staging.rename(final)
    except OSError as error:
        raise _explained(error, final) from error


def remove(path: Path) -> None:
    """Nothing under this name any more, whatever was there."""
    try:
        path.unlink() if path.is_file() or path.is_symlink() else shutil.rmtree(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise _explained(error, path) from error


def finite(content: Any) -> Any:
    """The same content with null for every number that is undefined (NaN) or infinite, which JSON cannot hold."""
    if isinstance(content, Mapping):
        return {key: finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def identity_of(path: Path) -> tuple[int, int, int]:
    """What changes when a file is rewritten or replaced: inode, size, and time of the last change in nanoseconds.

    Raises:
        OSError: when there is no such file.
    """
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def read_json(path: Path) -> Any:
    """What a JSON file of ours holds.

    Raises:
        StorageError: when the file is missing, unreadable or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _explained(error, path) from error
    except ValueError as error:
        raise StorageError(f"{path.name} is not readable JSON ({error}); delete it and run again") from error


def separator_of(table: str) -> str:
    """What stands between two cells of a table that a spreadsheet saved: a comma, a semicolon or a tab."""
    return max(",;\t", key=table.partition("\n")[0].count)


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, object]], *, separator: str = ",") -> str:
    """A table as CSV with LF line ends; None and NaN are empty, true and false lower case."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n", delimiter=separator)
    writer.writerow(columns)
    writer.writerows([_cell(row.get(column)) for column in columns] for row in rows)
    return buffer.getvalue()


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a table of ours, by column; none before it was written.

    Raises:
        StorageError: when the file is unreadable.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _explained(error, path) from error


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits.

    Raises:
        StorageError: when the file is missing or unreadable.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _explained(error, path) from error


def digest(content: Any) -> str:
    """SHA-256 of a JSON-able value, independent of key order."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def make_private_folder(path: Path) -> Path:
    """A folder that only its owner may enter (mode 0700), made if missing."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(PRIVATE_FOLDER_MODE)
    except OSError as error:
        raise _explained(error, path) from error
    return path


def _explained(error: OSError, path: Path) -> StorageError:
    """One clear line for what the operating system said; only the file's own name, never its folder."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(f"cannot write {path.name}: disk full; free some space and run again")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StorageError(f"cannot access {path.name}: permission denied; check who owns the dataset folder")
    if error.errno == errno.ENOENT:
        return StorageError(f"{path.name} is missing; run the stage that writes it again")
    return StorageError(f"{path.name}: {error.strerror or type(error).__name__}")


def _cell(value: object) -> str:
    if value is None or value != value:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
