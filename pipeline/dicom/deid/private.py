"""What makers keep in private attributes though a standard one has a place for it: b-values, and the scale of Philips.

Philips stores (measured - intercept) / slope with a RescaleSlope chosen for each series, so that the same tissue has
another value in each. The private scale slope (2005,100E) leads back: measured = stored / scale + rescale intercept /
(rescale slope x scale), which is comparable within an exam. That is a mapping to real-world values (PS3.3
C.7.6.16.2.11), which every image may hold (General Image module). RescaleSlope stays, so viewers show what they did.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence

from pipeline.dicom.read.by_pydicom import READ_FAULTS
from pipeline.dicom.read.header import GE_B_VALUE_BASE, PRIVATE_B_VALUES, plain_value

PHILIPS_SCALE_SLOPE: Final = (0x2005100E, "Philips MR Imaging DD 001", "FL")
PHILIPS_FRAME: Final = (0x2005140F, "Philips MR Imaging DD 005", "SQ")
"""In enhanced images: the sequence of each frame's group that holds the scale slope."""

MAPPING: Final = "RealWorldValueMappingSequence"
_MAPPED = {False: (0, 65_535), True: (-32_768, 32_767)}
"""Stored values for which a mapping holds, by whether they have a sign: all of them."""


def b_value(dataset: Dataset) -> float | None:
    """The b-value in s/mm2 that a maker keeps to itself; None where there is none."""
    for tag, (creator, vr) in PRIVATE_B_VALUES.items():
        value = _number(_private(dataset, tag, creator, vr))
        if value is not None:
            return value % GE_B_VALUE_BASE
    return None


def mapping(dataset: Dataset) -> DicomSequence | None:
    """Philips' scale as a mapping of stored to measured values; None where the maker did not write it.

    Args:
        dataset: an image, or the functional groups of one frame.
    """
    frame = _first(_private(dataset, *PHILIPS_FRAME))
    scale = _number(_private(dataset if frame is None else frame, *PHILIPS_SCALE_SLOPE))
    rescaled = _first(dataset.get("PixelValueTransformationSequence")) or dataset
    slope, intercept = (_number(rescaled.get(word)) for word in ("RescaleSlope", "RescaleIntercept"))
    if not scale or slope == 0:
        return None
    item, unit = Dataset(), Dataset()
    unit.CodeValue, unit.CodingSchemeDesignator = "1", "UCUM"
    item.RealWorldValueSlope = 1 / scale
    item.RealWorldValueIntercept = (intercept or 0.0) / ((slope or 1.0) * scale)
    first, last = _MAPPED[bool(dataset.get("PixelRepresentation"))]
    item.add_new("RealWorldValueFirstValueMapped", "SS" if first else "US", first)
    item.add_new("RealWorldValueLastValueMapped", "SS" if first else "US", last)
    item.LUTLabel = item.LUTExplanation = "Philips"
    item.MeasurementUnitsCodeSequence = DicomSequence([unit])
    return DicomSequence([item])


STANDS_FOR: Final[Mapping[str, Callable[[Dataset], object]]] = MappingProxyType(
    {"DiffusionBValue": b_value, MAPPING: mapping}
)
"""What may take the place of a standard attribute that is absent."""


def _private(dataset: Dataset, tag: int, creator: str, vr: str) -> object:
    """A private value of a maker, in whichever block its group has it; None where absent or unreadable."""
    try:
        value = dataset.private_block(tag >> 16, creator)[tag & 0xFF].value
        return plain_value(value, vr, little_endian=True, charset="") if isinstance(value, bytes) else value
    except READ_FAULTS:
        return None


def _number(value: object) -> float | None:
    """The first value as a number."""
    try:
        first = value[0] if type(value).__name__ in ("list", "tuple", "MultiValue") else value  # type: ignore[index]
        return float(first)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None


def _first(sequence: object) -> Dataset | None:
    return sequence[0] if isinstance(sequence, DicomSequence) and sequence else None
