"""A file taken apart into stretches of bytes to be searched: as it lies, inflated, and every member of an archive.

Each stretch says whether it can hold text; compressed and image bytes hold everything by chance, so that only long
identifiers mean something there.
"""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from isal import igzip, isal_zlib

MAX_DEPTH = 4
"""Archives inside archives are opened this deep."""

SMALL_BYTES = 1 << 20
"""Unknown binary files below this size are searched like text: too small for many chance hits."""

_PIXEL_TAG = b"\xe0\x7f\x10\x00"
_SEQUENCE_END = b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"
_DEFLATED_SYNTAX = b"1.2.840.10008.1.2.1.99"
_NIFTI_HEADER_BYTES = 352
_BAD_GZIP: tuple[type[BaseException], ...] = (EOFError, zlib.error, isal_zlib.IsalError, gzip.BadGzipFile, OSError)
_BAD_ARCHIVE: tuple[type[BaseException], ...] = (
    zipfile.BadZipFile,
    tarfile.TarError,
    *_BAD_GZIP,
    RuntimeError,
    NotImplementedError,
)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Bytes to be searched.

    Attributes:
        place: where in the file, in words.
        content: the bytes.
        is_text: True when they may hold text; False for pixels and compressed bytes.
    """

    place: str
    content: bytes | memoryview
    is_text: bool


def stretches(content: bytes, place: str = "", depth: int = 0) -> Iterator[Stretch]:
    """All that a file's bytes hold, taken apart as deep as its format is known."""
    if content.startswith(b"\x1f\x8b"):
        yield from _gzip(content, place, depth)
    elif content.startswith(b"PK\x03\x04") and depth < MAX_DEPTH:
        yield from _zip(content, place, depth)
    elif content[257:262] == b"ustar" and depth < MAX_DEPTH:
        yield from _tar(content, place, depth)
    elif content.startswith(b"\x89PNG\r\n\x1a\n"):
        yield from _png(content, place)
    elif content[344:348] in (b"n+1\0", b"ni1\0"):
        yield from _nifti(content, place)
    elif content[128:132] == b"DICM":
        yield from _dicom(content, place)
    else:
        yield Stretch(_in(place, "content"), content, _may_be_text(content))


def _gzip(content: bytes, place: str, depth: int) -> Iterator[Stretch]:
    yield Stretch(_in(place, "gzip header"), content[:SMALL_BYTES], is_text=False)
    yield Stretch(_in(place, "compressed bytes"), content[SMALL_BYTES:], is_text=False)
    with suppress(*_BAD_GZIP):
        yield from stretches(igzip.decompress(content), _in(place, "inflated"), depth + 1)


def _zip(content: bytes, place: str, depth: int) -> Iterator[Stretch]:
    yield Stretch(_in(place, "zip bytes"), content, is_text=False)
    with suppress(*_BAD_ARCHIVE), zipfile.ZipFile(io.BytesIO(content)) as archive:
        yield Stretch(_in(place, "zip comment"), archive.comment, is_text=True)
        for number, member in enumerate(archive.infolist()):
            named = member.filename.encode() + b"\n" + member.comment + b"\n" + member.extra
            yield Stretch(_in(place, f"name of member {number}"), named, is_text=True)
            yield from stretches(archive.read(member), _in(place, f"member {number}"), depth + 1)


def _tar(content: bytes, place: str, depth: int) -> Iterator[Stretch]:
    with suppress(*_BAD_ARCHIVE), tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for number, member in enumerate(archive):
            named = "\n".join((member.name, member.uname, member.gname, member.linkname)).encode(errors="replace")
            yield Stretch(_in(place, f"name of member {number}"), named, is_text=True)
            file = archive.extractfile(member)
            if file is not None:
                yield from stretches(file.read(), _in(place, f"member {number}"), depth + 1)


def _png(content: bytes, place: str) -> Iterator[Stretch]:
    start = 8
    while start + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, start)
        chunk = content[start + 8 : start + 8 + length]
        yield Stretch(_in(place, "PNG chunk"), chunk, is_text=kind not in (b"IDAT", b"fdAT"))
        if kind == b"zTXt":
            with suppress(zlib.error):
                yield Stretch(_in(place, "PNG text"), zlib.decompress(chunk.partition(b"\0")[2][1:]), is_text=True)
        start += 12 + length
        if kind == b"IEND":
            break
    yield Stretch(_in(place, "after the end of the PNG"), content[start:], is_text=True)


def _nifti(content: bytes, place: str) -> Iterator[Stretch]:
    voxels_from = max(int(struct.unpack_from("<f", content, 108)[0]), _NIFTI_HEADER_BYTES)
    voxels_from = min(voxels_from, len(content))
    yield Stretch(_in(place, "NIfTI header"), content[:voxels_from], is_text=True)
    yield Stretch(_in(place, "voxels"), memoryview(content)[voxels_from:], is_text=False)


def _dicom(content: bytes, place: str) -> Iterator[Stretch]:
    if _DEFLATED_SYNTAX in content[:1024]:
        content = _deflated(content)
    pixels = content.find(_PIXEL_TAG)
    if pixels < 0:
        yield Stretch(_in(place, "DICOM header"), content, is_text=True)
        return
    begin, end = _pixel_bytes(content, pixels)
    yield Stretch(_in(place, "DICOM header"), content[:begin], is_text=True)
    yield Stretch(_in(place, "pixels"), memoryview(content)[begin:end], is_text=False)
    yield Stretch(_in(place, "after the pixels"), content[end:], is_text=True)


def _pixel_bytes(content: bytes, tag: int) -> tuple[int, int]:
    """Where the value of PixelData begins and ends."""
    is_explicit = content[tag + 4 : tag + 6] in (b"OW", b"OB")
    length_at = tag + 8 if is_explicit else tag + 4
    begin = min(length_at + 4, len(content))
    length = int.from_bytes(content[length_at:begin], "little")
    if length != 0xFFFFFFFF:
        return begin, min(begin + length, len(content))
    end = content.rfind(_SEQUENCE_END, begin)
    return begin, end if end >= 0 else len(content)


def _deflated(content: bytes) -> bytes:
    """A deflated file with its data set inflated; as it is when it cannot be inflated."""
    length = int.from_bytes(content[140:144], "little")
    begin = 144 + length
    with suppress(zlib.error):
        return content[:begin] + zlib.decompress(content[begin:], wbits=-15)
    return content


def _may_be_text(content: bytes) -> bool:
    if len(content) < SMALL_BYTES or content.startswith(b"SQLite format 3\0"):
        return True
    return b"\0" not in content[:4096]


def _in(place: str, part: str) -> str:
    return f"{place}, {part}" if place else part
