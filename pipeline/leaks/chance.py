"""What chance alone would give: a match means something only where it is not to be expected anyway.

As for any search of many patterns in much data, the expected number of chance matches is the number of places times
the number of patterns times the probability of one (the E-value of Karlin and Altschul 1990, PNAS 87:2264). Among
bytes that are no text the probability is the product of how often each byte occurs there; in text it matters for
digits alone, whose numbers of one length are taken to be equally likely.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipeline.leaks.needles import LOWER, Haystack, Hit
from pipeline.leaks.unpack import Stretch, Texture

MOST_EXPECTED = 1e-6
"""Chance matches expected in one stretch of bytes: over the thousands of a release far below one in a hundred."""

SIGNIFICANT = 0.01
"""Numbers of one length in a text are a leak when chance gives so many at most this often."""

_PRIOR_BYTES = 4096
"""A short stretch counts as that many random bytes more: what stands in it must not explain itself."""

_PRINT_BESIDE = 4


def beyond_chance(hits: Iterable[Hit], stretch: Stretch, haystack: Haystack) -> Iterator[Hit]:
    """The matches in a stretch that chance does not explain."""
    found = list(hits)
    if not found:
        return
    if stretch.texture is Texture.TEXT:
        yield from _telling_in_text(found, stretch, haystack)
    else:
        bytes_there = _Bytes(memoryview(stretch.content))
        yield from (hit for hit in found if bytes_there.expected(hit) * haystack.alike(hit.needle) <= MOST_EXPECTED)


def _telling_in_text(hits: list[Hit], stretch: Stretch, haystack: Haystack) -> Iterator[Hit]:
    """Words, and numbers of each length where there are more than chance would give."""
    numbers: dict[int, list[Hit]] = {}
    for hit in hits:
        if hit.needle.content.isdigit():
            numbers.setdefault(hit.end - hit.start, []).append(hit)
        else:
            yield hit
    for digits, alike in numbers.items():
        there = len(re.findall(rb"(?<![\w.])\d{%d}(?![\w.])" % digits, bytes(stretch.content)))
        others = max(there - len({hit.start for hit in alike}), 0)
        expected = others * haystack.alike(alike[0].needle) / (9 * 10 ** (digits - 1))
        if _chance_of(len({hit.start for hit in alike}), expected) <= SIGNIFICANT:
            yield from alike


def _chance_of(count: int, expected: float) -> float:
    """Probability of at least so many events where some are expected (Poisson)."""
    fewer = sum(math.exp(-expected + n * math.log(expected) - math.lgamma(n + 1)) for n in range(count) if expected)
    return 1 - fewer if expected else float(count == 0)


class _Bytes:
    """How often each byte stands at even and at odd places, since voxels of two bytes have a high and a low one."""

    def __init__(self, content: memoryview) -> None:
        self._content = content

    @cached_property
    def _shares(self) -> NDArray[np.float64]:
        values = np.frombuffer(self._content, np.uint8)
        counts = [np.bincount(values[parity::2], minlength=256) for parity in (0, 1)]
        smoothed = [(count + _PRIOR_BYTES / 256) / (count.sum() + _PRIOR_BYTES) for count in counts]
        folded: NDArray[np.float64] = np.array(smoothed)
        lower = np.frombuffer(LOWER, np.uint8)
        return np.array([[share[lower == lower[byte]].sum() for byte in range(256)] for share in folded])

    def expected(self, hit: Hit) -> float:
        """How often chance gives the pattern in these bytes, with print on both sides where it has it here."""
        places = [(place % 2, byte) for place, byte in enumerate(hit.needle.content, start=hit.start)]
        logarithm = math.log(len(self._content)) + sum(math.log(self._shares[place]) for place in places)
        beside = bytes(self._content[max(hit.start - _PRINT_BESIDE, 0) : hit.start]) + bytes(
            self._content[hit.end : hit.end + _PRINT_BESIDE]
        )
        if all(32 <= byte < 127 for byte in beside):
            printable = np.frombuffer(self._content, np.uint8)
            share = (np.count_nonzero((printable >= 32) & (printable < 127)) + 1) / (len(printable) + 1)
            logarithm += len(beside) * math.log(share)
        return math.exp(logarithm)
