"""A suspect series is shown with the place framed; tesseract says whether it reads anything there."""

from __future__ import annotations

import shutil

import imagecodecs
import numpy as np
import pytest

from pipeline.text.find import TextFinding, find_text
from pipeline.text.lines import TextLine
from pipeline.text.suspects import is_read, montage
from tests.text.test_find import EVERY, SIZE, drawn, letters, phantom


@pytest.fixture
def tesseract() -> str:
    return shutil.which("tesseract") or pytest.skip("tesseract is not installed; it comes with tesseract-ocr")


def test_montage_shows_the_slices_in_question():
    slices = drawn(phantom(), letters("KOWALSKA 1954", (5, 5), 12), 3071, {3, 6})
    picture = imagecodecs.png_decode(montage(slices, find_text(slices)))
    assert picture.shape == (SIZE, 2 * SIZE)
    assert picture.dtype == np.uint8


def test_montage_of_text_in_all_slices_shows_some_of_them():
    slices = drawn(phantom(40), letters("KOWALSKA 1954", (5, 5), 12, smooth=True), 1200, set(range(40)))
    finding = TextFinding(static=find_text(slices).static)
    assert finding.is_suspect
    assert imagecodecs.png_decode(montage(slices, finding)).shape == (4 * SIZE, 4 * SIZE)


def test_frame_surrounds_the_line_and_hides_nothing_of_it():
    line = TextLine(60, 70, 40, 90)
    values = np.random.default_rng(1).integers(0, 200, (SIZE, SIZE)).astype(np.int16)
    plain = imagecodecs.png_decode(montage([values], TextFinding(((0, TextLine(0, 4, 0, 4)),))))
    framed = imagecodecs.png_decode(montage([values], TextFinding(((0, line),))))
    assert np.array_equal(framed[58:72, 38:92], plain[58:72, 38:92])
    differing = np.argwhere(framed[20:, 20:] != plain[20:, 20:]) + 20
    assert (framed[tuple(differing.T)] == 255).all()
    assert differing.min(0).tolist() < [60, 40]
    assert differing.max(0).tolist() > [70, 90]


def test_montage_of_any_type_of_number_shows_text_and_frame():
    slices = drawn(phantom(), letters("KOWALSKA 1954", (5, 5), 12), 3071, {3, 6})
    finding = find_text(slices)
    small = [(values / 1e6).astype(np.float32) for values in slices]
    small[3][100:] = np.nan
    plain, scaled = (imagecodecs.png_decode(montage(values, finding)).astype(int) for values in (slices, small))
    assert np.abs(plain - scaled)[:100].max() <= 2
    ink = letters("KOWALSKA 1954", (5, 5), 12) > 0
    assert (scaled[:SIZE, :SIZE][ink] > 250).all()


def test_montage_of_colour_is_in_colour():
    slices = [np.full((SIZE, SIZE, 3), (10, 20, number), np.uint8) for number in range(3)]
    picture = imagecodecs.png_decode(montage(slices, TextFinding(((2, TextLine(60, 70, 40, 90)),))))
    assert picture.shape == (SIZE, SIZE, 3)
    assert {tuple(color) for color in np.unique(picture.reshape(-1, 3), axis=0).tolist()} == {
        (10, 20, 2),
        (255, 255, 255),
    }


@pytest.mark.parametrize("only", [EVERY, {6}])
@pytest.mark.parametrize("level", [3071, 300, -900])
def test_print_is_read(tesseract, only, level):
    slices = drawn(phantom(), letters("KOWALSKA 1954", (45, 90), 14), level, only)
    assert is_read(slices, find_text(slices)) is True


@pytest.mark.parametrize("place", [(60, 70, 50, 130), (100, 116, 60, 150), (5, 15, 5, 80)])
def test_anatomy_and_air_are_not_read(tesseract, place):
    assert is_read(phantom(), TextFinding(static=TextLine(*place))) is False


def test_nothing_is_said_where_nothing_was_found_or_nobody_reads(monkeypatch):
    assert is_read(phantom(), TextFinding()) is None
    monkeypatch.setenv("PATH", "")
    assert is_read(phantom(), TextFinding(static=TextLine(60, 70, 50, 130))) is None
