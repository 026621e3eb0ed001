"""Packages and returns without the volumes of a patient who withdrew consent; everything else stays as it is."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path

from pipeline.core.errors import StorageError
from pipeline.core.file_names import WORKLIST
from pipeline.core.files import atomic_writer, remove
from pipeline.review.package import MANIFEST
from pipeline.review.pages import START_PAGE

_LISTS = (WORKLIST, MANIFEST)
"""Members that name an item a line."""


def take_out(path: Path, items: Collection[str]) -> bool:
    """Take all files of some items, and the start page with its pictures, out of a zip, folder or file; True when any.

    What is left keeps its time of change, by which returns are ordered; nothing is left of a parcel with nothing else.

    Raises:
        StorageError: when a zip is damaged, or the disk refuses.
    """
    named = re.compile("|".join(rf"(?<![A-Za-z0-9]){re.escape(item)}(?![A-Za-z0-9])" for item in sorted(items)))
    if path.is_dir():
        taken = [take_out(part, items) for part in sorted(path.iterdir())]
        return any(taken)
    if named.search(path.name):
        remove(path)
        return True
    return zipfile.is_zipfile(path) and _rewritten(path, named)


def _rewritten(path: Path, named: re.Pattern[str]) -> bool:
    """True when a zip held something of the items; it is written anew without that."""
    try:
        with zipfile.ZipFile(path) as package:
            if not any(named.search(name) for name in package.namelist()):
                return False
            kept = list(_kept(package, named))
    except (zipfile.BadZipFile, OSError):
        raise StorageError(f"{path.name} is damaged, so nothing can be taken out of it; remove it") from None
    status = path.stat()
    if all(Path(info.filename).name in _LISTS for info, _ in kept):
        remove(path)
        return True
    with atomic_writer(path) as file, zipfile.ZipFile(file, "w") as smaller:
        for info, content in kept:
            smaller.writestr(info, content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    return True


def _kept(package: zipfile.ZipFile, named: re.Pattern[str]) -> Iterator[tuple[zipfile.ZipInfo, bytes]]:
    """Members that say nothing of the items, and lists without their lines."""
    for info in package.infolist():
        name = Path(info.filename).name
        if named.search(info.filename) or name == START_PAGE:
            continue
        content = package.read(info)
        if name in _LISTS:
            lines = content.decode(errors="replace").splitlines(keepends=True)
            content = "".join(line for line in lines if not named.search(line)).encode()
        yield info, content
