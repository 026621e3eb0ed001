"""Each exception that the stages before the label foresee, caused in a dataset and seen through its stage."""

from __future__ import annotations

import csv
import gzip
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.records import Phase
from pipeline.stages import CONVERT, SCAN, SCREEN, case_ids
from pipeline.stages.kept import keep_series, kept_series
from pipeline.workspace import Outcome, Status, Workspace
from tests.dicom.scanner import Scan, body, expose
from tests.dicom.test_situations import stamped
from tests.test_screening import SETTINGS

LOOK = {"SeriesDescription": "portal venous", "SliceThickness": 2.5}


def dataset(root: Path, settings: str = SETTINGS) -> Workspace:
    (root / "dataset.toml").write_text(settings, encoding="utf-8")
    (root / "dicom").mkdir(exist_ok=True)
    return Workspace.open(root)


def screened(ws: Workspace) -> Workspace:
    assert SCAN(ws).is_well
    assert SCREEN(ws).is_well
    assert case_ids(ws) == ("P0001",)
    return ws


def failure(outcome: Outcome) -> str:
    """The one message of a stage that failed by something it foresees."""
    assert outcome.status is Status.FAILED
    (problem,) = outcome.problems
    assert problem.code == f"{outcome.stage}-failed"
    return problem.message


def cut(path: Path, count: int) -> None:
    path.write_bytes(path.read_bytes()[:-count])


def becomes_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def becomes_a_cut_gzip(path: Path) -> None:
    path.write_bytes(gzip.compress(path.read_bytes()))
    cut(path, 20)


def dangles(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("nowhere"))


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda path: path.write_bytes(b""), "it is cut short: pixels are missing"),
        (lambda path: path.write_bytes(b"hello"), "it is cut short: pixels are missing"),
        (lambda path: path.write_bytes(bytes(path.stat().st_size)), "its pixels claim more bytes than the file has"),
        (lambda path: cut(path, 40), "it is cut short: pixels are missing"),
        (becomes_a_folder, "a slice cannot be opened (IsADirectoryError)"),
        (becomes_a_cut_gzip, "a slice cannot be opened (ArchiveError)"),
        (dangles, "a slice cannot be opened (FileNotFoundError)"),
        (Path.unlink, "a slice cannot be opened (FileNotFoundError)"),
    ],
    ids=["empty", "text", "zeros", "cut", "folder", "cut gzip", "dangling link", "gone"],
)
@pytest.mark.parametrize("harmed", [slice(2, 3), slice(2, 6)], ids=["one slice", "several"])
def test_a_slice_that_became_unreadable_is_named(
    tmp_path: Path, harm: Callable[[Path], None], reason: str, harmed: slice
):
    ws = dataset(tmp_path)
    paths = expose(tmp_path / "dicom", Scan(body()), stamped(**LOOK))
    screened(ws)
    for path in paths[harmed]:
        harm(path)
    assert failure(CONVERT(ws, "P0001")).startswith(f"P0001 C2: slice 3 of 6: {reason}")


@pytest.mark.parametrize(
    ("kept", "reason"),
    [
        (0, "slice 1 of 6: a slice cannot be opened (FileNotFoundError)"),
        (3, "slice 4 of 6: a slice cannot be opened (ArchiveError)"),
    ],
)
def test_an_archive_that_lost_slices_names_the_first_of_them(tmp_path: Path, kept: int, reason: str):
    ws = dataset(tmp_path)
    paths = expose(tmp_path / "apart", Scan(body()), stamped(**LOOK))
    archive = tmp_path / "dicom" / "export.zip"
    pack(archive, paths)
    screened(ws)
    archive.unlink()
    if kept:
        pack(archive, paths[:kept])
    assert failure(CONVERT(ws, "P0001")).startswith(f"P0001 C2: {reason}")


def pack(archive: Path, paths: list[Path]) -> None:
    with zipfile.ZipFile(archive, "w") as file:
        for path in paths:
            file.write(path, path.name)


@pytest.mark.parametrize(("slope", "reason"), [(0, "RescaleSlope is 0"), (1e12, "RescaleSlope is not a usable number")])
def test_an_impossible_rescale_is_named(tmp_path: Path, slope: float, reason: str):
    ws = dataset(tmp_path)
    edit = stamped(**LOOK, RescaleSlope=lambda index: slope if index == 2 else 1)
    expose(tmp_path / "dicom", Scan(body()), edit)
    screened(ws)
    assert failure(CONVERT(ws, "P0001")).startswith(f"P0001 C2: slice 3 of 6: {reason}")


def test_a_tilted_series_of_settings_that_no_longer_allow_it_is_refused(tmp_path: Path):
    ws = dataset(tmp_path, f"{SETTINGS}allow_tilt = true\n")
    tilt = np.radians(4)
    column = (0.0, float(np.cos(tilt)), float(-np.sin(tilt)))
    scan = Scan(body(), directions=((1.0, 0.0, 0.0), column), step=(0.0, 0.0, 5.0))
    expose(tmp_path / "dicom", scan, stamped(**LOOK))
    screened(ws)
    message = failure(CONVERT(dataset(tmp_path), "P0001"))
    assert message.startswith("P0001 C2: ")
    assert "allow_tilt" in message


def test_a_series_without_a_grid_is_refused(tmp_path: Path):
    ws = dataset(tmp_path)
    expose(tmp_path / "dicom", Scan(body()), stamped(**LOOK))
    found = kept_series(screened(ws), "P0001", Phase.PORTAL_VENOUS)
    keep_series(ws, "P0001", Phase.PORTAL_VENOUS, replace(found, geometry=None))
    assert failure(CONVERT(ws, "P0001")) == "P0001 C2: the slices do not form a grid"


def test_pixels_that_cannot_be_read_are_left_to_the_conversion(tmp_path: Path):
    ws = dataset(tmp_path, f"{SETTINGS}max_noise_hu = 5000\n")
    paths = expose(tmp_path / "dicom", Scan(body()), stamped(**LOOK))
    raw = paths[2].read_bytes()
    paths[2].write_bytes(raw[:-100] + b"\x12\x34" + raw[-100:])
    screened(ws)
    assert "slice 3 of 6" in failure(CONVERT(ws, "P0001"))


def test_a_link_that_leads_nowhere_is_a_file_like_any_other(tmp_path: Path):
    ws = dataset(tmp_path)
    expose(tmp_path / "dicom", Scan(body()), stamped(**LOOK))
    (tmp_path / "dicom" / "lost").symlink_to(tmp_path / "nowhere")
    screened(ws)
    with (tmp_path / "reports" / "files.csv").open(newline="") as file:
        assert {row["code"]: row["files"] for row in csv.DictReader(file)} == {"": "6", "dangling-link": "1"}
