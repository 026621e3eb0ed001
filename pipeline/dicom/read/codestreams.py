"""What a compressed image says of itself before it is decoded: bits a sample, size, loss, and where it ends."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from pipeline.dicom.read.jpeg_xl import jpeg_xl_is_lossy
from pipeline.dicom.read.syntaxes import Codec

JPEG_LOSSLESS_FRAME = 0xC3
JPEG_SEQUENTIAL_FRAMES = frozenset({0xC0, 0xC1})
JPEG_TABLES = 0xC4
JPEG_RESTARTS = 0xDD
JPEG_SCAN = 0xDA
JPEG_BEGINNING = b"\xff\xd8"
JPEG_END = b"\xff\xd9"
_JPEG_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xF7})
_JPEG_LOSSLESS_FRAMES = frozenset({JPEG_LOSSLESS_FRAME, 0xC7})
"""Markers of images, frame, table and scan headers: ISO 10918-1 table B.1, ISO 14495-1 C.1 for JPEG-LS (0xF7)."""

J2K_BEGINNING = b"\xff\x4f\xff\x51"
_J2K_DATA = b"\xff\x93"
_J2K_CODING_STYLE = 0xFF52
_J2K_TILE = 0xFF90
_J2K_REVERSIBLE = 1
"""Markers SOC and SIZ, SOD, COD and SOT, and the code of the 5-3 wavelet: ISO 15444-1 A.2 and table A.20."""


def jpeg_frame(codestream: bytes) -> tuple[int, int, int]:
    """Bits a sample, rows and columns, from the frame header (ISO 10918-1 B.2.2, ISO 14495-1 C.2.2)."""
    for marker, place in jpeg_segments(codestream):
        if marker in _JPEG_FRAMES:
            precision, rows, columns = struct.unpack_from(">BHH", codestream, place + 2)
            return precision, rows, columns
    raise ValueError("no frame header")


def jpeg_2000_frame(codestream: bytes) -> tuple[int, int, int]:
    """Bits a sample, rows and columns, from the SIZ marker segment (ISO 15444-1 A.5.1)."""
    start = codestream.index(J2K_BEGINNING)
    right, bottom, left, top = struct.unpack_from(">4I", codestream, start + 8)
    return (codestream[start + 42] & 0x7F) + 1, bottom - top, right - left


def is_lossy(codestream: bytes, codec: Codec) -> bool:
    """True when the encoder altered pixels, as far as the headers of the codestream tell.

    JPEG by its process, JPEG-LS by the error it allows (NEAR), both by bits they leave out, JPEG 2000 by its wavelet:
    9-7 rounds, 5-3 does not. A 5-3 stream whose encoder left out its last bit planes looks whole; only
    LossyImageCompression tells of it. JPEG XL by its colours.
    """
    if codec is Codec.JPEG_XL:
        return jpeg_xl_is_lossy(codestream)
    if codec is Codec.JPEG_2000:
        return not _is_reversible(codestream)
    if codec in (Codec.JPEG, Codec.JPEG_LS):
        return _jpeg_is_lossy(codestream)
    return False


def end_of(codestream: bytes, codec: Codec) -> int | None:
    """Where a codestream ends, behind its end marker; None where there is no end.

    The marker cannot stand among entropy-coded bits, which are stuffed (ISO 10918-1 B.1.1.5, ISO 14495-1 A.1,
    ISO 15444-1 D.4.1). RLE and JPEG XL have none, so they end where they end; their decoders count.
    """
    if codec in (Codec.JPEG, Codec.JPEG_LS):
        start = max((place for marker, place in jpeg_segments(codestream) if marker == JPEG_SCAN), default=-1)
    elif codec is Codec.JPEG_2000:
        start = codestream.find(_J2K_DATA)
    else:
        return len(codestream)
    end = codestream.find(JPEG_END, max(start, 0))
    return None if start < 0 or end < 0 else end + len(JPEG_END)


def _jpeg_is_lossy(codestream: bytes) -> bool:
    frame = 0
    for marker, place in jpeg_segments(codestream):
        if marker in _JPEG_FRAMES:
            frame = marker
        if marker == JPEG_SCAN:
            near, _, dropped = codestream[place + 3 + 2 * codestream[place + 2] :][:3]
            return bool(dropped & 0x0F) or (near > 0 if frame == 0xF7 else frame not in _JPEG_LOSSLESS_FRAMES)
    raise ValueError("no scan header")


def jpeg_segments(codestream: bytes) -> Iterator[tuple[int, int]]:
    """Markers up to the first scan, and where the length of each segment stands."""
    place, marker = 2, 0
    while marker != JPEG_SCAN and place + 9 < len(codestream):
        if codestream[place] != 0xFF:
            raise ValueError("no marker where one must be")
        marker = codestream[place + 1]
        if marker == 0xFF:
            place += 1
            continue
        yield marker, place + 2
        place += 2 + struct.unpack_from(">H", codestream, place + 2)[0]


def _is_reversible(codestream: bytes) -> bool:
    place = codestream.index(J2K_BEGINNING) + 2
    while True:
        marker, length = struct.unpack_from(">HH", codestream, place)
        if marker == _J2K_CODING_STYLE:
            return codestream[place + 13] == _J2K_REVERSIBLE
        if marker == _J2K_TILE:
            raise ValueError("no coding style")
        place += 2 + length
