"""Encapsulated pixels taken apart: items, fragments, and the frames they make up (PS3.5 A.4).

Everything must be there: each item as long as it says, an end, and nothing between that is no item.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from itertools import pairwise

from pipeline.dicom.read import jpeg_xl
from pipeline.dicom.read.codestreams import J2K_BEGINNING, JPEG_BEGINNING, end_of
from pipeline.dicom.read.damage import DamagedError
from pipeline.dicom.read.syntaxes import Codec

_FRAGMENT = (0xFFFE, 0xE000)
_FRAGMENTS_END = (0xFFFE, 0xE0DD)
_BEFORE_ITEM = 8

_BEGINNINGS: Mapping[Codec, tuple[bytes, ...]] = {
    Codec.JPEG: (JPEG_BEGINNING,),
    Codec.JPEG_LS: (JPEG_BEGINNING,),
    Codec.JPEG_2000: (J2K_BEGINNING,),
    Codec.JPEG_XL: (jpeg_xl.CODESTREAM, jpeg_xl.CONTAINER),
}
"""How the codestream of a frame begins."""


def codestreams_in(content: bytes, frames: int, codec: Codec) -> tuple[list[bytes], int]:
    """The codestream of each frame, and where the sequence of fragments ends.

    The basic offset table says which fragments belong together. Where it is empty, a frame is one fragment, or begins
    with a fragment that begins as codestreams do. A single frame needs no table.

    Args:
        content: the value of PixelData and what follows it in the file.
        frames: NumberOfFrames.
        codec: how pixels are stored.

    Raises:
        DamagedError: when fragments are cut, empty or missing, or do not make up so many frames.
    """
    items, end = _items(content)
    if len(items) < 2:
        raise DamagedError("it holds no fragment of an image")
    places = [place for place, _ in items[1:]]
    fragments = [content[place + _BEFORE_ITEM : place + _BEFORE_ITEM + size] for place, size in items[1:]]
    if not all(fragments):
        raise DamagedError("a fragment of its pixels is empty")
    if frames == 1:
        return [_joined(fragments, codec)], end
    starts = _starts_by_table(content[_BEFORE_ITEM : places[0]], places) or _starts(fragments, frames, codec)
    if len(starts) != frames:
        raise DamagedError(f"its fragments make up {len(starts)} frames, the header says {frames}")
    bounds = pairwise([*starts, len(fragments)])
    return [_joined(fragments[first:last], codec) for first, last in bounds], end


def _joined(fragments: list[bytes], codec: Codec) -> bytes:
    """The codestream of a frame, which ends in its last fragment; fragments of zeros may follow."""
    used = max((number for number, fragment in enumerate(fragments) if fragment.strip(b"\0")), default=0)
    before = b"".join(fragments[:used])
    if codec in _BEGINNINGS and codec is not Codec.JPEG_XL and before and end_of(before, codec) is not None:
        raise DamagedError("its codestream continues after its end")
    return before + b"".join(fragments[used:])


def _items(content: bytes) -> tuple[list[tuple[int, int]], int]:
    """Where each item begins and how long it is, the offset table first; and where the sequence ends."""
    items: list[tuple[int, int]] = []
    place = 0
    while place + _BEFORE_ITEM <= len(content):
        group, element, size = struct.unpack_from("<HHI", content, place)
        if (group, element) == _FRAGMENTS_END:
            return items, place + _BEFORE_ITEM
        if (group, element) != _FRAGMENT:
            raise DamagedError("what stands between the fragments of its pixels is no fragment")
        items.append((place, size))
        place += _BEFORE_ITEM + size
    raise DamagedError("it is cut short: the fragments of its pixels have no end")


def _starts_by_table(table: bytes, places: list[int]) -> list[int]:
    """Number of the first fragment of each frame, by the basic offset table; none where that is empty."""
    offsets = [places[0] + offset for (offset,) in struct.iter_unpack("<I", table[: len(table) // 4 * 4])]
    number_at = {place: number for number, place in enumerate(places)}
    starts = [number_at.get(offset, -1) for offset in offsets]
    if starts and (starts[0] != 0 or starts != sorted(set(starts))):
        raise DamagedError("its offset table leads to places where no frame begins")
    return starts


def _starts(fragments: list[bytes], frames: int, codec: Codec) -> list[int]:
    if len(fragments) == frames or codec is Codec.RLE:
        return list(range(len(fragments)))
    return [number for number, fragment in enumerate(fragments) if fragment.startswith(_BEGINNINGS[codec])]
