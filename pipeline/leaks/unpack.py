"""A file taken apart into stretches of bytes to be searched: as it lies, inflated, and every member of an archive.

Each stretch says whether it is text; other bytes hold short words by chance, so that a match is weighed there. The
coded pixels of a PNG or JPEG are no text at all: what may be written lies in the segments beside them.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import io
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from typing import cast

from isal import isal_zlib
from pyarrow import ArrowException, parquet
from pydicom.uid import DeflatedExplicitVRLittleEndian

from pipeline.core.files import GZIP_MAGIC

MAX_DEPTH = 4
"""Archives inside archives are opened this deep."""

MOST_CONTROLS = 0.01
"""Text holds hardly any bytes that cannot be printed; of random bytes every tenth cannot."""

_CONTROLS = bytes({*range(9), *range(14, 32), 127} - {27})
"""All but blanks, line ends and ESC, by which ISO 2022 changes its letters."""

_EMBEDDED = re.compile(rb";base64,([A-Za-z0-9+/]{64,}={0,2})")
"""The digits of a file inside a page's `data:` address (RFC 2397)."""

_PNG_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"eXIf")
_MARKER = 0xFF
_COMMENT = 0xFE
_APPLICATION_DATA = range(0xE0, 0xF0)
_START_OF_SCAN = 0xDA
_END_OF_IMAGE = 0xD9
_JPEG_END = b"\xff\xd9"
_BARE_MARKERS = frozenset({0x01, 0xFF, *range(0xD0, 0xD9)})
_CODING_TABLES = frozenset({0xC4, 0xDB, 0xDD, 0xC0, 0xC1, 0xC2, _START_OF_SCAN})
_SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_PIXEL_TAG_BYTES = b"\xe0\x7f\x10\x00"
_ITEM_TAG = b"\xfe\xff\x00\xe0"
_UNDEFINED_LENGTH_BYTES = b"\xff\xff\xff\xff"
_SQLITE = b"SQLite format 3\0"
_SEQUENCE_END_BYTES = b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"
_DEFLATED_SYNTAX = DeflatedExplicitVRLittleEndian.encode()
_NIFTI_HEADER_BYTES = 352

_ISAL_ERROR = cast("type[Exception]", isal_zlib.IsalError)  # its stub calls the class an instance
_BAD_GZIP: tuple[type[Exception], ...] = (EOFError, zlib.error, _ISAL_ERROR, gzip.BadGzipFile, OSError)
_BAD_ARCHIVE: tuple[type[Exception], ...] = (
    *_BAD_GZIP,
    zipfile.BadZipFile,
    tarfile.TarError,
    struct.error,
    RuntimeError,
    ValueError,
    LookupError,
    AttributeError,
)


class Texture(Enum):
    """What bytes are made of, which decides what a match in them is worth.

    `TEXT` is text; `PACKED` is compressed or unknown, and holds every short pattern by chance; `VOXELS` are numbers of
    an image or digits of a coded file, in which only long patterns are sought.
    """

    TEXT = auto()
    PACKED = auto()
    VOXELS = auto()


@dataclass(frozen=True, slots=True)
class Stretch:
    """Bytes to be searched.

    Attributes:
        place: where in the file, in words.
        content: the bytes.
        texture: what they are made of.
        member: name of the archive's member that these bytes speak of; None for all other bytes.
    """

    place: str
    content: bytes | memoryview
    texture: Texture
    member: str | None = None


def stretches(content: bytes, place: str = "", depth: int = 0) -> Iterator[Stretch]:
    """All that a file's bytes hold, taken apart as deep as its format is known."""
    if content.startswith(GZIP_MAGIC):
        yield from _gzip(content, place, depth)
    elif content.startswith(b"PK\x03\x04") and depth < MAX_DEPTH:
        yield from _zip(content, place, depth)
    elif content[257:262] == b"ustar" and depth < MAX_DEPTH:
        yield from _tar(content, place, depth)
    elif content.startswith(b"\x89PNG\r\n\x1a\n"):
        yield from _png(content, place)
    elif content.startswith(b"\xff\xd8\xff"):
        yield from _jpeg(content, place)
    elif content.startswith(b"PAR1"):
        yield from _parquet(content, place)
    elif content[344:348] in (b"n+1\0", b"ni1\0"):
        yield from _nifti(content, place)
    elif content[128:132] == b"DICM":
        yield from _dicom(content, place)
    elif _EMBEDDED.search(content) and depth < MAX_DEPTH:
        yield from _page(content, place, depth)
    else:
        yield Stretch(_in(place, "content"), content, _texture(content))


def _page(content: bytes, place: str, depth: int) -> Iterator[Stretch]:
    """A page without the pictures in it, and each picture, as digits and decoded.

    Among so many letters and digits every short name stands by chance, so that long identifiers alone count there.
    """
    texts, end = [], 0
    for number, found in enumerate(_EMBEDDED.finditer(content)):
        try:
            decoded = base64.b64decode(found[1], validate=True)
        except binascii.Error:
            continue
        texts.append(content[end : found.start(1)])
        end = found.end()
        yield Stretch(_in(place, f"embedded file {number}"), found[1], Texture.VOXELS)
        yield from stretches(decoded, _in(place, f"embedded file {number}"), depth + 1)
    text = b"\n".join([*texts, content[end:]])
    yield Stretch(_in(place, "content"), text, _texture(text))


def _gzip(content: bytes, place: str, depth: int) -> Iterator[Stretch]:
    """Header, what lies behind the stream, and the inflated stream; a stream that cannot be inflated as it lies."""
    inflated, rest = [], content
    try:
        while rest.startswith(GZIP_MAGIC):
            stream = isal_zlib.decompressobj(wbits=31)
            inflated.append(stream.decompress(rest))
            if not stream.eof:
                raise EOFError
            rest = stream.unused_data
    except _BAD_GZIP:
        yield Stretch(_in(place, "damaged gzip"), content, Texture.PACKED)
    yield Stretch(_in(place, "gzip header"), _gzip_texts(content), Texture.TEXT)
    yield Stretch(_in(place, "after the gzip stream"), rest, Texture.TEXT)
    yield from stretches(b"".join(inflated), _in(place, "inflated"), depth + 1)


def _gzip_texts(content: bytes) -> bytes:
    """The extra field, file name and comment of a gzip header (RFC 1952)."""
    flags, start = content[3] if len(content) > 3 else 0, 10
    texts = []
    if flags & 4:
        length = int.from_bytes(content[start : start + 2], "little")
        texts.append(content[start + 2 : start + 2 + length])
        start += 2 + length
    for flag in (8, 16):
        if flags & flag:
            end = content.find(b"\0", start)
            end = len(content) if end < 0 else end
            texts.append(content[start:end])
            start = end + 1
    return b"\n".join(texts)


def _zip(content: bytes, place: str, depth: int) -> Iterator[Stretch]:
    """What lies between the members, their names, and every member inflated; a damaged archive as it lies."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            yield Stretch(_in(place, "zip directory"), _between_members(content, archive), Texture.TEXT)
            for number, member in enumerate(archive.infolist()):
                named = member.filename.encode() + b"\n" + member.comment + b"\n" + member.extra
                yield Stretch(_in(place, f"name of member {number}"), named, Texture.TEXT, member.filename)
                yield from stretches(archive.read(member), _in(place, f"member {number}"), depth + 1)
    except _BAD_ARCHIVE:
        yield Stretch(_in(place, "damaged zip"), content, Texture.PACKED)


def _between_members(content: bytes, archive: zipfile.ZipFile) -> bytes:
    """Everything of a zip that is not a member's data: headers, directory, comment, and what was slipped in between."""
    parts, end = [], 0
    for member in sorted(archive.infolist(), key=lambda one: one.header_offset):
        name_bytes, extra_bytes = struct.unpack_from("<HH", content, member.header_offset + 26)
        begin = member.header_offset + 30 + name_bytes + extra_bytes
        parts.append(content[end:begin])
        end = begin + member.compress_size
    return b"\n".join([*parts, content[end:]])


def _tar(content: bytes, place: str, depth: int) -> Iterator[Stretch]:
    """The tape as it lies, since nothing of it is compressed, and every member by itself."""
    yield Stretch(_in(place, "tape"), content, Texture.PACKED)
    with suppress(*_BAD_ARCHIVE), tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for number, member in enumerate(archive):
            named = "\n".join((member.name, member.uname, member.gname, member.linkname)).encode(errors="replace")
            yield Stretch(_in(place, f"name of member {number}"), named, Texture.TEXT, member.name)
            file = archive.extractfile(member)
            if file is not None:
                yield from stretches(file.read(), _in(place, f"member {number}"), depth + 1)


def _png(content: bytes, place: str) -> Iterator[Stretch]:
    start = 8
    while start + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, start)
        chunk = content[start + 8 : start + 8 + length]
        if kind not in (b"IDAT", b"fdAT"):
            yield Stretch(_in(place, "PNG chunk"), chunk, Texture.TEXT if kind in _PNG_TEXTS else _texture(chunk))
        for packed in _packed_texts(kind, chunk):
            with suppress(zlib.error):
                yield Stretch(_in(place, "PNG text"), zlib.decompress(packed), Texture.TEXT)
        start += 12 + length
        if kind == b"IEND":
            break
    yield Stretch(_in(place, "after the end of the PNG"), content[start:], _texture(content[start:]))


def _packed_texts(kind: bytes, chunk: bytes) -> Iterator[bytes]:
    """The compressed part of a chunk that has one: zTXt, iCCP, and iTXt where it says so (PNG 11.3.3)."""
    after_keyword = chunk.partition(b"\0")[2]
    if kind in (b"zTXt", b"iCCP"):
        yield after_keyword[1:]
    elif kind == b"iTXt" and after_keyword[:1] == b"\1":
        yield after_keyword[2:].split(b"\0", 2)[-1]


def _jpeg(content: bytes, place: str) -> Iterator[Stretch]:
    """The segments of a JPEG without its coded pixels, and what stands behind its end (ITU-T T.81, annex B)."""
    start = 2
    while start + 4 <= len(content) and content[start] == _MARKER:
        kind = content[start + 1]
        if kind == _END_OF_IMAGE:
            start += 2
            break
        if kind in _BARE_MARKERS:
            start += 1 if kind == _MARKER else 2
            continue
        end = start + 2 + int.from_bytes(content[start + 2 : start + 4], "big")
        segment = content[start + 4 : end]
        if kind not in _CODING_TABLES:
            is_text = kind == _COMMENT or kind in _APPLICATION_DATA
            yield Stretch(_in(place, "JPEG segment"), segment, Texture.TEXT if is_text else _texture(segment))
        start = _next_marker(content, end) if kind == _START_OF_SCAN else end
    else:
        start = start + 2 if content[start : start + 2] == _JPEG_END else start
    yield Stretch(_in(place, "after the end of the JPEG"), content[start:], _texture(content[start:]))


def _next_marker(content: bytes, start: int) -> int:
    """Where the coded pixels of a scan end: at a marker that is no stuffed byte and no restart."""
    found = _SCAN_END.search(content, start)
    return found.start() if found else len(content)


def _parquet(content: bytes, place: str) -> Iterator[Stretch]:
    """The file as it lies, for what is not compressed, and every cell as text."""
    yield Stretch(_in(place, "content"), content, Texture.PACKED)
    with suppress(ArrowException, OSError):
        table = parquet.read_table(io.BytesIO(content))
        cells = (str(cell) for column in table.columns for cell in column.to_pylist())
        yield Stretch(_in(place, "cells"), "\n".join(cells).encode(errors="replace"), Texture.TEXT)
        yield Stretch(_in(place, "schema"), str(table.schema.metadata).encode(), Texture.TEXT)


def _nifti(content: bytes, place: str) -> Iterator[Stretch]:
    declared = struct.unpack_from("<f", content, 108)[0]
    voxels_from = int(declared) if _NIFTI_HEADER_BYTES <= declared <= len(content) else _NIFTI_HEADER_BYTES
    yield Stretch(_in(place, "NIfTI header"), content[:voxels_from], Texture.TEXT)
    yield Stretch(_in(place, "voxels"), memoryview(content)[voxels_from:], Texture.VOXELS)


def _dicom(content: bytes, place: str) -> Iterator[Stretch]:
    if _DEFLATED_SYNTAX in content[:1024]:
        content = _deflated(content)
    pixels = content.find(_PIXEL_TAG_BYTES)
    if pixels < 0:
        yield Stretch(_in(place, "DICOM header"), content, Texture.TEXT)
        return
    begin, end = _pixel_bytes(content, pixels)
    yield Stretch(_in(place, "DICOM header"), content[:begin], Texture.TEXT)
    if content[begin - 4 : begin] == _UNDEFINED_LENGTH_BYTES:
        yield from _fragments(content[begin:end], place)
    else:
        yield Stretch(_in(place, "pixels"), memoryview(content)[begin:end], Texture.VOXELS)
    yield Stretch(_in(place, "after the pixels"), content[end:], Texture.TEXT)


def _pixel_bytes(content: bytes, tag: int) -> tuple[int, int]:
    """Where the value of PixelData begins and ends."""
    is_explicit = content[tag + 4 : tag + 6] in (b"OW", b"OB")
    length_at = tag + 8 if is_explicit else tag + 4
    begin = min(length_at + 4, len(content))
    length = int.from_bytes(content[length_at:begin], "little")
    if length != 0xFFFFFFFF:
        return begin, min(begin + length, len(content))
    end = content.rfind(_SEQUENCE_END_BYTES, begin)
    return begin, end if end >= 0 else len(content)


def _deflated(content: bytes) -> bytes:
    """A deflated file with its data set inflated; as it is when it cannot be inflated."""
    length = int.from_bytes(content[140:144], "little")
    begin = 144 + length
    with suppress(zlib.error):
        return content[:begin] + zlib.decompress(content[begin:], wbits=-15)
    return content


def _fragments(content: bytes, place: str) -> Iterator[Stretch]:
    """Each fragment of encapsulated pixels (PS3.5 A.4); what is no whole item as it lies."""
    start = 0
    while content[start : start + 4] == _ITEM_TAG:
        length = int.from_bytes(content[start + 4 : start + 8], "little")
        yield from stretches(content[start + 8 : start + 8 + length], _in(place, "pixels"), MAX_DEPTH)
        start += 8 + length
    yield Stretch(_in(place, "pixels"), content[start:], _texture(content[start:]))


def _texture(content: bytes) -> Texture:
    """Text, or anything else that is known to hold no voxels."""
    head = content[: 1 << 16]
    controls = len(head) - len(head.translate(None, _CONTROLS))
    is_text = controls <= MOST_CONTROLS * len(head) or head.startswith((b"\xff\xfe", b"\xfe\xff", _SQLITE))
    return Texture.TEXT if is_text else Texture.PACKED


def _in(place: str, part: str) -> str:
    return f"{place}, {part}" if place else part
