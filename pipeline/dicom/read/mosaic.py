"""Siemens mosaics: pictures that hold the slices of a volume side by side, the first at the upper left.

How many slices there are, and which way they follow each other, stands in a private header of the scanner (CSA), whose
layout is known from NiBabel and dcm2niix.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping

import numpy as np

from pipeline.dicom.read import header as words

CSA_GROUP, CSA_CREATOR, CSA_ELEMENT = 0x0029, "SIEMENS CSA HEADER", 0x10
"""Where the private header stands."""

_SIGNATURE = b"SV10"
_FIRST_ELEMENT = 16
_NAME_BYTES = 64
_ELEMENT_HEAD = struct.Struct(f"<{_NAME_BYTES}s i 4s 3i")
_VALUE_HEAD = struct.Struct("<4i")


def is_mosaic(header: Mapping[str, object]) -> bool:
    """True for a picture that ImageType calls a mosaic."""
    return "MOSAIC" in _values(header, "ImageType")


def slices_in_mosaic(header: Mapping[str, object], csa: bytes) -> tuple[dict[str, object], ...]:
    """What each slice in a mosaic has of its own: size and position; empty where any of it is not known.

    The header gives the corner of a plane as large as the whole picture. The middle of that plane is the middle of the
    first slice.

    Args:
        header: of the whole picture.
        csa: value of the private header, (0029,1010).
    """
    private = _private_numbers(csa)
    count, normal = private.get("NumberOfImagesInMosaic", ()), private.get("SliceNormalVector", ())
    places = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SpacingBetweenSlices")
    numbers = np.array([*normal, *(one for word in ("Rows", "Columns", *places) for one in _values(header, word))])
    if len(count) != 1 or count[0] < 1 or len(normal) != 3 or numbers.shape != (17,) or not np.isfinite(numbers).all():
        return ()
    normal_, size, corner, cosines, pixel_mm, step_mm = np.split(numbers, (3, 5, 8, 14, 16))
    side = math.isqrt(int(count[0]) - 1) + 1
    if (size % side).any():
        return ()
    along_row, along_column = cosines.reshape(2, 3)
    beyond_mm = (size - size / side) / 2 * pixel_mm
    first = corner + beyond_mm[1] * along_row + beyond_mm[0] * along_column
    rows, columns = map(int, size / side)
    return tuple(
        {
            words.MOSAIC_SIDE: side,
            "Rows": rows,
            "Columns": columns,
            "ImagePositionPatient": tuple((first + index * step_mm * normal_).tolist()),
        }
        for index in range(int(count[0]))
    )


def _values(header: Mapping[str, object], keyword: str) -> tuple[object, ...]:
    value = header.get(keyword, ())
    return value if isinstance(value, tuple) else (value,)


def _private_numbers(csa: bytes) -> dict[str, tuple[float, ...]]:
    """Elements of a CSA header by name, those that hold numbers; empty where it is damaged."""
    try:
        return dict(_elements(csa)) if csa.startswith(_SIGNATURE) else {}
    except struct.error:
        return {}


def _elements(csa: bytes) -> Iterator[tuple[str, tuple[float, ...]]]:
    count, position = struct.unpack_from("<I", csa, 8)[0], _FIRST_ELEMENT
    for _ in range(count):
        name, _, _, _, items, _ = _ELEMENT_HEAD.unpack_from(csa, position)
        position += _ELEMENT_HEAD.size
        values = []
        for _ in range(items):
            length = _VALUE_HEAD.unpack_from(csa, position)[1]
            position += _VALUE_HEAD.size
            values.append(csa[position : position + length].partition(b"\0")[0].strip())
            position += (length + 3) // 4 * 4
        try:
            yield name.partition(b"\0")[0].decode("latin-1"), tuple(float(value) for value in values if value)
        except ValueError:
            continue
