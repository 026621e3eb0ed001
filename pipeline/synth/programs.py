"""Masks as ITK-SNAP, a script that re-saves them, and 3D Slicer write them: other types, axes, extents and names.

What each does was seen in files and issues: ITK-SNAP saves 16 bits whatever was loaded (itksnap#163); nibabel's
`as_closest_canonical` and its like turn the axes to RAS; Slicer crops to the segments' extent (Slicer#6102) and numbers
labels in the order of its segments (Slicer#5044).
"""

from __future__ import annotations

import gzip
from collections.abc import Callable

import numpy as np

from pipeline.core.geometry import Geometry
from pipeline.core.labels import COLORS, Label
from pipeline.core.volume import LabelMap, Unit, Volume
from pipeline.image.components import bounding_box
from pipeline.image.nifti import nifti_bytes
from pipeline.image.orientation import reoriented

Saved = tuple[str, bytes]
"""Ending of the file's name, and its content."""

CANONICAL = "SAR"
"""RAS, named in our order of axes."""


def as_itksnap_saves(mask: LabelMap) -> Saved:
    """The mask on its own grid, in 16 bits."""
    return ".nii.gz", _gzipped(nifti_bytes(Volume(mask.voxels.astype(np.int16), mask.geometry, Unit.INTENSITY)))


def as_resaved_canonical(mask: LabelMap) -> Saved:
    """The mask with its axes turned to RAS."""
    return ".nii.gz", _gzipped(nifti_bytes(reoriented(mask, CANONICAL)))


def as_slicer_saves(mask: LabelMap) -> Saved:
    """A segmentation cropped to what is drawn, lesions first, with names."""
    box = bounding_box(mask.voxels > 0) or (slice(0, 1), slice(0, 1), slice(0, 1))
    start = box[0].start, box[1].start, box[2].start
    order = np.zeros(256, dtype=np.uint8)
    segments = (Label.LESION, Label.LIVER)
    for value, label in enumerate(segments, start=1):
        order[label] = value
    voxels = order[mask.voxels[box]]
    cropped = LabelMap(voxels, mask.geometry.cropped(start, voxels.shape))
    header = [*_nrrd_fields(cropped.geometry), f"Segmentation_ReferenceImageExtentOffset:={_reversed(start)}"]
    for number, label in enumerate(segments):
        header += _segment_fields(number, label, cropped.geometry)
    return ".seg.nrrd", "\n".join(header).encode() + b"\n\n" + _gzipped(cropped.voxels.tobytes())


PROGRAMS: tuple[Callable[[LabelMap], Saved], ...] = (as_itksnap_saves, as_resaved_canonical, as_slicer_saves)
"""Which program each rater uses, in turn."""


def _nrrd_fields(geometry: Geometry) -> list[str]:
    """The format's own fields (NRRD 4), axes in the order column, row, slice."""
    steps = geometry.affine[:3, :3].T[::-1]
    return [
        "NRRD0004",
        "type: unsigned char",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {_reversed(geometry.shape)}",
        f"space directions: {' '.join(_vector(step) for step in steps.tolist())}",
        "kinds: domain domain domain",
        "encoding: gzip",
        f"space origin: {_vector(list(geometry.origin_lps_mm))}",
    ]


def _segment_fields(number: int, label: Label, geometry: Geometry) -> list[str]:
    extent = " ".join(f"0 {n - 1}" for n in geometry.shape[::-1])
    color = " ".join(f"{part / 255:.6f}" for part in COLORS[label])
    fields = {
        "ID": f"Segment_{number + 1}",
        "Name": label.name.lower(),
        "Color": color,
        "Layer": 0,
        "LabelValue": number + 1,
        "Extent": extent,
    }
    return [f"Segment{number}_{key}:={value}" for key, value in fields.items()]


def _vector(parts: list[float]) -> str:
    return f"({','.join(repr(part) for part in parts)})"


def _reversed(parts: tuple[int, ...]) -> str:
    return " ".join(str(part) for part in parts[::-1])


def _gzipped(content: bytes) -> bytes:
    return gzip.compress(content, compresslevel=1, mtime=0)
