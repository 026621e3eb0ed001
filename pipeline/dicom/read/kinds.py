"""What an object is: an image slice, or something that lies beside them (a localizer, a report, a capture)."""

from __future__ import annotations

from enum import Enum, auto
from functools import lru_cache
from typing import Final

from pipeline.core.records import Instance

_STORAGE: Final = "1.2.840.10008.5.1.4.1.1"
CT: Final = f"{_STORAGE}.2"
MR: Final = f"{_STORAGE}.4"
SEGMENTATION: Final = f"{_STORAGE}.66.4"
MEDIA_DIRECTORY: Final = "1.2.840.10008.1.3.10"
"""Storage classes (PS3.4 B.5); that of a DICOMDIR stands in its meta header only."""


class Kind(Enum):
    """What a storage class holds."""

    TOMOGRAM = auto()
    CAPTURE = auto()
    WAVEFORM = auto()
    PRESENTATION_STATE = auto()
    DERIVED = auto()
    SEGMENTATION = auto()
    REPORT = auto()
    DOSE_REPORT = auto()
    DOCUMENT = auto()
    RADIOTHERAPY = auto()
    STRUCTURE_SET = auto()
    DIRECTORY = auto()
    OTHER = auto()


_KINDS = {
    CT: Kind.TOMOGRAM,
    MR: Kind.TOMOGRAM,
    f"{_STORAGE}.7": Kind.CAPTURE,
    f"{_STORAGE}.9": Kind.WAVEFORM,
    f"{_STORAGE}.11": Kind.PRESENTATION_STATE,
    f"{_STORAGE}.66": Kind.DERIVED,
    SEGMENTATION: Kind.SEGMENTATION,
    f"{_STORAGE}.66.7": Kind.SEGMENTATION,
    f"{_STORAGE}.88": Kind.REPORT,
    f"{_STORAGE}.88.67": Kind.DOSE_REPORT,
    f"{_STORAGE}.88.68": Kind.DOSE_REPORT,
    f"{_STORAGE}.104": Kind.DOCUMENT,
    f"{_STORAGE}.128": Kind.TOMOGRAM,
    f"{_STORAGE}.481": Kind.RADIOTHERAPY,
    f"{_STORAGE}.481.3": Kind.STRUCTURE_SET,
    MEDIA_DIRECTORY: Kind.DIRECTORY,
}
"""Storage classes by the beginning of their UID, the longest that fits; CT, MR and PET (128) are tomograms."""

NO_SLICES = {
    Kind.CAPTURE: "secondary-capture",
    Kind.WAVEFORM: "not-an-image",
    Kind.PRESENTATION_STATE: "presentation-state",
    Kind.DERIVED: "not-an-image",
    Kind.SEGMENTATION: "segmentation",
    Kind.REPORT: "structured-report",
    Kind.DOSE_REPORT: "dose-report",
    Kind.DOCUMENT: "not-an-image",
    Kind.RADIOTHERAPY: "not-an-image",
    Kind.STRUCTURE_SET: "structure-set",
    Kind.DIRECTORY: "not-an-image",
}
"""Kinds that are never slices of a volume, and the code of each."""

STORAGE_CLASSES = {
    CT: "CT Image Storage",
    f"{CT}.1": "Enhanced CT Image Storage",
    MR: "MR Image Storage",
    f"{MR}.1": "Enhanced MR Image Storage",
}
"""Storage classes whose objects may be released, by UID."""

NO_SLICE_TYPES = {
    "LOCALIZER": "localizer",
    "SCOUT": "localizer",
    "CT_SOM5 TOP": "localizer",
    "CT_SOM7 TOP": "localizer",
    "CT_SOM5 PROT": "dose-report",
    "CT_SOM7 PROT": "dose-report",
    "SCREEN SAVE": "dose-report",
    "DOSE_INFO": "dose-report",
    "DOSE": "dose-report",
}
"""Values of ImageType that no slice of a volume has, and the code of what has them."""

LOCALIZER_WORDS = ("LOCALIZER", "SCOUT", "TOPOGRAM", "SURVIEW")
CAPTURE_WORDS = ("SCREEN SAVE", "SCREENSHOT", "CAPTURE")
"""What no value of ImageType may hold, if only as a part, of an image that is released."""

_TOMOGRAPHIC = frozenset({"CT", "MR", "PT"})
"""Modalities whose images are slices."""

_COLOURS = ("RGB", "YBR", "PALETTE", "ARGB", "CMYK", "HSV")


def why_no_slice(instance: Instance) -> str | None:
    """Code of why an object is no slice of a volume; None for a slice.

    A colour picture with a place is a slice too, of a colour image; what only shows a screen has none.
    """
    if is_colour(instance) and _has_place(instance):
        return None
    kind = kind_of_class(instance.text("SOPClassUID"))
    code = NO_SLICES.get(kind) or _by_image_type(instance)
    if code is None and not instance.number("Rows") and kind is not Kind.TOMOGRAM:
        code = "not-an-image"
    return code or ("colour" if is_colour(instance) else None)


@lru_cache(maxsize=256)
def kind_of_class(uid: str) -> Kind:
    """What a storage class holds, by its UID."""
    parts = uid.split(".")
    beginnings = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((_KINDS[beginning] for beginning in beginnings if beginning in _KINDS), Kind.OTHER)


def image_type_words(instance: Instance) -> list[str]:
    """The values of ImageType in upper case."""
    return [word.strip() for word in instance.text("ImageType").upper().split("\\")]


def _by_image_type(instance: Instance) -> str | None:
    return next((NO_SLICE_TYPES[word] for word in image_type_words(instance) if word in NO_SLICE_TYPES), None)


def is_placed_capture(instance: Instance) -> bool:
    """True for a gray image of the class of captures that has all that a slice has: modality, place and spacing."""
    return (
        kind_of_class(instance.text("SOPClassUID")) is Kind.CAPTURE
        and is_monochrome(instance)
        and instance.text("Modality") in _TOMOGRAPHIC
        and _by_image_type(instance) is None
        and ("SharedFunctionalGroupsSequence" in instance.header or _has_place(instance))
    )


def _has_place(instance: Instance) -> bool:
    return all(keyword in instance.header for keyword in ("ImagePositionPatient", "PixelSpacing", "Rows"))


def is_colour(instance: Instance) -> bool:
    """True for red, green and blue, or another kind of colour, as far as the header tells."""
    meaning = instance.text("PhotometricInterpretation").upper()
    return instance.number("SamplesPerPixel") in (3.0, 4.0) or meaning.startswith(_COLOURS)


def is_monochrome(instance: Instance) -> bool:
    """True for one sample a pixel that means a brightness, as far as the header tells."""
    meaning = instance.text("PhotometricInterpretation").upper()
    return instance.number("SamplesPerPixel") in (None, 1.0) and meaning in ("", "MONOCHROME1", "MONOCHROME2")
