"""What a liver dataset needs of a header stays, and what is planted in the very same attributes does not."""

from __future__ import annotations

import re
from datetime import datetime
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import config as pydicom_config
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from pipeline.core.config import DeidentificationConfig
from pipeline.core.config import DeidentificationOption as Option
from pipeline.core.pseudonyms import Pseudonyms
from pipeline.dicom.deid.deidentify import deidentify
from pipeline.dicom.deid.encode import file_bytes
from pipeline.dicom.deid.liver import LiverAttribute, liver_attributes, makers
from pipeline.dicom.deid.vocabulary import AGENT, DESCRIPTION, MODEL
from tests.dicom.deid.test_annex_e import image

KEYS = Pseudonyms(bytes(range(32)))
DEFAULT = DeidentificationConfig()
WITH_DEVICE = DeidentificationConfig(options=DEFAULT.options | {Option.DEVICE_IDENTITY})
CLASSES = {"CT": "1.2.840.10008.5.1.4.1.1.2", "MR": "1.2.840.10008.5.1.4.1.1.4"}
SCANNERS = list(product(makers(), ("CT", "MR")))
LEAST_SURVIVAL = 0.98
TEXTS = frozenset({"LO", "SH", "CS", "UC"})


def blank(modality: str) -> Dataset:
    """An image with nothing but what every image has."""
    dataset = image()
    del dataset.StudyTime
    dataset.SOPClassUID, dataset.Modality = CLASSES[modality], modality
    dataset.PatientID = "MRN0012345"
    return dataset


def needed(maker: str, modality: str) -> list[LiverAttribute]:
    return [one for one in liver_attributes() if maker in one.written and modality in one.modality.split()]


def scanned(maker: str, modality: str) -> Dataset:
    """An image with every attribute of the table, as a maker writes it."""
    dataset = blank(modality)
    for one in needed(maker, modality):
        source = one.written[maker].partition(" => ")[0]
        if source.startswith("private"):
            plant_private(dataset, source)
        else:
            put(inside(dataset, one.place), one.keyword, source)
    return dataset


def inside(dataset: Dataset, place: str) -> Dataset:
    """The one item of the innermost of some sequences, made where it is not there."""
    for keyword in filter(None, place.split("/")):
        if keyword not in dataset:
            setattr(dataset, keyword, Sequence([Dataset()]))
        dataset = dataset[keyword].value[0]
    return dataset


def put(dataset: Dataset, keyword: str, text: str) -> None:
    vr = dictionary_VR(keyword)
    parts = [typed(part, vr) for part in text.split("\\")]
    value = parts[0] if len(parts) == 1 else parts
    dataset[keyword] = DataElement(keyword, vr, value, validation_mode=pydicom_config.IGNORE)
    if keyword == "CodeValue":
        is_of_dicom = text.startswith("11369")
        dataset.CodingSchemeDesignator = "DCM" if is_of_dicom else "SCT"


def typed(text: str, vr: str) -> object:
    if vr in ("US", "SS", "UL", "SL"):
        return int(text)
    return float(text) if vr in ("FD", "FL") else text


def plant_private(dataset: Dataset, source: str) -> None:
    found = re.fullmatch(r"private (\w{4}),(\w{2})(\w{2}) (.+) (IS|FL|FD) (\S+)", source)
    assert found is not None, source
    group, block, element, creator, vr, text = found.groups()
    assert block == "10", "makers' usual first block"
    own = dataset.private_block(int(group, 16), creator, create=True)
    parts = [float(part) if vr in ("FL", "FD") else part for part in text.split("\\")]
    own.add_new(int(element, 16), vr, parts[0] if len(parts) == 1 else parts)


def survives(one: LiverAttribute, maker: str, source: Dataset, clean: Dataset) -> bool:
    raw, _, wanted = one.written[maker].partition(" => ")
    for keyword in filter(None, one.place.split("/")):
        items = clean.get(keyword)
        if not items:
            return False
        clean = items[0]
    found = clean.get(one.keyword)
    if found in (None, ""):
        return False
    if dictionary_VR(one.keyword) in ("DA", "TM", "DT"):
        return True  # how far they move is tested below
    told = "\\".join(map(str, found)) if type(found).__name__ == "MultiValue" else str(found)
    return same(told, wanted or raw)


def same(told: str, wanted: str) -> bool:
    """Equal as numbers, or word for word whatever separates the words."""
    try:
        return [float(part) for part in told.split("\\")] == [float(part) for part in wanted.split("\\")]
    except ValueError:
        return re.split(r"[\s_-]", told) == re.split(r"[\s_-]", wanted)


@pytest.mark.parametrize(("maker", "modality"), SCANNERS)
def test_every_scanner_keeps_what_a_liver_dataset_needs(maker, modality):
    source = scanned(maker, modality)
    clean = deidentify(source, KEYS, WITH_DEVICE).dataset
    lost = [one.keyword for one in needed(maker, modality) if not survives(one, maker, source, clean)]
    assert len(needed(maker, modality)) > 40
    assert lost == []


@pytest.mark.parametrize(("maker", "modality"), SCANNERS)
def test_what_is_kept_is_written_as_pydicom_writes_it(maker, modality, tmp_path):
    clean = deidentify(scanned(maker, modality), KEYS, WITH_DEVICE).dataset
    clean.save_as(tmp_path / "clean.dcm", enforce_file_format=True)
    assert file_bytes(clean) == (tmp_path / "clean.dcm").read_bytes()


def test_at_least_98_percent_survive_with_the_default_options():
    survived = []
    for maker, modality in SCANNERS:
        source = scanned(maker, modality)
        clean = deidentify(source, KEYS, DEFAULT).dataset
        survived += [survives(one, maker, source, clean) for one in needed(maker, modality)]
    assert len(survived) > 700
    assert sum(survived) / len(survived) >= LEAST_SURVIVAL


@pytest.mark.parametrize(("maker", "modality"), SCANNERS)
def test_seconds_from_injection_to_acquisition_stay(maker, modality):
    source = scanned(maker, modality)
    clean = deidentify(source, KEYS, DEFAULT).dataset
    assert seconds(clean.AcquisitionTime, clean.ContrastBolusStartTime) == seconds(
        source.AcquisitionTime, source.ContrastBolusStartTime
    )
    assert clean.ContrastBolusStartTime != source.ContrastBolusStartTime


def seconds(later: str, earlier: str) -> float:
    def moment(text: str) -> datetime:
        return datetime.strptime(text, "%H%M%S.%f" if "." in text else "%H%M%S")

    return (moment(later) - moment(earlier)).total_seconds()


NAMES = st.sampled_from(
    [
        *("Kowalczyk", "Oberhuber", "O'Connor", "Nguyễn", "Müller-Lüdenscheidt", "Portanova"),
        *("王芳", "김민수", "조영희", "Иванова"),
    ]
) | st.from_regex(r"[A-Z][a-z]{6,12}", fullmatch=True).filter(
    lambda name: name.casefold() not in DESCRIPTION | AGENT | MODEL
)
NUMBERS = st.from_regex(r"[1-9]\d{5,9}", fullmatch=True) | st.sampled_from(
    ["+48 22 555 01 02", "555-123-4567", "(030) 901820", "123-45-6789"]
)
DATES = st.dates().map(lambda day: f"{day:%Y%m%d}") | st.dates().map(lambda day: f"{day:%d.%m.%Y}")
WHERE = (
    "{planted}",
    "{value} {planted}",
    "{planted} {value}",
    "{value}_{planted}",
    "{planted},{value}",
    "{planted}^{value}",
)
TEXT_CELLS = [
    (maker, modality, one)
    for maker, modality in SCANNERS
    for one in needed(maker, modality)
    if dictionary_VR(one.keyword) in TEXTS and not one.written[maker].startswith("private") and not one.place
]


NAMES_OF_THINGS = ("Manufacturer", "ManufacturerModelName", "SoftwareVersions", "ReceiveCoilName", "SequenceName")
THINGS = [cell for cell in TEXT_CELLS if cell[2].keyword in NAMES_OF_THINGS]


@given(cell=st.sampled_from(TEXT_CELLS), planted=NAMES | NUMBERS | DATES, where=st.sampled_from(WHERE))
@settings(max_examples=400, deadline=None)
def test_nothing_planted_beside_a_value_is_in_the_file(cell, planted, where):
    maker, modality, one = cell
    dataset = scanned(maker, modality)
    before = file_bytes(deidentify(dataset, KEYS, WITH_DEVICE).dataset)
    value = where.format(value=one.written[maker].partition(" => ")[0].split("\\")[0], planted=planted)
    dataset[one.keyword] = DataElement(
        one.keyword, dictionary_VR(one.keyword), value, validation_mode=pydicom_config.IGNORE
    )
    content = file_bytes(deidentify(dataset, KEYS, WITH_DEVICE).dataset)
    assert planted.encode() not in content.replace(planted.encode(), b"", before.count(planted.encode()))
    parts = [part.encode() for part in re.split(r"[\W_]+", planted) if len(part) > 3]
    assert not [part for part in parts if part in content and part not in before]


@given(cell=st.sampled_from(THINGS), planted=NAMES, where=st.sampled_from(WHERE))
@settings(max_examples=200, deadline=None)
def test_what_names_a_thing_is_whole_or_gone(cell, planted, where):
    maker, modality, one = cell
    if one.keyword not in (
        "Manufacturer",
        "ManufacturerModelName",
        "SoftwareVersions",
        "ReceiveCoilName",
        "SequenceName",
    ):
        return
    dataset = blank(modality)
    value = where.format(value=one.written[maker].split("\\")[0], planted=planted)
    setattr(dataset, one.keyword, value)
    assert not deidentify(dataset, KEYS, WITH_DEVICE).dataset.get(one.keyword)


@pytest.mark.parametrize(
    ("keyword", "planted"),
    [
        ("ConvolutionKernel", ["22", "55", "50", "10", "02"]),
        ("ReceiveCoilName", "22 55 50"),
        ("ReceiveCoilName", "Body 22 55 50"),
        ("SoftwareVersions", ["22", "555", "010", "2"]),
        ("SoftwareVersions", "555 010 2"),
        ("SequenceName", "*fl3d1_ns_555-010-2"),
        ("SequenceName", "*ep_b1954"),
        ("ContrastBolusAgent", "370"),
    ],
)
def test_a_number_in_pieces_does_not_pass(keyword, planted):
    dataset = blank("MR")
    setattr(dataset, keyword, planted)
    assert not deidentify(dataset, KEYS, WITH_DEVICE).dataset.get(keyword)


@pytest.mark.parametrize(
    ("model", "kept"),
    [
        ("Aquilion Precision", True),
        ("LightSpeed Pro 32", True),
        ("Aquilion", True),
        ("SOMATOM Force Dr. Oberhuber", False),
        ("Aquilion Nowhere", False),
        ("LightSpeed Mk2", False),
    ],
)
def test_a_model_is_never_another(model, kept):
    dataset = blank("CT")
    dataset.ManufacturerModelName = model
    assert deidentify(dataset, KEYS, DEFAULT).dataset.get("ManufacturerModelName") == (model if kept else None)


@pytest.mark.parametrize(
    ("keyword", "value", "kept"),
    [
        ("ManufacturerModelName", ["Aquilion", "Precision"], "Aquilion Precision"),
        ("ManufacturerModelName", ["Aquilion", "Nowak"], None),
        ("ReceiveCoilName", ["Body", "Spine"], "Body Spine"),
        ("SequenceName", ["*fl3d1", "NOWAK"], None),
    ],
)
def test_several_values_of_a_name_are_judged_together(keyword, value, kept):
    dataset = blank("MR")
    dataset[keyword] = DataElement(keyword, dictionary_VR(keyword), value)
    assert deidentify(dataset, KEYS, DEFAULT).dataset.get(keyword) == kept


ENHANCED_CT = {
    "CTExposureSequence": {"XRayTubeCurrentInmA": 300.0, "ExposureTimeInms": 500.0, "CTDIvol": 9.5},
    "CTXRayDetailsSequence": {"KVP": 120, "FocalSpots": 1.2, "FilterType": "BODY"},
    "CTAcquisitionDetailsSequence": {"RotationDirection": "CW", "RevolutionTime": 0.5, "TableHeight": 150},
    "CTReconstructionSequence": {"ConvolutionKernel": "Br40d", "ReconstructionDiameter": 400},
    "ContrastBolusUsageSequence": {"ContrastBolusAgentNumber": 1, "ContrastBolusAgentPhase": "PORTAL_VENOUS"},
    "TemporalPositionSequence": {"TemporalPositionTimeOffset": 35.5},
}
ENHANCED_MR = {
    "MRTimingAndRelatedParametersSequence": {"RepetitionTime": 4.5, "FlipAngle": 10, "EchoTrainLength": 1},
    "MRImagingModifierSequence": {"PixelBandwidth": 488},
    "MRReceiveCoilSequence": {"ReceiveCoilName": "Body_18", "ReceiveCoilType": "MULTICOIL"},
    "MRDiffusionSequence": {"DiffusionBValue": 800.0, "DiffusionDirectionality": "ISOTROPIC"},
    "MREchoSequence": {"EffectiveEchoTime": 1.9},
}


@pytest.mark.parametrize(("modality", "groups"), [("CT", ENHANCED_CT), ("MR", ENHANCED_MR)])
@pytest.mark.parametrize("carrier", ["SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"])
def test_groups_of_enhanced_images_keep_their_values_and_nothing_else(carrier, modality, groups):
    dataset, group = blank(modality), Dataset()
    for keyword, values in groups.items():
        item = Dataset()
        item.update({**values, "ImageComments": "NOWAK"})
        setattr(group, keyword, Sequence([item]))
    setattr(dataset, carrier, Sequence([group]))
    clean = deidentify(dataset, KEYS, DEFAULT).dataset
    for keyword, values in groups.items():
        (item,) = clean[carrier].value[0][keyword].value
        assert {element.keyword: str(element.value) for element in item} == {
            word: str(one) for word, one in values.items()
        }
    assert b"NOWAK" not in file_bytes(clean)


def test_software_versions_stay_only_with_the_device():
    source = scanned("Siemens", "CT")
    assert "SoftwareVersions" not in deidentify(source, KEYS, DEFAULT).dataset
    assert deidentify(source, KEYS, WITH_DEVICE).dataset.SoftwareVersions == "syngo CT VA48A"


@given(
    stored=st.integers(0, 4_095),
    rescale=st.floats(0.5, 50),
    intercept=st.floats(-10, 10),
    scale=st.floats(1e-3, 10),
)
def test_philips_scale_gives_the_measured_value_from_the_stored_one(stored, rescale, intercept, scale):
    dataset = blank("MR")
    dataset.RescaleSlope, dataset.RescaleIntercept = f"{rescale:.6f}"[:16], f"{intercept:.6f}"[:16]
    own = dataset.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
    own.add_new(0x0E, "FL", scale)
    (mapping,) = deidentify(dataset, KEYS, DEFAULT).dataset.RealWorldValueMappingSequence
    displayed = stored * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
    measured = displayed / (float(dataset.RescaleSlope) * scale)
    told = stored * mapping.RealWorldValueSlope + mapping.RealWorldValueIntercept
    assert told == pytest.approx(measured, rel=1e-6, abs=1e-6)
    assert mapping.RealWorldValueFirstValueMapped <= stored <= mapping.RealWorldValueLastValueMapped
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "1"


def test_philips_scale_of_an_enhanced_image_lies_in_its_frames():
    dataset = blank("MR")
    groups = []
    for rescale, scale in ((4.0, 0.5), (8.0, 0.25)):
        values, inner, group = Dataset(), Dataset(), Dataset()
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = rescale, 0, "US"
        inner.private_block(0x2005, "Philips MR Imaging DD 001", create=True).add_new(0x0E, "FL", scale)
        inner.PatientName = "PLANTED^NAME"
        group.PixelValueTransformationSequence = Sequence([values])
        group.private_block(0x2005, "Philips MR Imaging DD 005", create=True).add_new(0x0F, "SQ", Sequence([inner]))
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = Sequence(groups)
    clean = deidentify(dataset, KEYS, DEFAULT).dataset
    told = [
        group.RealWorldValueMappingSequence[0].RealWorldValueSlope for group in clean.PerFrameFunctionalGroupsSequence
    ]
    assert told == [2.0, 4.0]
    assert b"PLANTED" not in file_bytes(clean)


def test_private_values_that_are_no_numbers_are_passed_over():
    dataset = blank("MR")
    dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0C, "LO", "NOWAK 1954")
    dataset.private_block(0x2005, "Philips MR Imaging DD 001", create=True).add_new(0x0E, "FL", 0.0)
    clean = deidentify(dataset, KEYS, DEFAULT).dataset
    assert "DiffusionBValue" not in clean
    assert "RealWorldValueMappingSequence" not in clean


def test_every_cell_of_the_table_has_an_outcome_that_keeps_it():
    outcomes = {one.outcome(maker) for one in liver_attributes() for maker in one.written}
    assert outcomes == {"kept", "cleaned", "moved", "rewritten"}
    assert len(liver_attributes()) > 100
    assert makers() == ("GE", "Siemens", "Philips", "Canon", "United Imaging", "Hitachi")
