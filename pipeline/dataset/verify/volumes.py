"""What is checked of one released volume: header, grid, labels, figures and content, from its four files alone."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.core.errors import PipelineError
from pipeline.core.labels import Label, Structure, structure_mask
from pipeline.core.problems import TAKE_AGAIN
from pipeline.core.records import HEALTHY, Problem, Severity
from pipeline.core.volume import LabelMap, Volume
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
    """

    row: ManifestRow
    problems: tuple[Problem, ...]
    voxels_sha256: str = ""
    boxes: tuple[Row, ...] = ()


@dataclass(frozen=True, slots=True)
class _Content:
    """The four files of a row, read."""

    image: Volume
    lesion: LabelMap
    liver: LabelMap
    labels: LabelMap


def check_volume(release: Path, row: ManifestRow) -> VolumeCheck:
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
        *_label_faults(content),
        *_figure_faults(row, content),
        *_content_faults(row, content),
        *_second_reader_faults(paths[0], content.image),
        *_second_reader_faults(paths[-1], content.labels),
    ]
    faults += _worth_a_look(row, content)
    problems = [replace(fault, message=f"{row_name(row)}: {fault.message}") for fault in faults]
    voxels_sha256 = hashlib.sha256(content.image.voxels.tobytes()).hexdigest()
    return VolumeCheck(row, tuple(problems), voxels_sha256, tuple(lesion_boxes(content.labels)))


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


def _label_faults(content: _Content) -> Iterator[Problem]:
    labels = content.labels.voxels
    if labels.max(initial=0) > max(Label):
        yield refused("label-values", f"labels up to {labels.max()}, expected 0, 1 and 2")
    if not np.array_equal(content.lesion.voxels, structure_mask(labels, Structure.LESION)):
        yield refused("mask-differs", "the lesion mask is not label 2 of the label mask")
    if not np.array_equal(content.liver.voxels, labels != Label.BACKGROUND):
        yield refused("mask-differs", "the liver mask is not labels 1 and 2 of the label mask")
    if not labels.any():
        yield refused("no-liver", "no liver is labelled", TAKE_AGAIN)


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
