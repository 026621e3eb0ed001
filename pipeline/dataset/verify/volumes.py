"""What is checked of one released volume: header, grid, labels, figures and content, from its four files alone."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.core.errors import PipelineError
from pipeline.core.kinds import FIRST_KIND, Kind
from pipeline.core.labels import Label, LabelScheme, Structure, structure_mask
from pipeline.core.problems import TAKE_AGAIN
from pipeline.core.records import HEALTHY, Problem, Severity
from pipeline.core.volume import LabelMap, Volume
from pipeline.dataset.layout import kind_mask_name
from pipeline.dataset.manifest import ManifestRow, row_name
from pipeline.dataset.release_inputs import Row
from pipeline.dataset.tasks import lesion_boxes
from pipeline.image.components import component_count
from pipeline.image.nifti import content_sha256, read_labels, read_volume
from pipeline.image.second_reader import read_with_itk

VOLUME_TOLERANCE_ML = 0.01
"""Tables are rounded to a thousandth; a mask that is off by one voxel differs by more on any clinical grid."""

_GZIP_NAMELESS = 0
_SPACING_TOLERANCE_MM = 1e-3
_NIFTI_TEXTS = ((4, 32), (148, 252), (328, 344))
"""Bytes of data_type and db_name, descrip and aux_file, intent_name: nifti1.h."""


@dataclass(frozen=True, slots=True)
class VolumeCheck:
    """What came of checking one volume.

    Attributes:
        row: of the manifest.
        problems: everything noticed.
        voxels_sha256: of the image's voxels alone, wherever they lie; "" when it could not be read.
        boxes: around lesions, from the mask.
        kind_paths: files of the masks of its lesion kinds.
    """

    row: ManifestRow
    problems: tuple[Problem, ...]
    voxels_sha256: str = ""
    boxes: tuple[Row, ...] = ()
    kind_paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Content:
    """The four files of a row, read."""

    image: Volume
    lesion: LabelMap
    liver: LabelMap
    labels: LabelMap


def check_volume(release: Path, scheme: LabelScheme, row: ManifestRow) -> VolumeCheck:
    """Everything that is wrong with one volume of a release; files that are missing are for the table's check."""
    paths = [release / path for path in row.paths]
    if not all(path.is_file() for path in paths):
        return VolumeCheck(row, ())
    try:
        content = _Content(read_volume(paths[0]), *(read_labels(path) for path in paths[1:]))
    except PipelineError as error:
        return VolumeCheck(row, (refused("unreadable", f"{row_name(row)}: {error}", TAKE_AGAIN),))
    faults = [
        *(fault for path in paths for fault in _header_faults(path)),
        *_grid_faults(row, content),
        *_label_faults(content, scheme),
        *_kind_faults(release, row, content, scheme),
        *_figure_faults(row, content),
        *_content_faults(row, content),
        *_second_reader_faults(paths[0], content.image),
        *_second_reader_faults(paths[-1], content.labels),
    ]
    faults += _worth_a_look(row, content)
    problems = [replace(fault, message=f"{row_name(row)}: {fault.message}") for fault in faults]
    voxels_sha256 = hashlib.sha256(content.image.voxels.tobytes()).hexdigest()
    kinds = kind_masks(content.labels, scheme)
    return VolumeCheck(
        row,
        tuple(problems),
        voxels_sha256,
        tuple(lesion_boxes(content.labels)),
        tuple(kind_mask_name(row.patient_id, row.phase, kind) for kind in kinds),
    )


def kind_masks(labels: LabelMap, scheme: LabelScheme) -> dict[Kind, LabelMap]:
    """A binary mask of each lesion kind that a mask tells."""
    if labels.voxels.max(initial=0) < FIRST_KIND:
        return {}
    masks = {kind: (labels.voxels == kind.value).astype(np.uint8) for kind in scheme.kinds}
    return {kind: LabelMap(mask, labels.geometry) for kind, mask in masks.items() if mask.any()}


def _second_reader_faults(path: Path, ours: Volume | LabelMap) -> Iterator[Problem]:
    """What ITK, which most users read with, sees elsewhere or otherwise than we do."""
    try:
        voxels, geometry = read_with_itk(path)
    except PipelineError as error:
        yield refused("second-reader", str(error))
        return
    if not geometry.same_space(ours.geometry) or not np.array_equal(voxels, ours.voxels):
        yield refused("second-reader", f"ITK reads other voxels or another grid in {path.name} than we wrote")


def _header_faults(path: Path) -> Iterator[Problem]:
    """Free texts of the NIfTI header, extensions, and the name and time a gzip header can hold."""
    raw = path.read_bytes()
    if raw[3] != _GZIP_NAMELESS or raw[4:8] != bytes(4):
        yield refused("gzip-header", f"{path.name} has a file name or a time in its gzip header")
    header = gzip.decompress(raw)[:352]
    if any(header[start:stop].strip(b"\0") for start, stop in _NIFTI_TEXTS):
        yield refused("header-text", f"{path.name} has text in its NIfTI header")
    if header[348:352] != bytes(4):
        yield refused("header-extension", f"{path.name} has a NIfTI extension")


def _grid_faults(row: ManifestRow, content: _Content) -> Iterator[Problem]:
    grid = content.image.geometry
    for what, mask in (("lesion mask", content.lesion), ("liver mask", content.liver), ("label mask", content.labels)):
        if not grid.same_space(mask.geometry):
            yield refused("grid", f"its {what} does not lie on its image")
    if grid.shape != (row.slices, row.rows, row.columns) or grid.orientation != row.orientation:
        yield refused("grid", "shape or orientation differ from the manifest")
    if not np.allclose(grid.spacing_mm, _spacing(row), atol=_SPACING_TOLERANCE_MM):
        yield refused("grid", "spacing differs from the manifest")
    if row.first_slice + row.slices > row.scan_slices:
        yield refused("grid", "it has more slices than the scan")


def _label_faults(content: _Content, scheme: LabelScheme) -> Iterator[Problem]:
    labels = content.labels.voxels
    counts = sum(np.bincount(plane.ravel(), minlength=256) for plane in labels)  # all at once takes more memory
    unknown = sorted(set(np.flatnonzero(counts).tolist()) - set(scheme.names))
    if unknown:
        expected = ", ".join(str(value) for value in scheme.names)
        yield refused("label-values", f"labels {', '.join(map(str, unknown))}, expected only {expected}")
    if not np.array_equal(content.lesion.voxels, structure_mask(labels, Structure.LESION)):
        yield refused("mask-differs", "the lesion mask is not what the label mask marks as lesion, 2 and above")
    if not np.array_equal(content.liver.voxels, labels != Label.BACKGROUND):
        yield refused("mask-differs", "the liver mask is not what the label mask marks, 1 and above")
    if not labels.any():
        yield refused("no-liver", "no liver is labelled", TAKE_AGAIN)


def _kind_faults(release: Path, row: ManifestRow, content: _Content, scheme: LabelScheme) -> Iterator[Problem]:
    """The mask of each lesion kind against the label mask; a file that is missing is for the table's check."""
    for kind, mask in kind_masks(content.labels, scheme).items():
        path = release / kind_mask_name(row.patient_id, row.phase, kind)
        if path.is_file():
            yield from _header_faults(path)
            found = read_labels(path)
            if not (np.array_equal(found.voxels, mask.voxels) and found.geometry.same_space(mask.geometry)):
                yield refused("mask-differs", f"the mask of {kind.name} is not label {kind.value} of the label mask")


def _figure_faults(row: ManifestRow, content: _Content) -> Iterator[Problem]:
    """Every figure of the row, counted again."""
    for code, name, found in figures(content.labels):
        told = getattr(row, name)
        tolerance = VOLUME_TOLERANCE_ML if code == "volume" else 0
        if abs(told - found) > tolerance:
            yield refused("figure", f"{name} is {told} in the manifest and {found} in the mask")


def figures(labels: LabelMap) -> tuple[tuple[str, str, float], ...]:
    """What the manifest tells of a mask: kind of figure, column and value."""
    liver, lesion = labels.voxels != Label.BACKGROUND, structure_mask(labels.voxels, Structure.LESION)
    voxel_ml = labels.geometry.voxel_volume_ml
    return (
        ("count", "liver_slices", int(liver.any(axis=(1, 2)).sum())),
        ("count", "lesion_slices", int(lesion.any(axis=(1, 2)).sum())),
        ("volume", "liver_volume_ml", round(int(liver.sum()) * voxel_ml, 3)),
        ("volume", "lesion_volume_ml", round(int(lesion.sum()) * voxel_ml, 3)),
        ("count", "lesion_count", component_count(lesion)),
    )


def _content_faults(row: ManifestRow, content: _Content) -> Iterator[Problem]:
    for column, image in (
        ("ct_content_sha256", content.image),
        ("mask_content_sha256", content.lesion),
        ("liver_mask_content_sha256", content.liver),
        ("label_content_sha256", content.labels),
    ):
        if content_sha256(image) != getattr(row, column):
            yield refused("content", f"{column} is not the hash of its file's content")
    if row.window_level_hu is not None and row.window_width_hu is not None:
        low, high = row.window_level_hu - row.window_width_hu / 2, row.window_level_hu + row.window_width_hu / 2
        if content.image.voxels.min() < low or content.image.voxels.max() > high:
            yield refused("window", f"there are HU outside the window, {low:g} to {high:g} HU")


def _worth_a_look(row: ManifestRow, content: _Content) -> Iterator[Problem]:
    """What a person should look at: it may be right."""
    healthy = (row.cancer_type or "").casefold() in HEALTHY
    if row.cancer_type and healthy and row.lesion_count:
        yield _look("class-differs", f"the diagnosis is {row.cancer_type}, but there is a lesion")
    if row.cancer_type and not healthy and not row.lesion_count:
        yield _look("class-differs", f"the diagnosis is {row.cancer_type}, but there is no lesion")
    ends = content.liver.voxels[[0, -1]]
    if ends.any() and row.slices < row.scan_slices:
        yield _look("cut-liver", "the liver reaches the first or last released slice")
    if component_count(content.liver.voxels > 0) > 1:
        yield _look("liver-parts", "the liver mask is in several parts")


def _look(code: str, message: str) -> Problem:
    return Problem(code, Severity.FLAG, message)


def _spacing(row: ManifestRow) -> tuple[float, ...]:
    return tuple(value or 0.0 for value in (row.slice_spacing_mm, row.row_spacing_mm, row.column_spacing_mm))


def refused(code: str, message: str, fix: str = "") -> Problem:
    """A fault that forbids the release's use."""
    return Problem(code, Severity.REFUSE, message, fix)
