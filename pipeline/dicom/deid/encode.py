"""Clean datasets as the bytes of a file: Explicit VR Little Endian, nothing before, between or after (PS3.10 7.1).

pydicom writes any dataset; this writes only what the de-identifier makes, several times as fast, and the same bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

_VRS_WITH_LONG_LENGTH = frozenset(("OB", "OW", "SQ", "UC", "UT"))
_NUMBER_FORMATS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d"}
_ITEM_BYTES = b"\xfe\xff\x00\xe0"
_META_LENGTH = b"\x02\x00\x00\x00UL\x04\x00"
_META_VERSION = b"\x02\x00\x01\x00OB\x00\x00\x02\x00\x00\x00\x00\x01"


def file_bytes(dataset: Dataset) -> bytes:
    """The whole file of a clean dataset with its file meta; pixel data must be bytes of even length."""
    meta = _META_VERSION + b"".join(_element(element) for element in dataset.file_meta if element.tag.element > 1)
    return bytes(128) + b"DICM" + _META_LENGTH + struct.pack("<I", len(meta)) + meta + _encoded(dataset)


def _encoded(dataset: Dataset) -> bytes:
    return b"".join(_element(dataset[tag]) for tag in sorted(dataset.keys()))


def _element(element: DataElement) -> bytes:
    vr = element.VR
    value = _value(vr, element.value)
    head = struct.pack("<HH2s", element.tag >> 16, element.tag & 0xFFFF, vr.encode())
    if vr in _VRS_WITH_LONG_LENGTH:
        return head + struct.pack("<HI", 0, len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def _value(vr: str, value: object) -> bytes:
    if value is None:
        return b""
    if vr == "SQ":
        return b"".join(_item(item) for item in value)  # type: ignore[attr-defined]
    if isinstance(value, bytes):
        return value
    parts = value if isinstance(value, list) or type(value).__name__ == "MultiValue" else [value]
    if vr in _NUMBER_FORMATS:
        return b"".join(struct.pack(f"<{_NUMBER_FORMATS[vr]}", part) for part in parts)  # type: ignore[attr-defined]
    return _text(vr, parts)  # type: ignore[arg-type]


def _text(vr: str, parts: Iterable[object]) -> bytes:
    is_number = vr in ("DS", "IS")
    words = (getattr(part, "original_string", None) or part if is_number else part for part in parts)
    text = "\\".join(map(str, words)).encode("utf-8")
    return text + (b"\0" if vr == "UI" else b" ") * (len(text) % 2)


def _item(item: Dataset) -> bytes:
    content = _encoded(item)
    return _ITEM_BYTES + struct.pack("<I", len(content)) + content
