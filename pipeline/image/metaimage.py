"""MetaImage files (`.mha`) as ITK-SNAP and elastix write them.

Read without ITK, so that a truncated file is noticed. Format: itk.org/Wiki/ITK/MetaIO/Documentation.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import GeometryError, StorageError
from pipeline.core.geometry import Geometry

_METAIMAGE_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_LAST_FIELD = b"ElementDataFile"


def decode_metaimage(content: bytes, name: str) -> tuple[NDArray[Any], Geometry]:
    """Voxels as (slice, row, column) and their grid.

    Args:
        content: the whole file.
        name: what to call the file in a message.

    Raises:
        StorageError: when the file is damaged, truncated, in two parts or not a MetaImage.
        GeometryError: when it is not three-dimensional, or has no place in space.
    """
    fields, body = _split(content, name)
    sizes = [int(n) for n in fields.get("DimSize", "").split()]
    if len(sizes) != 3 or fields.get("ElementNumberOfChannels", "1") != "1":
        raise GeometryError(f"{name} is not a mask of three dimensions; export it as one volume")
    slices, rows, columns = sizes[::-1]
    return _voxels(body, fields, name).reshape(slices, rows, columns), _geometry((slices, rows, columns), fields, name)


def _split(content: bytes, name: str) -> tuple[dict[str, str], bytes]:
    """The header's fields and the bytes after its last line."""
    start = content.find(_LAST_FIELD)
    end = content.find(b"\n", start)
    if not content.startswith(b"ObjectType") or min(start, end) < 0:
        raise StorageError(f"{name} is not a MetaImage; save it again as .nii.gz")
    lines = content[:end].decode("utf-8", "replace").splitlines()
    fields = {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines)}
    if fields.get(_LAST_FIELD.decode()) != "LOCAL":
        raise StorageError(f"{name} is only the header of a file in two parts; save it again as .mha or .nii.gz")
    return fields, content[end + 1 :]


def _voxels(body: bytes, fields: dict[str, str], name: str) -> NDArray[Any]:
    if fields.get("ElementType") not in _METAIMAGE_TYPES:
        raise StorageError(f"{name} does not say how its voxels are stored; save it again as .nii.gz")
    order = (
        ">" if "true" in fields.get("BinaryDataByteOrderMSB", fields.get("ElementByteOrderMSB", "")).lower() else "<"
    )
    dtype = np.dtype(order + _METAIMAGE_TYPES[fields["ElementType"]])
    raw = _decompressed(body, name) if fields.get("CompressedData", "").lower() == "true" else body
    count = int(np.prod([int(n) for n in fields["DimSize"].split()]))
    if len(raw) < count * dtype.itemsize:
        raise StorageError(f"{name} is cut short: voxels are missing; copy or export it again")
    return np.frombuffer(raw, dtype=dtype, count=count).astype(dtype.newbyteorder("="), copy=False)


def _decompressed(body: bytes, name: str) -> bytes:
    try:
        return zlib.decompress(body)
    except zlib.error:
        raise StorageError(f"{name} is damaged or truncated; copy or export it again") from None


def _geometry(shape: tuple[int, int, int], fields: dict[str, str], name: str) -> Geometry:
    steps = _numbers(fields, ("TransformMatrix", "Rotation", "Orientation"), 9)
    origin = _numbers(fields, ("Offset", "Origin", "Position"), 3)
    spacing = _numbers(fields, ("ElementSpacing", "ElementSize"), 3)
    if steps is None or origin is None or spacing is None:
        raise GeometryError(f"{name} has no place in the patient's space; export it with its geometry")
    return Geometry.from_axes(
        shape, spacing_mm=spacing[::-1], origin_lps_mm=origin, directions=steps.reshape(3, 3)[::-1]
    )


def _numbers(fields: dict[str, str], names: tuple[str, ...], count: int) -> NDArray[np.float64] | None:
    text = next((fields[name] for name in names if name in fields), "")
    numbers = np.array([float(n) for n in text.split()])
    return numbers if numbers.size == count and np.isfinite(numbers).all() else None
