"""DICOM Segmentation objects: every segment as a layer on one grid, empty slices included.

A SEG stores only frames with something in them, in any order; each tells its segment and its place (PS3.3 A.51,
C.8.20).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.errors import InvalidDicomError

from pipeline.core.errors import DicomError, GeometryError
from pipeline.core.geometry import Geometry
from pipeline.dicom.read.kinds import SEGMENTATION

_OFF_GRID = 0.01
"""Largest distance of a frame from its slice, in slices or pixels, that counts as rounding."""


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """What a DICOM SEG holds.

    Attributes:
        layers: (segment, slice, row, column), 1 inside.
        geometry: from the lowest slice with anything in it to the highest.
        names: SegmentLabel of each layer; free text, never repeated in a message.
        snomed: SNOMED CT code of what each layer shows; "" where it has none.
    """

    layers: NDArray[np.uint8]
    geometry: Geometry
    names: tuple[str, ...]
    snomed: tuple[str, ...]


def is_dicom(path: Path) -> bool:
    """True when a file starts as DICOM files do (PS3.10 7.1), whatever its name."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def read_seg(path: Path) -> Segmentation:
    """Every segment of a binary DICOM SEG on its own grid.

    Raises:
        DicomError: when the file cannot be read, is no binary SEG, or its frames lack segment or place.
        GeometryError: when its frames form no regular grid.
    """
    try:
        dataset = pydicom.dcmread(path)
        if dataset.get("SOPClassUID") != SEGMENTATION or dataset.get("SegmentationType") != "BINARY":
            raise DicomError(f"{path.name} is no binary DICOM SEG; export the segmentation as one, or as .nii.gz")
        frames = np.asarray(dataset.pixel_array).reshape(-1, int(dataset.Rows), int(dataset.Columns))
        return _assembled(dataset, frames)
    except (OSError, InvalidDicomError, AttributeError, KeyError, IndexError, ValueError, RuntimeError) as error:
        raise DicomError(
            f"{path.name} cannot be used as a DICOM SEG ({type(error).__name__}); export it again, or as .nii.gz"
        ) from None


def _assembled(dataset: Any, frames: NDArray[np.uint8]) -> Segmentation:
    groups = list(dataset.PerFrameFunctionalGroupsSequence)
    origins = np.array(
        [_macro(dataset, group, "PlanePositionSequence").ImagePositionPatient for group in groups], dtype=np.float64
    )
    geometry, slices = _grid(dataset, groups[0], origins)
    order = {int(segment.SegmentNumber): layer for layer, segment in enumerate(dataset.SegmentSequence)}
    layers = np.zeros((len(order), *geometry.shape), dtype=np.uint8)
    for group, frame, slice_ in zip(groups, frames, slices, strict=True):
        number = int(_macro(dataset, group, "SegmentIdentificationSequence").ReferencedSegmentNumber)
        layers[order[number], slice_] = frame
    names, codes = zip(*((str(one.SegmentLabel), _snomed(one)) for one in dataset.SegmentSequence), strict=True)
    return Segmentation(layers, geometry, names, codes)


def _snomed(segment: Any) -> str:
    """SNOMED CT code of a segment's property type; "" where it has none."""
    types = segment.get("SegmentedPropertyTypeCodeSequence") or []
    return next((str(one.CodeValue) for one in types if one.get("CodingSchemeDesignator") == "SCT"), "")


def _grid(dataset: Any, group: Any, origins: NDArray[np.float64]) -> tuple[Geometry, NDArray[np.int64]]:
    """The grid, and the slice of each frame."""
    measures = _macro(dataset, group, "PixelMeasuresSequence")
    cosines = np.array(_macro(dataset, group, "PlaneOrientationSequence").ImageOrientationPatient, dtype=np.float64)
    along_columns, along_rows = cosines[:3], cosines[3:]
    normal = np.cross(along_columns, along_rows)
    row_mm, column_mm = (float(step) for step in measures.PixelSpacing)
    heights_mm = origins @ normal
    lowest = origins[int(heights_mm.argmin())]
    slice_mm = _slice_mm(measures, heights_mm)
    places = (heights_mm - heights_mm.min()) / slice_mm
    slices = np.rint(places).astype(np.int64)
    aside = origins - lowest - np.outer(heights_mm - heights_mm.min(), normal)
    if np.abs(places - slices).max() > _OFF_GRID or np.abs(aside).max() > _OFF_GRID * min(row_mm, column_mm):
        raise GeometryError("the frames of the DICOM SEG form no regular grid; export it as .nii.gz")
    shape = int(slices.max()) + 1, int(dataset.Rows), int(dataset.Columns)
    geometry = Geometry.from_axes(
        shape,
        spacing_mm=(slice_mm, row_mm, column_mm),
        origin_lps_mm=lowest,
        directions=[normal, along_rows, along_columns],
    )
    return geometry, slices


def _slice_mm(measures: Any, heights_mm: NDArray[np.float64]) -> float:
    """Distance of slices: as stated, else the smallest seen, else the thickness of a single slice."""
    stated = measures.get("SpacingBetweenSlices")
    gaps = np.diff(np.unique(np.round(heights_mm, 4)))
    if stated:
        return float(stated)
    return float(gaps.min()) if len(gaps) else float(measures.SliceThickness)


def _macro(dataset: Any, group: Any, name: str) -> Any:
    """The item of a functional group, the frame's own or the one that all frames share."""
    return (group.get(name) or dataset.SharedFunctionalGroupsSequence[0].get(name))[0]
