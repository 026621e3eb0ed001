"""Post-processing on masks whose every voxel can be counted on paper."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from pipeline.core.config import CoarseConfig
from pipeline.core.geometry import Geometry
from pipeline.core.labels import Label
from pipeline.core.volume import LabelMap
from pipeline.segment.postprocess import postprocess


def label_map(voxels: np.ndarray, spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> LabelMap:
    return LabelMap(voxels.astype(np.uint8), Geometry.from_axes(voxels.shape, spacing_mm=spacing_mm))


def liver_cube() -> np.ndarray:
    voxels = np.zeros((12, 12, 12), dtype=np.uint8)
    voxels[2:10, 2:10, 2:10] = Label.LIVER
    return voxels


def test_largest_part_of_liver_and_lesion_is_kept_and_stray_parts_go():
    voxels = liver_cube()
    voxels[0, 0, 0:3] = Label.LIVER
    voxels[0, 5, 5] = Label.LESION
    done = postprocess(label_map(voxels), CoarseConfig(min_lesion_mm3=0))
    assert np.array_equal(done.labels.voxels, liver_cube())
    assert (done.stray_voxels, done.filled_voxels, done.dust_voxels, done.changed_voxels) == (4, 0, 0, 4)


def test_lesion_at_the_rim_that_splits_the_liver_keeps_both_sides():
    voxels = liver_cube()
    voxels[5, 2:10, 2:10] = Label.LESION
    done = postprocess(label_map(voxels), CoarseConfig(min_lesion_mm3=0))
    assert np.array_equal(done.labels.voxels, voxels)
    assert done.changed_voxels == 0


def test_hole_becomes_liver():
    voxels = liver_cube()
    voxels[5:7, 5, 5] = Label.BACKGROUND
    done = postprocess(label_map(voxels), CoarseConfig())
    assert np.array_equal(done.labels.voxels, liver_cube())
    assert (done.filled_voxels, done.changed_voxels) == (2, 2)


@pytest.mark.parametrize(("spacing_mm", "kept"), [((1.0, 1.0, 1.0), False), ((2.0, 2.0, 2.0), True)])
def test_dust_is_measured_in_cubic_millimetres(spacing_mm: tuple[float, float, float], kept: bool):
    voxels = liver_cube()
    voxels[4:6, 4:6, 4:6] = Label.LESION
    done = postprocess(label_map(voxels, spacing_mm), CoarseConfig(min_lesion_mm3=50))
    assert bool((done.labels.voxels == Label.LESION).any()) is kept
    assert done.dust_voxels == (0 if kept else 8)


def test_dust_becomes_liver_not_background():
    voxels = liver_cube()
    voxels[5, 5, 5] = Label.LESION
    done = postprocess(label_map(voxels), CoarseConfig(min_lesion_mm3=2))
    assert np.array_equal(done.labels.voxels, liver_cube())


def test_empty_labels_stay_empty():
    done = postprocess(label_map(np.zeros((3, 4, 5))), CoarseConfig())
    assert not done.labels.voxels.any()
    assert done.changed_voxels == 0


@settings(max_examples=60, deadline=None)
@given(arrays(np.uint8, (6, 7, 8), elements=st.sampled_from([0, 0, 1, 1, 2])))
def test_result_is_one_part_without_holes_and_a_second_pass_changes_nothing(voxels: np.ndarray):
    config = CoarseConfig(min_lesion_mm3=3)
    done = postprocess(label_map(voxels), config)
    found = done.labels.voxels > 0
    assert ndimage.label(found, np.ones((3, 3, 3)))[1] == (1 if voxels.any() else 0)
    assert np.array_equal(ndimage.binary_fill_holes(found), found)
    assert np.count_nonzero(done.labels.voxels != voxels) == done.changed_voxels
    assert postprocess(done.labels, config).changed_voxels == 0
