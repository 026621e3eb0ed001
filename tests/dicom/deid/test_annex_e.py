"""Every row of Table E.1-1 meets a disposition that the standard permits, at the top and at every depth."""

from __future__ import annotations

import csv
from itertools import combinations

import numpy as np
import pytest
from pydicom import config as pydicom_config
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

from pipeline.core.config import DeidentificationConfig
from pipeline.core.config import DeidentificationOption as Option
from pipeline.core.pseudonyms import Pseudonyms
from pipeline.dicom.deid.allowlist import ALLOWED, CODES
from pipeline.dicom.deid.annex_e import Disposition, Row, disposition, table
from pipeline.dicom.deid.deidentify import deidentify
from tests.places import SHARED

KEYS = Pseudonyms(bytes(range(32)))
SHARED = SHARED / "pseudo_phi" / "dicom_part15_table_E1-1.csv"
ALL_OPTIONS = frozenset(Option)
OPTION_SETS = [
    frozenset(),
    DeidentificationConfig().options,
    ALL_OPTIONS,
    *(frozenset({option}) for option in Option),
]
PLANTS = {
    "DA": "19870617",
    "TM": "050607.777",
    "DT": "19870617050607.777",
    "UI": "1.3.6.1.4.1.99999.{n}",
    "AS": "044Y",
    "PN": "PLANTED^NAME{n}",
    "DS": "77.125",
    "IS": "98765",
    "CS": "PLANTED{n}",
    "AE": "PLANTED{n}",
}
NUMERIC = {"US": 54321, "SS": -4321, "UL": 987654321, "SL": -98765432, "FL": 9876.5, "FD": 98765.4321, "UV": 9876543210}
BINARY = {"OB", "OW", "OF", "OD", "OL", "UN", "OV"}


def plant(row: Row, number: int) -> DataElement | None:
    """An element for a row with a value that cannot be mistaken for another's."""
    text = row.tag.replace("xxxx", "3000").replace("xx", "00") if row.tag != "private" else "00091001"
    tag = int(text, 16)
    if tag >> 16 in (0x0000, 0x0002):
        return None
    vr = dictionary_VR(tag).split(" or ")[-1] if row.keyword else "LO"
    if vr == "SQ":
        item = Dataset()
        item.add_new(0x00100010, "PN", f"PLANTED^NAME{number}")
        return DataElement(tag, "SQ", Sequence([item]))
    value: object = f"PLANTED TEXT {number}".encode() if vr in BINARY else NUMERIC.get(vr)
    if value is None:
        value = PLANTS.get(vr, "PLANTED TEXT {n}").format(n=number)
    return DataElement(tag, vr, value, validation_mode=pydicom_config.IGNORE)


def image() -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.Modality = "1.2.840.10008.5.1.4.1.1.2", "CT"
    dataset.SOPInstanceUID, dataset.SeriesInstanceUID, dataset.StudyInstanceUID = "1.2.3.4.5", "1.2.3.4", "1.2.3"
    dataset.StudyTime = "010203"
    dataset.Rows = dataset.Columns = 2
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.PixelData = np.arange(4, dtype="<u2").tobytes()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def planted_top() -> dict[str, DataElement]:
    planted = {row.tag: plant(row, number) for number, row in enumerate(table(), start=1000)}
    return {tag: element for tag, element in planted.items() if element is not None}


@pytest.mark.parametrize("options", OPTION_SETS, ids=lambda options: "+".join(sorted(options)) or "basic")
def test_every_row_has_a_disposition_that_the_standard_permits(options):
    wrong = [row.name for row in table() if not row.allows(disposition(row.keyword, options), options)]
    assert wrong == []


@pytest.mark.parametrize("options", OPTION_SETS, ids=lambda options: "+".join(sorted(options)) or "basic")
def test_every_row_at_the_top_meets_its_disposition(options):
    planted = planted_top()
    dataset = image()
    for element in planted.values():
        dataset[element.tag] = element
    clean = deidentify(dataset, KEYS, DeidentificationConfig(options=options)).dataset
    for row in table():
        if row.tag not in planted:
            continue
        source = planted[row.tag]
        found = clean.get(source.tag)
        said = disposition(row.keyword, options)
        if said is Disposition.REMOVED:
            assert found is None or row.keyword.startswith("Deidentification"), row.name
        elif said is Disposition.EMPTIED:
            assert found.is_empty, row.name
        elif said in (Disposition.REPLACED, Disposition.CLEANED):
            assert found is None or (found.value and found.value != source.value) or found.is_empty, row.name


@pytest.mark.parametrize(
    "carrier",
    [
        "ReferencedImageSequence",
        "AnatomicRegionSequence",
        "SharedFunctionalGroupsSequence",
        "RequestAttributesSequence",
        "OriginalAttributesSequence",
        "private",
        "two deep",
    ],
)
def test_no_row_survives_inside_a_sequence(carrier):
    item = Dataset()
    for element in planted_top().values():
        item[element.tag] = element
    dataset = image()
    if carrier == "private":
        dataset.private_block(0x0019, "PLANTED CREATOR", create=True).add_new(0x10, "SQ", Sequence([item]))
    elif carrier == "two deep":
        middle = Dataset()
        middle.PixelMeasuresSequence = Sequence([item])
        dataset.PerFrameFunctionalGroupsSequence = Sequence([middle])
    else:
        setattr(dataset, carrier, Sequence([item]))
    clean = deidentify(dataset, KEYS, DeidentificationConfig(options=ALL_OPTIONS)).dataset
    for element in clean.iterall():
        text = str(element.value)
        assert "PLANTED" not in text, element.keyword
        assert "1.3.6.1.4.1.99999" not in text, element.keyword
        assert "19870617" not in text, element.keyword


def test_no_planted_value_is_in_the_bytes(tmp_path):
    dataset = image()
    for element in planted_top().values():
        dataset[element.tag] = element
    clean = deidentify(dataset, KEYS, DeidentificationConfig()).dataset
    clean.save_as(tmp_path / "clean.dcm", enforce_file_format=True)
    content = (tmp_path / "clean.dcm").read_bytes()
    for value in (b"PLANTED", b"99999", b"19870617", b"050607", b"54321", b"987654", b"98765"):
        assert value not in content, value


def test_table_agrees_with_the_shared_edition():
    if not SHARED.is_file():
        pytest.skip("the shared copy of the table is not here")
    with SHARED.open(encoding="utf-8-sig", newline="") as file:
        theirs = {
            "private" if "gggg" in row["Tag"] else row["Tag"].strip("()").replace(",", ""): row["Basic Prof."]
            for row in csv.DictReader(file)
        }
    ours = {row.tag: row.basic for row in table() if row.edition == "2025c"}
    assert ours == theirs


def test_table_holds_the_rows_that_2026c_adds():
    assert len(table()) == 656
    assert {row.tag for row in table() if row.edition == "2026c"} >= {"00700006", "0040E012"}


def test_code_meanings_are_those_of_the_standard():
    from pydicom.sr.codedict import codes

    theirs = {
        (scheme, code.value, code.meaning)
        for scheme, collection in (("SCT", codes.SCT), ("DCM", codes.DCM))
        for code in (getattr(collection, word) for word in collection.dir())
    }
    assert {(*code, meaning) for code, meaning in CODES.items()} <= theirs


def test_option_sets_only_ever_add():
    for small, large in combinations(OPTION_SETS, 2):
        if small < large:
            kept = [word for word in ALLOWED if disposition(word, small) is Disposition.KEPT]
            assert all(disposition(word, large) is Disposition.KEPT for word in kept)
