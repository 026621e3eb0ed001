"""Tables as DataFrames: every cell as it was, whatever it looks like."""

from __future__ import annotations

import math
from enum import StrEnum

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import StorageError
from pipeline.core.files import csv_text
from pipeline.frames import Tabular, frame, read_frame


class Word(StrEnum):
    HIGH = "high"


def test_named_columns_come_first_and_stand_in_an_empty_table_too():
    assert list(frame([{"c": 1, "a": 2}, {"d": 3}], ("a", "b")).columns) == ["a", "b", "c", "d"]
    assert list(frame([], ("a", "b")).columns) == ["a", "b"]
    assert frame([], ("a", "b")).empty


def test_nested_rows_become_flat_and_undefined_becomes_nan():
    table = frame([{"lesion": {"mean": 1.5, "sd": None}, "word": Word.HIGH}, {"lesion": {"mean": None, "sd": None}}])
    assert list(table.columns) == ["lesion_mean", "lesion_sd", "word"]
    assert table["lesion_mean"].dtype == table["lesion_sd"].dtype == np.float64
    assert math.isnan(table["lesion_mean"].mean() - 1.5) is False
    assert type(table["word"][0]) is str


@given(
    st.lists(st.sampled_from(["None", "NA", "nan", "null", "1e5", "007", "12e4567890", "true", "x", ""]), max_size=9)
)
def test_words_that_look_like_something_else_stay_words(tmp_path_factory, words):
    path = tmp_path_factory.mktemp("tables") / "table.csv"
    path.write_text(csv_text(("name", "number"), [{"name": word, "number": 1.5} for word in words]), encoding="utf-8")
    table = read_frame(path, text=("name",))
    assert table["name"].fillna("").tolist() == words
    assert not words or table["number"].dtype == np.float64


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\x00", b'a,b\n"1'])
def test_a_table_that_cannot_be_read_is_one_plain_line(tmp_path, content):
    path = tmp_path / "table.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StorageError, match=r"^table\.csv cannot be read \(\w+\)"):
        read_frame(path)


def test_a_result_says_how_many_rows_it_has():
    class Numbers(Tabular):
        def rows(self):
            return [{"n": 1}]

    assert repr(Numbers()) == "Numbers(1 row; see .to_frame())"
    assert Numbers().to_frame()["n"].tolist() == [1]
