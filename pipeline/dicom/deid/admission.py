"""What may enter a dataset at all: original, primary, axial images of the dataset's modality, without text in them.

Everything else (captures, localizers, dose reports, documents, presentation states, structure sets) is refused by a
rule's name and a sentence that hold nothing of the object.
"""

from __future__ import annotations

from pipeline.core.config import Modality
from pipeline.core.records import Instance, Reason
from pipeline.dicom.deid.allowlist import STORAGE_CLASSES

REFUSED_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.7": Reason("secondary-capture", "a captured screen may show the patient's name"),
    "1.2.840.10008.5.1.4.1.1.88": Reason("report", "reports and dose reports are text about the patient"),
    "1.2.840.10008.5.1.4.1.1.104": Reason("document", "an embedded document may say anything"),
    "1.2.840.10008.5.1.4.1.1.11": Reason("presentation-state", "a presentation state holds annotations"),
    "1.2.840.10008.5.1.4.1.1.481": Reason("radiotherapy", "a radiotherapy object is no image"),
    "1.2.840.10008.5.1.4.1.1.66": Reason("derived-object", "segmentations and raw data are no original image"),
    "1.2.840.10008.1.3.10": Reason("directory", "a DICOMDIR lists patients and holds no image"),
}
"""Kinds of object that are never released, by the beginning of their storage class (PS3.4 B.5)."""

_LOCALIZER_WORDS = ("LOCALIZER", "SCOUT", "TOPOGRAM", "SURVIEW")
_CAPTURE_WORDS = ("SCREEN SAVE", "SCREENSHOT", "CAPTURE")


def admit(instance: Instance, *, modality: Modality = Modality.CT) -> Reason | None:
    """Why an object must not enter the dataset; None when it may.

    An object that does not say that it is original and primary is refused: in doubt, it stays out.
    """
    return _class_reason(instance, modality) or _image_type_reason(instance, modality) or _annotation_reason(instance)


def _class_reason(instance: Instance, modality: Modality) -> Reason | None:
    storage_class = instance.text("SOPClassUID") or instance.text("MediaStorageSOPClassUID")
    for prefix, reason in REFUSED_CLASSES.items():
        if storage_class == prefix or storage_class.startswith(prefix + "."):
            return reason
    if storage_class and storage_class not in STORAGE_CLASSES:
        return Reason("storage-class", "not a CT or MR image")
    if instance.text("Modality") != modality:
        return Reason("modality", f"not of the dataset's modality, {modality}")
    return None


def _image_type_reason(instance: Instance, modality: Modality) -> Reason | None:
    image_type = [part.strip().upper() for part in instance.text("ImageType").split("\\")]
    if any(word in part for part in image_type for word in _LOCALIZER_WORDS):
        return Reason("localizer", "a localizer shows other planes and often text")
    if any(word in part for part in image_type for word in _CAPTURE_WORDS):
        return Reason("secondary-capture", "a captured screen may show the patient's name")
    if image_type[:2] != ["ORIGINAL", "PRIMARY"]:
        return Reason("not-original", "not an original, primary image")
    if modality is Modality.CT and image_type[2:3] not in (["AXIAL"], ["VOLUME"], ["HELICAL"]):
        return Reason("not-axial", "not an axial image")
    return None


def _annotation_reason(instance: Instance) -> Reason | None:
    if instance.text("BurnedInAnnotation").strip().upper() not in ("", "NO"):
        return Reason("burned-in", "its header says that text is burned into the image")
    if instance.number("SamplesPerPixel") not in (None, 1.0):
        return Reason("color", "a color image is a capture, not a CT or MR slice")
    return None
