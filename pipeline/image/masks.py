"""Masks that come back from other programs: read from any usual format and laid on their image's grid, exactly.

Nothing is ever resampled. A mask whose axes are permuted or flipped, whose extent is cropped or padded, finds its place
by its header alone; one that lies between the voxels, or has other spacings, is refused or reported.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import GeometryError, LabelError, StorageError
from pipeline.core.geometry import Geometry
from pipeline.core.labels import Label, LabelScheme
from pipeline.core.volume import LabelMap
from pipeline.image.metaimage import decode_metaimage
from pipeline.image.nifti import decode_nifti
from pipeline.image.nrrd import Segment, decode_nrrd

MASK_SUFFIXES = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".mha")

EXACT_VOXELS = 0.01
"""Largest distance from a whole voxel that still counts as on the grid: ten times what float32 headers and 6-digit
texts lose across 512 voxels, a fiftieth of the half-voxel shift that must be noticed."""

_FARTHEST_MM = 1e6
_LARGEST_VALUE = 10**9
_ROUNDING_OF_LABELS = 1e-3
"""A whole number times a float32 scale factor stays much nearer; a resampled edge does not."""

_NUMBERED_NAME = re.compile(r"(?:segment|label)?[ _]*(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, eq=False)
class StoredMask:
    """A mask as it lies in its file.

    Attributes:
        layers: (layer, slice, row, column), values as stored; several layers where segments overlap.
        geometry: the file's own grid.
        segments: what a Slicer segmentation calls its values; empty for other formats.
    """

    layers: NDArray[Any]
    geometry: Geometry
    segments: tuple[Segment, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class LabelReading:
    """Labels as our scheme knows them, and what had to be done to get them."""

    labels: LabelMap
    repairs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """A mask on its image's grid.

    Attributes:
        labels: on the reference grid.
        repairs: what was done, one short phrase each; nothing for a mask that lay right.
        shift_voxels: how far the file's voxels lay from the grid's, largest axis; 0.0 when exact.
        lost_voxels: labelled voxels that fell outside the reference grid.
    """

    labels: LabelMap
    repairs: tuple[str, ...]
    shift_voxels: float
    lost_voxels: int


def read_mask(path: Path) -> StoredMask:
    """The mask a file holds, in any of `MASK_SUFFIXES`.

    Raises:
        StorageError: when the file is missing, damaged, truncated or of another format.
        GeometryError: when it is not three-dimensional, or has no place in space.
    """
    try:
        return decode_mask(path.read_bytes(), path.name)
    except OSError as error:
        raise StorageError(f"{path.name} cannot be read: {error.strerror or error}") from None


def decode_mask(content: bytes, name: str) -> StoredMask:
    """The mask in a file's bytes; the ending of its name tells the format.

    Args:
        content: the whole file.
        name: its name; it is repeated in messages, so hand in one that is safe to show.

    Raises:
        StorageError: when the bytes are damaged, truncated or of another format.
        GeometryError: when it is not three-dimensional, or has no place in space.
    """
    try:
        with np.errstate(all="ignore"):  # a damaged header holds any number; what follows from it is refused below
            mask = _decoded(content, name)
    except (ValueError, OverflowError):
        raise StorageError(f"{name} has a header that cannot be understood; save it again as .nii.gz") from None
    except GeometryError as error:
        if str(error).startswith(name):
            raise
        raise GeometryError(f"{name} has no usable place in space ({error}); save it with its geometry") from None
    if np.abs(mask.geometry.affine).max() > _FARTHEST_MM:
        raise GeometryError(f"{name} lies kilometres from any patient; save it with its geometry")
    return mask


def _decoded(content: bytes, name: str) -> StoredMask:
    suffix = mask_suffix(name)
    if suffix in (".nrrd", ".seg.nrrd"):
        return StoredMask(*decode_nrrd(content, name))
    if suffix in (".nii", ".nii.gz"):
        voxels, geometry = decode_nifti(content, name)
    elif suffix == ".mha":
        voxels, geometry = decode_metaimage(content, name)
    else:
        raise StorageError(f"{name} is in an unsupported format; save the mask as .nii.gz")
    return StoredMask(voxels[np.newaxis], geometry)


def mask_suffix(name: str) -> str | None:
    """The ending that says that a file may be a mask, lower case; None for any other file."""
    return next((suffix for suffix in MASK_SUFFIXES if name.lower().endswith(suffix)), None)


def read_labels_of(mask: StoredMask, scheme: LabelScheme, *, what: str) -> LabelReading:
    """The labels a mask means: Slicer segments by their names, plain values as they are.

    Where segments overlap, the one inside wins: a lesion over the liver, its kind over the lesion.

    Args:
        mask: as read.
        scheme: the labels that may occur.
        what: the thing in question, in words without patient data.

    Raises:
        LabelError: for fractions, values outside the scheme, a segment whose name is neither a label nor a number, or
            two lesion kinds at one place.
    """
    layers = _whole_numbers(mask.layers, what)
    if not mask.segments:
        if len(layers) > 1:
            raise LabelError(f"{what} has {len(layers)} layers without names; save it again as a .seg.nrrd or .nii.gz")
        scheme.check(layers, what=what)
        return LabelReading(LabelMap(layers[0].astype(np.uint8), mask.geometry))
    return _labels_by_name(layers, mask, scheme, what)


def read_lesion_of(mask: StoredMask, scheme: LabelScheme, *, what: str) -> LabelReading:
    """A binary mask whose marked voxels are all lesion, whatever their value or the names of its segments.

    Args:
        mask: as read.
        scheme: the labels that may occur.
        what: the thing in question, in words without patient data.

    Raises:
        LabelError: for fractions, for several values, or for a segment that is named liver.
    """
    layers = _whole_numbers(mask.layers, what)
    values = np.unique(layers[layers != 0]).tolist()
    if any(_label_of(segment, scheme) == Label.LIVER for segment in mask.segments):
        raise LabelError(f"{what} names a segment liver; read it as labels, without --as lesion")
    if len(values) > 1 and not mask.segments:
        raise LabelError(f"{what} holds the values {values}, expected one beside 0; read it without --as lesion")
    lesion = (layers != 0).any(axis=0).astype(np.uint8) * np.uint8(Label.LESION)
    return LabelReading(LabelMap(lesion, mask.geometry), ("all that is marked taken as lesion",))


def place(labels: LabelMap, reference: Geometry, *, what: str) -> Placement:
    """The mask on its image's grid, each voxel moved as a whole: axes permuted and flipped, extent cropped or padded.

    A mask that lies between the voxels goes to the nearest ones; `Placement.shift_voxels` tells how far it was.

    Args:
        labels: on the file's own grid.
        reference: the image's grid.
        what: the thing in question, in words without patient data.

    Raises:
        GeometryError: when spacing or direction differ, so that only resampling could bring it there, or when the
            two grids do not touch at all.
    """
    turn, offset = _turn_and_offset(labels.geometry, reference, what)
    turned, first = _turned(labels.voxels, turn, offset)
    whole = np.rint(first).astype(int)
    shift_voxels = float(np.abs(first - whole).max())
    placed, lost = _set_down(turned, whole, reference.shape, what)
    repairs = _repairs(turn, whole, turned.shape, reference.shape)
    is_exact = shift_voxels <= EXACT_VOXELS
    return Placement(LabelMap(placed, reference), repairs, 0.0 if is_exact else shift_voxels, lost)


def _whole_numbers(layers: NDArray[Any], what: str) -> NDArray[Any]:
    """Values as integers; what a scale factor in the header left beside a whole number is rounded."""
    if layers.dtype.kind != "f":
        return layers
    whole: NDArray[np.floating] = np.rint(layers)
    if not (np.abs(layers - whole) <= _ROUNDING_OF_LABELS).all():
        raise LabelError(
            f"{what} has fractions, as after smoothing or resampling; export the labels themselves, unresampled"
        )
    bounded: NDArray[np.floating] = np.clip(whole, -_LARGEST_VALUE, _LARGEST_VALUE)
    return bounded.astype(np.int64)


def _labels_by_name(layers: NDArray[Any], mask: StoredMask, scheme: LabelScheme, what: str) -> LabelReading:
    labels = np.zeros(layers.shape[1:], dtype=np.uint8)
    known = np.zeros(layers.shape, dtype=bool)
    moved = False
    for number, segment in enumerate(mask.segments, start=1):
        if not 0 <= segment.layer < len(layers):
            raise LabelError(f"{what} names a layer that it does not have; save the segmentation again")
        voxels = layers[segment.layer] == segment.value
        known[segment.layer] |= voxels
        label = _label_of(segment, scheme)
        if label is None:
            raise LabelError(
                f"{what}: segment {number} has no label's name; name each segment {_names(scheme)} and save again"
            )
        moved |= label != segment.value
        _require_one_kind(labels[voxels], label, scheme, what)
        labels[voxels] = np.maximum(labels[voxels], label)
    if (layers[~known] != 0).any():
        raise LabelError(f"{what} has values that belong to no segment; save the segmentation again")
    repairs = ["labels taken from the segments' names"] * moved
    repairs += ["overlapping segments joined, lesion over liver"] * (len(layers) > 1)
    return LabelReading(LabelMap(labels, mask.geometry), tuple(repairs))


def _label_of(segment: Segment, scheme: LabelScheme) -> int | None:
    """The label a segment means: by its name, a lesion kind's SNOMED CT code, or a number; None for any other."""
    number = _NUMBERED_NAME.fullmatch(segment.name.strip())
    named = scheme.value_of(segment.name)
    coded = next((kind.value for kind in scheme.kinds if segment.snomed and kind.snomed == segment.snomed), None)
    if number and named is None and coded is None and int(number.group(1)) in scheme.names:
        return int(number.group(1))
    return coded if named is None else named


def _require_one_kind(below: NDArray[np.uint8], label: int, scheme: LabelScheme, what: str) -> None:
    """Raise a `LabelError` where a lesion kind would lie over another: no rule says which one is meant."""
    if label <= Label.LESION:
        return
    others = set(np.unique(below).tolist()) & set(scheme.kind_names) - {label}
    if others:
        kinds = " and ".join(scheme.names[value] for value in sorted((min(others), label)))
        raise LabelError(f"{what} marks the same voxels as {kinds}; keep one of them there and save again")


def _names(scheme: LabelScheme) -> str:
    return " or ".join(name for value, name in scheme.names.items() if value != Label.BACKGROUND)


def _turn_and_offset(found: Geometry, reference: Geometry, what: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The signed permutation and the offset that take an index of one grid to the other."""
    step = np.linalg.inv(reference.affine) @ found.affine
    turn = np.rint(step[:3, :3])
    is_permutation = (np.abs(turn).sum(axis=0) == 1).all() and (np.abs(turn).sum(axis=1) == 1).all()
    drift = np.abs((step[:3, :3] - turn) @ (np.array(found.shape) - 1)[:, np.newaxis]).max()
    if not is_permutation or drift > EXACT_VOXELS:
        raise GeometryError(
            f"{what} has spacing {_mm(found)} or directions that differ from its image's {_mm(reference)}; "
            "save it on the image's own grid, without resampling"
        )
    return turn.astype(np.int64), step[:3, 3]


def _turned(
    voxels: NDArray[np.uint8], turn: NDArray[np.int64], offset: NDArray[np.float64]
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Voxels in the reference's axis order and direction, and the reference index of the first one."""
    axes = np.abs(turn).argmax(axis=1)
    signs = turn.sum(axis=1)
    turned = voxels.transpose(axes)
    backwards = signs < 0
    first = offset - np.where(backwards, np.array(turned.shape) - 1, 0)
    return np.flip(turned, axis=tuple(np.flatnonzero(backwards))), first


def _set_down(
    voxels: NDArray[np.uint8], first: NDArray[np.int64], shape: tuple[int, int, int], what: str
) -> tuple[NDArray[np.uint8], int]:
    """Voxels laid into an empty grid at an index, and how many labelled ones fell outside."""
    starts, stops = np.maximum(first, 0), np.minimum(first + voxels.shape, shape)
    if (stops <= starts).any():
        raise GeometryError(f"{what} lies outside its image; open the case as it was sent and save its own mask")
    target = tuple(slice(a, b) for a, b in zip(starts, stops, strict=True))
    source = tuple(slice(a, b) for a, b in zip(starts - first, stops - first, strict=True))
    placed = np.zeros(shape, dtype=np.uint8)
    placed[target] = voxels[source]
    return placed, int(np.count_nonzero(voxels) - np.count_nonzero(placed))


def _repairs(
    turn: NDArray[np.int64], first: NDArray[np.int64], found: tuple[int, ...], wanted: tuple[int, int, int]
) -> tuple[str, ...]:
    repairs = []
    if (turn != np.eye(3)).any():
        repairs.append("turned to the image's axis order")
    if (first > 0).any() or (first + found < wanted).any():
        repairs.append("filled up to the image's extent")
    if (first < 0).any() or (first + found > wanted).any():
        repairs.append("cut to the image's extent")
    return tuple(repairs)


def _mm(geometry: Geometry) -> str:
    return " x ".join(f"{step:.3f}" for step in geometry.spacing_mm) + " mm"
