"""Only original, primary, axial images of the dataset's modality come in."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.core.config import Modality
from pipeline.core.records import Instance, SourceFile
from pipeline.dicom.deid.admission import admit

CT = {
    "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
    "Modality": "CT",
    "ImageType": ("ORIGINAL", "PRIMARY", "AXIAL"),
    "SamplesPerPixel": 1,
}
REFUSED = {
    "secondary-capture": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"},
    "report": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.67", "Modality": "SR"},
    "document": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.104.1"},
    "presentation-state": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.11.1"},
    "radiotherapy": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.481.3"},
    "storage-class": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.6.1"},
    "modality": {"Modality": "PT"},
    "localizer": {"ImageType": ("ORIGINAL", "PRIMARY", "LOCALIZER")},
    "not-original": {"ImageType": ("DERIVED", "PRIMARY", "AXIAL")},
    "not-axial": {"ImageType": ("ORIGINAL", "PRIMARY", "OTHER")},
    "burned-in": {"BurnedInAnnotation": "YES"},
    "color": {"SamplesPerPixel": 3},
}


def instance(**changes: object) -> Instance:
    return Instance(SourceFile(Path("unused")), {**CT, **changes})


def test_original_axial_ct_is_admitted():
    assert admit(instance()) is None
    assert admit(instance(BurnedInAnnotation="NO")) is None


@pytest.mark.parametrize("rule", REFUSED)
def test_everything_else_is_refused_by_its_rule(rule):
    reason = admit(instance(**REFUSED[rule]))
    assert reason is not None
    assert reason.rule == rule


def test_image_that_does_not_say_that_it_is_original_stays_out():
    reason = admit(Instance(SourceFile(Path("unused")), {**CT, "ImageType": ""}))
    assert reason is not None
    assert reason.rule == "not-original"


def test_unclear_burned_in_annotation_is_taken_as_yes():
    assert admit(instance(BurnedInAnnotation="OTHER")) is not None


def test_magnetic_resonance_is_admitted_where_it_is_asked_for():
    mr = instance(SOPClassUID="1.2.840.10008.5.1.4.1.1.4", Modality="MR", ImageType=("ORIGINAL", "PRIMARY", "M", "ND"))
    assert admit(mr, modality=Modality.MR) is None
    assert admit(mr) is not None
