"""Which attributes are indexed, and how their bytes become plain Python values.

Both ways to a header (the fast walker and pydicom) find raw bytes; only here do bytes get a meaning, so the two can
differ in what they find, never in what it means.
"""

from __future__ import annotations

import re
import struct
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Final

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import dictionary_VR, tag_for_keyword

KEYWORDS: Final = (
    "SpecificCharacterSet",
    "ImageType",
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyDate",
    "SeriesDate",
    "AcquisitionDate",
    "ContentDate",
    "AcquisitionDateTime",
    "StudyTime",
    "SeriesTime",
    "AcquisitionTime",
    "ContentTime",
    "AccessionNumber",
    "Modality",
    "ConversionType",
    "Manufacturer",
    "InstitutionName",
    "StationName",
    "StudyDescription",
    "SeriesDescription",
    "ManufacturerModelName",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "ImageComments",
    "PatientIdentityRemoved",
    "ContrastBolusAgent",
    "BodyPartExamined",
    "ScanningSequence",
    "SequenceVariant",
    "SequenceName",
    "ScanOptions",
    "MRAcquisitionType",
    "SliceThickness",
    "KVP",
    "RepetitionTime",
    "EchoTime",
    "InversionTime",
    "EchoNumbers",
    "MagneticFieldStrength",
    "SpacingBetweenSlices",
    "SoftwareVersions",
    "ProtocolName",
    "ContrastBolusRoute",
    "ContrastBolusStartTime",
    "ContrastBolusStopTime",
    "ContrastBolusVolume",
    "TriggerTime",
    "ReconstructionDiameter",
    "GantryDetectorTilt",
    "ExposureTime",
    "XRayTubeCurrent",
    "Exposure",
    "ConvolutionKernel",
    "FlipAngle",
    "PatientPosition",
    "DiffusionBValue",
    "DiffusionGradientOrientation",
    "MonoenergeticEnergyEquivalent",
    "ComplexImageComponent",
    "AcquisitionContrast",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "StudyID",
    "SeriesNumber",
    "AcquisitionNumber",
    "InstanceNumber",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "FrameOfReferenceUID",
    "Laterality",
    "TemporalPositionIdentifier",
    "ImagesInAcquisition",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "PixelSpacing",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "QualityControlImage",
    "BurnedInAnnotation",
    "RescaleIntercept",
    "RescaleSlope",
    "RescaleType",
    "LossyImageCompression",
    "ModalityLUTSequence",
    "SharedFunctionalGroupsSequence",
)
"""The indexed attributes. A sequence is indexed as 1: it is there."""

TRANSFER_SYNTAX: Final = "TransferSyntaxUID"
PIXEL_OFFSET: Final = "PixelDataOffset"
"""Key of our own: where the value of PixelData begins in the file; absent without PixelData, or in a deflated file."""
PIXEL_LENGTH: Final = "PixelDataLength"
"""Key of our own: bytes of PixelData that are there; -1 when it is encapsulated."""
FRAMES: Final = "Frames"
"""Key of our own: one mapping a frame of a multi-frame object, or slice of a mosaic: what differs from the header."""
FRAME_COUNT: Final = "FrameCount"
"""Key of our own: how many frames a multi-frame object, or slices a mosaic, describes."""
FRAME_INDEX: Final = "FrameIndex"
"""Key of our own: which frame of a multi-frame object, or slice of a mosaic, from 0."""
MOSAIC_SIDE: Final = "MosaicSide"
"""Key of our own: of a slice of a mosaic, how many slices lie side by side in a row and in a column of the picture."""
WRITTEN_PATIENT: Final = "WrittenPatientID"
"""Key of our own: the PatientID of the file, where the path says whose it is; never in the index."""

INDEXED: Final = (*KEYWORDS, TRANSFER_SYNTAX, PIXEL_OFFSET, PIXEL_LENGTH, FRAMES)
"""Every key that a header of the index may have."""

PIXEL_TAG: Final = 0x7FE00010
TAGS: Final = {
    int(tag_for_keyword(keyword) or 0): (keyword, dictionary_VR(keyword).removesuffix(" or SS")) for keyword in KEYWORDS
}
"""Tag to keyword and the VR that the dictionary gives; "US or SS" is read as US, its bits are the same."""

PRIVATE_B_VALUES: Final = {
    0x0019100C: ("SIEMENS MR HEADER", "IS"),
    0x00431039: ("GEMS_PARM_01", "IS"),
    0x20011003: ("Philips Imaging DD 001", "FL"),
    0x00651009: ("Image Private Header", "FD"),
}
"""Where vendors keep the b-value, in the usual first block of a group: tag to (private creator, VR)."""
GE_B_VALUE_BASE: Final = 1_000_000_000
"""GE adds this, to tell its new b-values from its old (dcm_qa and GE's own conformance statements)."""

Value = str | int | float | tuple[str | int | float, ...]

_BINARY = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "UV": "Q", "SV": "q"}
_ENCODED_TEXT = frozenset({"LO", "SH", "PN", "UC"})
_ENCODED_LONG_TEXT = frozenset({"LT", "ST", "UT"})
_GB2312_PAIRS = re.compile(rb"(?:[\x00-\x7f]|[\xa1-\xf7][\xa1-\xfe])+\Z")
_RARE_LETTERS = re.compile(
    r"[\u0180-\u019f\u01a2-\u01ae\u01b1-\u0217\u021c-\u0258\u025a-\u036f\u0460-\u058f\u0600-\u07ff]"
)
"""Letters of two bytes in UTF-8 that belong to no European language nor Hebrew; 平扫, a plain scan, would read "ƽɨ".

Letters of Romanian, Azeri and Vietnamese lie between them and are left out.
"""
_ONE_BYTE_CHARSETS = frozenset({"", "ISO_IR 6", "ISO_IR 100", "ISO 2022 IR 6", "ISO 2022 IR 100"})


def plain_value(raw: bytes, vr: str, *, little_endian: bool, charset: str) -> Value | None:
    """An attribute's bytes as text, number, or a tuple of these; None when there is no value.

    Args:
        raw: the value as it lies in the file.
        vr: the value representation, from the file or, where it tells none, from the dictionary.
        little_endian: byte order of binary numbers.
        charset: SpecificCharacterSet, parts joined by a backslash.
    """
    if vr in _BINARY:
        return _binary(raw, _BINARY[vr], "<" if little_endian else ">")
    if vr in _STRICT and (numbers := _numbers(raw, _STRICT[vr])):
        return numbers[0] if len(numbers) == 1 else numbers
    if vr in _ENCODED_LONG_TEXT:
        return decode_text(raw, charset).strip(" \0\r\n\t") or None
    text = decode_text(raw, charset) if vr in _ENCODED_TEXT else raw.decode("latin-1")
    parts = [part.strip(" \0\r\n\t") for part in text.split("\\")]
    if parts.count("") == len(parts):
        return None
    values = [convert(part) for part in parts] if (convert := _LENIENT.get(vr)) else parts
    return values[0] if len(values) == 1 else tuple(values)


def private_b_value(found: Mapping[int, bytes], *, little_endian: bool) -> float | None:
    """The b-value that a vendor keeps to itself, None when there is none.

    Args:
        found: raw values of the tags of `PRIVATE_B_VALUES` and of their private creators.
        little_endian: byte order of binary numbers.
    """
    for tag, (creator, vr) in PRIVATE_B_VALUES.items():
        owner = found.get(creator_tag(tag), b"").strip(b" \0").decode("latin-1")
        if tag in found and owner == creator:
            value = plain_value(found[tag], vr, little_endian=little_endian, charset="")
            first = value[0] if isinstance(value, tuple) else value
            if isinstance(first, int | float):
                return float(first) % GE_B_VALUE_BASE
    return None


def creator_tag(private_tag: int) -> int:
    """Where the owner of a private element is named (PS3.5 7.8.1)."""
    return (private_tag & 0xFFFF0000) | ((private_tag & 0xFFFF) >> 8)


def _binary(raw: bytes, number: str, order: str) -> Value | None:
    count = len(raw) // struct.calcsize(number)
    values = struct.unpack_from(f"{order}{count}{number}", raw)
    return None if not values else values[0] if count == 1 else values


def _decimal(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text


def _integer(text: str) -> str | int:
    try:
        return int(text)
    except ValueError:
        number = _decimal(text)
        return int(number) if isinstance(number, float) and number.is_integer() else text


def _numbers(raw: bytes, convert: Callable[[bytes], int | float]) -> tuple[int | float, ...]:
    """The numbers that a text plainly holds, none where a part of it is anything else."""
    try:
        return tuple(map(convert, raw.split(b"\\")))
    except ValueError:
        return ()


_STRICT: Final[Mapping[str, Callable[[bytes], int | float]]] = {"DS": float, "IS": int}
_LENIENT: Final[Mapping[str, Callable[[str], str | int | float]]] = {"DS": _decimal, "IS": _integer}


def decode_text(raw: bytes, charset: str) -> str:
    """Text as declared, or as UTF-8 or GB18030 where what is declared cannot be true.

    Consoles in China write GBK under a declared Latin-1, or under none. Every byte is a Latin-1 letter, so decoding
    never fails: bytes above 127 that all stand in pairs of GB2312 (or are valid UTF-8) give them away. Bytes that may
    be either are Chinese where UTF-8 would make letters of them that no console writes.
    """
    if raw.isascii() and b"\x1b" not in raw:
        return raw.decode("ascii")
    if charset in _ONE_BYTE_CHARSETS and b"\x1b" not in raw:
        return _undeclared(raw)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return str(decode_bytes(raw, _encodings(charset), set(b"\\^=\r\n\t\f")))
    except (LookupError, UnicodeError, ValueError):
        return _undeclared(raw)


def _undeclared(raw: bytes) -> str:
    readings = dict(_readings(raw))
    utf_8, chinese = readings.get("utf-8"), readings.get("gb18030")
    if utf_8 is None or (chinese is not None and _RARE_LETTERS.search(utf_8)):
        return chinese or raw.decode("latin-1")
    return utf_8


def _readings(raw: bytes) -> Iterator[tuple[str, str]]:
    """The codecs that bytes may be in, and the text that each gives."""
    for codec in ("utf-8", "gb18030") if _GB2312_PAIRS.match(raw) else ("utf-8",):
        try:
            yield codec, raw.decode(codec)
        except UnicodeDecodeError:
            continue


@lru_cache(maxsize=64)
def _encodings(charset: str) -> list[str]:
    return list(convert_encodings(charset.split("\\")))


def charset_of(header: Mapping[str, object]) -> str:
    """SpecificCharacterSet of a header in one string, "" when none is declared."""
    value = header.get("SpecificCharacterSet", "")
    return "\\".join(str(part) for part in value) if isinstance(value, tuple) else str(value)
