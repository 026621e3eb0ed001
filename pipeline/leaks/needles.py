"""Many byte patterns sought in one pass: hashed windows find the candidates, a comparison decides.

Every pattern is anchored at its last eight bytes (four for short ones). Overlapping windows of the text are hashed
all at once by numpy, so that the time hardly depends on the number of patterns; letters are folded to lower case first.
"""

from __future__ import annotations

import base64
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from pipeline.leaks.identifiers import Identifiers, Kind
from pipeline.leaks.unpack import Texture

LONG_BYTES = 8
"""Patterns from here on are sought in any bytes; shorter ones not among voxels."""

MIN_BYTES = 4
DIGEST_DIGITS = 32
"""Hexadecimal digits in a row from which on they are a checksum: MD5 is the shortest in use."""

_HEX_RUN = re.compile(rb"[0-9a-f]{%d,}" % DIGEST_DIGITS)
_TIME_OF_DAY = re.compile(rb"[0-2]\d[0-5]\d[0-6]\d")
_MARGIN_BYTES = 512
"""Blocks overlap by so much on both sides: longer than any pattern and what is asked of the bytes beside it."""

_CHUNK_BYTES = 1 << 18
"""As much as stays in the processor's cache with the numbers made of it."""
LOWER = bytes(byte + 32 if 65 <= byte <= 90 else byte for byte in range(256))
_HASH: dict[int, Any] = {8: np.uint64(0x9E3779B97F4A7C15), 4: np.uint32(0x9E3779B1)}
_TABLE_BITS = {8: 22, 4: 18}
_CHARSETS = (
    "utf-8",
    "gb18030",
    "big5",
    "shift_jis",
    "euc_jp",
    "iso2022_jp_2",
    "euc_kr",
    "latin-1",
    "utf-16-le",
    "utf-16-be",
)
_BACK_TO_ASCII = b"\x1b(B"
"""How ISO 2022 ends a word, unless the next one follows in the same letters."""

_IN_CODED_FORMS = frozenset({Kind.NAME, Kind.NUMBER, Kind.UID})


@dataclass(frozen=True, slots=True)
class Needle:
    """One byte pattern, in lower case.

    Attributes:
        content: the bytes.
        kind: what it identifies.
        is_bounded: True when a letter or digit right beside it means that it is part of another word.
        identifier: what it spells, as harvested. Private.
    """

    content: bytes
    kind: Kind
    is_bounded: bool
    identifier: str


@dataclass(frozen=True, slots=True)
class Hit:
    """A pattern met at a place, from the first byte to before the last."""

    needle: Needle
    start: int
    end: int


class Haystack:
    """A set of patterns, ready to be sought in any number of byte strings."""

    def __init__(self, identifiers: Identifiers) -> None:
        needles = set(_needles_of(identifiers))
        self._long = _Index({needle for needle in needles if len(needle.content) >= LONG_BYTES}, width=8)
        self._short = _Index({needle for needle in needles if len(needle.content) < LONG_BYTES}, width=4)
        self._alike = Counter(_sort_of(content) for content in {needle.content for needle in needles})

    def hits(self, content: bytes | memoryview, texture: Texture) -> set[Hit]:
        """Every pattern that the bytes hold and that is no part of another word; the long ones alone among voxels."""
        found: set[Hit] = set()
        view = memoryview(content)
        for start in range(0, max(len(view), 1), _CHUNK_BYTES):
            offset = max(start - _MARGIN_BYTES, 0)
            block = bytes(view[offset : start + _CHUNK_BYTES + _MARGIN_BYTES]).translate(LOWER)
            for index in (self._long,) if texture is Texture.VOXELS else (self._long, self._short):
                found.update(Hit(hit.needle, hit.start + offset, hit.end + offset) for hit in index.hits(block))
        return found

    def alike(self, needle: Needle) -> int:
        """How many patterns are as long as this one, and digits like it or not: so often may chance try."""
        return self._alike[_sort_of(needle.content)]


def _sort_of(content: bytes) -> tuple[int, bool]:
    return len(content), content.isdigit()


class _Index:
    """Patterns by the number that their last bytes form."""

    def __init__(self, needles: set[Needle], *, width: int) -> None:
        self._width = width
        self._dtype = np.dtype(f"<u{width}")
        self._by_anchor: dict[int, list[Needle]] = defaultdict(list)
        for needle in needles:
            self._by_anchor[int.from_bytes(needle.content[-width:], "little")].append(needle)
        self._anchors = np.array(sorted(self._by_anchor), dtype=self._dtype)
        self._table = np.zeros(1 << _TABLE_BITS[width], dtype=np.bool_)
        self._table[self._hashed(self._anchors)] = True

    def hits(self, block: bytes) -> Iterator[Hit]:
        """The patterns a block of lower-case bytes holds."""
        if not len(self._anchors) or len(block) < self._width:
            return
        windows = np.ndarray((len(block) - self._width + 1,), self._dtype, block, strides=(1,))
        candidates = np.flatnonzero(self._table[self._hashed(windows)])
        for position in candidates[self._are_anchors(windows[candidates])].tolist():
            yield from self._confirmed(block, position)

    def _are_anchors(self, windows: NDArray[Any]) -> NDArray[np.bool_]:
        places = np.searchsorted(self._anchors, windows)
        matches: NDArray[np.bool_] = self._anchors[np.minimum(places, len(self._anchors) - 1)] == windows
        return matches

    def _hashed(self, windows: NDArray[Any]) -> NDArray[Any]:
        shift = self._dtype.type(self._width * 8 - _TABLE_BITS[self._width])
        hashed: NDArray[Any] = (windows * _HASH[self._width]) >> shift
        return hashed

    def _confirmed(self, block: bytes, anchor: int) -> Iterator[Hit]:
        end = anchor + self._width
        for needle in self._by_anchor[int.from_bytes(block[anchor:end], "little")]:
            start = end - len(needle.content)
            is_there = start >= 0 and block[start:end] == needle.content
            if is_there and not (needle.is_bounded and _is_inside_a_word(block, start, end, needle.kind)):
                yield Hit(needle, start, end)


def _needles_of(identifiers: Identifiers) -> Iterator[Needle]:
    for kind, text in identifiers.texts:
        for content, is_bounded in _byte_forms(kind, text):
            if len(content) >= MIN_BYTES:
                yield Needle(content.translate(LOWER), kind, is_bounded, text)
    for kind, raw in identifiers.raw:
        yield Needle(raw.translate(LOWER), kind, is_bounded=False, identifier=raw.hex())


def _byte_forms(kind: Kind, text: str) -> Iterator[tuple[bytes, bool]]:
    """A text as bytes: in every character set that can spell it, and as hexadecimal and base64 digits."""
    for charset in _charsets_for(text):
        try:
            content = text.encode(charset).removesuffix(_BACK_TO_ASCII)
            yield content, text.isascii() and not charset.startswith("utf-16")
        except UnicodeEncodeError:
            continue
    plain = text.encode()
    yield from ((escaped.encode(), False) for escaped in {quote(text), *_escapes(text)} - {text})
    if kind in _IN_CODED_FORMS and len(plain) >= LONG_BYTES - 2:
        yield plain.hex().encode(), False
        for spelling in {text, text.lower()}:
            yield from ((coded, False) for coded in _base64_forms(spelling.encode()))


def _escapes(text: str) -> Iterator[str]:
    """A text with its letters beyond ASCII escaped as JSON, HTML and XML do."""
    yield json.dumps(text)[1:-1]
    for number in ("&#{:d};", "&#x{:x};"):
        yield "".join(letter if letter.isascii() else number.format(ord(letter)) for letter in text)


def _charsets_for(text: str) -> Iterable[str]:
    return ("utf-8", "utf-16-le", "utf-16-be") if text.isascii() else _CHARSETS


def _base64_forms(plain: bytes) -> Iterator[bytes]:
    """The digits that a text surely has inside a longer base64 text, at each of its three places."""
    for before in range(3):
        digits = base64.b64encode(b"\0" * before + plain)
        surely = digits[(before * 8 + 5) // 6 : (before + len(plain)) * 8 // 6]
        if len(surely) >= LONG_BYTES:
            yield surely


def _is_inside_a_word(block: bytes, start: int, end: int, kind: Kind) -> bool:
    """True when the bytes around say that the match is a part of some other word or number."""
    before, after = block[max(start - 2, 0) : start], block[end : end + 6]
    if kind is Kind.DATE:
        is_longer = after[:1].isdigit() and not _TIME_OF_DAY.match(after)
        is_number = block[start:end].isdigit() and (is_longer or _is_fraction(before[::-1]))
        return before[-1:].isdigit() or is_number or _is_inside_a_digest(block, start, end)
    if kind is Kind.NAME:
        return before[-1:].isalpha() or after[:1].isalpha() or _is_inside_a_digest(block, start, end)
    if kind is Kind.UID:
        return before[-1:].isdigit() or before[-1:] == b"." or after[:1].isdigit() or _is_fraction(after)
    is_fraction = block[start:end].isdigit() and (_is_fraction(before[::-1]) or _is_fraction(after))
    return before[-1:].isalnum() or after[:1].isalnum() or is_fraction


def _is_inside_a_digest(block: bytes, start: int, end: int) -> bool:
    """True when the match stands among so many hexadecimal digits that it is spelt by chance, like "ebba"."""
    around = block[max(start - DIGEST_DIGITS, 0) : end + DIGEST_DIGITS]
    runs = (found.span() for found in _HEX_RUN.finditer(around))
    place = start - max(start - DIGEST_DIGITS, 0)
    return any(first <= place and place + end - start <= last for first, last in runs)


def _is_fraction(beside: bytes) -> bool:
    return beside[:1] == b"." and beside[1:2].isdigit()
