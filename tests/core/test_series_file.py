"""A series survives its record, which changes when a source does and not when the sources move."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import StorageError
from pipeline.core.geometry import Geometry
from pipeline.core.records import Instance, Problem, Series, Severity, SourceFile
from pipeline.core.series_file import series_of, series_record


@pytest.fixture
def series(tmp_path: Path) -> Series:
    source = tmp_path / "exports" / "a" / os.fsdecode(b"slice\xff.dcm")
    source.parent.mkdir(parents=True)
    source.write_bytes(b"DICM")
    header = {"PixelSpacing": (0.8, 0.8), "SeriesDescription": "动脉期", "Rows": 512, "Nested": ((1, 2), (3, 4))}
    return Series(
        "1.2.3#2",
        (Instance(SourceFile(source, "a/b.dcm"), header),),
        Geometry.from_axes((3, 4, 5), spacing_mm=(2.5, 0.8, 0.7), origin_lps_mm=(1 / 3, 2, 3)),
        (Problem("tilted", Severity.FLAG, "15 degrees", "keep it"),),
        {"EchoTime": "4.6"},
    )


def roots(folder: Path) -> list[Path]:
    return [folder / "other", folder / "exports"]


def test_series_comes_back_as_it_was(series: Series, tmp_path: Path):
    back = series_of(series_record(series, roots(tmp_path)), roots(tmp_path), "record")
    assert (back.key, back.problems) == (series.key, series.problems)
    assert back.distinguished_by == {"EchoTime": "4.6"}
    assert back.first.source == series.first.source
    assert dict(back.first.header) == dict(series.first.header)
    assert back.geometry is not None
    assert series.geometry is not None
    np.testing.assert_array_equal(back.geometry.affine, series.geometry.affine)


def test_record_changes_with_the_source_and_not_with_its_place(series: Series, tmp_path: Path):
    before = series_record(series, roots(tmp_path))
    assert series_record(series, roots(tmp_path)) == before
    assert str(tmp_path).encode() not in before
    elsewhere = [Path("/mnt/other"), Path("/mnt/exports")]
    assert series_of(before, elsewhere, "record").first.source.path.parent == Path("/mnt/exports/a")
    os.utime(series.first.source.path, ns=(5, 5))
    assert series_record(series, roots(tmp_path)) != before


@pytest.mark.parametrize("record", [b'{"format": 3}', b"[]", b"{", b"\xff"])
def test_damaged_record_is_named(record: bytes):
    with pytest.raises(StorageError, match=r"^the record"):
        series_of(record, [], "the record")


def test_record_of_more_sources_than_there_are_is_refused(series: Series, tmp_path: Path):
    record = series_record(series, roots(tmp_path))
    with pytest.raises(StorageError, match=r"^the record is damaged"):
        series_of(record, roots(tmp_path)[:1], "the record")


def test_vanished_source_is_told_without_a_path(series: Series, tmp_path: Path):
    series.first.source.path.unlink()
    with pytest.raises(StorageError, match=r"^a source file disappeared") as caught:
        series_record(series, roots(tmp_path))
    assert str(tmp_path) not in str(caught.value)
