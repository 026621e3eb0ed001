"""What may enter a dataset at all: original, primary, axial images of the dataset's modality, without text in them.

Everything else (captures, localizers, dose reports, documents, presentation states, structure sets) is refused by a
rule's name and a sentence that hold nothing of the object.
"""

from __future__ import annotations

from pipeline.core.config import Modality
from pipeline.core.problems import meaning_of
from pipeline.core.records import Instance, Reason
from pipeline.dicom.read.kinds import (
    CAPTURE_WORDS,
    LOCALIZER_WORDS,
    STORAGE_CLASSES,
    Kind,
    image_type_words,
    kind_of_class,
)

REFUSED_KINDS = {
    Kind.CAPTURE: "secondary-capture",
    Kind.REPORT: "report",
    Kind.DOSE_REPORT: "report",
    Kind.DOCUMENT: "document",
    Kind.PRESENTATION_STATE: "presentation-state",
    Kind.RADIOTHERAPY: "radiotherapy",
    Kind.STRUCTURE_SET: "radiotherapy",
    Kind.DERIVED: "derived-object",
    Kind.SEGMENTATION: "derived-object",
    Kind.DIRECTORY: "directory",
}
"""Kinds of object that are never released, and the code of each."""


def admit(instance: Instance, *, modality: Modality = Modality.CT) -> Reason | None:
    """Why an object must not enter the dataset; None when it may.

    An object that does not say that it is original and primary is refused: in doubt, it stays out.
    """
    return _class_reason(instance, modality) or _image_type_reason(instance, modality) or _annotation_reason(instance)


def _class_reason(instance: Instance, modality: Modality) -> Reason | None:
    storage_class = instance.text("SOPClassUID") or instance.text("MediaStorageSOPClassUID")
    refused = REFUSED_KINDS.get(kind_of_class(storage_class))
    if refused:
        return _reason(refused)
    if storage_class and storage_class not in STORAGE_CLASSES:
        return _reason("storage-class")
    if instance.text("Modality") != modality:
        return Reason("modality", f"not of the dataset's modality, {modality}")
    return None


def _image_type_reason(instance: Instance, modality: Modality) -> Reason | None:
    image_type = image_type_words(instance)
    if any(word in part for part in image_type for word in LOCALIZER_WORDS):
        return _reason("localizer")
    if any(word in part for part in image_type for word in CAPTURE_WORDS):
        return _reason("secondary-capture")
    if image_type[:2] != ["ORIGINAL", "PRIMARY"]:
        return _reason("not-original")
    if modality is Modality.CT and image_type[2:3] not in (["AXIAL"], ["VOLUME"], ["HELICAL"]):
        return _reason("not-axial")
    return None


def _annotation_reason(instance: Instance) -> Reason | None:
    if instance.text("BurnedInAnnotation").strip().upper() not in ("", "NO"):
        return _reason("burned-in")
    if instance.number("SamplesPerPixel") not in (None, 1.0):
        return _reason("color")
    return None


def _reason(code: str) -> Reason:
    return Reason(code, meaning_of(code))
