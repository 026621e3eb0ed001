"""Whether the entropy-coded bits of a JPEG are those of its image: not one too few, not a byte too many.

The decoder makes up what is missing and passes over what is too much, without a word. A lossless image tells how many
bits its differences take. The bits of a lossy one are gone through code by code.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.dicom.read.codestreams import (
    JPEG_END,
    JPEG_LOSSLESS_FRAME,
    JPEG_RESTARTS,
    JPEG_SCAN,
    JPEG_SEQUENTIAL_FRAMES,
    JPEG_TABLES,
    jpeg_segments,
)
from pipeline.dicom.read.damage import DamagedError

_RESTART = re.compile(rb"\xff+([\xd0-\xd7])")
_STUFFED = b"\xff\x00"
_BLOCK = 8
_COEFFICIENTS = _BLOCK * _BLOCK
_LONGEST_CODE = 16
_NO_CODE = 200, 0
"""Length of a code that a table lacks: more than there are bits for."""

Codes = dict[int, tuple[int, int]]
"""A Huffman table: the value of each code to its length and its bits (ISO 10918-1 annex C)."""


@dataclass(slots=True)
class _Scan:
    """The one scan of a monochrome JPEG (ISO 10918-1 B.2)."""

    process: int = 0
    precision: int = 0
    rows: int = 0
    columns: int = 0
    tables: dict[int, Codes] = field(default_factory=dict)
    restart_interval: int = 0
    table_ids: int = 0
    predictor: int = 0
    dropped_bits: int = 0
    start: int = 0


def require_all_bits(codestream: bytes, image: NDArray[Any]) -> None:
    """Raise where the bits of a JPEG are more or fewer than its image takes.

    Args:
        codestream: of one component, with its end.
        image: as decoded.

    Raises:
        DamagedError: when bits are missing or left over.
    """
    scan = _scan_of(codestream)
    parts = _intervals(codestream[scan.start : codestream.index(JPEG_END, scan.start)], scan)
    if scan.process == JPEG_LOSSLESS_FRAME:
        needed = _lossless_bytes(scan, image)
    elif scan.process in JPEG_SEQUENTIAL_FRAMES:
        needed = _sequential_bytes(scan, parts)
    else:
        raise DamagedError("its JPEG process is none that DICOM allows")
    if [len(part) for part in parts] != list(needed):
        raise DamagedError("its codestream holds more or fewer bits than its image takes: part of it is lost")


def _scan_of(codestream: bytes) -> _Scan:
    scan = _Scan()
    for marker, place in jpeg_segments(codestream):
        (length,) = struct.unpack_from(">H", codestream, place)
        content = codestream[place + 2 : place + length]
        if marker in (JPEG_LOSSLESS_FRAME, *JPEG_SEQUENTIAL_FRAMES):
            scan.process = marker
            scan.precision, scan.rows, scan.columns, components = struct.unpack_from(">BHHB", content)
            if components != 1:
                raise DamagedError(f"its codestream has {components} components, a monochrome image has one")
        elif marker == JPEG_TABLES:
            scan.tables.update(_tables(content))
        elif marker == JPEG_RESTARTS:
            (scan.restart_interval,) = struct.unpack(">H", content)
        elif marker == JPEG_SCAN:
            _, _, scan.table_ids, scan.predictor, _, scan.dropped_bits = content
            scan.start = place + length
            break
    return scan


def _tables(content: bytes) -> Iterator[tuple[int, Codes]]:
    """Class and number of each Huffman table of a segment, in one byte, and its codes (ISO 10918-1 B.2.4.2)."""
    place = 0
    while place < len(content):
        counts = content[place + 1 : place + 17]
        values = content[place + 17 : place + 17 + sum(counts)]
        lengths = [length for length, count in enumerate(counts, start=1) for _ in range(count)]
        codes: Codes = {}
        code, before = 0, 1
        for value, length in zip(values, lengths, strict=True):
            code <<= length - before
            codes[value] = length, code
            code, before = code + 1, length
        yield content[place], codes
        place += 17 + len(values)


def _intervals(content: bytes, scan: _Scan) -> list[bytes]:
    """The bits of each restart interval, without stuffing; restart markers count from 0 to 7 and over."""
    parts = _RESTART.split(content) if scan.restart_interval else [content]
    numbers = [marker[0] - 0xD0 for marker in parts[1::2]]
    if numbers != [number % 8 for number in range(len(numbers))]:
        raise DamagedError("its restart markers do not follow one another: part of it is lost")
    return [part.rstrip(b"\xff").replace(_STUFFED, b"\xff") for part in parts[::2]]


def _lossless_bytes(scan: _Scan, image: NDArray[Any]) -> Iterator[int]:
    """How many bytes the differences of a lossless image take, by restart interval (ISO 10918-1 H.1)."""
    codes = scan.tables[scan.table_ids >> 4]
    bits_of = _bits_of_difference(tuple(codes.get(size, _NO_CODE)[0] for size in range(_LONGEST_CODE + 1)))
    rows = scan.restart_interval // scan.columns or scan.rows
    for first in range(0, scan.rows, rows):
        differences = _differences(image[first : first + rows], scan)
        yield -(-int(bits_of[differences].sum(dtype=np.int64)) // 8)


@lru_cache(maxsize=64)
def _bits_of_difference(code_lengths: tuple[int, ...]) -> NDArray[np.uint8]:
    """Bits that each difference takes, by its 16 bits: a code for its size, then as many bits (ISO 10918-1 H.1.2.2)."""
    magnitude = np.abs(np.arange(1 << 16, dtype=np.uint16).view(np.int16).astype(np.int32))
    size = np.frexp(magnitude)[1]
    return (np.array(code_lengths)[size] + np.where(size < _LONGEST_CODE, size, 0)).astype(np.uint8)


def _differences(image: NDArray[Any], scan: _Scan) -> NDArray[np.uint16]:
    """Samples less what is predicted of them, modulo 65536 (ISO 10918-1 H.1.2.1)."""
    samples = (image >> scan.dropped_bits if scan.dropped_bits else image).astype(np.uint16, copy=False)
    differences = samples.copy()
    middle = 1 << (scan.precision - scan.dropped_bits - 1)
    differences[0, 0] = (int(samples[0, 0]) - middle) & 0xFFFF
    differences[0, 1:] -= samples[0, :-1]
    differences[1:, 0] -= samples[:-1, 0]
    if scan.predictor in _HALVING:
        samples = samples.astype(np.int32)
    left, above, corner = samples[1:, :-1], samples[:-1, 1:], samples[:-1, :-1]
    differences[1:, 1:] -= _PREDICTED[scan.predictor](left, above, corner).astype(np.uint16, copy=False)
    return differences


_PREDICTED = {
    1: lambda left, above, corner: left,
    2: lambda left, above, corner: above,
    3: lambda left, above, corner: corner,
    4: lambda left, above, corner: left + above - corner,
    5: lambda left, above, corner: left + ((above - corner) >> 1),
    6: lambda left, above, corner: above + ((left - corner) >> 1),
    7: lambda left, above, corner: (left + above) >> 1,
}
"""Predictors by their selection value: ISO 10918-1 table H.1."""
_HALVING = frozenset({5, 6, 7})
"""Those whose sums must not wrap around before they are halved."""


def _sequential_bytes(scan: _Scan, parts: list[bytes]) -> Iterator[int]:
    """How many bytes the blocks of a lossy image take, by restart interval (ISO 10918-1 F.1.2)."""
    direct, alternating = scan.tables[scan.table_ids >> 4], scan.tables[0x10 | scan.table_ids & 0x0F]
    blocks = -(-scan.rows // _BLOCK) * -(-scan.columns // _BLOCK)
    interval = scan.restart_interval or blocks
    for part, first in zip(parts, range(0, blocks, interval), strict=True):
        yield -(-_bits_of_blocks(part, min(interval, blocks - first), direct, alternating) // 8)


def _bits_of_blocks(part: bytes, blocks: int, direct: Codes, alternating: Codes) -> int:
    """Where so many blocks end, in bits; beyond the end where bits are missing."""
    ahead = _windows(part)
    first_steps = _lookup({value: length + value for value, (length, _) in direct.items()}, direct)[ahead].tolist()
    later = {value: length + (value & 0x0F) for value, (length, _) in alternating.items()}
    later_steps = _lookup(later, alternating)[ahead].tolist()
    runs = _lookup({value: _run(value) for value in alternating}, alternating)[ahead].tolist()
    place, end = 0, len(ahead)
    for _ in range(blocks):
        steps, coefficient = first_steps, 0
        while coefficient < _COEFFICIENTS:
            if place >= end:
                return end + 1
            coefficient += runs[place] if coefficient else 1
            place, steps = place + steps[place], later_steps
    return place


def _run(value: int) -> int:
    """How many coefficients a code stands for; 0, the end of the block, for all that are left."""
    return _COEFFICIENTS if value == 0 else (value >> 4) + 1


def _windows(part: bytes) -> NDArray[np.int32]:
    """The 16 bits that follow each bit, ones after the last."""
    padded = np.frombuffer(part + b"\xff\xff", np.uint8).astype(np.int32)
    words = padded[:-2] << 16 | padded[1:-1] << 8 | padded[2:]
    return (words[:, None] >> (8 - np.arange(8)) & 0xFFFF).ravel()


def _lookup(value_of: dict[int, int], codes: Codes) -> NDArray[np.int32]:
    """What a code stands for, by 16 bits that begin with it; a step beyond all ends where there is no such code."""
    table = np.full(1 << _LONGEST_CODE, 1 << 30, np.int32)
    for value, (length, code) in codes.items():
        free = _LONGEST_CODE - length
        table[code << free : (code + 1) << free] = value_of[value]
    return table
