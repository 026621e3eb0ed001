"""A header read by pydicom: slow, and right about everything that pydicom understands.

The fast walker gives up to this reader whatever it does not fully understand: big endian, deflated, multi-frame,
missing meta header, values in odd places.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterable, Iterator, Mapping
from io import BytesIO
from typing import Any, BinaryIO

from pydicom import Dataset
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset, read_partial
from pydicom.tag import BaseTag, Tag

from pipeline.dicom.read import header as words
from pipeline.dicom.read.header import Value, charset_of, creator_tag, plain_value, private_b_value
from pipeline.dicom.read.kinds import MEDIA_DIRECTORY
from pipeline.dicom.read.mosaic import CSA_CREATOR, CSA_ELEMENT, CSA_GROUP, is_mosaic, slices_in_mosaic
from pipeline.dicom.read.syntaxes import BIG_ENDIAN, DEFLATED, EXPLICIT, GE_PRIVATE, IMPLICIT

MAX_FRAMES = 50_000
"""A 4D perfusion CT has a few thousand frames; a header that claims more is not believed."""

MAX_INFLATED_BYTES = 1 << 30
"""A deflated object may unpack to this much; a CT slice takes half a megabyte."""

META_BYTES = 2048
"""Holds any meta header (group 0002)."""

MAX_VALUE_BYTES = 1 << 20
"""Longer values are stepped over: no indexed attribute is that long."""

READ_FAULTS: tuple[type[Exception], ...] = (
    InvalidDicomError,
    OSError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    NotImplementedError,
    RecursionError,
    ArithmeticError,
    MemoryError,
    AssertionError,
    BytesLengthException,
    struct.error,
    zlib.error,
)
"""What pydicom raises on damaged or hostile files."""

_MACROS: Mapping[tuple[str, ...], Mapping[str, str]] = {
    # PS3.3 C.7.6.16.2: every modality
    ("PixelMeasuresSequence",): {"PixelSpacing": "", "SliceThickness": "", "SpacingBetweenSlices": ""},
    ("FrameContentSequence",): {
        "StackID": "",
        "DimensionIndexValues": "",
        "FrameAcquisitionNumber": "AcquisitionNumber",
        "FrameAcquisitionDateTime": "AcquisitionDateTime",
        "TemporalPositionIndex": "TemporalPositionIdentifier",
    },
    ("PlanePositionSequence",): {"ImagePositionPatient": ""},
    ("PlaneOrientationSequence",): {"ImageOrientationPatient": ""},
    ("CardiacSynchronizationSequence",): {"NominalCardiacTriggerDelayTime": "TriggerTime"},
    ("PixelValueTransformationSequence",): {"RescaleSlope": "", "RescaleIntercept": "", "RescaleType": ""},
    ("ContrastBolusUsageSequence",): {"ContrastBolusAgentAdministered": "", "ContrastBolusAgentPhase": ""},
    # PS3.3 C.8.13.5: MR
    ("MRImageFrameTypeSequence",): {
        "FrameType": "ImageType",
        "ComplexImageComponent": "",
        "AcquisitionContrast": "",
    },
    ("MRTimingAndRelatedParametersSequence",): {"RepetitionTime": "", "FlipAngle": ""},
    ("MREchoSequence",): {"EffectiveEchoTime": "EchoTime"},
    ("MRModifierSequence",): {"InversionTimes": "InversionTime"},
    ("MRDiffusionSequence",): {"DiffusionBValue": "", "DiffusionDirectionality": ""},
    ("MRDiffusionSequence", "DiffusionGradientDirectionSequence"): {"DiffusionGradientOrientation": ""},
    # PS3.3 C.8.15.3: CT
    ("CTImageFrameTypeSequence",): {"FrameType": "ImageType"},
    ("CTReconstructionSequence",): {"ConvolutionKernel": ""},
    ("CTXRayDetailsSequence",): {"KVP": ""},
    # PS3.3 C.8.22.5 and C.8.21.5: PET and three-dimensional X-ray
    ("PETFrameTypeSequence",): {"FrameType": "ImageType"},
    ("XRay3DFrameTypeSequence",): {"FrameType": "ImageType"},
}
"""The functional group macros that hold facts of a frame: where each stands, and its name in a single-frame header.

A fact counts in its own macro only. Other sequences of a frame, private ones above all, hold attributes of the same
name that mean something else: Philips keeps the corner of the image there, and another rescale.
"""

_FACTS = tuple(
    (tuple(Tag(word) for word in path), Tag(word), name or word, dictionary_VR(word))
    for path, facts in _MACROS.items()
    for word, name in facts.items()
)
_PIXEL_TAGS = frozenset({0x7FE00008, 0x7FE00009, words.PIXEL_TAG})
_UNDEFINED_LENGTH = 0xFFFFFFFF


def read_slowly(file: BinaryIO, size: int) -> dict[str, object]:
    """The indexed attributes of a DICOM file, as pydicom finds them.

    Args:
        file: opened for reading, seekable.
        size: bytes in the file.

    Raises:
        READ_FAULTS: whatever pydicom raises when a file cannot be understood.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset, syntax = read_until_pixels(file)
        header = _indexed(dataset)
        if "DirectoryRecordSequence" in dataset:
            header["SOPClassUID"] = MEDIA_DIRECTORY
        header[words.TRANSFER_SYNTAX] = syntax
        if syntax != DEFLATED:
            header.update(_pixel_place(file, size, syntax))
        if "PerFrameFunctionalGroupsSequence" in dataset:
            header[words.FRAMES] = tuple(_frames(dataset))
        elif is_mosaic(header):
            header[words.FRAMES] = slices_in_mosaic(header, _csa_header(dataset))
    return header


def read_until_pixels(file: BinaryIO) -> tuple[Dataset, str]:
    """A dataset without its pixels, and its transfer syntax, which is worked out where it is not declared.

    The file is left where PixelData begins (except in a deflated file).
    """
    head = file.read(META_BYTES)
    if DEFLATED.encode() in head:
        return _read_deflated(file, head), DEFLATED
    file.seek(0)
    dataset = read_partial(file, stop_when=_at_pixels, defer_size=MAX_VALUE_BYTES, force=True)
    syntax = str(dataset.file_meta.get("TransferSyntaxUID", ""))
    if not syntax:
        implicit, little = dataset.original_encoding
        syntax = IMPLICIT if implicit else EXPLICIT if little else BIG_ENDIAN
    return dataset, syntax


def _read_deflated(file: BinaryIO, head: bytes) -> Dataset:
    dataset = read_dataset(BytesIO(inflated(file, head)), False, True, stop_when=_at_pixels, defer_size=MAX_VALUE_BYTES)
    dataset.set_original_encoding(False, True, dataset.get("SpecificCharacterSet"))
    return dataset


def inflated(file: BinaryIO, head: bytes) -> bytes:
    """The dataset of a deflated file, in explicit VR little endian (PS3.5 A.5).

    Raises:
        ValueError: when the meta header does not tell its length, or the dataset is larger than any image.
    """
    if head[128:140] != b"DICM\x02\x00\x00\x00UL\x04\x00":
        raise ValueError("a deflated file whose meta header does not state its length")
    file.seek(144 + struct.unpack_from("<I", head, 140)[0])
    raw = file.read()
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    content = stream.decompress(raw, MAX_INFLATED_BYTES)
    if stream.unconsumed_tail:
        raise ValueError("the deflated dataset is larger than any image")
    if not stream.eof or stream.unused_data.strip(b"\0"):
        raise ValueError("the deflated dataset does not end where the file does: it is damaged")
    return content


def read_inflated_pixels(file: BinaryIO) -> bytes:
    """The value of PixelData in a deflated file."""
    file.seek(0)
    dataset = read_dataset(BytesIO(inflated(file, file.read(META_BYTES))), False, True)
    return bytes(dataset.PixelData)


def _at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
    return tag in _PIXEL_TAGS


def _indexed(dataset: Dataset) -> dict[str, object]:
    header: dict[str, object] = {}
    little = dataset.original_encoding[1] is not False
    for tag, (keyword, vr) in words.TAGS.items():
        value = _plain(dataset, Tag(tag), vr, little, charset_of(header))
        if value is not None:
            header[keyword] = value
    if "DiffusionBValue" not in header:
        b_value = private_b_value(_private_values(dataset), little_endian=little)
        if b_value is not None:
            header["DiffusionBValue"] = b_value
    return header


def _plain(dataset: Dataset, tag: BaseTag, dictionary_vr: str, little: bool, charset: str) -> Value | None:
    if tag not in dataset:
        return None
    element: Any = dataset.get_item(tag)
    if dictionary_vr == "SQ":
        return 1
    if isinstance(element, RawDataElement):
        vr = element.VR if element.VR not in (None, "UN") else dictionary_vr
        return plain_value(element.value, vr, little_endian=little, charset=charset) if element.value else None
    text = "\\".join(map(str, element.value)) if element.VM > 1 else str(element.value or "")
    return plain_value(text.encode(), dictionary_vr, little_endian=little, charset="ISO_IR 192")


def _private_values(dataset: Dataset) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    for tag in words.PRIVATE_B_VALUES:
        for wanted in (creator_tag(tag), tag):
            element: Any = dataset.get_item(wanted) if wanted in dataset else None
            if isinstance(element, RawDataElement) and element.value:
                found[wanted] = element.value
    return found


def _csa_header(dataset: Dataset) -> bytes:
    """The value of Siemens' private header; empty where there is none."""
    try:
        value = dataset.private_block(CSA_GROUP, CSA_CREATOR)[CSA_ELEMENT].value
    except KeyError:
        return b""
    return value if isinstance(value, bytes) else b""


def _pixel_place(file: BinaryIO, size: int, syntax: str) -> dict[str, object]:
    """Where PixelData's value begins and how much of it is there; empty without PixelData."""
    start = file.read(12)
    order = ">" if syntax == BIG_ENDIAN else "<"
    if len(start) < 8 or struct.unpack_from(order + "HH", start) != (0x7FE0, 0x0010):
        return {}
    explicit = syntax not in (IMPLICIT, GE_PRIVATE)
    header_bytes = 12 if explicit and start[4:6] in (b"OB", b"OW", b"UN") else 8
    if header_bytes == 12:
        length = struct.unpack_from(order + "I", start, 8)[0]
    else:
        length = struct.unpack_from(order + ("H" if explicit else "I"), start, 6 if explicit else 4)[0]
    offset = file.tell() - len(start) + header_bytes
    there = -1 if length == _UNDEFINED_LENGTH else min(length, size - offset)
    return {words.PIXEL_OFFSET: offset, words.PIXEL_LENGTH: there}


def _frames(dataset: Dataset) -> Iterator[dict[str, object]]:
    """What each frame says of itself, over what all frames share."""
    shared: dict[str, object] = {}
    for item in dataset.get("SharedFunctionalGroupsSequence") or []:
        shared.update(dict(_functional_groups(item)))
    per_frame = dataset.PerFrameFunctionalGroupsSequence
    if len(per_frame) > MAX_FRAMES:
        raise ValueError(f"{len(per_frame)} frames, more than any scan has")
    for item in per_frame:
        yield {**shared, **dict(_functional_groups(item))}


def _functional_groups(groups: Dataset) -> Iterator[tuple[str, Value]]:
    little = groups.original_encoding[1] is not False
    for path, tag, name, vr in _FACTS:
        macro = _only_item(groups, path)
        value = None if macro is None else _plain(macro, tag, vr, little, "")
        if value is not None:
            yield name, value


def _only_item(groups: Dataset, path: Iterable[BaseTag]) -> Dataset | None:
    """The one item that a macro's sequence holds (PS3.3 C.7.6.16.2); None where there is none, or a choice."""
    item = groups
    for tag in path:
        items: list[Dataset] = list(item[tag].value) if tag in item else []
        if len(items) != 1:
            return None
        item = items[0]
    return item
