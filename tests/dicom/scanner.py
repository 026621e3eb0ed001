"""A scanner for tests: writes DICOM slices of a known volume, with any fault asked for.

It shares no code with the pipeline: positions come from the affine by plain arithmetic, stored values from the wanted
Hounsfield units by the inverse of the rescale.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

AXIAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
"""Direction of a row (columns grow), and of a column (rows grow)."""

Edit = Callable[[Dataset, int], None]
"""Changes one slice's dataset before it is written; told its number from 0, lowest first."""


@dataclass
class Scan:
    """What is scanned, and where it lies: the truth a conversion must meet."""

    hu: np.ndarray
    spacing: tuple[float, float, float] = (2.5, 0.7, 0.8)
    origin: tuple[float, float, float] = (-100.0, -120.0, 40.0)
    directions: tuple[tuple[float, float, float], tuple[float, float, float]] = AXIAL
    step: tuple[float, float, float] | None = None
    series_uid: str = field(default_factory=lambda: generate_uid())
    study_uid: str = field(default_factory=lambda: generate_uid())
    frame_uid: str = "1.2.3.4.5"
    modality: str = "CT"

    @property
    def affine(self) -> np.ndarray:
        row, column = map(np.array, self.directions)
        step = np.cross(row, column) * self.spacing[0] if self.step is None else np.array(self.step)
        affine = np.eye(4)
        affine[:3, 0], affine[:3, 1], affine[:3, 2] = step, column * self.spacing[1], row * self.spacing[2]
        affine[:3, 3] = self.origin
        return affine

    def position(self, index: int) -> list[float]:
        return [float(x) for x in (self.affine @ [index, 0, 0, 1])[:3]]


def body(slices: int = 6, rows: int = 12, columns: int = 16, seed: int = 0) -> np.ndarray:
    """Numbers in which every voxel of every slice differs from its neighbours."""
    return np.random.default_rng(seed).integers(-1000, 1500, (slices, rows, columns)).astype(np.int32)


def dataset_of(scan: Scan, index: int, *, slope: float = 1.0, intercept: float = -1024.0) -> FileDataset:
    """One slice as a scanner writes it, in explicit VR little endian."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = CTImageStorage if scan.modality == "CT" else MRImageStorage
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID = meta.MediaStorageSOPClassUID
    ds.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = generate_uid()
    ds.SeriesInstanceUID, ds.StudyInstanceUID, ds.FrameOfReferenceUID = scan.series_uid, scan.study_uid, scan.frame_uid
    ds.Modality, ds.PatientID, ds.PatientName = scan.modality, "HN-2290417", "Zimmermann^Otto"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.StudyDate, ds.AcquisitionDate, ds.AcquisitionTime = "20240311", "20240311", "101500"
    ds.Manufacturer, ds.SeriesNumber, ds.AcquisitionNumber, ds.InstanceNumber = "ACME", 3, 1, index + 1
    ds.SeriesDescription = "Abdomen 2.5"
    ds.ImagePositionPatient = [f"{x:.6f}"[:16] for x in scan.position(index)]
    ds.ImageOrientationPatient = [f"{x:.9f}"[:16] for x in (*scan.directions[0], *scan.directions[1])]
    ds.PixelSpacing, ds.SliceThickness = list(scan.spacing[1:]), 3.0
    ds.Rows, ds.Columns = scan.hu.shape[1:]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.RescaleSlope, ds.RescaleIntercept = slope, intercept
    set_stored(ds, np.rint((scan.hu[index] - intercept) / slope))
    return ds


def csa_header(**elements: list[str]) -> bytes:
    """A private header as the scanner writes it: each element with items of text, padded to words."""
    content = b"SV10\4\3\2\1" + struct.pack("<2I", len(elements), 77)
    for name, values in elements.items():
        content += struct.pack("<64s i 4s 3i", name.encode(), len(values), b"FD\0\0", 4, 6, 77)
        for text in [*(f"{value}\0".encode() for value in values), *[b""] * (6 - len(values))]:
            content += struct.pack("<4i", len(text), len(text), 77, len(text)) + text + b"\0" * (-len(text) % 4)
    return content


def mosaic_of(truth: Scan, side: int, index: int = 0) -> Dataset:
    """All slices of a scan in one picture of side times side of them, whose plane is centred on the first slice."""
    slices, rows, columns = truth.hu.shape
    picture = np.zeros((side * rows, side * columns), dtype=np.int32)
    for number, values in enumerate(truth.hu):
        top, left = number // side * rows, number % side * columns
        picture[top : top + rows, left : left + columns] = values
    middle = truth.affine @ [0, (rows - 1) / 2, (columns - 1) / 2, 1]
    corner = middle - truth.affine @ [0, (side * rows - 1) / 2, (side * columns - 1) / 2, 0]
    whole = replace(truth, hu=picture[None], origin=tuple(corner[:3]))
    dataset = dataset_of(whole, 0, intercept=0.0)
    dataset.Manufacturer = "SIEMENS"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
    dataset.InstanceNumber = dataset.AcquisitionNumber = index + 1
    step = truth.affine[:3, 0]
    dataset.SpacingBetweenSlices = float(np.linalg.norm(step))
    normal = [f"{one:.8f}" for one in step / np.linalg.norm(step)]
    header = csa_header(
        EchoNumber=["1"], Text=["no number"], SliceNormalVector=normal, NumberOfImagesInMosaic=[str(slices)]
    )
    dataset.private_block(0x0029, "SIEMENS CSA HEADER", create=True).add_new(0x10, "OB", header)
    return dataset


def set_stored(ds: Dataset, stored: np.ndarray) -> None:
    """Put stored values into PixelData, as the dataset's own bits say."""
    kind = "i" if ds.PixelRepresentation else "u"
    ds.PixelData = np.asarray(stored).astype(f"<{kind}{ds.BitsAllocated // 8}").tobytes()
    ds["PixelData"].VR = "OW"


def expose(folder: Path, scan: Scan, edit: Edit | None = None, **kwargs: Any) -> list[Path]:
    """Write all slices of a scan into a folder, named without any order."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index in range(len(scan.hu)):
        ds = dataset_of(scan, index, **kwargs)
        if edit:
            edit(ds, index)
        paths.append(save(ds, folder / f"IM{(index * 7919) % 1000:03d}{len(paths):03d}"))
    return paths


def save(ds: Dataset, path: Path) -> Path:
    ds.save_as(path, enforce_file_format=True)
    return path
