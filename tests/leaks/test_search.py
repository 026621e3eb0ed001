"""What the source holds is found wherever it is hidden, and what it does not hold raises no alarm."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import re
import struct
import tarfile
import zipfile
import zlib
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from pipeline.core.errors import StorageError
from pipeline.core.geometry import Geometry
from pipeline.core.volume import Volume
from pipeline.leaks.search import Identifiers, Kind, Leak, harvest, search
from pipeline.leaks.unpack import stretches
from tests.dicom.scanner import Scan, body, expose


def dicom_file(path: Path, **values: object) -> Path:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.3.99.1234.5678.9"
    dataset.SpecificCharacterSet = values.pop("SpecificCharacterSet", "ISO_IR 192")
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def source(tmp_path) -> Identifiers:
    item = Dataset()
    item.PatientID = "MRN0012345"
    folder = tmp_path / "source"
    folder.mkdir()
    dicom_file(
        folder / "a.dcm",
        PatientName="KOWALSKI^JANINA",
        PatientID="00776655",
        AccessionNumber="ACC-2024-771",
        StudyDate="20240115",
        InstitutionName="Szpital Miejski",
        StationName="CTROOM77",
        PatientTelephoneNumbers="+48 22 555 01 02",
        PatientComments="Sister of the head nurse, please be quick",
        StudyInstanceUID="1.2.826.77.1.2.3.4",
        ReferencedStudySequence=Sequence([item]),
    )
    dicom_file(folder / "b.dcm", PatientName="王伟^=Wang^Wei", PatientID="Z1", SpecificCharacterSet="GB18030")
    return harvest([folder])


PLANTS = {
    "family name": ("Kowalski", Kind.NAME),
    "name in upper case": ("KOWALSKI JANINA", Kind.NAME),
    "joined name": ("JaninaKowalski_ct", Kind.NAME),
    "Chinese name": ("患者王伟", Kind.NAME),
    "number": ("id 00776655.", Kind.NUMBER),
    "number without zeros": ("id=776655", Kind.NUMBER),
    "nested number": ("mrn0012345", Kind.NUMBER),
    "accession": ("(ACC-2024-771)", Kind.NUMBER),
    "date": ("taken 20240115 at", Kind.DATE),
    "date and time": ("20240115101112", Kind.DATE),
    "date with dashes": ("2024-01-15", Kind.DATE),
    "German date": ("15.01.2024", Kind.DATE),
    "date in words": ("January 15, 2024", Kind.DATE),
    "Chinese date": ("2024年1月15日", Kind.DATE),
    "UID": ("1.2.826.77.1.2.3.4", Kind.UID),
    "phone": ("48225550102", Kind.PHONE),
    "institution": ("szpital miejski", Kind.PLACE),
    "station": ("CTROOM77", Kind.DEVICE),
    "free text": ("sister of the head nurse, please be quick", Kind.TEXT),
}


@pytest.mark.parametrize("plant", PLANTS)
@pytest.mark.parametrize("charset", ["utf-8", "utf-16", "gb18030"])
def test_every_identifier_is_found_in_a_text(source, tmp_path, plant, charset):
    text, kind = PLANTS[plant]
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_bytes(f"some words, {text} and more".encode(charset))
    assert kind in {leak.kind for leak in search(source, [out])}


@pytest.mark.parametrize("charset", ["utf-8", "iso2022_jp", "shift_jis", "euc_jp", "euc_kr", "gb2312", "big5"])
@pytest.mark.parametrize("name", ["山田^太郎", "김^희중", "王^小东"])
def test_a_name_is_found_in_other_letters_than_the_source_used(tmp_path, charset, name):
    (tmp_path / "source").mkdir()
    dicom_file(tmp_path / "source" / "a.dcm", PatientName=name)
    try:
        (tmp_path / "notes.txt").write_bytes(f"seen: {name.partition('^')[2]} (ward 3)".encode(charset))
    except UnicodeEncodeError:
        return
    found = search(harvest([tmp_path / "source"]), [tmp_path / "notes.txt"])
    assert {leak.kind for leak in found} == {Kind.NAME}


def nifti(header_text: bytes = b"", after: bytes = b"") -> bytes:
    from pipeline.image.nifti import nifti_bytes

    rng = np.random.default_rng(7)
    voxels = rng.integers(-200, 300, (8, 64, 64)).astype(np.int16)
    content = bytearray(nifti_bytes(Volume(voxels, Geometry.from_axes(voxels.shape, spacing_mm=(5, 1, 1)))))
    content[148 : 148 + len(header_text)] = header_text
    return bytes(content) + after


def zipped(name: str, content: bytes, comment: bytes = b"") -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
        archive.comment = comment
    return stream.getvalue()


def tarred(name: str, content: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def gzip_with_name(name: str) -> bytes:
    stream = io.BytesIO()
    with gzip.GzipFile(name, "wb", fileobj=stream) as file:
        file.write(b"nothing here")
    return stream.getvalue()


def png(text: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"zTXt", b"Comment\0\0" + zlib.compress(text)) + chunk(b"IEND", b"")


def parquet(text: str) -> bytes:
    stream = io.BytesIO()
    table = pd.DataFrame({"note": [f"{text} {n}" for n in range(500)]})
    table.to_parquet(stream, compression="gzip", write_statistics=False)
    return stream.getvalue()


NAME = b"KOWALSKI^JANINA"


def page(embedded: bytes) -> bytes:
    return b'<p>Case 1</p><img src="data:image/png;base64,' + base64.b64encode(embedded) + b'"><p>end</p>'


HIDING_PLACES = {
    "in NIfTI descrip": nifti(NAME),
    "in gzipped NIfTI aux": gzip.compress(nifti(NAME), mtime=0),
    "after the voxels": gzip.compress(nifti(after=NAME), mtime=0),
    "gzip file name": gzip_with_name("kowalski.nii"),
    "zip member": zipped("a.txt", NAME * 30),
    "zip member name": zipped("kowalski.txt", b""),
    "zip comment": zipped("a.txt", b"", comment=NAME),
    "zip in a zip": zipped("inner.zip", zipped("a.txt", NAME * 9)),
    "gzip in a zip": zipped("a.nii.gz", gzip.compress(nifti(NAME))),
    "tar member": tarred("a.txt", NAME),
    "tar member name": tarred("kowalski/a.txt", b""),
    "PNG text": png(NAME * 9),
    "after the PNG": png(b"") + NAME,
    "base64 in JSON": json.dumps({"a": base64.b64encode(b"xy" + NAME + b"z").decode()}).encode(),
    "picture in a page": page(png(NAME * 9)),
    "archive in a page": page(zipped("a.txt", NAME * 40)),
    "as it lies behind a picture": page(b"\0" * 60) + b"of Kowalski",
    "in place of a picture": b"data:;base64,Kowalski",
    "cell of a Parquet table": parquet(NAME.decode()),
    "hexadecimal": NAME.hex().encode(),
    "escaped in JSON": json.dumps({"patient": "王伟"}).encode(),
    "escaped in HTML": b"<p>&#29579;&#20255;</p>",
    "escaped in XML": b"<p>&#x738B;&#x4F1F;</p>",
    "escaped in an address": b"https://example.org/?q=%E7%8E%8B%E4%BC%9F",
    "second gzip stream": gzip.compress(b"nothing") + gzip.compress(NAME * 9),
    "after the gzip stream": gzip.compress(b"nothing") + NAME,
    "between zip members": zipped("a.txt", b"nothing").replace(b"PK\x01\x02", NAME + b"PK\x01\x02", 1),
    "in a cut zip": zipped("a.txt", b"")[:-30] + b"  by " + NAME + b" today",
    "in a cut gzip's raw bytes": b"\x1f\x8b\x08\x08\0\0\0\0\0\xff" + NAME + b"\0",
}


@pytest.mark.parametrize("hidden", HIDING_PLACES)
def test_every_hiding_place_is_searched(source, tmp_path, hidden):
    out = tmp_path / "out"
    out.mkdir()
    (out / "file.bin").write_bytes(HIDING_PLACES[hidden])
    assert Kind.NAME in {leak.kind for leak in search(source, [out])}


@given(
    st.sampled_from(sorted(HIDING_PLACES)), st.lists(st.tuples(st.integers(0, 5_000), st.integers(0, 255)), max_size=12)
)
@example("in NIfTI descrip", [(110, 0x80), (111, 0x7F)])
@example("in NIfTI descrip", [(110, 0xC0), (111, 0x7F)])
@settings(max_examples=150, deadline=None)
def test_damaged_files_of_every_kind_can_be_searched(hidden, changes):
    content = bytearray(HIDING_PLACES[hidden])
    for place, byte in changes:
        content[place % len(content)] = byte
    assert all(stretch.place for stretch in stretches(bytes(content)))


def test_deflated_and_trailing_parts_of_dicom_are_searched(source, tmp_path):
    clean = dicom_file(tmp_path / "clean.dcm", PatientName="P0001").read_bytes()
    meta_end = 144 + int.from_bytes(clean[140:144], "little")
    packer = zlib.compressobj(wbits=-15)
    body = packer.compress(NAME * 20 + clean[meta_end:]) + packer.flush()
    head = clean[:meta_end].replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99")
    (tmp_path / "deflated.dcm").write_bytes(head + body)
    assert {leak.where for leak in search(source, [tmp_path / "deflated.dcm"])} >= {"deflated.dcm: DICOM header"}


def test_name_in_a_file_name_is_reported_without_repeating_it(source, tmp_path):
    out = tmp_path / "out"
    (out / "Kowalski").mkdir(parents=True)
    (out / "Kowalski" / "00776655.txt").write_text("also 1.2.826.77.1.2.3.4")
    found = search(source, [out])
    assert set(found) == {
        Leak("file 1: file name", Kind.NAME),
        Leak("file 1: file name", Kind.NUMBER),
        Leak("file 1: content", Kind.UID),
    }


def test_clean_files_raise_no_alarm(source, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "image.nii.gz").write_bytes(gzip.compress(nifti(), mtime=0))
    (out / "data.json").write_text(json.dumps({"sha": "0" * 64, "mm": [0.776655, 12.5], "day": "2024-01-16"}))
    (out / "uid.txt").write_text("1.2.826.77.1.2.3.45 1.1.2.826.77.1.2.3.4 Kowalskiego 100776655")
    assert search(source, [out]) == ()


def test_random_bytes_raise_no_alarm_for_short_names(tmp_path):
    names = {"Wang", "Zhou", "Chen", "Meyer", "王伟", "李静", "Kuhn", "Vogt"}
    identifiers = Identifiers(frozenset((Kind.NAME, name) for name in names))
    content = np.random.default_rng(3).integers(0, 256, 24 << 20, dtype=np.uint8).tobytes()
    (tmp_path / "noise.bin").write_bytes(content)
    assert search(identifiers, [tmp_path / "noise.bin"]) == ()


def test_pictures_and_checksums_spell_no_short_name(tmp_path):
    names = {"Wang", "Zhou", "Chen", "Kuhn", "Vogt", "Ebba", "Abed", "Cade"}
    identifiers = Identifiers(frozenset((Kind.NAME, name) for name in names))
    noise = np.random.default_rng(3).integers(0, 256, 24 << 20, dtype=np.uint8).tobytes()
    digests = "\n".join(hashlib.sha256(noise[start : start + 9]).hexdigest() for start in range(200_000)).encode()
    assert {name.lower().encode() for name in names if re.search(rb"[0-9]%b[0-9]" % name.lower().encode(), digests)}
    (tmp_path / "page.html").write_bytes(page(noise))
    (tmp_path / "SHA256SUMS").write_bytes(digests)
    assert search(identifiers, [tmp_path]) == ()
    (tmp_path / "SHA256SUMS").write_bytes(digests + b"\nebba 7")
    assert search(identifiers, [tmp_path]) == (Leak("SHA256SUMS: content", Kind.NAME),)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("O'Sullivan^Fionn^^Dr", ["o'sullivan", "OSullivan", "O’Sullivan", "Fionn"]),
        ("Smith-Jones^Ann", ["Smith-Jones", "Smithjones", "jones", "Ann Smith-Jones"]),
        ("St. Clair^Marie", ["St. Clair", "StClair", "Clair", "Marie"]),
        ("van der Meer^Jan", ["van der Meer", "Meer", "Jan van der Meer", "vanderMeer"]),
        ("Nguyễn^Thị Hương", ["Nguyễn", "Hương"]),
    ],
)
def test_name_is_found_however_it_is_put_together(tmp_path, name, told):
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    out.mkdir()
    dicom_file(source / "a.dcm", PatientName=name)
    for number, text in enumerate(told):
        (out / f"{number}.txt").write_text(f"by {text}, today", encoding="utf-8")
    assert len({leak.where for leak in search(harvest([source]), [out])}) == len(told)


def test_short_identifiers_alone_are_not_searched_for(tmp_path):
    dicom_file(tmp_path / "a.dcm", PatientName="Li^Yu", PatientID="1", AccessionNumber="12345", StudyID="2")
    texts = {text for kind, text in harvest([tmp_path]).texts if kind in (Kind.NAME, Kind.NUMBER)}
    assert "Li Yu" in texts
    assert not texts & {"Li", "Yu", "1", "12345", "2"}


def test_word_that_stands_for_no_person_is_searched_only_as_part_of_a_name(tmp_path):
    dicom_file(tmp_path / "a.dcm", PatientName="Phantom^Grace")
    texts = {text for _, text in harvest([tmp_path]).texts}
    assert "Phantom" not in texts
    assert {"Phantom Grace", "Grace Phantom", "Phantom^Grace", "Grace"} <= texts


def test_archives_and_tables_of_the_source_are_harvested(tmp_path):
    inner = dicom_file(tmp_path / "a.dcm", PatientName="Nowak^Ewa").read_bytes()
    (tmp_path / "a.dcm").unlink()
    (tmp_path / "export.zip").write_bytes(zipped("IM1", inner))
    (tmp_path / "clinical.csv").write_text("patient_id,sex,birth_date\nHOSP99887,F,1961-02-03\n")
    texts = {text for _, text in harvest([tmp_path]).texts}
    assert {"Nowak", "HOSP99887", "03.02.1961"} <= texts


@pytest.mark.parametrize("length", [10, 300_000, None])
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_what_stands_behind_the_pixels_is_harvested(tmp_path, length, syntax):
    dataset = Dataset()
    dataset.PatientName, dataset.BitsAllocated, dataset.PixelRepresentation = "Nowak^Ewa", 8, 0
    dataset.PixelData = b"\x07" * (length or 0) if length else encapsulate([b"\x07" * 900])
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", length is None
    dataset.add_new(0xFFFAFFFA, "SQ", [Dataset()])
    dataset[0xFFFAFFFA].value[0].PersonName = "Szpital^Kierownik"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=False)
    assert {"Nowak", "Kierownik"} <= {text for _, text in harvest([tmp_path]).texts}


def test_damaged_archive_of_the_source_is_counted_not_passed_over(tmp_path):
    (tmp_path / "export.zip").write_bytes(zipped("IM1", b"anything" * 99)[:-40])
    assert harvest([tmp_path]).unreadable == 1


def test_standard_uids_and_the_writer_of_the_file_identify_nobody(tmp_path):
    dicom_file(tmp_path / "a.dcm")
    uids = {text for kind, text in harvest([tmp_path]).texts if kind is Kind.UID}
    assert uids == {"1.3.99.1234.5678.9"}


def test_identifiers_do_not_print_themselves(source):
    assert "KOWALSKI" not in repr(source).upper()


def test_missing_output_is_an_error_not_a_clean_bill(source, tmp_path):
    with pytest.raises(StorageError):
        search(source, [tmp_path / "absent.nii"])


def test_nothing_harvested_finds_nothing(tmp_path):
    (tmp_path / "a.txt").write_text("anything")
    assert search(Identifiers(), [tmp_path]) == ()


@given(
    name=st.text("abcdefghijklmnopqrstuvwxyz", min_size=5, max_size=12).filter(lambda name: name != "liver"),
    before=st.binary(max_size=40),
    after=st.binary(max_size=40),
)
@settings(max_examples=60, deadline=None)
def test_a_name_between_any_bytes_is_found(tmp_path_factory, name, before, after):
    folder = tmp_path_factory.mktemp("out")
    (folder / "any.bin").write_bytes(b"~" + before + b" " + name.upper().encode() + b" " + after)
    assert search(Identifiers(frozenset({(Kind.NAME, name)})), [folder])


def test_dates_of_every_month_are_spelt_out():
    from pipeline.leaks.identifiers import date_spellings

    assert {"3 May 1999", "03-May-1999", "May 3, 1999", "19990503"} <= set(date_spellings(date(1999, 5, 3)))


def test_a_gzipped_file_is_harvested_like_the_file_itself(tmp_path):
    (path,) = expose(tmp_path / "plain", Scan(body(1)))
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / "IM1.dcm.gz").write_bytes(gzip.compress(path.read_bytes()))
    plain, packed = harvest([tmp_path / "plain"]), harvest([tmp_path / "packed"])
    assert packed.files == 1
    assert packed.texts == plain.texts
    assert packed.texts
