"""Image quality on volumes with planted noise, metal and borders, and on a real CT."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from pipeline.cohort.image_quality import ImageQuality, measure_quality, pixel_facts, quality_problems
from pipeline.core.geometry import Geometry
from pipeline.core.volume import LabelMap, Unit, Volume
from pipeline.image.nifti import read_labels, read_volume
from pipeline.synth.phantom import make_phantom
from tests.places import SHARED

SHAPE = (12, 48, 48)
GEOMETRY = Geometry.from_axes(SHAPE, spacing_mm=(5.0, 2.0, 2.0))
DATA = SHARED / "body_ct"


def liver() -> np.ndarray:
    voxels = np.zeros(SHAPE, dtype=np.uint8)
    voxels[2:10, 6:40, 6:40] = 1
    return voxels


def measured(hu: np.ndarray, voxels: np.ndarray) -> ImageQuality:
    return measure_quality(Volume(hu.astype(np.int16), GEOMETRY), LabelMap(voxels, GEOMETRY))


def codes(quality: ImageQuality, unit: Unit = Unit.HU) -> list[str]:
    return [problem.code for problem in quality_problems(quality, unit)]


@given(st.integers(0, 1000), st.floats(5, 60), st.floats(0, 3))
@settings(max_examples=25, deadline=None)
def test_planted_noise_is_measured_through_gradients_and_vessels(seed, sd, slope):
    rng = np.random.default_rng(seed)
    hu = 60 + rng.normal(0, sd, SHAPE) + slope * np.arange(SHAPE[2])
    hu[:, 20:22, :] += 120
    assert measured(hu, liver()).noise_hu == pytest.approx(sd, rel=0.06, abs=0.8)


def test_noise_that_the_kernel_smoothed_is_not_underrated():
    rng = np.random.default_rng(3)
    smooth = ndimage.gaussian_filter(rng.normal(0, 60, SHAPE), (0, 0.8, 0.8))
    found = measured(60 + smooth, liver()).noise_hu
    assert found == pytest.approx(smooth.std(), rel=0.1)


def test_a_good_volume_has_no_problem():
    hu = 60 + np.random.default_rng(0).normal(0, 12, SHAPE)
    assert codes(measured(hu, liver())) == []


def test_noise_metal_and_a_false_scale_are_told():
    rng = np.random.default_rng(1)
    hu = 60 + rng.normal(0, 55, SHAPE)
    hu[4, 0:4, 0:4] = 3000
    assert codes(measured(hu, liver())) == ["noise", "metal"]
    assert measured(hu, liver()).metal_ml == pytest.approx(16 * 0.02)
    assert codes(measured(hu + 1024, liver())) == ["noise", "metal", "liver-hu"]


def test_metal_far_from_the_liver_does_not_count():
    hu = np.full(SHAPE, 60.0)
    hu[0] = 3000
    assert measured(hu, liver()).metal_ml == 0


def test_each_border_that_cuts_the_liver_is_named():
    voxels = liver()
    voxels[0, 10:12, 10] = 1
    voxels[11, 10:12, 10] = 2
    voxels[5, 0, 10:12] = 1
    quality = measured(np.full(SHAPE, 60.0), voxels)
    assert quality.cut == ("first slice", "last slice", "field of view")
    assert codes(quality) == ["liver-cut"] * 3
    assert codes(replace(quality, noise_hu=99.0), Unit.INTENSITY) == ["liver-cut"] * 3


def test_without_a_liver_nothing_is_claimed():
    quality = measured(np.full(SHAPE, 60.0), np.zeros(SHAPE, dtype=np.uint8))
    assert math.isnan(quality.noise_hu)
    assert math.isnan(quality.liver_hu)
    assert codes(quality) == []


@pytest.mark.parametrize("sd", [8, 25, 45])
def test_noise_and_metal_are_measured_before_any_label_is_there(sd):
    phantom = make_phantom(np.random.default_rng(2), shape=(8, 128, 128), spacing_mm=(5.0, 2.8, 2.8)).volume
    rng = np.random.default_rng(sd)
    hu = np.where(phantom.voxels > -200, 60, -1000) + rng.normal(0, sd, phantom.voxels.shape)
    hu[3, 60:64, 60:64] = 3000
    facts = pixel_facts(Volume(hu.astype(np.int16), phantom.geometry))
    assert facts.noise_hu == pytest.approx(sd, rel=0.05)
    assert facts.metal_ml == pytest.approx(16 * 5.0 * 2.8 * 2.8 / 1000)


def test_intensities_of_mr_have_neither_noise_in_hu_nor_metal():
    facts = pixel_facts(Volume(np.zeros(SHAPE, np.float32) + np.arange(48, dtype=np.float32), GEOMETRY, Unit.INTENSITY))
    assert math.isnan(facts.noise_hu)
    assert math.isnan(facts.metal_ml)


@pytest.mark.skipif(not DATA.is_dir(), reason="the folder of shared test data is not there")
def test_a_real_ct_is_within_limits():
    image = read_volume(DATA / "example_ct.nii.gz")
    organs = read_labels(DATA / "label_history" / "seg_2022-09-15_model-v1.nii.gz")
    labels = LabelMap((organs.voxels == 5).astype(np.uint8), organs.geometry)
    quality = measure_quality(image, labels)
    assert 5 < quality.noise_hu < 40
    assert 20 < quality.liver_hu < 140
    assert codes(quality) in ([], ["liver-cut"])
