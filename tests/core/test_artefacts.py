"""Artefacts: what is saved comes back equal, and what is not whole or not of this format is refused in one line."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.artefacts import Artefact, FloatOrNaN
from pipeline.core.errors import StorageError
from pipeline.core.records import Phase


@dataclass(frozen=True, slots=True)
class Reading:
    name: str
    value: FloatOrNaN
    place: tuple[int, int]


class Notes(Artefact):
    readings: tuple[Reading, ...]
    by_phase: dict[Phase, int]
    remark: str | None = None


FINITE = st.floats(allow_nan=False, allow_infinity=False)
NOTES = Notes(readings=(Reading("one", 1.5, (1, 2)),), by_phase={Phase.ARTERIAL: 3})


class NewerNotes(Notes):
    format_version: ClassVar[int] = 2


@given(
    st.lists(st.builds(Reading, st.text(), FINITE, st.tuples(st.integers(), st.integers()))),
    st.dictionaries(st.sampled_from(Phase), st.integers()),
    st.none() | st.text(),
)
def test_what_is_saved_comes_back_equal(tmp_path_factory, readings, by_phase, remark):
    notes = Notes(readings=tuple(readings), by_phase=by_phase, remark=remark)
    path = tmp_path_factory.mktemp("notes") / "notes.json"
    notes.save(path)
    assert Notes.load(path) == notes


def test_an_undefined_number_is_null_in_the_file_and_nan_in_the_record(tmp_path: Path):
    path = tmp_path / "notes.json"
    Notes(readings=(Reading("none", math.nan, (0, 0)),), by_phase={}).save(path)
    assert json.loads(path.read_text())["readings"][0]["value"] is None
    assert math.isnan(Notes.load(path).readings[0].value)


@pytest.mark.parametrize("found", [0, 1, 3, "2", None])
def test_a_file_of_another_format_is_refused_with_both_formats(tmp_path: Path, found: object):
    path = tmp_path / "notes.json"
    NOTES.save(path)
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"format": found}))
    with pytest.raises(
        StorageError, match=r"has (no format number|format .*), .* reads format 2; run the command that wrote it again"
    ):
        NewerNotes.load(path)


def test_a_file_without_a_format_is_refused(tmp_path: Path):
    path = tmp_path / "notes.json"
    path.write_text(json.dumps({"readings": [], "by_phase": {}}))
    with pytest.raises(StorageError, match="no format number"):
        Notes.load(path)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"by_phase": {"C9": 1}}, "by_phase"),
        ({"by_phase": None}, "by_phase"),
        ({"readings": [{"name": "one", "value": 1.0}]}, "readings.0.place"),
        ({"readings": [{"name": "one", "value": "Zhang Wei", "place": [1, 2]}]}, "readings.0.value"),
        ({"unheard_of": 1}, "unheard_of"),
    ],
)
def test_a_damaged_file_is_refused_by_place_without_its_values(tmp_path: Path, change: dict[str, object], place: str):
    path = tmp_path / "notes.json"
    NOTES.save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(StorageError, match=rf"damaged at {re.escape(place)}") as refusal:
        Notes.load(path)
    assert "Zhang" not in str(refusal.value)


@pytest.mark.parametrize("content", ["", "[]", "7", "{", "null"])
def test_what_is_no_artefact_at_all_is_refused(tmp_path: Path, content: str):
    path = tmp_path / "notes.json"
    path.write_text(content)
    with pytest.raises(StorageError, match=r"notes\.json"):
        Notes.load(path)


def test_the_same_content_gives_the_same_bytes_in_any_order(tmp_path: Path):
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    Notes(readings=(), by_phase={Phase.ARTERIAL: 1, Phase.DELAYED: 2}).save(one)
    Notes(readings=(), by_phase={Phase.DELAYED: 2, Phase.ARTERIAL: 1}).save(two)
    assert one.read_bytes() == two.read_bytes()
