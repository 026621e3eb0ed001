"""Sidecars beside those of dcm2niix: the same keywords for the same facts, and nothing of a patient."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from dcm2niix import bin as dcm2niix

from tests.dicom.scanner import Scan, body, expose
from tests.dicom.test_situations import stamped
from tests.dicom.test_tree import convert

CT_HEADER: dict[str, Any] = {
    "Manufacturer": "SIEMENS",
    "ManufacturerModelName": "SOMATOM Definition",
    "ConvolutionKernel": "B30f",
    "KVP": 120,
    "XRayTubeCurrent": 210,
    "ExposureTime": 500,
    "Exposure": 105,
    "SliceThickness": 3.0,
    "SeriesDescription": "arterial phase",
    "ProtocolName": "Liver",
    "BodyPartExamined": "ABDOMEN",
    "PatientPosition": "HFS",
    "SeriesNumber": 4,
    "ReconstructionDiameter": 400,
}
MR_HEADER: dict[str, Any] = {
    "Manufacturer": "SIEMENS",
    "ManufacturerModelName": "Avanto",
    "MagneticFieldStrength": 1.5,
    "ScanningSequence": ["GR", "IR"],
    "SequenceVariant": ["SK", "SP"],
    "MRAcquisitionType": "3D",
    "EchoTime": 2.38,
    "RepetitionTime": 1540,
    "InversionTime": 800,
    "FlipAngle": 15,
    "EchoNumbers": 1,
    "SliceThickness": 3.0,
    "SpacingBetweenSlices": 2.5,
    "SeriesDescription": "T1 vibe",
    "ProtocolName": "Liver",
    "BodyPartExamined": "LIVER",
    "PatientPosition": "HFS",
    "SeriesNumber": 7,
    "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "NORM"],
}


@pytest.mark.parametrize(("modality", "header"), [("CT", CT_HEADER), ("MR", MR_HEADER)])
def test_keywords_shared_with_dcm2niix_have_the_same_values(modality: str, header: dict[str, Any], tmp_path: Path):
    expose(tmp_path / "src", Scan(body(5), modality=modality), stamped(**header))
    ours = our_sidecar(tmp_path)
    theirs = their_sidecar(tmp_path)
    assert theirs["Manufacturer"] == ours["Manufacturer"].capitalize()  # they write their own spelling of makers
    theirs["Manufacturer"] = ours["Manufacturer"]
    theirs["ImageType"] = [word for word in theirs["ImageType"] if word != "MAGNITUDE"]  # which no header says
    shared = ours.keys() & theirs.keys() - {"ConversionSoftware"}
    assert {key: ours[key] for key in shared} == {key: theirs[key] for key in shared}
    expected = {"Modality", "Manufacturer", "ManufacturersModelName", "BodyPart", "SeriesNumber", "ImageType"}
    of_kind = {
        "CT": {"XRayExposure", "XRayTubeCurrent", "ExposureTime", "ConvolutionKernel"},
        "MR": {"EchoTime", "RepetitionTime", "InversionTime", "FlipAngle", "ScanningSequence", "SliceThickness"},
    }
    assert shared >= expected | of_kind[modality]


def test_what_differs_between_slices_is_not_said_of_the_volume(tmp_path: Path):
    expose(tmp_path / "src", Scan(body(5)), stamped(XRayTubeCurrent=lambda index: 200 + index, KVP=120))
    ours = our_sidecar(tmp_path)
    assert "XRayTubeCurrent" not in ours
    assert ours["KVP"] == 120


def test_nothing_of_a_patient_and_no_date_stands_in_a_sidecar(tmp_path: Path):
    secret = "Zimmermann 20240311"
    texts = dict.fromkeys(("SeriesDescription", "ProtocolName", "Manufacturer", "ManufacturerModelName"), secret)
    expose(tmp_path / "src", Scan(body(5)), stamped(**texts, ConvolutionKernel=secret, BodyPartExamined="ZIMMERMANN"))
    told = json.dumps(our_sidecar(tmp_path)).casefold()
    assert not [word for word in ("zimmermann", "2024", "hn-2290417", "otto", "101500") if word in told]


def our_sidecar(root: Path) -> dict[str, Any]:
    convert(root / "src", root / "out")
    (path,) = (root / "out").rglob("*.json")
    return dict(json.loads(path.read_text(encoding="utf-8")))


def their_sidecar(root: Path) -> dict[str, Any]:
    (root / "theirs").mkdir()
    command = [dcm2niix, "-b", "o", "-ba", "n", "-f", "volume", "-o", root / "theirs", root / "src"]
    subprocess.run(command, check=True, capture_output=True)
    (path,) = (root / "theirs").glob("*.json")
    return dict(json.loads(path.read_text(encoding="utf-8")))
