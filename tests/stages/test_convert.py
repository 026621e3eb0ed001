"""What the stage of conversion says of a series that gives no volume: which volume, which slice, and why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from pipeline.stages import CONVERT, SCAN, SCREEN
from pipeline.workspace import Workspace
from tests.dicom.scanner import Scan, body, expose
from tests.test_screening import SETTINGS


def pixels_gain_bytes(path: Path) -> None:
    raw = path.read_bytes()
    path.write_bytes(raw[:-100] + b"\x12\x34" + raw[-100:])


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (pixels_gain_bytes, "P0001 C2: slice 3 of 6: the bytes after its pixels are not a DICOM element"),
        (lambda path: path.write_bytes(path.read_bytes()[:-40]), "P0001 C2: slice 3 of 6: it is cut short"),
        (Path.unlink, "P0001 C2: slice 3 of 6: a slice cannot be opened"),
    ],
)
def test_a_slice_that_cannot_be_read_is_named_by_its_number(tmp_path: Path, harm: Callable[[Path], None], reason: str):
    (tmp_path / "dataset.toml").write_text(SETTINGS, encoding="utf-8")

    def edit(dataset: Dataset, index: int) -> None:
        dataset.SeriesDescription, dataset.SliceThickness = "portal venous", 2.5

    path = expose(tmp_path / "dicom", Scan(body()), edit)[2]
    ws = Workspace.open(tmp_path)
    assert SCAN(ws).is_well
    assert SCREEN(ws).is_well
    harm(path)
    (problem,) = CONVERT(ws, "P0001").problems
    assert problem.code == "convert-failed"
    assert reason in problem.message
    assert "fault of liverset" not in problem.message
