"""A header read fast: one step from element to element, values taken only where they are indexed.

It understands little endian files with preamble and meta header, one frame each, in ascending order of tags: nearly all
there are. On anything else it gives up, and pydicom reads the file; it never guesses.

Slices of one series repeat most of their header byte for byte. The walker remembers such runs of elements: where the
same bytes come again, at an element's beginning and under the same character set, they mean the same, and one
comparison takes the place of many steps. Several series may lie mixed.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Final

from pipeline.dicom.read import header as words
from pipeline.dicom.read.header import charset_of, creator_tag, plain_value, private_b_value
from pipeline.dicom.read.mosaic import is_mosaic
from pipeline.dicom.read.syntaxes import BIG_ENDIAN, DEFLATED, GE_PRIVATE, IMPLICIT, SYNTAXES

_WALKED_SYNTAXES: Final = SYNTAXES.keys() - {DEFLATED, BIG_ENDIAN, GE_PRIVATE}

_UNDEFINED_LENGTH: Final = 0xFFFFFFFF
_ITEM: Final = 0xFFFEE000
_ITEM_END: Final = 0xFFFEE00D
_SEQUENCE_END: Final = 0xFFFEE0DD
_PER_FRAME: Final = 0x52009230
_FIRST_PIXEL_TAG: Final = 0x7FE00001
_FIRST_TAG: Final = 0x00080000
_MAX_SEQUENCE_DEPTH: Final = 16
_PREAMBLE_BYTES: Final = 132

_SHORT_VRS = "AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US"
_LONG_VRS = "OB OD OF OL OV OW SQ SV UC UN UR UT UV"
_VR_CODE = struct.Struct("<H")
_BYTES_BEFORE_VALUE: Final = {_VR_CODE.unpack(vr.encode())[0]: 8 for vr in _SHORT_VRS.split()} | {
    _VR_CODE.unpack(vr.encode())[0]: 12 for vr in _LONG_VRS.split()
}
"""Two letters of a VR, as a number, to the bytes of tag, VR and length (PS3.5 7.1.2)."""
_SQ, _OB, _OW, _UN = (_VR_CODE.unpack(vr)[0] for vr in (b"SQ", b"OB", b"OW", b"UN"))
_KNOWN_VRS: Final = {code: code.to_bytes(2, "little").decode() for code in _BYTES_BEFORE_VALUE if code != _UN}
"""The VR told by an element; where it tells none, or "unknown", the dictionary's is taken."""
_PRIVATE: Final = frozenset(words.PRIVATE_B_VALUES) | {creator_tag(tag) for tag in words.PRIVATE_B_VALUES}
_WANTED: Final = _PRIVATE | set(words.TAGS)
_CHARSET_TAG: Final = 0x00080005
_SYNTAX_TAG: Final = 0x00020010
_ESSENTIAL: Final = {"SOPClassUID", "SeriesInstanceUID"}
"""Without these and without pixels it is a directory, or the rest of a broken file: not for a fast look."""
_WORTH_LEARNING: Final = 20
"""Elements read one by one above which learning from them pays: a known series needs about ten."""
_MAX_SEEN: Final = 1 << 16
_MAX_RUNS: Final = 8
"""What is remembered at most: elements, and runs that begin with the same tag (series lie mixed in some folders)."""

Element = tuple[int, int, int, int]
"""Tag, VR as a number (0 where the file tells none), where the value begins and where the next element begins."""
ElementAt = Callable[..., Element]
"""The element that begins at a position of a header."""

_explicit = struct.Struct("<HHHH").unpack_from
_implicit = struct.Struct("<HHI").unpack_from
_length = struct.Struct("<I").unpack_from


class Verdict(Enum):
    """What the walker says when it has no header."""

    GIVE_UP = "something it does not fully understand"
    MORE = "the header continues after the given bytes"


class _GiveUpError(Exception):
    pass


class _MoreError(Exception):
    pass


class Walker:
    """Reads headers one after another, faster where they resemble each other; remembers bytes only while it lives."""

    def __init__(self) -> None:
        self._memories = {syntax: _Memory(syntax) for syntax in _WALKED_SYNTAXES}

    def walk(self, head: bytes, size: int) -> dict[str, object] | Verdict:
        """The indexed attributes of a DICOM file, or why they were not read.

        Args:
            head: the first bytes of the file.
            size: bytes in the file.
        """
        try:
            syntax, start = _meta(head)
            memory = self._memories.get(syntax)
            if memory is None:
                return Verdict.GIVE_UP
            header = _walk(head, start, size, memory)
        except _GiveUpError:
            return Verdict.GIVE_UP
        except (_MoreError, struct.error):
            return Verdict.MORE if len(head) < size else Verdict.GIVE_UP
        is_whole = words.PIXEL_OFFSET in header or header.keys() >= _ESSENTIAL
        if not is_whole or header.get("NumberOfFrames", 1) != 1 or is_mosaic(header):
            return Verdict.GIVE_UP
        header[words.TRANSFER_SYNTAX] = memory.syntax
        return header


def _meta(head: bytes) -> tuple[str, int]:
    """TransferSyntaxUID, "" where it is not plainly there, and where the meta group ends."""
    if head[128:140] != b"DICM\x02\x00\x00\x00UL\x04\x00":
        raise _GiveUpError
    end = _PREAMBLE_BYTES + 12 + _length(head, 140)[0]
    if end + 8 > len(head):
        raise _MoreError
    position, syntax = _PREAMBLE_BYTES + 12, ""
    while position < end:
        tag, _, start, stop = _explicit_element(head, position)
        if tag >> 16 != 2:
            raise _GiveUpError
        if tag == _SYNTAX_TAG:
            syntax = head[start:stop].strip(b" \0").decode("latin-1")
        position = stop
    if position != end:
        raise _GiveUpError
    return syntax, end


def _walk(head: bytes, position: int, size: int, memory: _Memory) -> dict[str, object]:
    if memory.is_implicit and _VR_CODE.unpack_from(head, position + 4)[0] in _BYTES_BEFORE_VALUE:
        raise _GiveUpError  # says implicit, looks explicit
    found, element_at, runs = _Found(), memory.element_at, memory.runs
    seen: list[tuple[int, int, int]] = []
    last = _FIRST_TAG - 1
    while position < size:
        for run in runs.get(head[position : position + 4], ()):
            if head.startswith(run.content, position) and run.first > last and run.charset == found.charset:
                found.header.update(run.header)
                found.private.update(run.private)
                position += len(run.content)
                last = run.last
                break
        else:
            tag, vr, start, stop = element_at(head, position)
            if tag <= last or tag == _PER_FRAME:
                raise _GiveUpError
            if tag >= _FIRST_PIXEL_TAG:
                found.header.update(_pixels(tag, vr, start, stop, size))
                position = size
                break
            if tag in _WANTED:
                found.take(head, tag, vr, start, stop)
            seen.append((tag, position, stop))
            position, last = stop, tag
    if position != size:
        raise _GiveUpError
    if len(seen) > _WORTH_LEARNING:
        memory.learn(head, seen, found.charset)
    return found.finished()


class _Found:
    """The indexed attributes so far."""

    __slots__ = ("charset", "header", "private")

    def __init__(self, charset: str = "") -> None:
        self.charset = charset
        self.header: dict[str, object] = {}
        self.private: dict[int, bytes] = {}

    def take(self, head: bytes, tag: int, vr: int, start: int, stop: int) -> None:
        if stop > len(head):
            raise _MoreError
        if tag in _PRIVATE:
            self.private[tag] = head[start:stop]
            return
        keyword, dictionary_vr = words.TAGS[tag]
        if dictionary_vr == "SQ":
            self.header[keyword] = 1
            return
        known_vr = _KNOWN_VRS.get(vr, dictionary_vr)
        value = plain_value(head[start:stop], known_vr, little_endian=True, charset=self.charset)
        if value is not None:
            self.header[keyword] = value
        if tag == _CHARSET_TAG:
            self.charset = charset_of(self.header)

    def finished(self) -> dict[str, object]:
        if not self.private.keys().isdisjoint(words.PRIVATE_B_VALUES) and "DiffusionBValue" not in self.header:
            b_value = private_b_value(self.private, little_endian=True)
            if b_value is not None:
                self.header["DiffusionBValue"] = b_value
        return self.header


@dataclass(frozen=True, slots=True)
class _Run:
    """Elements that came more than once with the same bytes, and what they mean."""

    content: bytes
    first: int
    last: int
    charset: str
    header: dict[str, object]
    private: dict[int, bytes]


class _Memory:
    """What headers of one transfer syntax have in common."""

    def __init__(self, syntax: str) -> None:
        self.syntax = syntax
        self.is_implicit = syntax == IMPLICIT
        self.element_at: ElementAt = _implicit_element if self.is_implicit else _explicit_element
        self.runs: dict[bytes, list[_Run]] = defaultdict(list)
        self._seen: set[int] = set()  # hashes: a false one makes a run that never comes again

    def learn(self, head: bytes, seen: Sequence[tuple[int, int, int]], charset: str) -> None:
        """Remember the elements just read one by one, as runs where they came before."""
        same: list[tuple[int, int, int]] = []
        for tag, start, stop in seen:
            content = hash(head[start:stop])
            came_before = content in self._seen and tag > _CHARSET_TAG
            if not came_before or (same and same[-1][2] != start):
                self._remember(head, same, charset)
                same = []
            if came_before:
                same.append((tag, start, stop))
            self._seen.add(content)
        self._remember(head, same, charset)
        if len(self._seen) > _MAX_SEEN:
            self._seen.clear()

    def _remember(self, head: bytes, elements: Sequence[tuple[int, int, int]], charset: str) -> None:
        if not elements:
            return
        first, begin, _ = elements[0]
        last, _, end = elements[-1]
        if end > len(head):
            return
        found = _Found(charset)
        for tag, position, _ in elements:
            if tag in _WANTED:
                _, vr, start, stop = self.element_at(head, position)
                found.take(head, tag, vr, start, stop)
        run = _Run(head[begin:end], first, last, charset, found.header, found.private)
        self.runs[head[begin : begin + 4]] = [run, *self.runs[head[begin : begin + 4]]][:_MAX_RUNS]


def _explicit_element(head: bytes, position: int, depth: int = 0) -> Element:
    group, element, vr, length = _explicit(head, position)
    tag = group << 16 | element
    step = _BYTES_BEFORE_VALUE.get(vr)
    if step is None:
        return _end_of_item(tag, position, depth)
    if step == 12:
        length = _length(head, position + 8)[0]
    start = position + step
    if length != _UNDEFINED_LENGTH or tag == words.PIXEL_TAG:
        return tag, vr, start, start + length
    if vr != _SQ:
        raise _GiveUpError
    return tag, vr, start, _after_items(head, start, _explicit_element, depth + 1)


def _implicit_element(head: bytes, position: int, depth: int = 0) -> Element:
    group, element, length = _implicit(head, position)
    tag = group << 16 | element
    if tag >= _ITEM:
        return _end_of_item(tag, position, depth)
    start = position + 8
    if length != _UNDEFINED_LENGTH or tag == words.PIXEL_TAG:
        return tag, 0, start, start + length
    if words.TAGS.get(tag, ("", "SQ"))[1] != "SQ":
        raise _GiveUpError
    return tag, 0, start, _after_items(head, start, _implicit_element, depth + 1)


def _end_of_item(tag: int, position: int, depth: int) -> Element:
    if tag != _ITEM_END or depth == 0:
        raise _GiveUpError
    return tag, 0, position, position + 8


def _after_items(head: bytes, position: int, element_at: ElementAt, depth: int) -> int:
    """Where a sequence of undefined length ends, its items stepped through."""
    if depth > _MAX_SEQUENCE_DEPTH:
        raise _GiveUpError
    while True:
        group, element, length = _implicit(head, position)
        tag = group << 16 | element
        position += 8
        if tag == _SEQUENCE_END and length == 0:
            return position
        if tag != _ITEM:
            raise _GiveUpError
        position = _after_item(head, position, length, element_at, depth)


def _after_item(head: bytes, position: int, length: int, element_at: ElementAt, depth: int) -> int:
    """Where an item of a sequence ends, all its elements stepped through."""
    if length == _UNDEFINED_LENGTH:
        tag = 0
        while tag != _ITEM_END:
            tag, _, _, position = element_at(head, position, depth)
        return position
    end = position + length
    while position < end:
        tag, _, _, position = element_at(head, position, depth)
        if tag == _ITEM_END:
            raise _GiveUpError
    if position != end:
        raise _GiveUpError
    return end


@lru_cache(maxsize=64)
def _pixels(tag: int, vr: int, start: int, stop: int, size: int) -> dict[str, object]:
    if tag != words.PIXEL_TAG or vr not in (_OB, _OW, 0):
        raise _GiveUpError
    there = -1 if stop - start == _UNDEFINED_LENGTH else min(stop, size) - start
    return {words.PIXEL_OFFSET: start, words.PIXEL_LENGTH: there}
