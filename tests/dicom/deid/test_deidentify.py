"""A rebuilt header holds what an image needs and nothing that could name the patient."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import JPEG2000, ExplicitVRLittleEndian

from pipeline.core.config import DeidentificationConfig
from pipeline.core.config import DeidentificationOption as Option
from pipeline.core.errors import PrivacyError
from pipeline.core.pseudonyms import Pseudonyms
from pipeline.core.records import Instance, Series, SourceFile
from pipeline.dicom.deid.deidentify import deidentify, header_facts, pixels_of
from pipeline.dicom.deid.encode import file_bytes

KEYS = Pseudonyms(bytes(range(32)))
CONFIG = DeidentificationConfig()
CT = "1.2.840.10008.5.1.4.1.1.2"


def instance(**header: object) -> Instance:
    return Instance(SourceFile(Path("unused")), header)


def series_of(**header: object) -> Series:
    return Series("1.2.3.4", (instance(**header),), None)


@pytest.fixture
def image() -> Dataset:
    """An axial CT slice with a name in every place that comes to mind."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.Modality = CT, "CT"
    dataset.SOPInstanceUID, dataset.SeriesInstanceUID, dataset.StudyInstanceUID = "1.2.3.4.5", "1.2.3.4", "1.2.3"
    dataset.FrameOfReferenceUID = "1.2.3.9"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL", "ZHANG WEI"]
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = "ZHANG^WEI", "MRN0012345", "19300102"
    dataset.PatientAge, dataset.PatientSex = "095Y", "F"
    dataset.StudyDate, dataset.StudyTime = "20240115", "101112"
    dataset.AcquisitionDate, dataset.AcquisitionTime = "20240115", "101242.5"
    dataset.AccessionNumber = "ACC998877"
    dataset.SeriesDescription = "Abdomen ZHANG WEI 5.0 B30f arterial 2024-01-15"
    dataset.Manufacturer, dataset.ManufacturerModelName = "SIEMENS", "SOMATOM Definition AS+"
    dataset.SliceThickness, dataset.KVP, dataset.ConvolutionKernel = "5.0", "120", "B30f"
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [-10.5, 20, 30.125], [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing = [0.7421875, 0.7421875]
    dataset.Rows = dataset.Columns = 4
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation, dataset.SamplesPerPixel = 0, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.RescaleIntercept, dataset.RescaleSlope = "-1024", "1"
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = CT, "1.2.3.4.6"
    reference.PatientName = "ZHANG^WEI"
    dataset.ReferencedImageSequence = Sequence([reference])
    block = dataset.private_block(0x0009, "ACME", create=True)
    block.add_new(1, "LO", "ZHANG WEI")
    dataset.PixelData = (np.arange(16, dtype="<u2") | 0xA000).tobytes() + b"ZHANG WEI"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def test_no_name_number_or_date_of_the_source_is_left(image, tmp_path):
    clean = deidentify(image, KEYS, CONFIG).dataset
    clean.save_as(tmp_path / "clean.dcm", enforce_file_format=True)
    content = (tmp_path / "clean.dcm").read_bytes()
    for source in (b"ZHANG", b"WEI", b"MRN", b"ACC9", b"20240115", b"1011", b"1012", b"1.2.3", b"1930", b"095Y"):
        assert source not in content.replace(b"1.2.840", b""), source


def test_what_an_image_needs_is_kept_exactly(image):
    clean = deidentify(image, KEYS, CONFIG).dataset
    for keyword in ("Rows", "PixelSpacing", "ImagePositionPatient", "SliceThickness", "KVP", "ConvolutionKernel"):
        assert clean[keyword].value == image[keyword].value, keyword
    assert (clean.Manufacturer, clean.ManufacturerModelName) == ("SIEMENS", "SOMATOM Definition AS+")
    assert clean.SeriesDescription == "Abdomen 5.0 B30f arterial"


def test_pixels_are_cut_to_their_bits(image):
    clean = deidentify(image, KEYS, CONFIG).dataset
    assert np.frombuffer(clean.PixelData, "<u2").tolist() == list(range(16))


def test_signed_pixels_keep_their_sign_when_cut(image):
    image.PixelRepresentation = 1
    values = np.array([-2048, -1, 0, 1, 2047] + [5] * 11, dtype="<i2")
    image.PixelData = (values & 0x0FFF).astype("<i2").tobytes()
    assert pixels_of(image).ravel().tolist() == values.tolist()


def test_uids_are_replaced_alike_at_every_depth(image):
    clean = deidentify(image, KEYS, CONFIG).dataset
    assert clean.SeriesInstanceUID == KEYS.uid("1.2.3.4")
    assert clean.ReferencedImageSequence[0].ReferencedSOPInstanceUID == KEYS.uid("1.2.3.4.6")
    assert "PatientName" not in clean.ReferencedImageSequence[0]
    assert clean.file_meta.MediaStorageSOPInstanceUID == clean.SOPInstanceUID


def test_moments_of_a_study_keep_their_distance(image):
    image.AcquisitionDate, image.AcquisitionTime = "20240116", "000000.25"
    clean = deidentify(image, KEYS, CONFIG).dataset
    assert clean.StudyTime == "120000"
    assert (clean.AcquisitionTime, clean.AcquisitionDate) == ("014848.25", str(int(clean.StudyDate) + 1))


def test_midnight_that_stands_for_unknown_does_not_tell_the_time_of_day(image):
    image.StudyTime = "000000"
    image.SeriesTime, image.AcquisitionTime = "101142", "101242.5"
    clean = deidentify(image, KEYS, CONFIG).dataset
    assert clean.StudyTime in (None, "")
    series, acquired = (
        int(text[:2]) * 3600 + int(text[2:4]) * 60 + float(text[4:])
        for text in (clean.SeriesTime, clean.AcquisitionTime)
    )
    assert (acquired - series) % 86_400 == 60.5
    assert not clean.AcquisitionTime.startswith(("1012", "2212"))
    other = deidentify(image, Pseudonyms(bytes(range(1, 33))), CONFIG).dataset
    assert other.AcquisitionTime != clean.AcquisitionTime


def test_old_age_is_one_class(image):
    assert deidentify(image, KEYS, CONFIG).dataset.PatientAge == "090Y"


def test_only_codes_that_were_earned_are_written(image):
    def codes(config: DeidentificationConfig, *, is_text_free: bool) -> set[str]:
        clean = deidentify(image, KEYS, config, is_text_free=is_text_free).dataset
        return {item.CodeValue for item in clean.DeidentificationMethodCodeSequence}

    assert codes(DeidentificationConfig(options=frozenset()), is_text_free=True) == {"113100"}
    assert codes(CONFIG, is_text_free=False) == {"113100", "113105", "113107", "113108"}
    assert codes(CONFIG, is_text_free=True) == {"113100", "113101", "113105", "113107", "113108"}


def test_without_options_nothing_of_dates_descriptions_and_patient_is_kept(image):
    clean = deidentify(image, KEYS, DeidentificationConfig(options=frozenset())).dataset
    assert not any(clean.get(word) for word in ("StudyDate", "StudyTime", "AcquisitionTime", "PatientSex"))
    assert "SeriesDescription" not in clean
    assert clean.LongitudinalTemporalInformationModified == "REMOVED"


def test_image_without_a_uid_is_refused_without_naming_it(image):
    image.SOPInstanceUID = ""
    with pytest.raises(PrivacyError) as refused:
        deidentify(image, KEYS, CONFIG)
    assert "ZHANG" not in str(refused.value)


def test_short_pixels_are_refused(image):
    image.PixelData = image.PixelData[:20]
    with pytest.raises(PrivacyError, match="pixels"):
        deidentify(image, KEYS, CONFIG)


def test_facts_hold_pseudonyms_and_days_but_no_date(image):
    header = {e.keyword: e.value for e in image if e.keyword and e.VR not in ("SQ", "OW")}
    header["ImageType"], header["PixelSpacing"] = ("ORIGINAL", "PRIMARY", "AXIAL"), (0.75, 0.75)
    facts = header_facts(series_of(**header), KEYS, CONFIG, first_study_date=date(2024, 1, 5))
    assert facts["days_from_first_study"] == 10
    assert facts["seconds_from_study_start"] == 90.5
    assert facts["series_uid"] == KEYS.uid("1.2.3.4")
    assert facts["PixelSpacing"] == [0.75, 0.75]
    assert facts["PatientAge"] == "090Y"
    assert not any(source in str(facts) for source in ("2024", "ZHANG", "MRN", "1.2.3"))


@pytest.mark.parametrize(
    ("injected", "seconds"), [("101207.5", 35.0), ("101242.5", 0.0), ("101300", -17.5), ("", None), ("000000", None)]
)
def test_facts_hold_the_seconds_from_injection_to_the_first_slice(image, injected, seconds):
    header = {e.keyword: e.value for e in image if e.keyword and e.VR not in ("SQ", "OW")}
    header["ContrastBolusStartTime"] = injected
    facts = header_facts(series_of(**header), KEYS, CONFIG)
    assert facts.get("seconds_from_contrast_start") == seconds
    assert "ContrastBolusStartTime" not in facts


def test_facts_of_an_empty_header_are_only_what_is_known():
    assert header_facts(series_of(), KEYS, CONFIG) == {"series_uid": KEYS.uid("1.2.3.4")}


def test_institution_and_device_stay_only_on_request(image):
    image.InstitutionName, image.StationName = "St. Mary's Hospital", "CT99"
    assert "InstitutionName" not in deidentify(image, KEYS, CONFIG).dataset
    asked = DeidentificationConfig(options=frozenset({Option.INSTITUTION, Option.DEVICE_IDENTITY}))
    clean = deidentify(image, KEYS, asked).dataset
    assert (clean.InstitutionName, clean.StationName) == ("St. Mary's Hospital", "CT99")


def test_pixels_that_were_altered_by_their_encoding_are_marked(image):
    assert "LossyImageCompression" not in deidentify(image, KEYS, CONFIG).dataset
    image.file_meta.TransferSyntaxUID = JPEG2000
    decoded = np.zeros((4, 4), "<u2")
    assert deidentify(image, KEYS, CONFIG, pixels=decoded).dataset.LossyImageCompression == "01"


def test_source_dataset_is_not_changed(image):
    before = image.to_json()
    deidentify(image, KEYS, CONFIG)
    assert image.to_json() == before


def test_file_is_byte_for_byte_what_pydicom_would_write(image, tmp_path):
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator = "818981001", "SCT"
    image.AnatomicRegionSequence = Sequence([code])
    image.PixelPaddingValue, image.ContrastBolusAgent = 63, "碘海醇"
    clean = deidentify(image, KEYS, CONFIG).dataset
    clean.save_as(tmp_path / "clean.dcm", enforce_file_format=True)
    assert file_bytes(clean) == (tmp_path / "clean.dcm").read_bytes()


def test_same_source_gives_the_same_bytes(image, tmp_path):
    for name in ("a", "b"):
        deidentify(image, KEYS, CONFIG).dataset.save_as(tmp_path / name, enforce_file_format=True)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert pydicom.dcmread(tmp_path / "a").PatientIdentityRemoved == "YES"
