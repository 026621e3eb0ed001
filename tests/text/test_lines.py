"""Words are lines of letters; scattered marks, columns of strokes and single letters are not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pipeline.text.lines import TextLine, find_text_line

SHAPE = (128, 256)


def written(text: str, size: int) -> NDArray[np.bool_]:
    page = Image.new("1", SHAPE[::-1])
    ImageDraw.Draw(page).text((20, 30), text, fill=1, font=ImageFont.load_default(size))
    return np.asarray(page)


def is_line(strokes: NDArray[np.bool_]) -> bool:
    return find_text_line(strokes, np.where(strokes, 300, 0).astype(np.int16)) is not None


@pytest.mark.parametrize("size", [8, 10, 14, 24, 40])
@pytest.mark.parametrize("text", ["KOWALSKA", "ID 0077", "Zhang Wei", "12.03.54"])
def test_words_of_any_size_are_lines(text, size):
    assert is_line(written(text, size))


def test_the_line_lies_where_it_was_written():
    strokes = written("HEIM 11", 14)
    rows, columns = np.flatnonzero(strokes.any(1)), np.flatnonzero(strokes.any(0))
    inked = TextLine(int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1)
    assert find_text_line(strokes, np.where(strokes, 300, 0).astype(np.int16)) == inked


@pytest.mark.parametrize("size", [10, 24])
def test_two_letters_are_no_line(size):
    assert not is_line(written("RL", size))


def test_words_running_downwards_are_no_line():
    assert not is_line(np.rot90(written("KOWALSKA", 14)).copy())


def test_letters_of_different_ink_are_no_line():
    strokes = written("KOWALSKA", 14)
    ink = 300 * 3 ** (np.arange(SHAPE[1]) // 12 % 4)
    assert find_text_line(strokes, np.where(strokes, ink, 0).astype(np.int16)) is None


def test_words_amid_strokes_of_their_own_kind_are_no_line():
    lines = np.zeros(SHAPE, dtype=np.bool_)
    lines[:, ::5] = True
    lines[::13] = False
    assert not is_line(lines)


@pytest.mark.parametrize("seed", range(10))
def test_scattered_marks_are_no_line(seed):
    strokes = np.random.default_rng(seed).random(SHAPE) < 0.1
    assert not is_line(strokes)


def test_an_empty_image_has_no_line():
    assert not is_line(np.zeros(SHAPE, dtype=np.bool_))
