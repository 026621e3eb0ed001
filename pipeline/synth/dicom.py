"""DICOM files as the two scanners write them: full of what a patient would not want to see published.

Each function gives whole files as bytes, the same for the same input (PS3.3 A.3, CT Image).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    XRayRadiationDoseSRStorage,
)

from pipeline.core.records import Phase
from pipeline.core.volume import AIR_HU, Volume
from pipeline.synth.encode import Elements, Stored, encoded, file_bytes, made_up_uid, pixel_element
from pipeline.synth.people import Person
from pipeline.synth.scanners import Kernel, Scanner

PADDING = -2000
"""What the signed scanner stores outside its round field of view (PixelPaddingValue)."""

INTERCEPT_HU = -1024

REFORMATTED = ["DERIVED", "SECONDARY", "MPR"]
"""ImageType of slices that were cut anew from others."""

SECONDS_AFTER_INJECTION = {Phase.PLAIN: -150, Phase.ARTERIAL: 35, Phase.PORTAL_VENOUS: 70, Phase.DELAYED: 180}

File = tuple[str, bytes]
"""A file's name within its series, and its content."""


@dataclass(frozen=True, slots=True)
class Study:
    """One visit: whose, on which scanner, and the day and time when the contrast agent began to flow."""

    person: Person
    scanner: Scanner
    uid: UID
    injection: datetime

    def moment(self, seconds: int) -> datetime:
        """Date and time so many seconds after the injection."""
        return self.injection + timedelta(seconds=seconds)


@dataclass(frozen=True, slots=True)
class SeriesHeader:
    """What tells one series of a study from another.

    Attributes:
        number: SeriesNumber.
        left_out: slices, counted from the lowest, that never reached the export.
        is_reformatted: True for slices made of another series' slices.
        syntax: None for the scanner's own uncompressed transfer syntax.
    """

    study: Study
    uid: UID
    number: int
    phase: Phase
    kernel: Kernel
    is_reformatted: bool = False
    syntax: UID | None = None
    left_out: tuple[int, ...] = ()


def ct_files(header: SeriesHeader, volume: Volume) -> Iterator[File]:
    """One file a slice, the highest (of a coronal series, the hindmost) first, as an export lists them."""
    syntax = header.syntax or header.study.scanner.syntax
    shared = encoded(_ct_dataset(header, volume), syntax)
    count = len(volume.voxels)
    for number, index in enumerate(range(count - 1, -1, -1), start=1):
        if index not in header.left_out:
            yield _slice_name(header, number), _slice_bytes(shared, header, volume, index, number)


def localizer_files(study: Study, uid: UID, projection: NDArray[np.int16]) -> Iterator[File]:
    """The scout view in front of a study: one projection that is no slice."""
    dataset = _image_dataset(study, uid, number=1, description="Scout", sop_class=CTImageStorage)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    dataset.ImagePositionPatient = ["-240", "0", "300"]
    dataset.PixelSpacing = ["2.5", "2.5"]
    dataset.SliceThickness = "0.6"
    _describe_pixels(dataset, projection.shape, study.scanner)
    pixels = pixel_element(_stored(study.scanner, projection), study.scanner.syntax, study.scanner.bits_stored)
    yield "SCOUT001", _whole_file(dataset, study.scanner.syntax, pixels)


def dose_report_files(study: Study, uid: UID) -> Iterator[File]:
    """A radiation dose report: structured text, no pixels (PS3.3 A.35.8)."""
    dataset = _common_dataset(study, uid, number=997, description="Dose Report", sop_class=XRayRadiationDoseSRStorage)
    dataset.Modality = "SR"
    dataset.CompletionFlag, dataset.VerificationFlag = "COMPLETE", "UNVERIFIED"
    dataset.ValueType, dataset.ContinuityOfContent = "CONTAINER", "SEPARATE"
    dataset.ConceptNameCodeSequence = DicomSequence([_code("113701", "DCM", "X-Ray Radiation Dose Report")])
    entry = Dataset()
    entry.RelationshipType, entry.ValueType = "CONTAINS", "TEXT"
    entry.ConceptNameCodeSequence = DicomSequence([_code("121106", "DCM", "Comment")])
    entry.TextValue = f"{study.person.patient_id} total DLP 812 mGy.cm"
    dataset.ContentSequence = DicomSequence([entry])
    yield "SR000001", _whole_file(dataset, study.scanner.syntax)


def dose_screen_files(study: Study, uid: UID, screen: NDArray[np.uint8]) -> Iterator[File]:
    """The dose page as a picture, with text burned in."""
    dataset = _image_dataset(
        study, uid, number=998, description="Patient Protocol", sop_class=SecondaryCaptureImageStorage
    )
    dataset.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    dataset.ConversionType, dataset.BurnedInAnnotation = "WSD", "YES"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = screen.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.add_new("PixelData", "OB", screen.tobytes())
    yield "SC000001", _whole_file(dataset, ExplicitVRLittleEndian)


def _ct_dataset(header: SeriesHeader, volume: Volume) -> Dataset:
    """What all slices of a series share."""
    study, scanner = header.study, header.study.scanner
    slice_mm, row_mm, column_mm = volume.geometry.spacing_mm
    millimetres = _decimal(slice_mm)
    description = scanner.descriptions[header.phase].format(mm=f"{millimetres}mm {scanner.kernels[header.kernel]}")
    dataset = _image_dataset(study, header.uid, number=header.number, description=description, sop_class=CTImageStorage)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", *scanner.image_type]
    if header.is_reformatted:
        dataset.ImageType, dataset.SeriesDescription = REFORMATTED, f"{description} COR MPR"
    dataset.ImageOrientationPatient = volume.geometry.directions[[2, 1]].ravel().tolist()
    dataset.PixelSpacing = [_decimal(row_mm), _decimal(column_mm)]
    dataset.SliceThickness = dataset.SpacingBetweenSlices = millimetres
    _describe_pixels(dataset, volume.geometry.shape[1:], scanner)
    dataset.ConvolutionKernel = scanner.kernels[header.kernel]
    dataset.KVP, dataset.XRayTubeCurrent, dataset.ExposureTime = "120", 240, 500
    dataset.DataCollectionDiameter, dataset.ReconstructionDiameter = "500", "360"
    dataset.PatientPosition, dataset.GantryDetectorTilt = "HFS", "0"
    dataset.ScanOptions = "HELICAL MODE"
    _add_moment(dataset, study, SECONDS_AFTER_INJECTION[header.phase])
    if header.phase is not Phase.PLAIN:
        _add_contrast(dataset, study)
    return dataset


def _add_moment(dataset: Dataset, study: Study, seconds: int) -> None:
    moment = study.moment(seconds)
    dataset.AcquisitionDate = dataset.ContentDate = f"{moment:%Y%m%d}"
    dataset.AcquisitionTime = dataset.ContentTime = f"{moment:%H%M%S}.000000"
    dataset.SeriesDate, dataset.SeriesTime = dataset.AcquisitionDate, dataset.AcquisitionTime
    dataset.AcquisitionDateTime = f"{moment:%Y%m%d%H%M%S}.000000"


def _add_contrast(dataset: Dataset, study: Study) -> None:
    dataset.ContrastBolusAgent = study.scanner.contrast_agent
    dataset.ContrastBolusRoute = "IV"
    dataset.ContrastBolusVolume, dataset.ContrastFlowRate = "90", "3"
    dataset.ContrastBolusStartTime = f"{study.injection:%H%M%S}.000000"


def _image_dataset(study: Study, uid: UID, *, number: int, description: str, sop_class: UID) -> Dataset:
    dataset = _common_dataset(study, uid, number=number, description=description, sop_class=sop_class)
    dataset.FrameOfReferenceUID = made_up_uid(study.uid, "frame")
    dataset.PositionReferenceIndicator = "XY"
    dataset.WindowCenter, dataset.WindowWidth = ["40", "60"], ["400", "360"]
    return dataset


def _common_dataset(study: Study, uid: UID, *, number: int, description: str, sop_class: UID) -> Dataset:
    """Patient, study, series and equipment, as every object of a study repeats them."""
    scanner = study.scanner
    dataset = Dataset()
    dataset.SpecificCharacterSet = scanner.charset
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = made_up_uid(uid, 0)
    dataset.Modality = "CT"
    dataset.SeriesInstanceUID, dataset.SeriesNumber = uid, number
    dataset.SeriesDescription, dataset.ProtocolName = description, scanner.protocol
    dataset.InstanceNumber, dataset.AcquisitionNumber = 1, 1
    dataset.BodyPartExamined = "ABDOMEN"
    _add_moment(dataset, study, SECONDS_AFTER_INJECTION[Phase.PLAIN])
    _add_patient(dataset, study.person)
    _add_study(dataset, study)
    _add_equipment(dataset, scanner)
    _add_private(dataset, study)
    return dataset


def _add_patient(dataset: Dataset, person: Person) -> None:
    dataset.PatientName, dataset.PatientID = person.name, person.patient_id
    dataset.PatientBirthDate = f"{person.birth_date:%Y%m%d}"
    dataset.PatientSex, dataset.PatientAge = person.sex, f"{person.age_years:03d}Y"
    dataset.PatientWeight = "71"
    dataset.PatientAddress, dataset.PatientTelephoneNumbers = person.address, person.telephone
    dataset.OtherPatientIDs = f"OLD-{person.patient_id}"
    dataset.PatientComments = f"Call {person.telephone} before contrast"
    dataset.AdditionalPatientHistory = f"{person.family_name}, known liver lesion"


def _add_study(dataset: Dataset, study: Study) -> None:
    person, scanner = study.person, study.scanner
    start = study.moment(-600)
    dataset.StudyInstanceUID, dataset.StudyID = study.uid, person.accession[-6:]
    dataset.StudyDate, dataset.StudyTime = f"{start:%Y%m%d}", f"{start:%H%M%S}.000000"
    dataset.AccessionNumber = person.accession
    dataset.StudyDescription = scanner.study_description
    dataset.ReferringPhysicianName, dataset.OperatorsName = person.referring, person.operator
    dataset.PerformingPhysicianName = person.referring
    step = Dataset()
    step.ScheduledProcedureStepDescription = f"CT for {person.family_name}"
    step.ScheduledProcedureStepID = person.accession
    dataset.RequestAttributesSequence = DicomSequence([step])


def _add_equipment(dataset: Dataset, scanner: Scanner) -> None:
    dataset.Manufacturer, dataset.ManufacturerModelName = scanner.manufacturer, scanner.model
    dataset.SoftwareVersions, dataset.DeviceSerialNumber = scanner.software, scanner.serial
    dataset.InstitutionName, dataset.InstitutionAddress = scanner.institution, scanner.address
    dataset.InstitutionalDepartmentName, dataset.StationName = scanner.department, scanner.station


def _add_private(dataset: Dataset, study: Study) -> None:
    """Vendor elements, with the patient in one of them."""
    if study.scanner.is_signed:
        identity = dataset.private_block(0x0009, "GEMS_IDEN_01", create=True)
        identity.add_new(0x01, "LO", "GE_GENESIS_FF")
        identity.add_new(0x02, "SH", study.scanner.station)
        identity.add_new(0x17, "LT", f"{study.person.patient_id} liver")
        acquisition = dataset.private_block(0x0019, "GEMS_ACQU_01", create=True)
        acquisition.add_new(0x23, "DS", "39.375")
    else:
        header = dataset.private_block(0x0029, "SIEMENS MEDCOM HEADER", create=True)
        header.add_new(0x08, "CS", "MEDCOM 1")
        content = f"Patient={study.person.name};ID={study.person.patient_id};".encode("gb18030")
        header.add_new(0x10, "OB", content + b" " * (len(content) % 2))


def _slice_name(header: SeriesHeader, number: int) -> str:
    """Names in slice order without an ending, or names that say nothing of the order."""
    if header.study.scanner.is_signed:
        return f"IM{number:06d}"
    return f"CT.{str(made_up_uid(header.uid, 'name', number))[-20:]}.IMA"


def _slice_bytes(shared: Elements, header: SeriesHeader, volume: Volume, index: int, number: int) -> bytes:
    """The file of one slice: what the series shares, and what is this slice's own."""
    scanner = header.study.scanner
    syntax = header.syntax or scanner.syntax
    x, y, z = volume.geometry.to_lps_mm((index, 0, 0)).tolist()
    own = Dataset()
    own.SOPInstanceUID = made_up_uid(header.uid, number)
    own.InstanceNumber = number
    own.ImagePositionPatient = [_decimal(x), _decimal(y), _decimal(z)]
    own.SliceLocation = _decimal(z)
    pixels = pixel_element(_stored(scanner, volume.voxels[index]), syntax, scanner.bits_stored)
    return file_bytes({**shared, **encoded(own, syntax), **pixels}, CTImageStorage, own.SOPInstanceUID, syntax)


def _whole_file(dataset: Dataset, syntax: UID, pixels: Elements | None = None) -> bytes:
    elements = {**encoded(dataset, syntax), **(pixels or {})}
    return file_bytes(elements, dataset.SOPClassUID, dataset.SOPInstanceUID, syntax)


def _stored(scanner: Scanner, hu: NDArray[np.int16]) -> Stored:
    """Stored values of HU; outside the field of view the signed scanner writes its padding."""
    if scanner.is_signed:
        return np.where(hu == AIR_HU, PADDING, hu - INTERCEPT_HU).astype("<i2")
    return (hu - INTERCEPT_HU).astype("<u2")


def _describe_pixels(dataset: Dataset, shape: tuple[int, ...], scanner: Scanner) -> None:
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = shape
    bits = scanner.bits_stored
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, bits, bits - 1
    dataset.PixelRepresentation = int(scanner.is_signed)
    if scanner.is_signed:
        dataset.add_new("PixelPaddingValue", "SS", PADDING)
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = str(INTERCEPT_HU), "1", "HU"


def _decimal(millimetres: float) -> str:
    """A decimal string of at most 16 characters, exact to the micrometre."""
    return f"{millimetres:.3f}".rstrip("0").rstrip(".")


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code
