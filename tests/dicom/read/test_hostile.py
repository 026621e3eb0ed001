"""Input that lies, breaks or changes: bounded, reported, never a crash and never a silent wrong volume."""

from __future__ import annotations

import gzip
import io
import os
import struct
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from pipeline.core.errors import PipelineError
from pipeline.core.records import Fate, Severity
from pipeline.core.volume import Volume
from pipeline.dicom.convert import read_series
from pipeline.dicom.group.grid import ODD_PLACE_MM
from pipeline.dicom.group.series import group_series
from pipeline.dicom.read import sources
from pipeline.dicom.read.scan import ScanResult, scan
from tests.dicom.scanner import Scan, body, dataset_of, expose
from tests.dicom.test_situations import SITUATIONS


def fates(found: ScanResult) -> list[tuple[Fate, str]]:
    return [(fate.fate, fate.code) for fate in found.set_aside]


def test_zip_bomb_is_refused_without_being_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", bytes(300 << 20))
    start = time.perf_counter()
    found = scan([tmp_path])
    assert fates(found) == [(Fate.UNREADABLE, "bad-archive")]
    assert time.perf_counter() - start < 1, "nothing of it was unpacked"


def test_tar_member_that_claims_gigabytes_is_refused(tmp_path):
    with tarfile.open(tmp_path / "claims.tar", "w") as archive:
        info = tarfile.TarInfo("huge")
        info.size = 5 << 30
        archive.fileobj.write(info.tobuf())
    assert fates(scan([tmp_path])) == [(Fate.UNREADABLE, "bad-archive")]


@pytest.mark.parametrize("kind", ["zip", "tar", "tgz"])
def test_archive_cut_short_is_reported_and_what_it_held_is_flagged(tmp_path, kind):
    paths = expose(tmp_path / "loose", Scan(body(6, 64, 64)))
    archive = tmp_path / "packed" / f"export.{kind}"
    archive.parent.mkdir()
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as file:
            for path in paths:
                file.write(path, path.name)
    else:
        with tarfile.open(archive, "w:gz" if kind == "tgz" else "w") as file:
            for path in paths:
                file.add(path, path.name)
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    found = scan([archive])
    assert (Fate.UNREADABLE, "bad-archive") in fates(found)
    for series in group_series(found.instances, found.set_aside).series:
        assert any(problem.severity is not Severity.NOTE for problem in series.problems)


def test_encrypted_zip_is_reported(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("IM1", b"x" * 100)
    raw = bytearray((tmp_path / "a.zip").read_bytes())
    raw[6] |= 1
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(raw)
    assert fates(scan([tmp_path])) == [(Fate.UNREADABLE, "bad-archive")]


def test_two_members_of_one_name_are_both_accounted_for(tmp_path):
    scan_ = Scan(body())
    paths = expose(tmp_path / "loose", scan_)
    with tarfile.open(tmp_path / "export.tar", "w") as archive:
        for path in paths:
            archive.add(path, "IM1")
    found = scan([tmp_path / "export.tar"])
    assert len(found.instances) + len(found.set_aside) == 6
    assert len({item.source for item in (*found.instances, *found.set_aside)}) == 6
    (series,) = group_series(found.instances).series
    np.testing.assert_array_equal(read_series(series).volume.voxels, scan_.hu)


def test_archive_in_an_archive_is_set_aside(tmp_path):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("IM1", b"x")
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as archive:
        archive.writestr("inner.zip", inner.getvalue())
    assert fates(scan([tmp_path])) == [(Fate.EXCLUDED, "nested-archive")]


def test_gzip_that_is_no_tar_is_no_dicom(tmp_path):
    (tmp_path / "volume.nii.gz").write_bytes(gzip.compress(struct.pack("<i", 348) + bytes(1000)))
    assert fates(scan([tmp_path])) == [(Fate.EXCLUDED, "not-dicom")]


def test_gzip_larger_than_any_image_is_not_read(tmp_path, monkeypatch):
    path = expose(tmp_path, Scan(body(1)))[0]
    path.write_bytes(gzip.compress(path.read_bytes()))
    monkeypatch.setattr(sources, "MAX_FILE_BYTES", 100)
    assert fates(scan([tmp_path])) == [(Fate.UNREADABLE, "unreadable")]


def test_deflated_bomb_is_unreadable(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.dicom.read.by_pydicom.MAX_INFLATED_BYTES", 1 << 20)
    meta = b"\x02\x00\x10\x00UI\x16\x001.2.840.10008.1.2.1.99"
    squeezed = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = squeezed.compress(bytes(64 << 20)) + squeezed.flush()
    head = bytes(128) + b"DICM\x02\x00\x00\x00UL\x04\x00" + struct.pack("<I", len(meta)) + meta
    (tmp_path / "IM1").write_bytes(head + bomb)
    assert fates(scan([tmp_path])) == [(Fate.UNREADABLE, "unreadable")]


def test_pipe_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert fates(scan([tmp_path])) == [(Fate.UNREADABLE, "not-a-file")]


def test_path_that_is_not_there_is_reported(tmp_path):
    assert fates(scan([tmp_path / "nowhere"])) == [(Fate.UNREADABLE, "unreachable")]


@pytest.mark.parametrize("change", ["vanishes", "shrinks", "becomes a folder"])
def test_file_that_changes_after_the_scan_refuses_its_series(tmp_path, change):
    paths = expose(tmp_path, Scan(body()))
    (series,) = group_series(scan([tmp_path]).instances).series
    if change == "shrinks":
        paths[3].write_bytes(paths[3].read_bytes()[:-10])
    else:
        paths[3].unlink()
    if change == "becomes a folder":
        paths[3].mkdir()
    with pytest.raises(PipelineError) as caught:
        read_series(series)
    assert str(tmp_path) not in str(caught.value), "the message holds no path"


def test_header_that_claims_an_enormous_image_is_refused(tmp_path):
    def edit(ds, index):
        ds.Rows, ds.Columns = 65535, 65535

    expose(tmp_path, Scan(body()), edit)
    (series,) = group_series(scan([tmp_path]).instances).series
    assert not series.is_usable


def test_archive_bounds_hold_in_sum(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "MAX_ARCHIVE_BYTES", 1000)
    with tarfile.open(tmp_path / "many.tar", "w") as archive:
        for number in range(5):
            info = tarfile.TarInfo(f"{number}")
            info.size = 400
            archive.addfile(info, io.BytesIO(bytes(400)))
    assert (Fate.UNREADABLE, "bad-archive") in fates(scan([tmp_path]))


def with_all_decisive_facts(ds: Dataset, index: int) -> None:
    """What decides values, place or grouping, as a scanner writes it."""
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = f"1.2.840.99.7.{index + 1}"
    ds.SpecificCharacterSet, ds.SeriesTime, ds.AcquisitionTime = "ISO_IR 100", "101400", f"1015{index:02d}.25"
    ds.KVP, ds.ConvolutionKernel, ds.ContrastBolusAgent, ds.RescaleType = 120, "B30f", "Iohexol", "HU"
    ds.SpacingBetweenSlices, ds.PatientPosition, ds.GantryDetectorTilt = 2.5, "HFS", 0
    ds.add_new("PixelPaddingValue", "SS", -2000)


Harm = Callable[[bytes, np.random.Generator], bytes]


def assert_no_silent_harm(
    folder: Path, count: int, seed: int, harm: Harm, syntax: str = ExplicitVRLittleEndian
) -> None:
    """Damage one file of a series in every way: the volume is whole and true, or something is said."""
    rng = np.random.default_rng(seed)
    truth = Scan(body(5, 8, 8))

    def edit(ds: Dataset, index: int) -> None:
        with_all_decisive_facts(ds, index)
        ds.file_meta.TransferSyntaxUID = syntax

    paths = expose(folder, truth, edit)
    for _ in range(count):
        path = paths[int(rng.integers(len(paths)))]
        raw = path.read_bytes()
        path.write_bytes(harm(raw, rng))
        for volume in unflagged_volumes(folder):
            assert_true(volume, truth)
        path.write_bytes(raw)


def unflagged_volumes(folder: Path) -> Iterator[Volume]:
    """Volumes below a folder of which nothing doubtful is said."""
    found = scan([folder])
    for series in group_series(found.instances, found.set_aside).series:
        with suppress(PipelineError):
            conversion = read_series(series)
            if not any(problem.severity is Severity.FLAG for problem in conversion.problems):
                yield conversion.volume


def assert_true(volume: Volume, truth: Scan) -> None:
    assert volume.geometry.shape == truth.hu.shape
    np.testing.assert_allclose(volume.geometry.affine, truth.affine, atol=ODD_PLACE_MM)
    np.testing.assert_array_equal(volume.voxels, truth.hu)


def shortened(raw: bytes, rng: np.random.Generator) -> bytes:
    place, length = int(rng.integers(0, len(raw))), int(rng.integers(1, 200))
    return raw[:place] if rng.integers(2) else raw[:place] + raw[place + length :]


EXTREMES = (b"1e300", b"-1e308", b"1e-320", b"nan", b"inf", b"9999999999999999", b"-0", b"x", b"1\\2\\3")


@pytest.mark.parametrize("raw", EXTREMES)
def test_no_value_of_any_attribute_ends_the_conversion_of_everything(tmp_path, monkeypatch, raw):
    names = [element.keyword for element in dataset_of(Scan(body(1)), 0) if element.keyword != "PixelData"]
    padded = raw + b" " * (len(raw) % 2)
    for number, keyword in enumerate(names):

        def edit(ds: Dataset, index: int, keyword: str = keyword) -> None:
            with_all_decisive_facts(ds, index)
            ds.add_new(tag_for_keyword(keyword), "UN", padded)

        with monkeypatch.context() as patch:
            patch.setattr(pydicom.config, "replace_un_with_known_vr", False)  # else it refuses to write such values
            expose(tmp_path / str(number), Scan(body(4, 4, 4)), edit)
    for volume in unflagged_volumes(tmp_path):
        assert np.isfinite(volume.voxels).all()
    assert len(names) > 25


PIXEL_BYTES = 2 * 8 * 8
"""Bytes at the end of each file, of which no other byte tells anything."""


def overwritten(raw: bytes, rng: np.random.Generator) -> bytes:
    """A digit, a bit, or some bytes changed, or bytes put in, anywhere before the pixels."""
    damaged = bytearray(raw)
    place = int(rng.integers(0, len(raw) - PIXEL_BYTES))
    length = min(int(rng.integers(1, 9)), len(raw) - PIXEL_BYTES - place)
    kind = rng.integers(4)
    if kind == 0:
        digits = [at for at in range(len(raw) - PIXEL_BYTES) if 48 <= raw[at] <= 57]
        damaged[digits[int(rng.integers(len(digits)))]] = int(rng.integers(48, 58))
    elif kind == 1:
        damaged[place] ^= 1 << int(rng.integers(8))
    elif kind == 2:
        damaged[place : place + length] = rng.bytes(length)
    else:
        damaged[place:place] = rng.bytes(length)
    return bytes(damaged)


def test_hundred_shortened_files_harm_nothing_in_silence(tmp_path):
    assert_no_silent_harm(tmp_path, 100, 3, shortened)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_two_hundred_files_with_damaged_headers_harm_nothing_in_silence(tmp_path, syntax):
    assert_no_silent_harm(tmp_path, 200, 5, overwritten, syntax)


@pytest.mark.slow
@pytest.mark.parametrize("harm", [shortened, overwritten])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_two_thousand_damaged_files_harm_nothing_in_silence(tmp_path, harm, syntax):
    assert_no_silent_harm(tmp_path, 2_000, 4, harm, syntax)


@pytest.mark.parametrize("name", ["rle", "jpeg_lossless_first_order", "jpeg_2000"])
def test_damaged_codestreams_end_in_a_refusal_or_in_other_values_of_that_slice(tmp_path, name):
    truth = SITUATIONS[name](tmp_path).truths[0][0]
    rng, paths = np.random.default_rng(6), sorted(tmp_path.iterdir())
    for number in range(150):
        path = paths[number % len(paths)]
        raw = path.read_bytes()
        damaged, pixels = bytearray(raw), raw.index(b"\xe0\x7f\x10\x00OB") + 12
        for place in rng.integers(pixels, len(raw), 3):
            damaged[place] = int(rng.integers(256))
        path.write_bytes(damaged)
        for volume in unflagged_volumes(tmp_path):
            assert len(np.unique(np.argwhere(volume.voxels != truth)[:, 0])) <= 1
        path.write_bytes(raw)


@pytest.mark.parametrize("claim", ["segments", "offset"])
def test_rle_segments_outside_the_codestream_are_refused(tmp_path, claim):
    SITUATIONS["rle"](tmp_path)
    path = sorted(tmp_path.iterdir())[0]
    raw = path.read_bytes()
    header = raw.index(struct.pack("<II", 2, 64))
    lie = struct.pack("<II", 9, 64) if claim == "segments" else struct.pack("<II", 2, 1 << 31)
    path.write_bytes(raw[:header] + lie + raw[header + 8 :])
    (series,) = group_series(scan([tmp_path]).instances).series
    with pytest.raises(PipelineError, match="segments"):
        read_series(series)


def test_codestream_that_claims_an_enormous_image_is_refused_before_it_is_decoded(tmp_path):
    SITUATIONS["jpeg_lossless_first_order"](tmp_path)
    path = sorted(tmp_path.iterdir())[0]
    raw = path.read_bytes()
    place = raw.index(b"\xff\xc3") + 5
    path.write_bytes(raw[:place] + b"\xff\xff\xff\xff" + raw[place + 4 :])
    (series,) = group_series(scan([tmp_path]).instances).series
    with pytest.raises(PipelineError, match=r"holds \(65535, 65535\)"):
        read_series(series)


def test_of_a_damaged_pixel_nothing_can_be_known_and_it_harms_itself_alone(tmp_path):
    truth = Scan(body(5, 8, 8))
    path = expose(tmp_path, truth)[2]
    raw = bytearray(path.read_bytes())
    raw[-PIXEL_BYTES + 2 * 11] ^= 4
    path.write_bytes(raw)
    (volume,) = unflagged_volumes(tmp_path)
    wrong = np.argwhere(volume.voxels != truth.hu)
    assert wrong.tolist() == [[2, 1, 3]]
