"""Clean headers and clean DICOM: rebuilt from what is known to be harmless, never scrubbed.

A new dataset is made from the attributes of `allowlist.py`, each passed by its rule; pixels are decoded, cut to their
bits and written anew. Private groups, unknown attributes, overlays, curves, preamble, file meta and trailing bytes
have no way in, since nothing is copied that is not listed.
Standard: DICOM PS3.15 Annex E, Basic Application Level Confidentiality Profile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydicom import config as pydicom_config
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRLittleEndian

from pipeline.core.config import DeidentificationConfig
from pipeline.core.config import DeidentificationOption as Option
from pipeline.core.errors import PrivacyError
from pipeline.core.pseudonyms import Pseudonyms
from pipeline.core.records import Instance, Series
from pipeline.dicom.deid.allowlist import (
    ALLOWED,
    CODES,
    EMPTIED,
    EMPTIED_BY_CLASS,
    EMPTIED_WITHOUT_BODY_PART,
    TOP_LEVEL,
    UNITS,
    WORTHLESS_WITHOUT,
    Attribute,
)
from pipeline.dicom.deid.private import STANDS_FOR
from pipeline.dicom.deid.value_rules import DAY_SECONDS, Subject, parsed_date, parsed_time, parts_of
from pipeline.dicom.read.by_pydicom import READ_FAULTS
from pipeline.dicom.read.header import plain_value
from pipeline.dicom.read.syntaxes import Loss, loss_of

JSON: TypeAlias = str | int | float | bool | list["JSON"] | dict[str, "JSON"] | None

IMPLEMENTATION_UID = UID("2.25.212894516190216874325893621604137871001")
"""Names this software in group 0002 (PS3.10 7.1); a fixed random UUID."""

METHOD = "liverset: rebuilt from an allow-list, keyed pseudonyms"
MAX_EARLY_SECONDS = 3_600
"""Up to an hour before the study's own time a slice is early; beyond, it was taken after midnight."""

NAME_DIGITS = 16
"""Digits of a pseudonymous UID in a folder's name: a million series share one with a chance of 1 in 20,000."""

UTF_8 = "ISO_IR 192"
"""Character set of everything written (PS3.3 C.12.1.1.2), whatever the source's was."""

VISUAL_FEATURES = "RecognizableVisualFeatures"
"""Whether a person could be recognised by the image (PS3.3 C.7.6.1), written from what was found."""

_YES_OR_NO = {True: "YES", False: "NO"}
MAX_DS_CHARACTERS = 16
_DATE_PARTNERS = {f"{event}Date": f"{event}Time" for event in ("Study", "Series", "Acquisition", "Content")}
PROFILE_CODE = ("113100", "Basic Application Confidentiality Profile")
OPTION_CODES = {
    Option.CLEAN_PIXELS: ("113101", "Clean Pixel Data Option"),
    Option.CLEAN_DESCRIPTORS: ("113105", "Clean Descriptors Option"),
    Option.MODIFIED_DATES: ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    Option.PATIENT_CHARACTERISTICS: ("113108", "Retain Patient Characteristics Option"),
    Option.DEVICE_IDENTITY: ("113109", "Retain Device Identity Option"),
    Option.INSTITUTION: ("113112", "Retain Institution Identity Option"),
}
"""Code and meaning of the profile and of each option (PS3.16 CID 7050)."""

_ENCODED_VRS = frozenset(("LO", "LT", "PN", "SH", "ST", "UT"))
_PLAIN_VRS = _ENCODED_VRS | {"AE", "AS", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "SL", "SS", "TM", "UI", "UL", "US"}

_TAG_OF = {
    keyword: Tag(tag)
    for keyword in (
        *ALLOWED,
        *EMPTIED,
        EMPTIED_WITHOUT_BODY_PART,
        "CodeValue",
        "CodingSchemeDesignator",
        "CodeMeaning",
        "TransferSyntaxUID",
        "MediaStorageSOPClassUID",
        "MediaStorageSOPInstanceUID",
        "PixelData",
        "SpecificCharacterSet",
        "PatientIdentityRemoved",
        "DeidentificationMethod",
        "DeidentificationMethodCodeSequence",
        "LongitudinalTemporalInformationModified",
        VISUAL_FEATURES,
    )
    if (tag := tag_for_keyword(keyword)) is not None
}
_VRS = {keyword: dictionary_VR(tag) for keyword, tag in _TAG_OF.items()}
_Read: TypeAlias = Callable[[str], object]


@dataclass(frozen=True, slots=True, eq=False)
class Deidentified:
    """A rebuilt dataset and what was left behind.

    Attributes:
        dataset: the clean dataset, with file meta, ready to be written as Explicit VR Little Endian.
        kept: keywords at its top that hold a value.
        left_behind: how many attributes at the source's top are not in it.
    """

    dataset: Dataset
    kept: tuple[str, ...]
    left_behind: int


def header_facts(
    series: Series,
    pseudonyms: Pseudonyms,
    config: DeidentificationConfig,
    *,
    first_study_date: date | None = None,
    shows_face: bool | None = None,
) -> dict[str, JSON]:
    """What may be told of a series, for `header.json`: allow-listed attributes by keyword, pseudonymous UIDs.

    No date and no time of day is among them: with `first_study_date` (the patient's earliest) they hold
    `days_from_first_study`, and, where the header tells when the first slice was acquired, `seconds_from_study_start`
    and `seconds_from_contrast_start`.
    With `shows_face` they hold RecognizableVisualFeatures.
    """
    first = series.first
    subject = _subject(first.header.get, pseudonyms, config)
    facts = {
        keyword: _as_json(value)
        for keyword in TOP_LEVEL
        if ALLOWED[keyword].is_fact and (value := _cleaned(ALLOWED[keyword], first.header.get, subject)) is not None
    }
    uids = {
        "study_uid": pseudonyms.uid(first.text("StudyInstanceUID")),
        "series_uid": pseudonyms.uid(series.key),
        "frame_of_reference_uid": pseudonyms.uid(first.text("FrameOfReferenceUID")),
    }
    if shows_face is not None:
        facts[VISUAL_FEATURES] = _YES_OR_NO[shows_face]
    return {**facts, **{name: uid for name, uid in uids.items() if uid}, **_intervals(first, subject, first_study_date)}


SCANNER = {"manufacturer": "Manufacturer", "model": "ManufacturerModelName", "kernel": "ConvolutionKernel"}


def scanner_facts(series: Series, pseudonyms: Pseudonyms) -> dict[str, str]:
    """Maker, model and kernel of a series as the allow-list lets them pass, for tables; "" for what it does not."""
    found = clean_values(series.first, SCANNER.values(), pseudonyms)
    return {word: clean_text(found.get(keyword)) for word, keyword in SCANNER.items()}


def clean_values(instance: Instance, keywords: Iterable[str], pseudonyms: Pseudonyms) -> dict[str, object]:
    """What tables may tell of an image: attributes by keyword as the allow-list lets them pass, and no others.

    Args:
        instance: an image as indexed.
        keywords: attributes of a single value, descriptions among them.
        pseudonyms: replacements for UIDs.
    """
    subject = Subject(pseudonyms, frozenset({Option.CLEAN_DESCRIPTORS}), "", "")
    allowed = (ALLOWED[keyword] for keyword in keywords if keyword in ALLOWED)
    found = {one.keyword: _cleaned(one, instance.header.get, subject) for one in allowed if one.clean is not None}
    return {keyword: value for keyword, value in found.items() if value is not None}


def clean_text(value: object) -> str:
    """A clean value as a cell of a table: numbers short, parts joined by a backslash; "" for None."""
    parts = () if value is None else parts_of(value)
    return "\\".join(f"{part:g}" if isinstance(part, float) else str(part) for part in parts)


def patient_id_of(read: _Read) -> str:
    """The source id that stands for a patient; each study without one is a patient of its own. Private."""
    return str(read("PatientID") or "").strip() or f"patient of {read('StudyInstanceUID') or ''}"


def deidentify(
    dataset: Dataset,
    pseudonyms: Pseudonyms,
    config: DeidentificationConfig,
    *,
    is_text_free: bool = False,
    shows_face: bool | None = None,
    pixels: NDArray[np.integer] | None = None,
    is_lossy: bool | None = None,
) -> Deidentified:
    """A new dataset that holds nothing of the old one but what the allow-list lets pass.

    What makers keep in private attributes and a standard one has a place for is written there (`private.py`).

    Args:
        dataset: one image as read by pydicom; it is not changed.
        pseudonyms: replacements under the project's secret.
        config: what the dataset asks to keep.
        is_text_free: True when its series was searched for burned-in text and none was found; only then the Clean
            Pixel Data Option is claimed.
        shows_face: whether its series shows a head; None where nobody can tell.
        pixels: its stored values, cut to their bits, where they are decoded already.
        is_lossy: whether its codestream says that pixels were altered; None where nobody looked, so that every syntax
            that can lose anything counts.

    Raises:
        PrivacyError: when a UID that everything hangs on is missing, or pixels cannot be decoded.
    """
    read = _reader(dataset, is_lossy=is_lossy)
    clean = _rebuilt(TOP_LEVEL, read, _subject(read, pseudonyms, config))
    _add_pixels(clean, pixels_of(dataset) if pixels is None else pixels)
    kept = tuple(element.keyword for element in clean)
    for keyword in _owed(clean) - set(kept):
        _put(clean, keyword, None)
    _add_markers(clean, config, is_text_free=is_text_free, shows_face=shows_face)
    _add_file_meta(clean)
    return Deidentified(clean, kept, left_behind=len(set(dataset.keys()) - set(clean.keys())))


def _owed(clean: Dataset) -> set[str]:
    """Attributes that an image of its kind must have, if only empty."""
    of_its_class = EMPTIED_BY_CLASS.get(str(clean.get("SOPClassUID")), ())
    return {*EMPTIED, *of_its_class, *(() if "BodyPartExamined" in clean else (EMPTIED_WITHOUT_BODY_PART,))}


def _subject(read: _Read, pseudonyms: Pseudonyms, config: DeidentificationConfig) -> Subject:
    patient_id = patient_id_of(read)
    begun = parsed_time(str(read("StudyTime") or ""))
    if begun is None:
        begun = float(int(pseudonyms.token("time", str(read("StudyInstanceUID"))), 16) % DAY_SECONDS)
    return Subject(pseudonyms, config.options, patient_id, pseudonyms.patient(patient_id), begun)


def _reader(dataset: Dataset, *, is_lossy: bool | None) -> _Read:
    """Plain values of a dataset by keyword; None for what is absent, empty or unreadable.

    UIDs and the patient, which an image cannot be without, are made up from its neighbours where an export emptied
    them; each study without a patient is taken for a patient of its own.
    """
    meta = getattr(dataset, "file_meta", None) or Dataset()
    replaced: dict[str, object] = {
        "SOPClassUID": _plain_of(dataset, "SOPClassUID") or _plain_of(meta, "MediaStorageSOPClassUID"),
        "SOPInstanceUID": _plain_of(dataset, "SOPInstanceUID") or _plain_of(meta, "MediaStorageSOPInstanceUID"),
    }
    series = _plain_of(dataset, "SeriesInstanceUID") or _made_up_series(dataset)
    replaced["SeriesInstanceUID"] = series
    replaced["StudyInstanceUID"] = _plain_of(dataset, "StudyInstanceUID") or (series and f"study of {series}")
    patient = _plain_of(dataset, "PatientID") or f"patient of {replaced['StudyInstanceUID']}"
    replaced["PatientID"] = replaced["PatientName"] = patient
    syntax = _plain_of(meta, "TransferSyntaxUID")
    if is_lossy or (is_lossy is None and syntax and loss_of(str(syntax)) is not Loss.NEVER):
        replaced["LossyImageCompression"] = "01"
    return lambda keyword: replaced[keyword] if keyword in replaced else _value_of(dataset, keyword)


def _made_up_series(dataset: Dataset) -> str | None:
    frame = _plain_of(dataset, "FrameOfReferenceUID")
    parts = [_plain_of(dataset, keyword) for keyword in ("SeriesNumber", "SeriesDate", "SeriesTime")]
    return f"series of {frame} {parts}" if frame else None


def _rebuilt(keywords: Iterable[str], read: _Read, subject: Subject) -> Dataset:
    clean = Dataset()
    for keyword in keywords:
        value = _cleaned(ALLOWED[keyword], read, subject)
        if value is not None:
            _put(clean, keyword, value)
    return clean


def _cleaned(attribute: Attribute, read: _Read, subject: Subject) -> object:
    """What may stand for one attribute; a sequence gives a list of rebuilt items. None when nothing may."""
    if attribute.needs is not None and attribute.needs not in subject.options:
        return None
    value = read(attribute.keyword)
    if value is None:
        return None
    if attribute.clean is None:
        items = (_rebuilt_item(attribute, item, subject) for item in _items(value))
        vital = WORTHLESS_WITHOUT.intersection(attribute.items)
        return [item for item in items if len(item) and all(keyword in item for keyword in vital)] or None
    if attribute.keyword in _DATE_PARTNERS:
        value = (value, read(_DATE_PARTNERS[attribute.keyword]))
    return attribute.clean(value, subject)


def _rebuilt_item(attribute: Attribute, item: Dataset, subject: Subject) -> Dataset:
    keywords = [keyword for keyword in attribute.items if keyword in ALLOWED]
    clean = _rebuilt(keywords, lambda keyword: _value_of(item, keyword), subject)
    if "CodeValue" in attribute.items:
        _add_code(clean, item)
    return clean


def _add_code(clean: Dataset, item: Dataset) -> None:
    scheme, value = str(_plain_of(item, "CodingSchemeDesignator")), str(_plain_of(item, "CodeValue"))
    meaning = {**CODES, **UNITS}.get((scheme, value))
    if meaning is None:
        return
    for keyword, text in (("CodeValue", value), ("CodingSchemeDesignator", scheme), ("CodeMeaning", meaning)):
        _put(clean, keyword, text)


def _items(value: object) -> Iterator[Dataset]:
    if isinstance(value, DicomSequence):
        yield from value


def _value_of(dataset: Dataset, keyword: str) -> object:
    """A value in plain Python types, from a maker's private attributes where the standard one is absent."""
    value = _plain_of(dataset, keyword)
    return STANDS_FOR[keyword](dataset) if value is None and keyword in STANDS_FOR else value


def _plain_of(dataset: Dataset, keyword: str) -> object:
    """A value in plain Python types; None when absent, empty or unreadable."""
    tag = _TAG_OF[keyword]
    if tag not in dataset.keys():  # noqa: SIM118 - the view is ten times as fast
        return None
    try:
        element: Any = dataset.get_item(tag)
        vr = _VRS[keyword] if element.VR in (None, "UN") else element.VR
        if isinstance(element, RawDataElement) and vr in _PLAIN_VRS:
            charset = _charset_of(dataset) if vr in _ENCODED_VRS else ""
            return plain_value(element.value or b"", vr, little_endian=element.is_little_endian, charset=charset)
        return _plain(dataset[tag].value)
    except READ_FAULTS:
        return None


def _charset_of(dataset: Dataset) -> str:
    return "\\".join(str(part) for part in parts_of(_plain_of(dataset, "SpecificCharacterSet") or ""))


def _plain(value: object) -> object:
    if isinstance(value, DicomSequence):
        return value
    if isinstance(value, list | tuple) or type(value).__name__ == "MultiValue":
        return tuple(_plain(part) for part in value) or None  # type: ignore[attr-defined]
    if isinstance(value, bytes):
        return None
    if isinstance(value, float | int):
        return value
    return (str(value).strip("\0 ") or None) if value is not None else None


def _put(dataset: Dataset, keyword: str, value: object) -> None:
    vr = _VRS[keyword]
    if vr == "US or SS":
        is_signed = isinstance(value, int) and value < 0
        vr = "SS" if is_signed or dataset.get("PixelRepresentation") else "US"
    written = _decimal(value) if vr == "DS" else value
    if vr == "SH" and isinstance(value, int):
        written = str(value)
    if vr == "SQ":
        written = DicomSequence(value or [])  # type: ignore[arg-type]
    if isinstance(written, tuple):
        written = list(written)
    dataset.add(DataElement(_TAG_OF[keyword], vr, written, validation_mode=pydicom_config.IGNORE))


def _decimal(value: object) -> object:
    """Numbers as decimal strings of at most 16 characters (PS3.5 DS), exact wherever 16 characters can be."""
    if isinstance(value, tuple):
        return tuple(_decimal(part) for part in value)
    if value is None:
        return None
    number = float(value)  # type: ignore[arg-type]
    text = str(int(number)) if number == int(number) else repr(number)
    digits = MAX_DS_CHARACTERS
    while len(text) > MAX_DS_CHARACTERS:
        digits -= 1
        text = f"{number:.{digits}g}"
    return text


def _add_pixels(clean: Dataset, stored: NDArray[np.integer]) -> None:
    bits = int(clean.get("BitsStored", 0))
    frames, rows, columns = (int(clean.get(word) or 0) for word in ("NumberOfFrames", "Rows", "Columns"))
    if stored.size != max(frames, 1) * rows * columns:
        raise PrivacyError(
            f"the header promises {max(frames, 1)} frames of {rows} x {columns} pixels, the object holds {stored.size} "
            "pixels; export it again"
        )
    _put(clean, "BitsAllocated", stored.dtype.itemsize * 8)
    _put(clean, "HighBit", bits - 1)
    data = stored.tobytes()
    vr = "OW" if stored.dtype.itemsize > 1 else "OB"
    clean.add(DataElement(_TAG_OF["PixelData"], vr, data + b"\0" * (len(data) % 2)))


def pixels_of(dataset: Dataset) -> NDArray[np.integer]:
    """Stored values of an image, cut to BitsStored: what hides in unused bits is gone.

    Raises:
        PrivacyError: when the image is no plain gray image, or its pixels cannot be decoded.
    """
    try:
        bits, high = int(dataset.BitsStored), int(dataset.HighBit)
        is_signed = bool(dataset.PixelRepresentation)
        decoded = _decoded(dataset, is_signed=is_signed)
    except (RuntimeError, ImportError) as error:
        raise PrivacyError(f"its pixels cannot be decoded here ({type(error).__name__})") from None
    except READ_FAULTS:
        raise PrivacyError("its pixels are damaged or cut short, so they cannot be cleaned") from None
    if decoded.dtype.itemsize > 2 or not 1 <= bits <= decoded.dtype.itemsize * 8 or int(dataset.SamplesPerPixel) != 1:
        raise PrivacyError("its pixels are not grey values of 8 or 16 bits")
    below = max(high + 1 - bits, 0)
    unused = decoded.dtype.itemsize * 8 - bits
    cut: NDArray[np.integer] = np.right_shift(np.left_shift(np.right_shift(decoded, below), unused), unused)
    return cut


def _decoded(dataset: Dataset, *, is_signed: bool) -> NDArray[np.integer]:
    if dataset.file_meta.TransferSyntaxUID.is_compressed and not dataset.file_meta.TransferSyntaxUID.is_deflated:
        decoded: NDArray[np.integer] = dataset.pixel_array
        return decoded.astype(decoded.dtype.newbyteorder("<"), copy=False)
    width = int(dataset.BitsAllocated) // 8
    order = "<" if dataset.file_meta.TransferSyntaxUID.is_little_endian else ">"
    stored = np.dtype(f"{order}{'i' if is_signed else 'u'}{width}")
    count = int(dataset.get("NumberOfFrames") or 1) * int(dataset.Rows) * int(dataset.Columns)
    return np.frombuffer(dataset.PixelData, stored, count).astype(stored.newbyteorder("<"), copy=False)


def method_codes(config: DeidentificationConfig, *, is_text_free: bool) -> list[dict[str, str]]:
    """Items of DeidentificationMethodCodeSequence (PS3.16 CID 7050): the profile, and each option that was applied.

    Args:
        config: which options are asked for.
        is_text_free: False when the pixels were not searched for text, so that 113101 may not be claimed.
    """
    earned = [option for option in Option if option in config.options]
    if not is_text_free:
        earned = [option for option in earned if option is not Option.CLEAN_PIXELS]
    words = ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")
    codes = [PROFILE_CODE, *(OPTION_CODES[option] for option in earned)]
    return [dict(zip(words, (value, "DCM", meaning), strict=True)) for value, meaning in codes]


def _add_markers(
    clean: Dataset, config: DeidentificationConfig, *, is_text_free: bool, shows_face: bool | None
) -> None:
    _put(clean, "SpecificCharacterSet", UTF_8)
    _put(clean, "PatientIdentityRemoved", "YES")
    _put(clean, "DeidentificationMethod", METHOD)
    _put(
        clean, "DeidentificationMethodCodeSequence", [*map(_code_item, method_codes(config, is_text_free=is_text_free))]
    )
    is_moved = Option.MODIFIED_DATES in config.options
    _put(clean, "LongitudinalTemporalInformationModified", "MODIFIED" if is_moved else "REMOVED")
    if shows_face is not None:
        _put(clean, VISUAL_FEATURES, _YES_OR_NO[shows_face])


def _code_item(code: Mapping[str, str]) -> Dataset:
    item = Dataset()
    for keyword, text in code.items():
        _put(item, keyword, text)
    return item


def _add_file_meta(clean: Dataset) -> None:
    missing = [keyword for keyword in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID") if not clean.get(keyword)]
    if missing:
        raise PrivacyError(f"it has no {missing[0]} that could be replaced, so it cannot be distinguished from others")
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = clean.SOPClassUID
    meta.MediaStorageSOPInstanceUID = clean.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = IMPLEMENTATION_UID
    meta.ImplementationVersionName = "LIVERSET"
    clean.file_meta = meta


def _intervals(first: Instance, subject: Subject, first_study_date: date | None) -> dict[str, JSON]:
    intervals: dict[str, JSON] = {}
    if Option.MODIFIED_DATES not in subject.options:
        return intervals
    day, second = parsed_date(first.text("StudyDate")), parsed_time(first.text("AcquisitionTime"))
    if day is not None and first_study_date is not None:
        intervals["days_from_first_study"] = (day - first_study_date).days
    if second is not None and first.text("StudyTime"):
        intervals["seconds_from_study_start"] = _seconds_between(subject.study_second, second)
    injected = parsed_time(first.text("ContrastBolusStartTime"))
    if second is not None and injected is not None:
        intervals["seconds_from_contrast_start"] = _seconds_between(injected, second)
    return intervals


def _seconds_between(start: float, second: float) -> float:
    """From one time of day to another, which may be after midnight."""
    return round((second - start + MAX_EARLY_SECONDS) % DAY_SECONDS - MAX_EARLY_SECONDS, 3)


def _as_json(value: object) -> JSON:
    if isinstance(value, tuple):
        return [_as_json(part) for part in value]
    return value if isinstance(value, str | int | float) else None
