"""Motion between slices, against displacements that were planted in millimetres."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.geometry import Geometry
from pipeline.core.volume import Unit, Volume
from pipeline.image.motion import skin_jump_mm
from pipeline.image.nifti import read_volume
from pipeline.synth.phantom import make_phantom
from tests.image.breathing import breathed, shifted
from tests.places import SHARED

DATA = SHARED / "body_ct"
SPACING_MM = (5.0, 1.5, 2.0)


def cone(*, taper: float = 0.0, sway: float = 0.0, slices: int = 12) -> Volume:
    """A body as an ellipse that steadily narrows and leans, by pixels a slice."""
    rows, columns = np.mgrid[:120, :120]
    hu = np.full((slices, 120, 120), -1000, np.int16)
    for index in range(slices):
        inside = ((rows - 60 - sway * index) / 40) ** 2 + ((columns - 60) / 45) ** 2 < (1 - taper * index / 45) ** 2
        hu[index][inside] = 50
    return Volume(hu, Geometry.from_axes(hu.shape, spacing_mm=SPACING_MM))


@given(st.floats(0, 2), st.floats(-1, 1))
@settings(max_examples=10, deadline=None)
def test_a_body_that_steadily_narrows_and_leans_does_not_move(taper, sway):
    assert skin_jump_mm(cone(taper=taper, sway=sway)) < max(SPACING_MM[1:])


@pytest.mark.parametrize("pixels", [0, 1, 2, 4])
@pytest.mark.parametrize("axis", [1, 2])
def test_a_step_along_rows_or_columns_is_measured_in_millimetres(pixels, axis):
    planted_mm = pixels * SPACING_MM[axis]
    assert skin_jump_mm(shifted(cone(), 6, planted_mm, axis=axis)) == pytest.approx(planted_mm)


def test_it_counts_nothing_but_the_skin():
    body = cone()
    voxels = body.voxels.copy()
    voxels[6:, 40:60, 40:60] = 400
    voxels[6, 90:92, 5:8] = 2000
    assert skin_jump_mm(Volume(voxels, body.geometry)) == 0


@pytest.mark.parametrize("amplitude_mm", [5.0, 8.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_breath_in_a_phantom_is_measured(seed, amplitude_mm):
    volume = make_phantom(np.random.default_rng(seed), shape=(20, 200, 200), spacing_mm=(5.0, 1.9, 1.9)).volume
    assert skin_jump_mm(volume) < 1
    assert skin_jump_mm(breathed(volume, 9, amplitude_mm)) == pytest.approx(amplitude_mm, abs=1.9)


def test_mr_without_a_scale_is_measured_at_its_own_threshold():
    body = cone()
    bright = np.where(body.voxels > 0, 300 + np.arange(120, dtype=np.float32) * 4, 5).astype(np.float32)
    mr = Volume(bright, body.geometry, Unit.INTENSITY)
    assert skin_jump_mm(mr) < 1
    assert skin_jump_mm(shifted(mr, 6, 6.0)) == pytest.approx(6.0)


def test_without_a_body_or_with_too_few_slices_nothing_is_measured():
    air = Volume(np.full((8, 40, 40), -1000, np.int16), Geometry.from_axes((8, 40, 40), spacing_mm=SPACING_MM))
    assert math.isnan(skin_jump_mm(air))
    assert math.isnan(skin_jump_mm(cone(slices=3)))


@pytest.mark.skipif(not DATA.is_dir(), reason="the folder of shared test data is not there")
@pytest.mark.parametrize("start", [30, 55, 80])
def test_a_real_body_is_still_until_it_breathes(start):
    body = read_volume(DATA / "example_ct.nii.gz")
    assert skin_jump_mm(body) < 1
    assert 5 < skin_jump_mm(breathed(body, start, 8.0)) < 9, "the flanks rise less than the belly"
    assert skin_jump_mm(shifted(body, start, 5.0)) == pytest.approx(5.0, abs=1.5)
