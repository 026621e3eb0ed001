"""Every kind of identifier is found in every kind of file, also where the program's own words are left out."""

from __future__ import annotations

import gzip
import io
import json
import struct
import zipfile
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, PngImagePlugin

from pipeline.core.config import Config, DatasetConfig
from pipeline.core.geometry import Geometry
from pipeline.core.volume import Volume
from pipeline.image.nifti import nifti_bytes
from pipeline.leaks.search import Identifiers, Kind, harvest, search
from pipeline.stages.neutral import own_text
from tests.leaks.test_search import dicom_file

CONFIG = Config(dataset=DatasetConfig(name="box-livers"))

PLANTS = {
    Kind.NAME: "Brandstaetter",
    Kind.NUMBER: "884120",
    Kind.DATE: "2017-03-14",
    Kind.UID: "1.2.826.77.1.2.3.4",
    Kind.PHONE: "+43 512 555 0102",
    Kind.PLACE: "Landeskrankenhaus",
    Kind.DEVICE: "CTROOM77",
    Kind.TEXT: "mother of the head nurse, be quick",
}
SHORT_NAMES = ("Sato", "Mora", "王芳")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Identifiers:
    folder = tmp_path_factory.mktemp("source")
    for number, name in enumerate(("Brandstaetter^Juergen", "Sato^Yuki", "Mora^Elsa", "王芳")):
        dicom_file(
            folder / f"{number}.dcm",
            PatientName=name,
            PatientID="884120",
            StudyDate="20170314",
            StudyInstanceUID="1.2.826.77.1.2.3.4",
            PatientTelephoneNumbers="+43 512 555 0102",
            InstitutionName="Landeskrankenhaus",
            StationName="CTROOM77",
            PatientComments="mother of the head nurse, be quick",
        )
    return harvest([folder])


def page(text: str) -> bytes:
    picture = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (200, 200, 3), np.uint8)).save(picture, "JPEG")
    style = "<style>.block { display: block; font: small serif; position: relative; top: auto }</style>"
    embedded = zlib.compress(picture.getvalue()).hex()
    return f"<html>{style}<!-- {embedded} --><h2>P0001 C1</h2><dd>scanner {text}</dd></html>".encode()


def table(text: str) -> bytes:
    rows = "\n".join(f"P{n:04d},C1,{n},{1000 + 7 * n},train" for n in range(200))
    return f"patient_id,phase,fold,voxels,split\n{rows}\nP0201,C1,0,{text},train\n".encode()


def png(text: str) -> bytes:
    note, stream = PngImagePlugin.PngInfo(), io.BytesIO()
    note.add_itxt("Comment", text)
    noise = np.random.default_rng(2).integers(0, 255, (200, 200), np.uint8)
    Image.fromarray(noise).save(stream, "PNG", pnginfo=note)
    return stream.getvalue()


def jpeg(text: str, *, marker: int = 0xFE) -> bytes:
    stream = io.BytesIO()
    noise = np.random.default_rng(3).integers(0, 255, (200, 200, 3), np.uint8)
    Image.fromarray(noise).save(stream, "JPEG", progressive=True)
    content, note = stream.getvalue(), text.encode()
    return content[:2] + struct.pack(">BBH", 0xFF, marker, len(note) + 2) + note + content[2:]


def nifti(text: str) -> bytes:
    voxels = np.random.default_rng(4).integers(-200, 300, (8, 64, 64)).astype(np.int16)
    content = bytearray(nifti_bytes(Volume(voxels, Geometry.from_axes(voxels.shape, spacing_mm=(5, 1, 1)))))
    content[148 : 148 + len(text.encode())] = text.encode()
    return gzip.compress(bytes(content), mtime=0)


def zipped(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def parquet(text: str) -> bytes:
    stream = io.BytesIO()
    pd.DataFrame({"patient_id": ["P0001", "P0002"], "model": ["LightSpeed", text]}).to_parquet(stream)
    return stream.getvalue()


def gzip_named(text: str) -> bytes:
    stream = io.BytesIO()
    with gzip.GzipFile("x", "wb", fileobj=stream) as file:
        file.write(b"nothing here")
    content = stream.getvalue()
    return content[:10] + text.encode() + content[11:]


CARRIERS = {
    "page.html": page,
    "table.csv": table,
    "facts.json": lambda text: json.dumps({"split": "train", "model": text, "voxels": [1, 22, 333]}).encode(),
    "card.md": lambda text: f"# box-livers 1.0.0\n\n| manufacturer | {text} | 3 |\n".encode(),
    "package.zip": lambda text: zipped(**{"cases/P0001_C1/open.sh": f"#!/bin/sh\n# {text}\n".encode()}),
    "workbook.xlsx": lambda text: zipped(**{"xl/sharedStrings.xml": f"<sst><si><t>{text}</t></si></sst>".encode()}),
    "text of a.png": png,
    "comment of a.jpg": jpeg,
    "EXIF of a.jpg": partial(jpeg, marker=0xE1),
    "behind the end of a.jpg": lambda text: jpeg("") + f" {text}".encode(),
    "image.nii.gz": nifti,
    "rows.parquet": parquet,
    "name in a.gz": gzip_named,
}


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("kind", PLANTS)
def test_each_identifier_is_found_in_each_file(source: Identifiers, tmp_path: Path, carrier: str, kind: Kind):
    (tmp_path / carrier).write_bytes(CARRIERS[carrier](PLANTS[kind]))
    assert kind in {leak.kind for leak in search(source, [tmp_path], own=partial(own_text, CONFIG))}


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("name", SHORT_NAMES)
def test_short_names_are_found_where_text_is(source: Identifiers, tmp_path: Path, carrier: str, name: str):
    (tmp_path / carrier).write_bytes(CARRIERS[carrier](name))
    assert {leak.kind for leak in search(source, [tmp_path], own=partial(own_text, CONFIG))} == {Kind.NAME}


@pytest.mark.parametrize("carrier", CARRIERS)
def test_the_same_files_without_an_identifier_are_clean(source: Identifiers, tmp_path: Path, carrier: str):
    (tmp_path / carrier).write_bytes(CARRIERS[carrier]("axial"))
    assert search(source, [tmp_path], own=partial(own_text, CONFIG)) == ()


@pytest.mark.parametrize("text", [PLANTS[kind] for kind in PLANTS if kind is not Kind.PHONE])
def test_each_identifier_is_found_in_a_file_name(source: Identifiers, tmp_path: Path, text: str):
    (tmp_path / f"P0001 {text}.txt").write_text("nothing")
    found = search(source, [tmp_path], own=partial(own_text, CONFIG))
    assert {leak.where for leak in found} == {"file 1: file name"}


@pytest.mark.parametrize("surname", ["Block", "Font", "Early", "Train", "Label", "Line"])
def test_a_surname_that_is_a_word_of_the_page_is_found_where_the_page_does_not_have_it(tmp_path: Path, surname: str):
    dicom_file(tmp_path / "a.dcm", PatientName=f"{surname}^Xaver")
    identifiers, out = harvest([tmp_path / "a.dcm"]), tmp_path / "out"
    out.mkdir()
    (out / "card.md").write_text(f"seen by {surname} in June")
    assert search(identifiers, [out], own=partial(own_text, CONFIG))
