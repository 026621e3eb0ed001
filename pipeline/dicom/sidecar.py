"""A volume's JSON sidecar: the keywords of BIDS, as users of dcm2niix know them, with clean values.

No date, no time of day, nothing of a patient. Only what all slices agree on is said of a volume.
Standard: BIDS 1.10, MRI and CT metadata; times are in seconds.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from pipeline.core.pseudonyms import Pseudonyms
from pipeline.core.records import Series
from pipeline.dicom.deid.deidentify import clean_text, clean_values
from pipeline.dicom.deid.value_rules import parts_of
from pipeline.dicom.describe import energy_kev

CONVERTER = "liverset"

_BIDS_NAMES = MappingProxyType(
    {
        "Modality": "Modality",
        "MagneticFieldStrength": "MagneticFieldStrength",
        "Manufacturer": "Manufacturer",
        "ManufacturerModelName": "ManufacturersModelName",
        "BodyPartExamined": "BodyPart",
        "PatientPosition": "PatientPosition",
        "SeriesDescription": "SeriesDescription",
        "ProtocolName": "ProtocolName",
        "SeriesNumber": "SeriesNumber",
        "AcquisitionNumber": "AcquisitionNumber",
        "ImageType": "ImageType",
        "ScanningSequence": "ScanningSequence",
        "SequenceVariant": "SequenceVariant",
        "ScanOptions": "ScanOptions",
        "MRAcquisitionType": "MRAcquisitionType",
        "ContrastBolusAgent": "ContrastBolusAgent",
        "SliceThickness": "SliceThickness",
        "SpacingBetweenSlices": "SpacingBetweenSlices",
        "EchoNumbers": "EchoNumber",
        "EchoTime": "EchoTime",
        "RepetitionTime": "RepetitionTime",
        "InversionTime": "InversionTime",
        "FlipAngle": "FlipAngle",
        "TemporalPositionIdentifier": "TemporalPositionIdentifier",
        "DiffusionBValue": "DiffusionBValue",
        "KVP": "KVP",
        "XRayTubeCurrent": "XRayTubeCurrent",
        "ExposureTime": "ExposureTime",
        "Exposure": "XRayExposure",
        "GantryDetectorTilt": "GantryDetectorTilt",
        "ReconstructionDiameter": "ReconstructionDiameter",
        "ConvolutionKernel": "ConvolutionKernel",
    }
)
"""DICOM keyword to its name in a sidecar."""

_MILLISECONDS = frozenset({"EchoTime", "RepetitionTime", "InversionTime", "ExposureTime"})
"""What DICOM counts in milliseconds and a sidecar in seconds."""


def sidecar(series: Series, pseudonyms: Pseudonyms) -> dict[str, Any]:
    """What may be told of a volume, in the keywords of BIDS.

    Args:
        series: the volume.
        pseudonyms: as for its table.
    """
    constant = [keyword for keyword in _BIDS_NAMES if _is_constant(series, keyword)]
    clean = clean_values(series.first, constant, pseudonyms)
    found = {_BIDS_NAMES[keyword]: _told(keyword, clean[keyword]) for keyword in constant if keyword in clean}
    energy = energy_kev(series.first)
    return {
        **found,
        **({} if energy is None else {"MonoenergeticEnergyEquivalent": energy}),
        "ConversionSoftware": CONVERTER,
    }


def _is_constant(series: Series, keyword: str) -> bool:
    return all(slice_.header.get(keyword) == series.first.header.get(keyword) for slice_ in series.instances)


def _told(keyword: str, value: object) -> object:
    if keyword == "ImageType":
        return list(parts_of(value))
    if isinstance(value, int | float):
        number = round(value / 1000, 9) if keyword in _MILLISECONDS else value
        return int(number) if number == int(number) else number
    return clean_text(value)
