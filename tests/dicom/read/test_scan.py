"""The scan remembers what it saw, notices every change, and never mistakes its own files for truth."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import zipfile
from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage

from pipeline.core.pseudonyms import Pseudonyms
from pipeline.core.records import Fate
from pipeline.dataset.sealed import Seal
from pipeline.dicom.read.index import Index, known_stamps
from pipeline.dicom.read.scan import ScanResult, scan
from tests.dicom.scanner import Scan, body, dataset_of, expose, save

CIPHER = Seal("index 1", Pseudonyms(bytes(range(32))))


@pytest.fixture
def export(tmp_path: Path) -> Path:
    expose(tmp_path / "src" / "a", Scan(body()))
    expose(tmp_path / "src" / "b" / "c", Scan(body(seed=1)))
    (tmp_path / "src" / "notes.txt").write_text("no DICOM")
    return tmp_path / "src"


def content(found: ScanResult) -> list[object]:
    return [(one.source, dict(one.header)) for one in found.instances] + list(found.set_aside)


def test_second_scan_reads_no_file_and_finds_the_same(export, tmp_path, monkeypatch):
    index = tmp_path / "private" / "index.sqlite"
    first = content(scan([export], index=Index(index, CIPHER)))
    assert first == content(scan([export]))
    monkeypatch.setattr("pipeline.dicom.read.scan._Reader.read", lambda *_: pytest.fail("a file was read again"))
    assert content(scan([export], index=Index(index, CIPHER))) == first


def test_changed_new_and_removed_files_are_noticed(export, tmp_path):
    index = tmp_path / "index.sqlite"
    before = scan([export], index=Index(index, CIPHER))
    changed, removed = (before.instances[number].source.path for number in (0, 1))
    ds = dataset_of(Scan(body()), 0)
    ds.PatientID = "changed"
    save(ds, changed)
    removed.unlink()
    save(ds, export / "new")
    after = scan([export], index=Index(index, CIPHER))
    assert content(after) == content(scan([export]))
    assert sum(one.text("PatientID") == "changed" for one in after.instances) == 2


def test_file_changed_without_its_time_is_found_by_verify_alone(export, tmp_path):
    index = tmp_path / "index.sqlite"
    path = scan([export], index=Index(index, CIPHER)).instances[0].source.path
    times = path.stat()
    raw = path.read_bytes()
    with path.open("r+b") as file:
        file.write(raw.replace(b"HN-2290417", b"HN-0000000"))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert scan([export], index=Index(index, CIPHER)).instances[0].text("PatientID") == "HN-2290417"
    assert scan([export], index=Index(index, CIPHER), verify=True).instances[0].text("PatientID") == "HN-0000000"
    assert scan([export], index=Index(index, CIPHER)).instances[0].text("PatientID") == "HN-0000000"


def test_archive_is_remembered_with_its_members(export, tmp_path, monkeypatch):
    archive, index = tmp_path / "export.zip", tmp_path / "index.sqlite"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(export.rglob("*")):
            file.write(path, str(path.relative_to(export)))
    first = content(scan([archive], index=Index(index, CIPHER)))
    assert len(first) == 13
    monkeypatch.setattr("pipeline.dicom.read.scan._Reader.read", lambda *_: pytest.fail("the archive was read again"))
    assert content(scan([archive], index=Index(index, CIPHER))) == first


@pytest.mark.parametrize("damage", [b"not a database at all, but long enough to be taken for one" * 20, b""])
def test_damaged_index_is_begun_anew(export, tmp_path, damage):
    index = tmp_path / "index.sqlite"
    scan([export], index=Index(index, CIPHER))
    index.write_bytes(damage)
    assert content(scan([export], index=Index(index, CIPHER))) == content(scan([export]))


def test_index_with_damaged_pages_is_begun_anew(export, tmp_path, monkeypatch):
    index = tmp_path / "index.sqlite"
    truth = content(scan([export], index=Index(index, CIPHER)))
    raw = index.read_bytes()
    index.write_bytes(raw[:4096] + bytes(len(raw) - 4096))
    for _ in range(2):
        assert content(scan([export], index=Index(index, CIPHER))) == truth
    monkeypatch.setattr("pipeline.dicom.read.scan._Reader.read", lambda *_: pytest.fail("a file was read again"))
    assert content(scan([export], index=Index(index, CIPHER))) == truth


def test_changed_byte_in_the_index_is_noticed(export, tmp_path):
    index = tmp_path / "index.sqlite"
    truth = content(scan([export], index=Index(index, CIPHER)))
    raw = index.read_bytes()
    sealed = [at for at in range(len(raw)) if raw.startswith(b"liverset index 1\n", at)]
    assert len(sealed) == 3 * 2
    for at in sealed:
        index.write_bytes(raw[: at + 60] + bytes([raw[at + 60] ^ 1]) + raw[at + 61 :])
        assert content(scan([export], index=Index(index, CIPHER))) == truth


def test_index_tells_nothing_without_its_key(export, tmp_path):
    index = tmp_path / "index.sqlite"
    (export / "HN-2290417").mkdir()
    found = scan([export], index=Index(index, CIPHER))
    told = {name for path in export.rglob("*") for name in path.name.encode().split()}
    texts = [value for one in found.instances for value in one.header.values() if isinstance(value, str)]
    told |= {value.encode() for value in texts if len(value) >= 6}
    assert b"HN-2290417" in told
    raw = index.read_bytes()
    assert not [text for text in told if len(text) >= 6 and text in raw]
    other = Seal("index 1", Pseudonyms(bytes(32)))
    assert known_stamps(index, other) is None
    assert content(scan([export], index=Index(index, other))) == content(found)


def test_clear_pages_of_an_earlier_version_are_gone(export, tmp_path):
    index = tmp_path / "index.sqlite"
    with sqlite3.connect(index) as connection:
        connection.execute("CREATE TABLE folder (path BLOB)")
        connection.execute("INSERT INTO folder VALUES ('Huber^Eva')")
        connection.execute("PRAGMA user_version = 7")
    connection.close()
    assert b"Huber" in index.read_bytes()
    scan([export], index=Index(index, CIPHER))
    assert b"Huber" not in index.read_bytes()


@pytest.mark.parametrize("move", ["rename", "copy", "link"])
def test_sources_that_moved_are_known_by_their_place_in_them(export, tmp_path, move, monkeypatch):
    index = tmp_path / "index.sqlite"
    before = scan([export], index=Index(index, CIPHER))
    there = tmp_path / "elsewhere" / "mounted"
    there.parent.mkdir()
    if move == "rename":
        export.rename(there)
    elif move == "copy":
        shutil.copytree(export, there)
    else:
        there.symlink_to(export)
    if move != "copy":  # a copied file is another one, and read once more
        monkeypatch.setattr("pipeline.dicom.read.scan._Reader.read", lambda *_: pytest.fail("a file was read again"))
    after = scan([there], index=Index(index, CIPHER))
    assert [dict(one.header) for one in after.instances] == [dict(one.header) for one in before.instances]
    assert all(one.source.path.is_relative_to(there) for one in after.instances)
    stamps = known_stamps(index, CIPHER)
    assert stamps is not None
    assert len(stamps) == 13


def test_a_file_name_that_is_no_text_is_remembered(export, tmp_path, monkeypatch):
    index = tmp_path / "index.sqlite"
    path = scan([export]).instances[0].source.path
    path.rename(path.with_name(os.fsdecode(b"\xff\xfe")))
    truth = content(scan([export], index=Index(index, CIPHER)))
    monkeypatch.setattr("pipeline.dicom.read.scan._Reader.read", lambda *_: pytest.fail("a file was read again"))
    assert content(scan([export], index=Index(index, CIPHER))) == truth


def test_index_of_another_version_is_begun_anew(export, tmp_path):
    index = tmp_path / "index.sqlite"
    scan([export], index=Index(index, CIPHER))
    with sqlite3.connect(index) as connection:
        connection.execute("PRAGMA user_version = 7")
        connection.execute("UPDATE folder SET contents = 'nonsense'")
    connection.close()
    assert content(scan([export], index=Index(index, CIPHER))) == content(scan([export]))


def test_index_is_for_its_owner_only(export, tmp_path):
    index = tmp_path / "index.sqlite"
    scan([export], index=Index(index, CIPHER))
    assert stat.S_IMODE(index.stat().st_mode) == 0o600


def test_folder_given_twice_or_by_its_child_is_scanned_once(export):
    assert content(scan([export, export, export / "a"])) == content(scan([export]))


def test_dicomdir_is_an_index_of_files_not_an_image(tmp_path):
    expose(tmp_path / "DICOM", Scan(body()))
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, MediaStorageDirectoryStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    directory = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    record = Dataset()
    record.DirectoryRecordType, record.PatientID, record.ReferencedSOPClassUIDInFile = "PATIENT", "X", "1.2"
    directory.FileSetID, directory.DirectoryRecordSequence = "MEDIA", Sequence([record])
    directory.save_as(tmp_path / "DICOMDIR", enforce_file_format=True)
    found = scan([tmp_path])
    assert len(found.instances) == 6
    assert [(fate.fate, fate.code) for fate in found.set_aside] == [(Fate.EXCLUDED, "directory-file")]


def test_order_of_the_arguments_changes_nothing(export):
    parts = [export / "a", export / "b"]
    assert content(scan(parts)) == content(scan(parts[::-1]))
