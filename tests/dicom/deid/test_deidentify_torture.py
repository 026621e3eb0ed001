"""Nothing that the torture export hides comes out, and all of its clean images do."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import numpy as np
import pydicom
import pytest

from pipeline.core.config import DeidentificationConfig
from pipeline.core.pseudonyms import Pseudonyms
from pipeline.dicom.deid.clean_tree import deidentify_tree
from pipeline.leaks.search import harvest, search
from tests.dicom.deid.torture import Torture, make_torture

KEYS = Pseudonyms(bytes(range(32)))
SEEDS = (1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow))


@pytest.fixture(scope="module", params=SEEDS)
def torture(request, tmp_path_factory) -> tuple[Torture, Path]:
    folder = tmp_path_factory.mktemp("torture")
    made = make_torture(folder / "source", request.param)
    deidentify_tree([made.folder], folder / "out", KEYS, DeidentificationConfig(), private=folder / "private")
    return made, folder / "out"


def spellings(text: str) -> list[bytes]:
    found = []
    for charset in ("utf-8", "utf-16-le") if text.isascii() else ("utf-8", "utf-16-le", "gb18030", "latin-1"):
        try:
            found.append(text.encode(charset).lower())
        except UnicodeEncodeError:
            continue
    return found


def test_no_plant_is_in_any_byte_or_name_of_the_output(torture):
    made, out = torture
    assert len(made.plants) > 700
    leaked = set()
    for file in sorted(out.rglob("*")):
        content = str(file.relative_to(out)).encode().lower()
        content += file.read_bytes().lower() if file.is_file() else b""
        leaked |= {
            category for text, category in made.plants.items() if any(form in content for form in spellings(text))
        }
    assert leaked == set()


def test_bits_above_the_stored_ones_are_empty(torture):
    _, out = torture
    for file in out.rglob("*.dcm"):
        dataset = pydicom.dcmread(file)
        assert int(np.frombuffer(dataset.PixelData, "<u2").max()) < 1 << dataset.BitsStored


def test_verifier_agrees_that_the_output_is_clean(torture):
    made, out = torture
    identifiers = harvest([made.folder])
    assert identifiers.unreadable == 0
    assert search(identifiers, [out]) == ()


def test_verifier_would_have_seen_the_identifiers_of_every_file(torture):
    made, _ = torture
    found = {leak.where.split(":")[0] for leak in search(harvest([made.folder]), [made.folder])}
    files = [file for file in made.folder.rglob("*") if file.is_file() and file.name != "notes.txt"]
    assert len(found) >= len(files)


def test_every_clean_image_comes_through_and_nothing_else(torture):
    made, out = torture
    with (out / "report.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sum(row["action"] == "written" for row in rows) == len(made.clean)
    assert len(list(out.rglob("*.dcm"))) == len(made.clean)
    codes = {row["code"] for row in rows if row["action"] == "quarantined"}
    assert codes >= {
        "report",
        "document",
        "secondary-capture",
        "presentation-state",
        "localizer",
        "burned-in",
        "text-suspected",
    }


def test_clean_images_keep_what_an_image_needs(torture):
    _, out = torture
    for file in out.rglob("*.dcm"):
        dataset = pydicom.dcmread(file)
        assert dataset.PixelSpacing == [0.75, 0.75]
        assert dataset.ImagePositionPatient[2] % 5 == 0
        assert float(dataset.RescaleIntercept) == -1024
        assert dataset.SliceThickness == 5
        assert dataset.pixel_array.shape == (128, 128)
        assert dataset.PatientIdentityRemoved == "YES"
        assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_damaged_headers_stop_nothing_and_let_nothing_out(tmp_path, seed):
    made = make_torture(tmp_path / "whole", seed)
    files = [file for file in sorted(made.folder.rglob("*")) if file.is_file() and file.stat().st_size > 4_000]
    rng = random.Random(seed)
    (tmp_path / "damaged").mkdir()
    for number in range(150):
        content = bytearray(rng.choice(files).read_bytes())
        for _ in range(rng.choice((1, 3, 10, 40))):
            content[rng.randrange(130, 4_000)] = rng.randrange(256)
        (tmp_path / "damaged" / f"{number:04d}").write_bytes(content)
    report = deidentify_tree([tmp_path / "damaged"], tmp_path / "out", KEYS, DeidentificationConfig())
    assert len(report.files) >= 150
    assert harvest([tmp_path / "damaged"]).files > 0
    written = b"".join(file.read_bytes() for file in sorted((tmp_path / "out").rglob("*.dcm"))).lower()
    assert not [category for text, category in made.plants.items() if text.lower().encode() in written]
