"""Manifest rows: what may stand in them, ages as they may be published, groups someone could be found in."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.core.errors import ReleaseError
from pipeline.core.files import csv_text
from pipeline.dataset.manifest import (
    COLUMNS,
    ManifestRow,
    manifest_text,
    read_manifest,
    released_age,
    schema,
)


@pytest.fixture
def rows(released):
    return read_manifest(released / "patient_data.csv")


def test_rows_go_to_text_and_back_in_any_order(rows, tmp_path):
    path = tmp_path / "patient_data.csv"
    path.write_text(manifest_text(reversed(rows)), newline="")
    assert read_manifest(path) == rows


@given(st.integers(0, 120))
def test_no_age_above_89_is_told(years):
    told = released_age(years)
    assert told == (str(years) if years <= 89 else "90+")


def test_unknown_age_stays_unknown():
    assert released_age(None) is None


@pytest.mark.parametrize(
    ("column", "value"),
    [("age", "91"), ("age", "103"), ("patient_id", "Zhang"), ("phase", "X"), ("gender", "male"), ("slices", -1),
     ("liver_dice_mean", 1.2), ("liver_volume_ml", float("nan")), ("ct_content_sha256", "abc"), ("stray", 1)],
)  # fmt: skip
def test_cells_that_no_release_may_hold_are_refused(rows, column, value):
    with pytest.raises(ValidationError):
        ManifestRow.model_validate(rows[0].model_dump() | {column: value})


def test_every_wrong_cell_of_a_file_is_named(rows, tmp_path):
    path = tmp_path / "patient_data.csv"
    path.write_text(manifest_text(rows).replace(",P,", ",Q,", 1).replace(",GE,", ",GE,", 1).replace("SPL", "UPS", 1))
    with pytest.raises(ReleaseError) as caught:
        read_manifest(path)
    assert "line 2: phase" in str(caught.value)
    assert "line 2: orientation" in str(caught.value)


def test_schema_documents_every_column():
    documented = schema()
    assert tuple(documented["properties"]) == COLUMNS
    assert all(column.get("description") for column in documented["properties"].values())
    json.dumps(documented)


def test_csv_cells_are_plain():
    assert csv_text(["a", "b", "c"], [{"a": None, "b": True, "c": float("nan")}, {"a": "x,y"}]) == (
        'a,b,c\n,true,\n"x,y",,\n'
    )
