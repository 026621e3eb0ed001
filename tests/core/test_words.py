"""Counts with their nouns, and slices counted from 1."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.words import counted, slice_number, slice_ranges


@pytest.mark.parametrize(
    ("number", "nouns", "text"),
    [
        (0, ("volume",), "0 volumes"),
        (1, ("volume",), "1 volume"),
        (2, ("volume",), "2 volumes"),
        (1, ("study", "studies"), "1 study"),
        (3, ("study", "studies"), "3 studies"),
        (1, ("series", "series"), "1 series"),
        (4, ("series", "series"), "4 series"),
    ],
)
def test_one_is_singular_and_every_other_number_plural(number: int, nouns: tuple[str, ...], text: str):
    assert counted(number, *nouns) == text


@pytest.mark.parametrize(
    ("slices", "text"), [((), ""), ((0,), "1"), ((4, 5, 6), "5-7"), ((19, 11, 12, 13, 11), "12-14, 20")]
)
def test_slices_read_like_a_person_writes_them(slices: tuple[int, ...], text: str):
    assert slice_ranges(slices) == text


@given(st.sets(st.integers(0, 300)))
def test_ranges_name_every_slice_once_counted_from_one(indices: set[int]):
    named = []
    for part in filter(None, slice_ranges(indices).split(", ")):
        first, _, last = part.partition("-")
        named += range(int(first), int(last or first) + 1)
    assert named == sorted(slice_number(index) for index in indices)
    assert min(named, default=1) >= 1
