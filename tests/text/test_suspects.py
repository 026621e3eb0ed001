"""Tesseract says whether it reads anything where a series looks as if it held text."""

from __future__ import annotations

import shutil

import pytest

from pipeline.text.find import TextFinding, find_text
from pipeline.text.lines import TextLine
from pipeline.text.suspects import is_read
from tests.text.test_find import EVERY, drawn, letters, phantom


@pytest.fixture
def tesseract() -> str:
    return shutil.which("tesseract") or pytest.skip("tesseract is not installed; it comes with tesseract-ocr")


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
