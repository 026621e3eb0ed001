"""What a JPEG XL image says of itself, in a bare codestream or in a container of boxes (ISO 18181)."""

from __future__ import annotations

import struct

from pipeline.dicom.read.damage import DamagedError

CODESTREAM = b"\xff\x0a"
CONTAINER = b"\x00\x00\x00\x0cJXL \r\n\x87\n"
"""How a bare codestream and a container begin (ISO 18181-2, clause 9)."""

_BOXES = {b"jxlc": 0, b"jxlp": 4}
"""Boxes that hold the codestream, or a part of it behind its number, and how long that number is."""
_LONGEST_HEADER = 64
_RATIOS = ((1, 1), (6, 5), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
_SIZE_BITS = (9, 13, 18, 30)
"""Widths as shares of the height, and how many bits a side may take (ISO 18181-1, SizeHeader)."""


class _Bits:
    """The bits of a header, the lowest of each byte first."""

    def __init__(self, header: bytes) -> None:
        self._left = int.from_bytes(header, "little")

    def take(self, count: int) -> int:
        value = self._left & ((1 << count) - 1)
        self._left >>= count
        return value

    def is_set(self) -> bool:
        return bool(self.take(1))


def jpeg_xl_frame(codestream: bytes) -> tuple[int, int, int]:
    """Bits a sample, rows and columns."""
    precision, rows, columns, _ = _header(codestream)
    return precision, rows, columns


def jpeg_xl_is_lossy(codestream: bytes) -> bool:
    """True where colours were turned into those of the eye (XYB), which rounds; lossless encoders leave them."""
    return _header(codestream)[3]


def bare_codestream(content: bytes) -> bytes:
    """The codestream itself, out of its container where it has one.

    Raises:
        DamagedError: when a box is cut, or something other than zeros follows the last one.
    """
    if not content.startswith(CONTAINER):
        return content
    parts, place = [], 0
    while content[place:].strip(b"\0"):
        size, kind = struct.unpack_from(">I4s", content, place)
        head = 8
        if size == 1:
            (size,), head = struct.unpack_from(">Q", content, place + 8), 16
        if size == 0 and kind in _BOXES:
            size = len(content) - place
        if not head <= size <= len(content) - place or (place and kind == CONTAINER[4:8]):
            raise DamagedError("the boxes of its codestream are cut short, or continue after its end")
        if kind in _BOXES:
            parts.append(content[place + head + _BOXES[kind] : place + size])
        place += size
    return b"".join(parts)


def _header(codestream: bytes) -> tuple[int, int, int, bool]:
    """Bits a sample, rows, columns, and whether colours are XYB (ISO 18181-1, SizeHeader and ImageMetadata)."""
    bare = bare_codestream(codestream)
    if not bare.startswith(CODESTREAM):
        raise DamagedError("it holds no JPEG XL codestream")
    bits = _Bits(bare[2 : 2 + _LONGEST_HEADER])
    rows, columns = _size(bits)
    if bits.is_set():
        return 8, rows, columns, True
    if bits.is_set():
        bits.take(3)
        if bits.take(3):
            raise DamagedError("its codestream is an animation or has a preview")
    if bits.is_set():
        raise DamagedError("its codestream holds fractions, stored values are whole numbers")
    precision = (8, 10, 12, None)[bits.take(2)] or 1 + bits.take(6)
    bits.take(1)
    if bits.take(2):
        raise DamagedError("its codestream has more than one channel")
    return precision, rows, columns, bits.is_set()


def _size(bits: _Bits) -> tuple[int, int]:
    in_eights = bits.is_set()

    def side() -> int:
        return 8 * (1 + bits.take(5)) if in_eights else 1 + bits.take(_SIZE_BITS[bits.take(2)])

    rows, ratio = side(), bits.take(3)
    if not ratio:
        return rows, side()
    across, down = _RATIOS[ratio - 1]
    return rows, rows * across // down
