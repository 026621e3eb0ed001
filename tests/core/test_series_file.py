"""A series survives its file, and the file changes when a source does."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import StorageError
from pipeline.core.files import sha256_of
from pipeline.core.geometry import Geometry
from pipeline.core.records import Instance, Problem, Series, Severity, SourceFile
from pipeline.core.series_file import load_series, save_series


@pytest.fixture
def series(tmp_path: Path) -> Series:
    source = tmp_path / "slice.dcm"
    source.write_bytes(b"DICM")
    header = {"PixelSpacing": (0.8, 0.8), "SeriesDescription": "动脉期", "Rows": 512, "Nested": ((1, 2), (3, 4))}
    return Series(
        "1.2.3#2",
        (Instance(SourceFile(source, "a/b.dcm"), header),),
        Geometry.from_axes((3, 4, 5), spacing_mm=(2.5, 0.8, 0.7), origin_lps_mm=(1 / 3, 2, 3)),
        (Problem("tilted", Severity.FLAG, "15 degrees", "keep it"),),
        {"EchoTime": "4.6"},
    )


def test_series_comes_back_as_it_was(series: Series, tmp_path: Path):
    save_series(tmp_path / "series.json", series)
    back = load_series(tmp_path / "series.json")
    assert (back.key, back.problems) == (series.key, series.problems)
    assert back.distinguished_by == {"EchoTime": "4.6"}
    assert back.first.source == series.first.source
    assert dict(back.first.header) == dict(series.first.header)
    assert back.geometry is not None
    assert series.geometry is not None
    np.testing.assert_array_equal(back.geometry.affine, series.geometry.affine)


def test_file_is_for_its_owner_only_and_changes_with_the_source(series: Series, tmp_path: Path):
    path = tmp_path / "series.json"
    save_series(path, series)
    assert path.stat().st_mode & 0o777 == 0o600
    before = sha256_of(path)
    save_series(path, series)
    assert sha256_of(path) == before
    os.utime(series.first.source.path, ns=(5, 5))
    save_series(path, series)
    assert sha256_of(path) != before


def test_vanished_source_and_damaged_file_are_told_without_a_path(series: Series, tmp_path: Path):
    path = tmp_path / "series.json"
    path.write_text('{"format": 2}', encoding="utf-8")
    with pytest.raises(StorageError, match=r"^series\.json is damaged"):
        load_series(path)
    series.first.source.path.unlink()
    with pytest.raises(StorageError, match=r"^a source file disappeared") as caught:
        save_series(path, series)
    assert str(tmp_path) not in str(caught.value)
