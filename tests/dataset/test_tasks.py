"""Boxes around lesions against a slow count of every voxel, and kinds of lesions from diagnoses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from pipeline.core.geometry import Geometry
from pipeline.core.volume import LabelMap
from pipeline.dataset.manifest import read_manifest
from pipeline.dataset.tasks import classification_text, lesion_boxes, lesion_kind

SHAPE = (5, 9, 11)


def boxes_by_counting(voxels: np.ndarray) -> list[tuple[int, ...]]:
    """Components by SciPy, numbered by size then first voxel, each box from the lists of its voxels."""
    numbered, count = ndimage.label(voxels == 2, structure=np.ones((3, 3, 3)))
    points = [np.argwhere(numbered == number) for number in range(1, count + 1)]
    points.sort(key=lambda found: (-len(found), tuple(found[0])))
    boxes = []
    for number, found in enumerate(points, start=1):
        for index in sorted(set(found[:, 0].tolist())):
            rows, columns = found[found[:, 0] == index][:, 1:].T.tolist()
            size = (max(columns) - min(columns) + 1, max(rows) - min(rows) + 1)
            boxes.append((index, number, min(columns), min(rows), *size, len(rows)))
    return sorted(boxes)


@given(st.integers(0, 100_000), st.floats(0.0, 0.3))
@settings(max_examples=60, deadline=None)
def test_boxes_are_those_found_by_counting(seed, share):
    voxels = np.where(np.random.default_rng(seed).random(SHAPE) < share, 2, 1).astype(np.uint8)
    labels = LabelMap(voxels, Geometry.from_axes(SHAPE, spacing_mm=(1, 1, 1)))
    found = [(box["slice"], box["lesion"], *box["bbox"], box["area"]) for box in lesion_boxes(labels)]
    assert found == boxes_by_counting(voxels)


@pytest.mark.parametrize(
    ("diagnosis", "kind"),
    [("HCC", "HCC"), ("normal", None), (None, None), ("cyst;hemangioma", None), (" cyst ", "cyst")],
)
def test_lesions_are_of_the_diagnosis_where_it_names_one_kind(released, diagnosis, kind):
    row = read_manifest(released / "patient_data.csv")[0]
    assert lesion_kind(row.model_copy(update={"cancer_type": diagnosis})) == kind


def test_several_kinds_are_several_classes(released):
    row = read_manifest(released / "patient_data.csv")[0].model_copy(update={"cancer_type": "cyst; hemangioma"})
    header, cells = classification_text([row], ["HCC", "cyst", "hemangioma"]).splitlines()
    assert header.split(",")[4:] == ["HCC", "cyst", "hemangioma"]
    assert cells.split(",")[4:] == ["0", "1", "1"]
