"""What a rater sent back, taken apart: a zip, a folder or a single file, and whose it is.

Nothing is unpacked to the disk, and no file name a rater chose is ever repeated: it may hold a patient's name.
"""

from __future__ import annotations

import csv
import io
import json
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline.core.errors import ReviewError
from pipeline.core.file_names import IMAGE_FILE, WORKLIST
from pipeline.core.files import separator_of
from pipeline.image.masks import mask_suffix
from pipeline.review.package import PACKAGE_FACTS
from pipeline.review.pages import READER_COLORS
from pipeline.review.viewers import reading_name

FOREIGN_SUFFIXES = (".mhd", ".hdr", ".img", ".mrb", ".mgz", ".dcm", ".vtk", ".stl")
"""Forms a mask may be saved in that are not read here; told, never passed over."""

OTHER_ARCHIVES = (".rar", ".7z", ".tar", ".tgz", ".xz")

LARGEST_FILE_BYTES = 1 << 30
"""A compressed mask has a few hundred kB, an image some ten MB; more than 1 GB was never sent."""

_DAMAGED_ZIP = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    OSError,
    EOFError,
    RuntimeError,  # NotImplementedError too: a wrong version or compression is damage here
    ValueError,
)
"""What `zipfile` raises on bytes that are no whole zip."""

_NO_MASKS = {IMAGE_FILE, *(reading_name(letter).lower() for letter in READER_COLORS)}
_NOT_OURS = ("__MACOSX", "._", ".")


@dataclass(frozen=True, slots=True)
class ReturnedFile:
    """One file of a return.

    Attributes:
        path: where it lies inside the return. Private: a rater chose the names.
        read: its bytes.
    """

    path: PurePosixPath
    read: Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class Remark:
    """What a rater wrote beside an item in the worklist.

    Attributes:
        status: one word, lower case.
        comment: free text. Private: nobody checked it for names.
    """

    status: str = ""
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Parcel:
    """One return.

    Attributes:
        rater: from the package's own facts, or else from a name; None where nothing tells.
        masks: files that are masks, or would be in another form; in order of path.
        remarks: what the rater wrote into the worklist, by item.
        round_number: of the package that came back; None where nothing tells, or packages of several rounds came.
    """

    rater: str | None
    masks: tuple[ReturnedFile, ...]
    remarks: Mapping[str, Remark]
    round_number: int | None = None


def open_parcel(path: Path, raters: Collection[str]) -> Parcel:
    """A return taken apart.

    Args:
        path: a zip, a folder or a single file.
        raters: codes that may occur.

    Raises:
        ReviewError: when the zip is damaged or locked, or there is nothing.
    """
    files = [file for file in sorted(_files(path), key=lambda file: str(file.path)) if not _is_litter(file.path)]
    facts = [_facts_in(file) for file in files if file.path.name == PACKAGE_FACTS]
    worklists = [file for file in files if file.path.name == WORKLIST]
    masks = tuple(file for file in files if _may_be_mask(file.path))
    rater = _rater_in_facts(facts, raters) or _rater_in_names([path.name, *(str(file.path) for file in masks)], raters)
    rounds = {number for one in facts if isinstance(number := one.get("round_number"), int)}
    return Parcel(rater, masks, _remarks(worklists), rounds.pop() if len(rounds) == 1 else None)


def _files(path: Path) -> Iterator[ReturnedFile]:
    if path.is_dir():
        for inner in sorted(path.rglob("*")):
            if inner.is_file():
                yield from _of_disk(inner, PurePosixPath(inner.relative_to(path).as_posix()))
    elif path.is_file():
        yield from _of_disk(path, PurePosixPath(path.name))
    else:
        raise ReviewError("the return is missing; give a zip, a folder or a mask file")


def _of_disk(path: Path, inside: PurePosixPath) -> Iterator[ReturnedFile]:
    suffix = path.suffix.lower()
    if suffix in OTHER_ARCHIVES:
        raise ReviewError(f"the return is packed as {suffix}, which is not read here; please send a zip")
    if suffix == ".zip" and not _is_litter(inside):
        yield from _of_zip(path, inside.with_suffix(""))
    else:
        yield ReturnedFile(inside, lambda: _file_bytes(path))


def _file_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        raise ReviewError("a file of the return cannot be read; please send it again") from None


def _of_zip(path: Path, inside: PurePosixPath) -> Iterator[ReturnedFile]:
    try:
        with zipfile.ZipFile(path) as package:
            members = [info for info in package.infolist() if info.filename and not info.filename.endswith("/")]
    except _DAMAGED_ZIP:
        raise ReviewError("the zip is damaged or was cut short on its way; please send it again") from None
    if any(info.flag_bits & 1 for info in members):
        raise ReviewError("the zip is locked by a password; please send it without one")
    for info in members:
        if info.file_size > LARGEST_FILE_BYTES:
            raise ReviewError("the zip holds a file far larger than any that was sent; please send the masks alone")
        # some Windows programs write backslashes, against the zip format's own rule
        yield ReturnedFile(inside / info.filename.replace("\\", "/"), lambda info=info: _member_bytes(path, info))  # type: ignore[misc]


def _member_bytes(path: Path, info: zipfile.ZipInfo) -> bytes:
    try:
        with zipfile.ZipFile(path) as package:
            return package.read(info)
    except _DAMAGED_ZIP:
        raise ReviewError("a file inside the zip is damaged; please zip the folder again and send it") from None


def _is_litter(path: PurePosixPath) -> bool:
    """True for what macOS and Windows leave beside files."""
    return any(part.startswith(_NOT_OURS) for part in path.parts)


def _may_be_mask(path: PurePosixPath) -> bool:
    if path.name.lower() in _NO_MASKS:
        return False
    return mask_suffix(path.name) is not None or path.suffix.lower() in FOREIGN_SUFFIXES


def _facts_in(file: ReturnedFile) -> Mapping[str, object]:
    """What a package says of itself; nothing where that is damaged."""
    try:
        content = json.loads(file.read())
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _rater_in_facts(facts: list[Mapping[str, object]], raters: Collection[str]) -> str | None:
    """The one rater whose packages these are; None without facts.

    Raises:
        ReviewError: when packages of several raters came together.
    """
    named = {str(one.get("rater")) for one in facts}
    known = {rater for rater in raters if rater in named}
    if len(known) > 1:
        raise ReviewError("packages of several raters came in one return; send each on its own")
    return known.pop() if known else None


def _rater_in_names(names: list[str], raters: Collection[str]) -> str | None:
    """The one rater whose code stands alone in a name, such as "round-1_R2.zip"."""
    found = {
        rater
        for name in names
        for rater in raters
        if re.search(rf"(?<![A-Za-z0-9]){re.escape(rater)}(?![A-Za-z0-9])", name, re.IGNORECASE)
    }
    return found.pop() if len(found) == 1 else None


def _remarks(worklists: list[ReturnedFile]) -> dict[str, Remark]:
    """Spreadsheets write commas, semicolons or tabs, with or without a byte order mark."""
    remarks = {}
    for file in worklists:
        text = _decoded(file.read())
        for row in _rows(text, separator_of(text)):
            item, status, comment = ((row.get(column) or "").strip() for column in ("item", "status", "comment"))
            if status or comment:
                remarks[item] = Remark(status.casefold(), comment)
    return remarks


def _decoded(content: bytes) -> str:
    """UTF-8 as we wrote it, or GB 18030 as a Chinese spreadsheet saves it; what fits neither is replaced."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("gb18030", "replace")


def _rows(text: str, separator: str) -> list[dict[str, str | None]]:
    try:
        return list(csv.DictReader(io.StringIO(text), delimiter=separator))
    except csv.Error:
        raise ReviewError("worklist.csv is damaged; please save it again as CSV and send the return again") from None
