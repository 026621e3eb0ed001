"""Cohorts whose names, numbers, dates and remarks are words, numbers and dates of what the program itself writes."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from pipeline import stages
from pipeline.core.files import write_atomically
from pipeline.core.volume import LabelMap
from pipeline.dataset.layout import ADJUDICATION, ROUND
from pipeline.image.nifti import decode_nifti, gzipped_nifti
from pipeline.workspace import Workspace

_SURNAMES = """
    Block Font Early Line Siemens Train Button Snap Lead Sato Mora Reader Label Mask Page Color Frame Image
    Layer Mark Center Power Price Small Large Long Short Young King Rich Black White Brown Green Gray Read Reed
    Field Wood Hill West North South East Park Lane Street May April June August Summer Winter Rose Grace Hope
    Joy Will Bill Jack Grant Chase Dean Dale Miles Rice Bush Stone Waters Rivers Lake Days Weeks Ring Sharp
    Strong Wise Love Lord Bishop Pope Head Hand Foot Back Body Liver Chart Scan File Data Table Root Path Date
    Time Python Bold Auto Flex Grid Sans Serif Arial Hover Input Select Option Form Span Script Style Title Main
    Section Figure Fill Stroke Round Solid Dash Move Cross Point Click Open Close Start Stop Save Send Next Step
    Zoom Slice Volume Phase Contrast Plain Portal Lesion Rater Review Agree Second First Mean Median Range Total
    Count Share Common License Value Fold Split Version Change Rule
"""
SURNAMES = _SURNAMES.split()
"""160 surnames that are words of pages, styles, scripts, tables and scanners."""

_GIVEN_NAMES = """
    Xaver Yuki Elsa Ina Early Font Mark Rose Line Grace May Dean Will Jack Page Reed
"""
GIVEN_NAMES = _GIVEN_NAMES.split()
_NUMBERS = """
    P0001 P0002 X0001 12345 456789 884120 100000 255255 512512 000123 1.2.840 R1R2R3 654321 200000
"""
NUMBERS = _NUMBERS.split()
DATES = ["20250909", "19800101", "20000101", "19700101", "20210311", "19640229", "20250101", "19991231"]
REMARKS = ("portal venous", "slice thickness", "liver volume", "whole liver", "with the mask", "look at the volume")
STATIONS = ["LIGHTSPEED", "DEFINITION", "STANDARD", "WORKSTATION", "SOMATOM", "CT01", "HOSPITAL", "RADIOLOGY"]

SLICES, SIZE, STEP_MM = 22, 64, 6.0
ORGANS = (
    ((0, 0, 0), (165, 120, 999), -95),
    ((0, 0, 0), (150, 105, 999), 50),
    ((-65, -10, 0), (72, 66, 42), 105),
    ((105, 35, 5), (28, 34, 32), 120),
    ((10, 55, 0), (12, 12, 999), 165),
    ((0, 82, 0), (20, 18, 999), 420),
    ((-75, -5, 5), (18, 18, 16), 78),
)
"""Centre and radii in mm, and HU, of body, muscle, liver, spleen, aorta, spine and a lesion."""


@dataclass(frozen=True)
class Person:
    """Whoever was scanned, by what the header says."""

    name: str
    number: str
    attributes: Mapping[str, str] = field(default_factory=dict)


def cohorts(count: int = 40) -> Iterator[tuple[Person, ...]]:
    """Cohorts that together have every awkward surname, each beside other awkward numbers, dates and remarks."""
    share = len(SURNAMES) // count
    for number in range(count):
        yield tuple(_person(place) for place in range(number * share, (number + 1) * share))


def _person(place: int) -> Person:
    day = DATES[place % len(DATES)]
    number = NUMBERS[place % len(NUMBERS)]
    unique = number if place < len(NUMBERS) else f"{number}{place}"
    return Person(
        f"{SURNAMES[place]}^{GIVEN_NAMES[place % len(GIVEN_NAMES)]}",
        unique,
        {
            "StudyDate": day,
            "SeriesDate": day,
            "PatientBirthDate": DATES[(place + 3) % len(DATES)],
            "StationName": STATIONS[place % len(STATIONS)],
            "InstitutionName": STATIONS[(place + 6) % len(STATIONS)],
            "ImageComments": REMARKS[place % len(REMARKS)],
            "ReferringPhysicianName": f"{SURNAMES[(place + 80) % len(SURNAMES)]}^{GIVEN_NAMES[place % 7]}",
        },
    )


def write_dataset(root: Path, people: tuple[Person, ...], *, more: str = "") -> Workspace:
    """A dataset folder with one portal venous CT a person."""
    for place, person in enumerate(people):
        _expose(root / "dicom", place, person)
    text = f"""[dataset]
name = "{root.name}"
{more}
[phases]
required = ["C2"]
[inclusion]
slice_thickness_mm = [1.0, 10.0]
slice_spacing_mm = [1.0, 10.0]
[labels]
lesion_kinds = ["HCC", "ICC"]
[image.slices]
keep = "all"
[review]
raters = ["R1", "R2"]
per_case = 2
[splits]
folds = 2
"""
    (root / "dataset.toml").write_text(text, encoding="utf-8")
    return Workspace.open(root)


def build(ws: Workspace) -> None:
    """Up to coarse labels."""
    assert all(stage(ws).is_well for stage in stages.DATASET_STAGES)
    for case_id in stages.case_ids(ws):
        outcomes = [stage(ws, case_id) for stage in stages.CASE_STAGES]
        assert all(outcome.is_well for outcome in outcomes), [outcome.problems for outcome in outcomes]


def settle(ws: Workspace) -> None:
    """Two raters and the lead answer what was packed, and everything that follows from it."""
    answer(ws, ROUND)
    _collect(ws)
    assert stages.ADJUDICATE(ws).is_well
    answer(ws, ADJUDICATION)
    _collect(ws)


def _collect(ws: Workspace) -> None:
    stages.COLLECT(ws)
    for case_id in stages.case_ids(ws):
        for stage in stages.REVIEW_STAGES:
            stage(ws, case_id)


def answer(ws: Workspace, kind: str) -> None:
    """Everybody who was sent a package of this kind returns it, with other masks."""
    for number in ws.layout.numbers(kind):
        for place, package in enumerate(sorted(ws.layout.outbox(number, kind).glob("*.zip"))):
            returned = io.BytesIO()
            with zipfile.ZipFile(package) as sent, zipfile.ZipFile(returned, "w") as parcel:
                for name in sent.namelist():
                    is_mask, content = name.endswith("_mask.nii.gz"), sent.read(name)
                    parcel.writestr(name, _edited(content, name, kind, place) if is_mask else content)
            write_atomically(ws.layout.inbox(number, kind) / package.name, returned.getvalue())


def _edited(content: bytes, name: str, kind: str, place: int) -> bytes:
    """A box of liver with a lesion, another one for each rater, in place of what the network found."""
    voxels, geometry = decode_nifti(content, name)
    drawn = np.zeros_like(voxels)
    drawn[6:16, 20:40, 12:30] = 1
    drawn[8:11, 24 : 28 + place, 16 : 22 if kind == ADJUDICATION else 21] = 2
    return gzipped_nifti(LabelMap(drawn, geometry))


def _expose(folder: Path, place: int, person: Person) -> None:
    pixel_mm = 364.8 / SIZE
    across = (np.arange(SIZE) - (SIZE - 1) / 2) * pixel_mm
    along = (np.arange(SLICES) - (SLICES - 1) / 2) * STEP_MM
    hu = _body(across[None, None, :], across[None, :, None], along[:, None, None], place)
    for number, (z, pixels) in enumerate(zip(along, hu, strict=True)):
        dataset = _header(place, person, number, float(z), pixel_mm)
        dataset.PixelData = (pixels + 1024).clip(0, 4095).astype("<u2").tobytes()
        dataset["PixelData"].VR = "OW"
        path = folder / f"{place:02d}" / f"{number:04d}"
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset.save_as(path, enforce_file_format=True)


def _body(x: np.ndarray, y: np.ndarray, z: np.ndarray, place: int) -> np.ndarray:
    hu = np.full(np.broadcast(x, y, z).shape, -1000.0)
    for number, (centre, radii, level) in enumerate(ORGANS):
        moved = (6 * (place % 4) - 9, 5 * (place % 3) - 5, 0) if number >= 2 else (0, 0, 0)
        parts = zip((x, y, z), centre, moved, radii, strict=True)
        inside = sum(((axis - middle - shift) / radius) ** 2 for axis, middle, shift, radius in parts) < 1
        hu[inside] = level
    return np.rint(hu + np.random.default_rng(place).normal(0, 9, hu.shape))


def _uid(*parts: object) -> str:
    return "2.25." + str(int(hashlib.sha256(repr(parts).encode()).hexdigest()[:30], 16))


def _header(place: int, person: Person, number: int, z: float, pixel_mm: float) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, _uid(person.number, place, number)
    dataset.SpecificCharacterSet, dataset.Modality = "ISO_IR 192", "CT"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.PatientName, dataset.PatientID, dataset.PatientSex, dataset.PatientAge = (
        person.name,
        person.number,
        "F",
        "060Y",
    )
    dataset.Manufacturer, dataset.ManufacturerModelName = "SIEMENS", "SOMATOM Definition Flash"
    dataset.ConvolutionKernel, dataset.KVP = "B30f", 120
    dataset.StudyDate, dataset.StudyTime, dataset.AcquisitionTime = "20210311", "090000", "090245"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = _uid(person.number, place), _uid(person.number, place, "s")
    dataset.FrameOfReferenceUID = _uid(person.number, place, "f")
    dataset.SeriesNumber, dataset.InstanceNumber = 4, number + 1
    dataset.SeriesDescription, dataset.BodyPartExamined = "portal venous 6.0", "ABDOMEN"
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.ImagePositionPatient = [-182.4, -182.4, z]
    dataset.PixelSpacing, dataset.SliceThickness, dataset.SpacingBetweenSlices = [pixel_mm] * 2, STEP_MM, STEP_MM
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = SIZE, SIZE
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = 1, -1024, "HU"
    for keyword, value in person.attributes.items():
        setattr(dataset, keyword, value)
    return dataset
