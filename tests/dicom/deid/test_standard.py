"""Clean DICOM passes dciodvfy, an independent judge of PS3.3's modules; it comes with dicom3tools."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pydicom
import pytest

from pipeline.core.config import DeidentificationConfig, Modality
from pipeline.core.pseudonyms import Pseudonyms
from pipeline.dicom.deid.clean_tree import deidentify_tree
from pipeline.synth.cohort import make_cohort
from tests.places import SHARED

KEPT_FAULT = "condition unsatisfied (which may not be present otherwise) Type 2C Conditional Element=<InversionTime>"
"""Of a GE gradient echo: it tells of the contrast, so what the scanner wrote stays."""


@pytest.fixture
def judge() -> str:
    return shutil.which("dciodvfy") or pytest.skip("dciodvfy is not installed; it comes with dicom3tools")


def clean_files(source: Path, out: Path, modality: Modality) -> list[Path]:
    """One clean file of each series."""
    options = DeidentificationConfig()
    deidentify_tree([source], out, Pseudonyms(bytes(32)), options, modality=modality, allow_faces=True)
    return sorted({path.parent: path for path in out.rglob("*.dcm")}.values())


def errors(judge: str, path: Path) -> list[str]:
    said = subprocess.run([judge, str(path)], capture_output=True, text=True, check=False)
    lines = (said.stdout + said.stderr).splitlines()
    assert any(line.endswith("Image") for line in lines), "it did not recognise an image"
    return [line for line in lines if line.startswith("Error") and KEPT_FAULT not in line]


@pytest.mark.parametrize(
    ("folder", "modality"),
    [
        ("body_ct", Modality.CT),
        ("liver_ct_dicomseg", Modality.CT),
        ("deid_small", Modality.CT),
        ("deidentification_method", Modality.MR),
        ("pseudo_phi", Modality.MR),
    ],
)
def test_real_images_are_clean_by_the_standard(judge, tmp_path, folder, modality):
    if not SHARED.is_dir():
        pytest.skip("the shared real files are not here")
    files = clean_files(SHARED / folder, tmp_path / "out", modality)
    assert len(files) >= 1
    assert {file.parent.name: errors(judge, file) for file in files} == {file.parent.name: [] for file in files}


@pytest.mark.slow
def test_images_of_the_cohort_are_clean_by_the_standard(judge, tmp_path):
    make_cohort(tmp_path / "cohort")
    files = clean_files(tmp_path / "cohort" / "dicom", tmp_path / "out", Modality.CT)
    assert len(files) > 20
    assert {file.parent.name: errors(judge, file) for file in files} == {file.parent.name: [] for file in files}
    broken = pydicom.dcmread(files[0])
    del broken.PixelRepresentation
    broken.save_as(tmp_path / "broken.dcm")
    assert errors(judge, tmp_path / "broken.dcm")
