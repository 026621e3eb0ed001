"""Each fact of a frame comes from its own macro of the standard, wherever else its name stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedMRImageStorage, ImplicitVRLittleEndian

from pipeline.dicom.group.series import frames_of
from pipeline.dicom.read.scan import scan
from tests.dicom.scanner import Scan, body, dataset_of, save

FACTS: dict[str, tuple[tuple[str, ...], str, Any, Any]] = {
    # name in a single-frame header: where it stands in a frame, its keyword there, its value, and a wrong one
    "ImagePositionPatient": (("PlanePositionSequence",), "ImagePositionPatient", [1.5, 2.5, 3.5], [9, 9, 9]),
    "ImageOrientationPatient": (
        *(("PlaneOrientationSequence",), "ImageOrientationPatient"),
        *([1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, 1]),
    ),
    "PixelSpacing": (("PixelMeasuresSequence",), "PixelSpacing", [0.75, 0.5], [9, 9]),
    "SliceThickness": (("PixelMeasuresSequence",), "SliceThickness", 2.5, 9),
    "SpacingBetweenSlices": (("PixelMeasuresSequence",), "SpacingBetweenSlices", 2.0, 9),
    "RescaleSlope": (("PixelValueTransformationSequence",), "RescaleSlope", 1.0, 7.5),
    "RescaleIntercept": (("PixelValueTransformationSequence",), "RescaleIntercept", -3.0, 9),
    "RescaleType": (("PixelValueTransformationSequence",), "RescaleType", "US", "HU"),
    "StackID": (("FrameContentSequence",), "StackID", "1", "9"),
    "AcquisitionNumber": (("FrameContentSequence",), "FrameAcquisitionNumber", 2, 9),
    "AcquisitionDateTime": (("FrameContentSequence",), "FrameAcquisitionDateTime", "20240411", "19990101"),
    "TemporalPositionIdentifier": (("FrameContentSequence",), "TemporalPositionIndex", 2, 9),
    "DimensionIndexValues": (("FrameContentSequence",), "DimensionIndexValues", [1, 2], [9, 9]),
    "TriggerTime": (("CardiacSynchronizationSequence",), "NominalCardiacTriggerDelayTime", 12.5, 9.0),
    "ContrastBolusAgentAdministered": (
        *(("ContrastBolusUsageSequence",), "ContrastBolusAgentAdministered"),
        *("YES", "NO"),
    ),
    "ContrastBolusAgentPhase": (("ContrastBolusUsageSequence",), "ContrastBolusAgentPhase", "ARTERIAL", "DYNAMIC"),
    "ComplexImageComponent": (("MRImageFrameTypeSequence",), "ComplexImageComponent", "PHASE", "REAL"),
    "AcquisitionContrast": (("MRImageFrameTypeSequence",), "AcquisitionContrast", "T2", "T1"),
    "ImageType": (("MRImageFrameTypeSequence",), "FrameType", ["ORIGINAL", "PRIMARY"], ["DERIVED", "PRIMARY"]),
    "RepetitionTime": (("MRTimingAndRelatedParametersSequence",), "RepetitionTime", 4.0, 9.0),
    "FlipAngle": (("MRTimingAndRelatedParametersSequence",), "FlipAngle", 10.0, 9.0),
    "EchoTime": (("MREchoSequence",), "EffectiveEchoTime", 2.5, 9.0),
    "InversionTime": (("MRModifierSequence",), "InversionTimes", 150.0, 9.0),
    "DiffusionBValue": (("MRDiffusionSequence",), "DiffusionBValue", 800.0, 9.0),
    "DiffusionDirectionality": (("MRDiffusionSequence",), "DiffusionDirectionality", "DIRECTIONAL", "NONE"),
    "DiffusionGradientOrientation": (
        *(("MRDiffusionSequence", "DiffusionGradientDirectionSequence"), "DiffusionGradientOrientation"),
        *([0.0, 0.6, 0.8], [1.0, 0.0, 0.0]),
    ),
}


def put(groups: Dataset, path: tuple[str, ...], keyword: str, value: Any) -> None:
    """A fact into its place, in the sequences that are there or in new ones."""
    for name in path:
        if name not in groups:
            setattr(groups, name, Sequence([Dataset()]))
        groups = getattr(groups, name)[0]
    setattr(groups, keyword, value)


def misplaced() -> list[Dataset]:
    """Sequences of a frame that hold every fact, wrong, and are the macro of none: private ones first and last."""
    groups = []
    for group, creator in ((0x0009, "FIRST"), (0x2005, "Philips MR Imaging DD 005"), (0x7FDF, "LAST")):
        dataset = Dataset()
        dataset.private_block(group, creator, create=True).add_new(0x0F, "SQ", Sequence([_wrong()]))
        groups.append(dataset)
    for public in ("DerivationImageSequence", "RealWorldValueMappingSequence", "FrameVOILUTSequence"):
        dataset = Dataset()
        setattr(dataset, public, Sequence([_wrong()]))
        groups.append(dataset)
    return groups


def _wrong() -> Dataset:
    dataset = Dataset()
    for _, keyword, _, wrong in FACTS.values():
        setattr(dataset, keyword, wrong)
    return dataset


def frame_in(path: Path, groups: Dataset, shared: Dataset, *, implicit: bool) -> dict[str, Any]:
    """The one frame of an object, as the scan reads it."""
    ds = dataset_of(Scan(body(1), modality="MR"), 0)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    if implicit:
        ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    for name in FACTS:
        if name in ds:
            delattr(ds, name)
    ds.NumberOfFrames, ds.SharedFunctionalGroupsSequence = 1, [shared]
    ds.PerFrameFunctionalGroupsSequence = [groups]
    save(ds, path)
    ((frame,),) = (frames_of(one) for one in scan([path]).instances)
    return dict(frame.header)


def expected(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


@pytest.mark.parametrize("implicit", [False, True], ids=["explicit", "implicit"])
@pytest.mark.parametrize("where", ["frame", "shared"])
@pytest.mark.parametrize("intruder", range(6))
def test_every_fact_is_read_from_its_macro_whatever_stands_beside_it(tmp_path, where, intruder, implicit):
    frame, shared = Dataset(), Dataset()
    for path, keyword, value, _ in FACTS.values():
        put(frame if where == "frame" else shared, path, keyword, value)
    frame.update(misplaced()[intruder])
    header = frame_in(tmp_path / "object", frame, shared, implicit=implicit)
    assert {name: header.get(name) for name in FACTS} == {name: expected(fact[2]) for name, fact in FACTS.items()}


@pytest.mark.parametrize("intruder", range(6))
def test_no_fact_is_taken_from_a_sequence_that_is_not_its_macro(tmp_path, intruder):
    frame = misplaced()[intruder]
    assert FACTS.keys().isdisjoint(frame_in(tmp_path / "object", frame, Dataset(), implicit=False))


@pytest.mark.parametrize("name", FACTS)
def test_no_fact_is_taken_from_the_macro_of_another(tmp_path, name):
    path, *_ = FACTS[name]
    others = {other for other, fact in FACTS.items() if fact[0] == path}
    frame = Dataset()
    for _, keyword, _, wrong in (fact for other, fact in FACTS.items() if other not in others):
        put(frame, path, keyword, wrong)
    assert FACTS.keys().isdisjoint(frame_in(tmp_path / "object", frame, Dataset(), implicit=False))


def test_a_macro_of_two_items_gives_nothing(tmp_path):
    frame = Dataset()
    frame.PlanePositionSequence = [Dataset(), Dataset()]
    for item in frame.PlanePositionSequence:
        item.ImagePositionPatient = [1, 2, 3]
    assert "ImagePositionPatient" not in frame_in(tmp_path / "object", frame, Dataset(), implicit=False)
