"""`convert` as a whole: every file has a fate, every volume a row, and nothing of a patient comes out."""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from pipeline.core.pseudonyms import Pseudonyms
from pipeline.dicom.tree import FILE_COLUMNS, SERIES_COLUMNS, ConvertReport, convert_tree
from pipeline.image.nifti import content_sha256, write_nifti
from tests.dicom.scanner import Scan, body, dataset_of, expose, save

SECRETS = ("Zimmermann", "Otto", "HN-2290417", "2290417", "20240311", "HN_2290417", "zimmermann")


def convert(src: Path, out: Path, **kwargs: object) -> ConvertReport:
    return convert_tree(
        [src],
        out,
        Pseudonyms(bytes(range(32))),
        write=write_nifti,
        content_sha256=content_sha256,
        private=out.with_name(f"{out.name}-private"),
        **kwargs,
    )


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """One good series, one with a cut slice, one with a gap, a capture, a copy, a text and an empty folder."""
    src = tmp_path / "src"
    expose(src / "Zimmermann_Otto" / "good", Scan(body(5)), lambda ds, i: setattr(ds, "SeriesDescription", "arterial"))
    expose(src / "HN-2290417" / "gap", Scan(body(5, seed=1)))[2].unlink()
    cut = expose(src / "20240311" / "cut", Scan(body(5, seed=2)))[4]
    cut.write_bytes(cut.read_bytes()[:-9])
    capture = dataset_of(Scan(body(1)), 0)
    capture.ImageType = ["DERIVED", "SECONDARY", "SCREEN SAVE"]
    save(capture, src / "capture.dcm")
    good = sorted((src / "Zimmermann_Otto" / "good").iterdir())
    (src / "copy").write_bytes(good[0].read_bytes())
    (src / "readme.txt").write_text("hello")
    (src / "nothing").mkdir()
    return src


def test_every_file_has_one_fate_and_every_series_one_row(export, tmp_path):
    report = convert(export, tmp_path / "out")
    files = rows(tmp_path / "out" / "files.csv")
    found = [path for path in export.rglob("*") if path.is_file()]
    assert len(files) == len(found)
    assert len({row["file"] for row in files}) == len(files)
    fates = sorted(row["status"] for row in files)
    assert fates == ["duplicate"] + ["excluded"] * (2 + 4 + 4) + ["unreadable"] + ["used"] * 5
    assert all(row["reason"] for row in files if row["status"] != "used")
    series = rows(tmp_path / "out" / "series.csv")
    assert sorted(row["status"] for row in series) == ["converted", "excluded", "refused", "refused"]
    assert {row["series"] for row in series} >= {row["series"] for row in files} - {""}
    assert not report.is_clean
    assert [dict(row) for row in report.series] == series


def test_converted_row_tells_the_volume(export, tmp_path):
    convert(export, tmp_path / "out")
    (row,) = [row for row in rows(tmp_path / "out" / "series.csv") if row["status"] == "converted"]
    image = nibabel.load(tmp_path / "out" / row["path"])
    assert tuple(row) == SERIES_COLUMNS
    assert row["phase"] == "C1"
    assert row["shape"] == "x".join(str(n) for n in reversed(image.shape))
    assert [float(x) for x in row["spacing"].split()] == pytest.approx(image.header.get_zooms()[::-1], rel=1e-5)
    affine = np.array(json.loads(row["affine"]))
    np.testing.assert_allclose(np.diag([-1, -1, 1, 1]) @ affine[:, [2, 1, 0, 3]], image.affine, atol=1e-4)
    assert len(row["content_sha256"]) == 64


def test_nothing_of_a_patient_comes_out(export, tmp_path):
    convert(export, tmp_path / "out")
    for path in (tmp_path / "out").rglob("*"):
        assert not any(secret in path.name for secret in SECRETS)
        if path.suffix in (".csv", ".json"):
            text = path.read_text(encoding="utf-8")
            assert not [secret for secret in SECRETS if secret.casefold() in text.casefold()]


def test_each_slice_of_a_volume_tells_where_it_came_from(export, tmp_path):
    convert(export, tmp_path / "out")
    (row,) = [row for row in rows(tmp_path / "out" / "series.csv") if row["status"] == "converted"]
    slices = rows(tmp_path / "out" / "slices.csv")
    assert [one["slice"] for one in slices] == ["0", "1", "2", "3", "4"]
    assert {one["series"] for one in slices} == {row["series"]}
    truth = Scan(body(5))
    for index, one in enumerate(slices):
        assert [float(x) for x in one["position_lps_mm"].split()] == pytest.approx(truth.position(index))
        assert (one["slope"], one["intercept"], one["padded_pixels"]) == ("1", "-1024", "0")
        assert len(one["instance"]) == 12
    used = {one["file"] for one in rows(tmp_path / "out" / "files.csv") if one["status"] == "used"}
    assert {one["file"] for one in slices} == used


def test_a_patient_named_in_the_scanners_place_stays_out_of_the_table(tmp_path):
    def edit(ds, index):
        ds.Manufacturer, ds.ManufacturerModelName = "GE MEDICAL SYSTEMS", "HN-2290417"
        ds.ConvolutionKernel, ds.InstitutionName = ["B30f", "otto zimmermann"], "St. Mary Medical Center"

    expose(tmp_path / "src", Scan(body(5)), edit)
    (row,) = convert(tmp_path / "src", tmp_path / "out").series
    assert (row["vendor"], row["model"], row["kernel"]) == ("GE MEDICAL SYSTEMS", "", "")


def test_harmless_names_stay_readable(export, tmp_path):
    convert(export, tmp_path / "out")
    files = [row["file"] for row in rows(tmp_path / "out" / "files.csv")]
    assert {"readme.txt", "copy", "capture.dcm"} <= set(files)
    assert tuple(rows(tmp_path / "out" / "files.csv")[0]) == FILE_COLUMNS


def test_refused_series_names_the_file_that_broke_it(tmp_path):
    src = tmp_path / "src"
    paths = expose(src, Scan(body(5)), lambda ds, i: setattr(ds, "RescaleSlope", 0 if i == 3 else 1))
    convert(src, tmp_path / "out")
    (row,) = rows(tmp_path / "out" / "series.csv")
    assert row["reason"].startswith(paths[3].name)
    fates = {row["file"]: row["status"] for row in rows(tmp_path / "out" / "files.csv")}
    assert fates.pop(paths[3].name) == "unreadable"
    assert set(fates.values()) == {"excluded"}


def test_same_tree_gives_the_same_bytes_whatever_the_names_and_order(tmp_path):
    scan = Scan(body(6))
    paths = expose(tmp_path / "one", scan)
    (tmp_path / "two" / "deep").mkdir(parents=True)
    for number, path in enumerate(reversed(paths)):
        (tmp_path / "two" / "deep" / f"x{number}").write_bytes(path.read_bytes())
    for name in ("one", "two"):
        convert(tmp_path / name, tmp_path / f"out-{name}")
    outs = [tmp_path / f"out-{name}" for name in ("one", "two")]
    made = [sorted(path for path in out.rglob("*") if path.suffix in (".gz", ".json")) for out in outs]
    assert len(made[0]) == 2
    assert [path.relative_to(outs[0]) for path in made[0]] == [path.relative_to(outs[1]) for path in made[1]]
    assert [path.read_bytes() for path in made[0]] == [path.read_bytes() for path in made[1]]


def test_tilted_series_is_kept_with_its_sheared_grid_where_that_is_allowed(tmp_path):
    tilt = np.radians(15)
    column = (0.0, float(np.cos(tilt)), float(-np.sin(tilt)))
    scan = Scan(body(), directions=((1.0, 0.0, 0.0), column), step=(0.0, 0.0, 5.0))
    expose(tmp_path / "src", scan)
    convert(tmp_path / "src", tmp_path / "no")
    assert rows(tmp_path / "no" / "series.csv")[0]["status"] == "refused"
    convert(tmp_path / "src", tmp_path / "yes", allow_tilt=True)
    (row,) = rows(tmp_path / "yes" / "series.csv")
    assert row["status"] == "flagged"
    image = nibabel.load(tmp_path / "yes" / row["path"])
    expected = np.diag([-1, -1, 1, 1]) @ scan.affine[:, [2, 1, 0, 3]]
    np.testing.assert_allclose(image.affine, expected, atol=1e-4)
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, scan.hu)


def test_empty_folder_gives_empty_tables(tmp_path):
    (tmp_path / "src").mkdir()
    report = convert(tmp_path / "src", tmp_path / "out")
    assert report.series == report.files == ()
    assert not report.is_clean


def test_no_digest_of_a_uid_stands_in_names_or_tables(export, tmp_path):
    """Who holds a UID must not find its volume: every unkeyed digest of every UID is tried."""
    convert(export, tmp_path / "out")
    made = list((tmp_path / "out").rglob("*"))
    told = " ".join(path.read_text(encoding="utf-8") for path in made if path.suffix in (".csv", ".json"))
    told += " ".join(path.name for path in made)
    uids = {str(value) for path in export.rglob("*") if path.is_file() and path.suffix != ".txt"
            for value in uids_of(path)}  # fmt: skip
    assert len(uids) > 15
    for uid in uids:
        for algorithm in ("md5", "sha1", "sha256", "sha512", "blake2b"):
            assert hashlib.new(algorithm, uid.encode()).hexdigest()[:8] not in told


def uids_of(path: Path) -> list[object]:
    header = pydicom.dcmread(path, stop_before_pixels=True)
    return [header.SOPInstanceUID, header.SeriesInstanceUID, header.StudyInstanceUID, header.PatientID]


def test_a_dicomdir_stands_for_the_folder_that_it_is_the_index_of(tmp_path):
    expose(tmp_path / "src" / "IMAGES", Scan(body(5)))
    (tmp_path / "src" / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    report = convert(tmp_path / "src" / "DICOMDIR", tmp_path / "out")
    assert [row["status"] for row in report.series] == ["converted"]
    assert sum(row["file"].startswith("IMAGES/") for row in report.files) == 5


def test_two_series_of_equal_content_are_both_written(tmp_path):
    one = Scan(body(5))
    expose(tmp_path / "src" / "one", one)
    expose(tmp_path / "src" / "two", replace(one, series_uid="1.2.3"))
    rows_ = convert(tmp_path / "src", tmp_path / "out").series
    assert len({row["path"] for row in rows_}) == 2
    assert len({row["content_sha256"] for row in rows_}) == 1
    assert all((tmp_path / "out" / row["path"]).is_file() for row in rows_)
