"""Numbers as people write them: "1 volume", "2 volumes", and slices counted from 1."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count, groupby


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun: "1 volume", "2 volumes".

    Args:
        number: how many.
        noun: for one of them.
        plural: for more or none of them, where it is not the noun with an s.
    """
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def slice_number(index: int) -> int:
    """The number people give a slice, counted from 1 as ITK-SNAP does; arrays count from 0."""
    return index + 1


def slice_ranges(indices: Iterable[int]) -> str:
    """Slice numbers for people, neighbours joined, such as "12-14, 20"; indices count from 0."""
    numbers = sorted({slice_number(index) for index in indices})
    runs = [list(run) for _, run in groupby(zip(numbers, count(), strict=False), key=lambda pair: pair[0] - pair[1])]
    return ", ".join(f"{run[0][0]}-{run[-1][0]}" if len(run) > 1 else str(run[0][0]) for run in runs)
