"""Whether a release is what it says, checked from its own files alone, as a curator would before publishing.

The list follows what Posda and TCIA check (one value a patient, no volume twice, tables against files both ways, stored
digests recomputed, header texts empty) and adds what labels need: nested values, masks that are one another's parts,
figures that come out again.
"""

from __future__ import annotations

import gzip
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.core.errors import PipelineError, ReleaseError, StorageError
from pipeline.core.files import read_json, sha256_of
from pipeline.core.labels import Label
from pipeline.core.records import Problem, Severity
from pipeline.core.volume import LabelMap, Volume
from pipeline.dataset.layout import ReleaseLayout, image_name, label_name, liver_mask_name, mask_name
from pipeline.dataset.manifest import ManifestRow, check_table, read_manifest
from pipeline.dataset.splits import Splits, nnunet_folds
from pipeline.dataset.sums import files_of, read_sums
from pipeline.image.components import component_count
from pipeline.image.nifti import content_sha256, read_labels, read_volume

HEALTHY = frozenset({"", "normal", "none", "healthy"})
"""Diagnoses that stand for a liver without lesions."""

VOLUME_TOLERANCE_ML = 0.01
"""Tables are rounded to a thousandth; a mask that is off by one voxel differs by more on any clinical grid."""

_GZIP_NAMELESS = 0
_SPACING_TOLERANCE_MM = 1e-3
_NIFTI_TEXTS = ((4, 32), (148, 252), (328, 344))
"""Bytes of data_type and db_name, descrip and aux_file, intent_name: nifti1.h."""

_REBUILD = "take the release again from where it was published, or cut a new version"


def verify(release: Path) -> tuple[Problem, ...]:
    """Everything that is wrong with a release; empty when it may be used.

    Args:
        release: the folder of one version, or a copy of it.
    """
    layout = ReleaseLayout(release)
    problems = [*_check_sums(layout)]
    try:
        rows = read_manifest(layout.manifest)
    except ReleaseError as error:
        return (*problems, _refused("manifest", str(error)))
    problems += check_table(rows)
    problems += _check_files(layout, rows)
    problems += _check_splits(layout, rows)
    problems += _check_duplicates(rows)
    for row in rows:
        problems += _check_volume(release, row)
    return tuple(problems)


@dataclass(frozen=True, slots=True)
class _Content:
    """The four files of a row, read."""

    image: Volume
    lesion: LabelMap
    liver: LabelMap
    labels: LabelMap


def _check_sums(layout: ReleaseLayout) -> Iterator[Problem]:
    """Bytes against SHA256SUMS, both ways, and that nothing can be written to by accident."""
    try:
        stored = read_sums(layout.root)
    except ReleaseError as error:
        yield _refused("sums", str(error))
        return
    found = {path.relative_to(layout.root).as_posix(): path for path in files_of(layout.root) if path != layout.sums}
    for name in sorted(stored.keys() | found.keys()):
        if name not in found:
            yield _refused("missing-file", f"{name} is listed in {layout.sums.name} but not there")
        elif name not in stored:
            yield _refused("extra-file", f"{name} is there but not listed in {layout.sums.name}")
        elif sha256_of(found[name]) != stored[name]:
            yield _refused("changed-file", f"{name} is not the file that was released")
        elif found[name].stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH):
            yield Problem("writable", Severity.NOTE, f"{name} can be written to", "chmod a-w")


def _check_files(layout: ReleaseLayout, rows: Sequence[ManifestRow]) -> Iterator[Problem]:
    """Table against files, both ways, and names that follow from the row."""
    listed = Counter(path for row in rows for path in _paths(row))
    yield from (_refused("path-twice", f"{path} stands in two rows") for path, count in listed.items() if count > 1)
    for row in rows:
        names = (image_name, mask_name, liver_mask_name, label_name)
        if _paths(row) != tuple(name(row.patient_id, row.phase) for name in names):
            yield _refused("path", f"{_name(row)}: its paths do not follow from its patient and phase")
    there = {
        path.relative_to(layout.root).as_posix()
        for path in files_of(layout.root)
        if path.name.endswith((".nii", ".gz"))
    }
    yield from (_refused("orphan", f"{path} is in no row of the table") for path in sorted(there - listed.keys()))
    yield from (
        _refused("missing-file", f"{path} is in the table, not there") for path in sorted(listed.keys() - there)
    )


def _check_splits(layout: ReleaseLayout, rows: Sequence[ManifestRow]) -> Iterator[Problem]:
    """One place a patient, the same in the table, `splits.json` and nnU-Net's folds."""
    try:
        splits = Splits.from_json(read_json(layout.splits))
        folds = read_json(layout.nnunet_splits)
    except (StorageError, KeyError, TypeError):
        yield _refused("splits", f"{layout.splits.name} or {layout.nnunet_splits.name} is missing or damaged")
        return
    in_table = {row.patient_id: (row.split, row.fold) for row in rows}
    if in_table != dict(splits.places):
        yield _refused("splits", f"{layout.splits.name} and the table place patients differently")
    elif folds != nnunet_folds(splits, [(row.patient_id, str(row.phase)) for row in rows]):
        yield _refused("splits", f"{layout.nnunet_splits.name} does not follow from {layout.splits.name}")


def _check_duplicates(rows: Sequence[ManifestRow]) -> Iterator[Problem]:
    """The same voxels under two names: between patients it spoils the splits, within one a phase is wrong."""
    first: dict[str, ManifestRow] = {}
    for row in rows:
        other = first.setdefault(row.ct_content_sha256, row)
        if other is not row:
            yield _refused("same-image", f"{_name(row)} is the same image as {_name(other)}", "find which one is right")


def _check_volume(release: Path, row: ManifestRow) -> Iterator[Problem]:
    paths = [release / path for path in _paths(row)]
    if not all(path.is_file() for path in paths):
        return
    try:
        content = _Content(read_volume(paths[0]), *(read_labels(path) for path in paths[1:]))
    except PipelineError as error:
        yield _refused("unreadable", f"{_name(row)}: {error}")
        return
    messages = [
        *(message for path in paths for message in _header_faults(path)),
        *_grid_faults(row, content),
        *_label_faults(content),
        *_figure_faults(row, content),
        *_content_faults(row, content),
    ]
    yield from (_refused(code, f"{_name(row)}: {message}") for code, message in messages)
    yield from _worth_a_look(row, content)


def _header_faults(path: Path) -> Iterator[tuple[str, str]]:
    """Free texts of the NIfTI header, extensions, and the name and time a gzip header can hold."""
    raw = path.read_bytes()
    if raw[3] != _GZIP_NAMELESS or raw[4:8] != bytes(4):
        yield "gzip-header", f"{path.name} tells a file name or a time in its gzip header"
    header = gzip.decompress(raw)[:352]
    if any(header[start:stop].strip(b"\0") for start, stop in _NIFTI_TEXTS):
        yield "header-text", f"{path.name} has text in its NIfTI header"
    if header[348:352] != bytes(4):
        yield "header-extension", f"{path.name} has a NIfTI extension"


def _grid_faults(row: ManifestRow, content: _Content) -> Iterator[tuple[str, str]]:
    grid = content.image.geometry
    for what, mask in (("lesion mask", content.lesion), ("liver mask", content.liver), ("label mask", content.labels)):
        if not grid.same_space(mask.geometry):
            yield "grid", f"its {what} does not lie on its image"
    if grid.shape != (row.slices, row.rows, row.columns) or grid.orientation != row.orientation:
        yield "grid", "shape or orientation are not those of the table"
    if not np.allclose(grid.spacing_mm, _spacing(row), atol=_SPACING_TOLERANCE_MM):
        yield "grid", "spacing is not that of the table"
    if row.first_slice + row.slices > row.scan_slices:
        yield "grid", "more slices than the scan had"


def _label_faults(content: _Content) -> Iterator[tuple[str, str]]:
    labels = content.labels.voxels
    if labels.max(initial=0) > max(Label):
        yield "label-values", f"labels up to {labels.max()}, expected 0, 1 and 2"
    if not np.array_equal(content.lesion.voxels, labels == Label.LESION):
        yield "mask-differs", "the lesion mask is not label 2 of the label mask"
    if not np.array_equal(content.liver.voxels, labels != Label.BACKGROUND):
        yield "mask-differs", "the liver mask is not labels 1 and 2 of the label mask"
    if not labels.any():
        yield "no-liver", "no liver is labelled"


def _figure_faults(row: ManifestRow, content: _Content) -> Iterator[tuple[str, str]]:
    """Every figure of the row, counted again."""
    for code, name, found in figures(content.labels):
        told = getattr(row, name)
        tolerance = VOLUME_TOLERANCE_ML if code == "volume" else 0
        if abs(told - found) > tolerance:
            yield "figure", f"{name} is {told} in the table and {found} in the mask"


def figures(labels: LabelMap) -> tuple[tuple[str, str, float], ...]:
    """What the manifest tells of a mask: kind of figure, column and value."""
    liver, lesion = labels.voxels != Label.BACKGROUND, labels.voxels == Label.LESION
    voxel_ml = labels.geometry.voxel_volume_ml
    return (
        ("count", "liver_slices", int(liver.any(axis=(1, 2)).sum())),
        ("count", "lesion_slices", int(lesion.any(axis=(1, 2)).sum())),
        ("volume", "liver_volume_ml", round(int(liver.sum()) * voxel_ml, 3)),
        ("volume", "lesion_volume_ml", round(int(lesion.sum()) * voxel_ml, 3)),
        ("count", "lesion_count", component_count(lesion)),
    )


def _content_faults(row: ManifestRow, content: _Content) -> Iterator[tuple[str, str]]:
    for column, image in (
        ("ct_content_sha256", content.image),
        ("mask_content_sha256", content.lesion),
        ("liver_mask_content_sha256", content.liver),
        ("label_content_sha256", content.labels),
    ):
        if content_sha256(image) != getattr(row, column):
            yield "content", f"{column} is not the hash of its file's content"
    if row.window_level_hu is not None and row.window_width_hu is not None:
        low, high = row.window_level_hu - row.window_width_hu / 2, row.window_level_hu + row.window_width_hu / 2
        if content.image.voxels.min() < low or content.image.voxels.max() > high:
            yield "window", f"HU outside the window {low:g} to {high:g}"


def _worth_a_look(row: ManifestRow, content: _Content) -> Iterator[Problem]:
    """What a person should look at: it may be right."""
    healthy = (row.cancer_type or "").casefold() in HEALTHY
    if row.cancer_type and healthy and row.lesion_count:
        yield _look("class-differs", f"{_name(row)} is {row.cancer_type} but has a lesion")
    if row.cancer_type and not healthy and not row.lesion_count:
        yield _look("class-differs", f"{_name(row)} is {row.cancer_type} but shows no lesion")
    ends = content.liver.voxels[[0, -1]]
    if ends.any() and row.slices < row.scan_slices:
        yield _look("cut-liver", f"{_name(row)}: liver on the first or last released slice")
    if component_count(content.liver.voxels > 0) > 1:
        yield _look("liver-parts", f"{_name(row)}: the liver mask is in several parts")


def _paths(row: ManifestRow) -> tuple[str, str, str, str]:
    return row.ct_path, row.mask_path, row.liver_mask_path, row.label_path


def _spacing(row: ManifestRow) -> tuple[float, ...]:
    return tuple(value or 0.0 for value in (row.slice_spacing_mm, row.row_spacing_mm, row.column_spacing_mm))


def _name(row: ManifestRow) -> str:
    return f"{row.patient_id} {row.phase}"


def _refused(code: str, message: str, cure: str = _REBUILD) -> Problem:
    return Problem(code, Severity.REFUSE, message, cure)


def _look(code: str, message: str) -> Problem:
    return Problem(code, Severity.FLAG, message, "look at the volume on the QC page")
