"""What an object is: an image slice, or something that lies beside them (a localizer, a report, a capture)."""

from __future__ import annotations

from pipeline.core.records import Instance

_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.7": "secondary-capture",
    "1.2.840.10008.5.1.4.1.1.88.67": "dose-report",
    "1.2.840.10008.5.1.4.1.1.88.68": "dose-report",
    "1.2.840.10008.5.1.4.1.1.66": "not-an-image",
    "1.2.840.10008.5.1.4.1.1.66.4": "segmentation",
    "1.2.840.10008.5.1.4.1.1.66.7": "segmentation",
    "1.2.840.10008.5.1.4.1.1.481.3": "structure-set",
}
_CLASS_PREFIXES = {
    "1.2.840.10008.5.1.4.1.1.7.": "secondary-capture",
    "1.2.840.10008.5.1.4.1.1.11.": "presentation-state",
    "1.2.840.10008.5.1.4.1.1.88.": "structured-report",
    "1.2.840.10008.5.1.4.1.1.104.": "not-an-image",
    "1.2.840.10008.5.1.4.1.1.9.": "not-an-image",
    "1.2.840.10008.5.1.4.1.1.66.": "not-an-image",
    "1.2.840.10008.5.1.4.1.1.481.": "not-an-image",
}
"""SOP classes by UID (PS3.4 annex B.5)."""

_IMAGE_CLASSES = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.128")
"""CT, MR and PET, plain and enhanced."""

_IMAGE_TYPES = {
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

_COLOURS = ("RGB", "YBR", "PALETTE", "ARGB", "CMYK", "HSV")

REASONS = {
    "localizer": "a localizer: planning views, no volume",
    "dose-report": "a dose report or protocol page",
    "secondary-capture": "a secondary capture: a picture of a screen, not of a patient",
    "presentation-state": "a presentation state: how to show other images",
    "structured-report": "a structured report",
    "segmentation": "a segmentation object: a mask, not an image",
    "structure-set": "a structure set: contours, not an image",
    "colour": "a colour picture: no Hounsfield units and no MR intensity",
    "not-an-image": "an object without an image",
    "truncated": "cut short; the whole of it lies in another file",
    "duplicate": "the same image as another file",
}
"""What each code of a set-aside object means."""


def why_no_slice(instance: Instance) -> str | None:
    """Code of why an object is no slice of a volume; None for a slice.

    A colour picture with a place is a slice too, of a colour image; what only shows a screen has none.
    """
    if is_colour(instance) and _has_place(instance):
        return None
    sop_class = instance.text("SOPClassUID")
    code = _CLASSES.get(sop_class)
    if code is None:
        code = next((code for prefix, code in _CLASS_PREFIXES.items() if sop_class.startswith(prefix)), None)
    if code is None:
        code = _by_image_type(instance)
    if code is None and not instance.number("Rows") and not sop_class.startswith(_IMAGE_CLASSES):
        code = "not-an-image"
    return code or ("colour" if is_colour(instance) else None)


def _by_image_type(instance: Instance) -> str | None:
    words = instance.text("ImageType").upper().split("\\")
    return next((_IMAGE_TYPES[word.strip()] for word in words if word.strip() in _IMAGE_TYPES), None)


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
