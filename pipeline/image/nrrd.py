"""NRRD files as 3D Slicer writes them: volumes, and segmentations (`.seg.nrrd`) with named segments and layers.

Read without ITK, which takes a truncated file for a whole one and refuses the four axes of overlapping segments.
Format: teem.sourceforge.net/nrrd/format.html; segment fields: Slicer's vtkMRMLSegmentationStorageNode.
"""

from __future__ import annotations

import bz2
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import GeometryError, StorageError
from pipeline.core.geometry import Geometry
from pipeline.image.nifti import inflated

_NRRD_TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
_CODE_OF_NAME = {name: code for code, names in _NRRD_TYPES.items() for name in names}
_TO_LPS = {
    "left-posterior-superior": (1, 1, 1),
    "lps": (1, 1, 1),
    "right-anterior-superior": (-1, -1, 1),
    "ras": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1),
    "las": (1, -1, 1),
}


@dataclass(frozen=True, slots=True)
class Segment:
    """One structure of a Slicer segmentation.

    Attributes:
        name: as the radiologist sees it; free text, never repeated in a message.
        value: its voxel value.
        layer: the volume it is drawn in; segments that overlap lie in different layers.
        snomed: SNOMED CT code of what it shows; "" where the file gives none.
    """

    name: str
    value: int
    layer: int
    snomed: str = ""


def decode_nrrd(content: bytes, name: str) -> tuple[NDArray[Any], Geometry, tuple[Segment, ...]]:
    """Voxels as (layer, slice, row, column), their grid, and the segments named in the header.

    Args:
        content: the whole file.
        name: what to call the file in a message.

    Raises:
        StorageError: when the file is damaged, truncated, in two parts or not NRRD.
        GeometryError: when it has no place in space.
    """
    head, _, body = content.partition(b"\n\n")
    if not head.startswith(b"NRRD") or not body:
        raise StorageError(f"{name} is not a single-file NRRD; save it again as .nrrd or .nii.gz")
    fields, extras = _header_fields(head.replace(b"\r\n", b"\n").decode("utf-8", "replace"))
    _require_plain_layout(fields, name)
    sizes = [int(n) for n in fields["sizes"].split()]
    directions = _vectors(fields.get("space directions", ""))
    voxels = _voxels(body, fields, sizes, name)
    layered = _layers_first(voxels, directions, name)
    geometry = _geometry(layered.shape[1:], directions, fields, name)
    return layered, geometry, _segments(extras)


def _header_fields(head: str) -> tuple[dict[str, str], dict[str, str]]:
    """The format's own fields, and the free key/value pairs."""
    fields: dict[str, str] = {}
    extras: dict[str, str] = {}
    for line in head.split("\n")[1:]:
        key, found, value = line.partition(":=")
        if found:
            extras[key.strip()] = value
            continue
        key, found, value = line.partition(":")
        if found and not line.startswith("#"):
            fields[key.strip().lower()] = value.strip()
    return fields, extras


def _require_plain_layout(fields: dict[str, str], name: str) -> None:
    if "data file" in fields or "datafile" in fields:
        raise StorageError(f"{name} is only the header of a file in two parts; save it again as one .nrrd or .nii.gz")
    if not {"type", "sizes", "dimension"} <= fields.keys() or fields["type"].lower() not in _CODE_OF_NAME:
        raise StorageError(f"{name} does not say how its voxels are stored; save it again as .nii.gz")
    if any(fields.get(skip, "0") not in ("0", "") for skip in ("byte skip", "line skip", "byteskip", "lineskip")):
        raise StorageError(f"{name} skips bytes before its voxels, which is not supported; save it again as .nii.gz")


def _vectors(text: str) -> list[NDArray[np.float64] | None]:
    """One entry an axis, fastest first: a vector, or None for an axis that is no direction in space."""
    vectors: list[NDArray[np.float64] | None] = []
    for part in text.replace("(", " (").replace(", ", ",").split():
        is_vector = part.startswith("(")
        vectors.append(np.array([float(n) for n in part.strip("()").split(",")]) if is_vector else None)
    return vectors


def _voxels(body: bytes, fields: dict[str, str], sizes: list[int], name: str) -> NDArray[Any]:
    order = ">" if fields.get("endian", "little").lower() == "big" else "<"
    dtype = np.dtype(order + _CODE_OF_NAME[fields["type"].lower()])
    raw = _decoded(body, fields.get("encoding", "raw").lower(), name)
    count = int(np.prod(sizes))
    if len(raw) < count * dtype.itemsize:
        raise StorageError(f"{name} is cut short: voxels are missing; copy or export it again")
    stored = np.frombuffer(raw, dtype=dtype, count=count).reshape(sizes[::-1])
    return stored.astype(dtype.newbyteorder("="), copy=False)


def _decoded(body: bytes, encoding: str, name: str) -> bytes:
    if encoding == "raw":
        return body
    if encoding in ("gzip", "gz"):
        return inflated(body, name)
    if encoding in ("bzip2", "bz2"):
        try:
            return bz2.decompress(body)
        except (OSError, ValueError, EOFError):
            raise StorageError(f"{name} is damaged or truncated; copy or export it again") from None
    raise StorageError(f"{name} uses an encoding that is not supported; save it again with gzip compression")


def _layers_first(voxels: NDArray[Any], directions: list[NDArray[np.float64] | None], name: str) -> NDArray[Any]:
    """(layer, slice, row, column), wherever the file keeps its layers."""
    lists = [axis for axis, vector in enumerate(directions) if vector is None]
    if voxels.ndim == 3 and not lists and len(directions) == 3:
        return voxels[np.newaxis]
    if voxels.ndim == 4 and len(lists) == 1 and len(directions) == 4:
        return np.moveaxis(voxels, 3 - lists[0], 0)
    raise GeometryError(f"{name} is not a three-dimensional mask with a place in space; export it with its geometry")


def _geometry(
    shape: tuple[int, ...], directions: list[NDArray[np.float64] | None], fields: dict[str, str], name: str
) -> Geometry:
    flips = _TO_LPS.get(fields.get("space", "").lower())
    steps = [vector for vector in directions if vector is not None]
    origin = _vectors(fields.get("space origin", ""))
    if (
        flips is None
        or len(origin) != 1
        or origin[0] is None
        or any(step.shape != (3,) for step in (*steps, origin[0]))
    ):
        raise GeometryError(f"{name} has no place in the patient's space; export it with its geometry")
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack(steps[::-1]) * np.array(flips)[:, np.newaxis]
    affine[:3, 3] = origin[0] * flips
    return Geometry((shape[0], shape[1], shape[2]), affine)


def _segments(extras: dict[str, str]) -> tuple[Segment, ...]:
    found = []
    number = 0
    while f"Segment{number}_ID" in extras or f"Segment{number}_Name" in extras:
        prefix = f"Segment{number}_"
        value, layer = extras.get(prefix + "LabelValue", str(number + 1)), extras.get(prefix + "Layer", "0")
        found.append(Segment(extras.get(prefix + "Name", "").strip(), int(value), int(layer)))
        number += 1
    return tuple(found)
