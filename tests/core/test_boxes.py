"""Boxes as people write them, and what blanking them makes of a volume."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.boxes import Box, blanked, boxes_text, parse_boxes
from pipeline.core.errors import PrivacyError

SHAPE = (6, 9, 11)


def spans(size: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(0, size - 1), st.integers(1, size)).filter(lambda span: span[0] < span[1])


BOXES = st.builds(Box, spans(SHAPE[1]), spans(SHAPE[2]), st.none() | spans(SHAPE[0]))


def test_people_count_from_one_and_both_ends_belong():
    assert parse_boxes("Slices 3-5 rows 1-12 columns 4-60;row 2 column 3") == (
        Box(rows=(0, 12), columns=(3, 60), slices=(2, 5)),
        Box(rows=(1, 2), columns=(2, 3)),
    )
    assert parse_boxes("") == parse_boxes(" ; ") == ()


@given(st.lists(BOXES, max_size=4))
def test_words_and_boxes_are_one(boxes: list[Box]):
    assert parse_boxes(boxes_text(boxes)) == tuple(boxes)


@given(st.lists(BOXES, max_size=3), st.sampled_from([np.int16, np.float32, np.uint8]), st.booleans())
def test_only_the_boxes_are_blank(boxes: list[Box], dtype: type[np.generic], colour: bool):
    voxels = np.random.default_rng(0).integers(1, 200, (*SHAPE, 3) if colour else SHAPE).astype(dtype)
    before = voxels.copy()
    found = blanked(voxels, boxes, 0)
    slices, rows, columns = np.indices(SHAPE)
    inside = np.zeros(SHAPE, np.bool_)
    for box in boxes:
        first, beyond = box.slices or (0, SHAPE[0])
        on = (first <= slices) & (slices < beyond)
        inside |= (
            on & (box.rows[0] <= rows) & (rows < box.rows[1]) & (box.columns[0] <= columns) & (columns < box.columns[1])
        )
    assert found.dtype == dtype
    assert (found[inside] == 0).all()
    assert np.array_equal(found[~inside], before[~inside])
    assert np.array_equal(voxels, before)


@pytest.mark.parametrize("words", ["rows 1-10 columns 1-11", "rows 1-9 columns 1-12", "slices 7 rows 1 columns 1"])
def test_a_box_beyond_the_volume_is_refused(words: str):
    with pytest.raises(PrivacyError, match="does not lie within 6 slices, 9 rows and 11 columns"):
        blanked(np.zeros(SHAPE, np.int16), parse_boxes(words), 0)
