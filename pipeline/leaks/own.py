"""What the program itself writes for nobody, so that it is no leak where it stands again.

A surname may be a word of a page ("Block"), a date that of a file format, a station a scanner's model. What is the
program's own is known: it is rendered without patients. In text a match counts as its own only beside the same words
as there, not wherever the word occurs; a cell of a table is held against other cells alone.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import lru_cache

from pipeline.leaks.needles import LOWER, Hit
from pipeline.leaks.unpack import Stretch, Texture

EDGE = b"\n"
"""Stands beside the first and the last word of a line."""

CUT = b"\0"
"""Ends a piece of text that the program joins with others: beside it anything may stand."""

_REACH_BYTES = 160
_BESIDE = re.compile(rb"[^a-z0-9\x80-\xff\n\r\0]*[a-z0-9\x80-\xff]*")
_NUMBER = re.compile(rb"[a-z0-9\x80-\xff]*\d[a-z0-9\x80-\xff]*|(?<![a-z0-9])[a-f]{6}(?![a-z0-9])")
"""Numbers, codes and keyed names: another one in each place."""

_CELL_END = re.compile(rb",(?! )")
_REPEATED = re.compile(rb"([^a-z0-9\x80-\xff])\1+")
_RUN_OF_LETTERS = re.compile(rb"[a-z0-9\x80-\xff]+")

Context = tuple[bytes, bytes]


class OwnText:
    """The program's own words, each with what stands beside it.

    Args:
        rendered: what it writes without patients, stretch by stretch.
        pieces: further texts of which it makes sentences.
        words: words that mean nothing wherever they stand: names of scanners, codes and names from the configuration.
        ids: pattern of the names that it gives to patients and items.
    """

    def __init__(
        self,
        rendered: Iterable[bytes] = (),
        pieces: Iterable[bytes] = (),
        words: Collection[str] = (),
        ids: str = r"(?!)",
    ) -> None:
        self._text = CUT.join((EDGE, EDGE.join(rendered), EDGE, *pieces, b"")).translate(LOWER)
        self._words = frozenset(word.casefold().encode() for word in words)
        self._ids = re.compile(ids.encode())
        self._contexts = lru_cache(maxsize=None)(self._find_contexts)

    def holds(self, hit: Hit, stretch: Stretch) -> bool:
        """True when the program itself writes this here; in bytes that are no text, or coded, when it does anywhere."""
        needle = hit.needle.content
        words = _RUN_OF_LETTERS.findall(needle)
        if words and all(word in self._words or self._ids.fullmatch(word) for word in words):
            return True
        plain = hit.needle.identifier.encode().translate(LOWER)
        if stretch.texture is not Texture.TEXT or (needle != plain and b"\0" not in needle):
            return bool(self._contexts(plain))
        known = self._contexts(needle)
        if not known:
            return False
        start = max(hit.start - _REACH_BYTES, 0)
        around = bytes(memoryview(stretch.content)[start : hit.end + _REACH_BYTES]).translate(LOWER)
        before, after = _context(around, hit.start - start, hit.end - start)
        return any(
            (left, right) != (CUT, CUT) and left in (CUT, before) and right in (CUT, after) for left, right in known
        )

    def _find_contexts(self, needle: bytes) -> frozenset[Context]:
        found, place = set(), self._text.find(needle)
        while place >= 0:
            found.add(_context(self._text, place, place + len(needle)))
            place = self._text.find(needle, place + 1)
        return frozenset(found)


def _context(text: bytes, start: int, end: int) -> Context:
    """The word before and the word after a place, with the signs between, numbers as one and repeated signs once."""
    window = text[max(start - _REACH_BYTES, 0) : start]
    before, after = _beside(window[::-1])[::-1], _beside(text[end : end + _REACH_BYTES])
    is_cell = _CELL_END.match(before[::-1]) is not None, _CELL_END.match(after) is not None
    beyond = text[max(start - len(before) - 1, 0) : start - len(before)], text[end + len(after) : end + len(after) + 1]
    return (
        b"," if is_cell[0] else _side(before, beyond[0]),
        b"," if is_cell[1] else _side(after, beyond[1]),
    )


def _beside(text: bytes) -> bytes:
    """The signs and the word that a text begins with; nothing of the next line."""
    found = _BESIDE.match(text)
    return found[0] if found else b""


def _side(beside: bytes, beyond: bytes) -> bytes:
    """What stands on one side, as it is compared."""
    has_word = _RUN_OF_LETTERS.search(beside) is not None
    if beyond == CUT and not has_word:
        return CUT
    plain = _REPEATED.sub(rb"\1", _NUMBER.sub(b"0", beside))
    return plain if has_word else EDGE + plain
