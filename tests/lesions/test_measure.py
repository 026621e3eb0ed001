from __future__ import annotations

import json
import math

import numpy as np
import pytest

from pipeline.core.errors import GeometryError
from pipeline.core.geometry import Geometry
from pipeline.core.volume import LabelMap, Volume
from pipeline.lesions.measure import measure_lesions

SPACING = (5.0, 0.8, 0.7)


def labels_of(voxels, **grid):
    grid = {"spacing_mm": SPACING} | grid
    return LabelMap(voxels, Geometry.from_axes(voxels.shape, **grid))


def liver(*lesions):
    voxels = np.ones((8, 20, 20), np.uint8)
    for place in lesions:
        voxels[place] = 2
    return voxels


def test_a_box_has_the_volume_diameters_and_place_one_computes_on_paper():
    found = measure_lesions(labels_of(liver(np.s_[2:5, 4:9, 6:16]), origin_lps_mm=(10, 20, 30)))
    (lesion,) = found
    assert lesion.voxels == 150
    assert lesion.volume_ml == pytest.approx(150 * 5 * 0.8 * 0.7 / 1000)
    assert lesion.max_diameter_mm == pytest.approx(math.hypot(2 * 5, 4 * 0.8, 9 * 0.7))
    assert lesion.axial_diameter_mm == pytest.approx(math.hypot(4 * 0.8, 9 * 0.7))
    assert lesion.short_axis_mm == pytest.approx(4 * 0.8 * lesion.axial_diameter_mm / (9 * 0.7))
    assert (lesion.axial_diameter_slice, lesion.slices, lesion.first_slice, lesion.last_slice) == (2, 3, 2, 4)
    assert lesion.centroid_lps_mm == pytest.approx((10 + 10.5 * 0.7, 20 + 6 * 0.8, 30 + 3 * 5))
    assert lesion.box == ((2, 4, 6), (3, 5, 10))


def test_the_axial_diameter_is_that_of_the_widest_slice_and_names_it():
    (lesion,) = measure_lesions(labels_of(liver(np.s_[2, 4:6, 4:6], np.s_[3, 4:6, 4:14], np.s_[4, 4:6, 4:9])))
    assert lesion.axial_diameter_mm == pytest.approx(math.hypot(0.8, 9 * 0.7))
    assert lesion.short_axis_mm == pytest.approx(0.8 * math.hypot(0.8, 9 * 0.7) / (9 * 0.7))
    assert lesion.axial_diameter_slice == 3


@pytest.mark.parametrize(("row", "expected"), [(4, 4 * 0.8), (0, 0.0), (17, 2 * 0.8)])
def test_distance_to_the_surface_is_0_where_the_lesion_reaches_it(row, expected):
    voxels = np.ones((21, 20, 41), np.uint8)
    voxels[10, row, 20] = 2
    (lesion,) = measure_lesions(labels_of(voxels))
    assert lesion.distance_to_surface_mm == pytest.approx(expected)


def test_a_lesion_that_is_all_there_is_of_the_liver_lies_on_its_surface():
    voxels = np.zeros((21, 20, 41), np.uint8)
    voxels[5:16, 4:16, 5:36] = 2
    (lesion,) = measure_lesions(labels_of(voxels))
    assert lesion.distance_to_surface_mm == 0.0


def test_one_voxel_has_no_diameter():
    (lesion,) = measure_lesions(labels_of(liver(np.s_[3, 3, 3])))
    assert (lesion.max_diameter_mm, lesion.axial_diameter_mm, lesion.voxels) == (0.0, 0.0, 1)


def test_lesions_are_numbered_from_the_largest_and_equal_ones_by_place():
    found = measure_lesions(labels_of(liver(np.s_[6, 1, 1], np.s_[1, 1, 1], np.s_[3, 5:8, 5:8])))
    assert [(lesion.number, lesion.voxels, lesion.first_slice) for lesion in found] == [(1, 9, 3), (2, 1, 1), (3, 1, 6)]


def test_voxels_that_touch_at_a_corner_are_one_lesion():
    (lesion,) = measure_lesions(labels_of(liver(np.s_[1, 1, 1], np.s_[2, 2, 2])))
    assert lesion.max_diameter_mm == pytest.approx(math.hypot(5, 0.8, 0.7))


@pytest.mark.parametrize("shape", [(1, 6, 6), (6, 1, 6), (2, 2, 2)])
def test_a_mask_without_lesion_gives_none(shape):
    assert measure_lesions(labels_of(np.ones(shape, np.uint8))) == ()
    assert measure_lesions(labels_of(np.zeros(shape, np.uint8))) == ()


def test_a_sagittal_mask_measures_the_same_axial_diameter():
    axial = labels_of(liver(np.s_[2:5, 4:9, 6:16]))
    turned = np.ascontiguousarray(axial.voxels.transpose(2, 0, 1))
    grid = Geometry.from_axes(turned.shape, spacing_mm=(0.7, 5.0, 0.8), directions=[[1, 0, 0], [0, 0, 1], [0, 1, 0]])
    (expected,), (found,) = measure_lesions(axial), measure_lesions(LabelMap(turned, grid))
    assert found.axial_diameter_mm == pytest.approx(expected.axial_diameter_mm)
    assert found.max_diameter_mm == pytest.approx(expected.max_diameter_mm)
    assert (found.slices, found.first_slice) == (expected.slices, expected.first_slice)
    assert found.centroid_lps_mm == pytest.approx(expected.centroid_lps_mm)


def test_intensities_are_those_of_the_lesion_its_inside_and_the_liver():
    voxels = liver(np.s_[2:5, 4:9, 4:9])
    hu = np.where(voxels == 2, 40, 100).astype(np.int16)
    hu[2:5, 5:8, 5:8] = 30
    (lesion,) = measure_lesions(labels_of(voxels), Volume(hu, labels_of(voxels).geometry))
    assert lesion.appearance.eroded.voxels == 27
    assert (lesion.appearance.eroded.mean, lesion.appearance.eroded.sd) == (30.0, 0.0)
    assert lesion.appearance.whole.mean == pytest.approx((9 * 30 + 16 * 40) / 25)
    assert lesion.appearance.liver.mean == 100.0
    assert lesion.appearance.contrast == -70.0


def test_a_lesion_too_thin_to_erode_still_has_a_contrast_and_finite_json():
    voxels = liver(np.s_[2, 4, 4])
    hu = np.where(voxels == 2, 40, 100).astype(np.int16)
    (lesion,) = measure_lesions(labels_of(voxels), Volume(hu, labels_of(voxels).geometry))
    content = json.loads(json.dumps(lesion.to_json(), allow_nan=False))
    assert content["appearance"]["contrast"] == -60.0
    assert content["appearance"]["eroded"]["mean"] is None


def test_an_image_on_another_grid_is_refused():
    voxels = liver(np.s_[2, 4, 4])
    image = Volume(voxels.astype(np.int16), Geometry.from_axes(voxels.shape, spacing_mm=(4, 0.8, 0.7)))
    with pytest.raises(GeometryError, match="the mask is up to"):
        measure_lesions(labels_of(voxels), image)
