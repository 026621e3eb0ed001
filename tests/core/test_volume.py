"""How volumes and masks show themselves: short, in true numbers, whatever they hold."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as arrays

from pipeline.core.geometry import Geometry
from pipeline.core.volume import ColorImage, LabelMap, Unit, Volume

GRID = Geometry.from_axes((4, 5, 6), spacing_mm=(5, 2, 1))
"""Voxels of 10 mm³: a hundred of them are one millilitre."""
SIZE = "4 slices x 5 x 6, 5.00 x 2.00 x 1.00 mm"


def test_a_mask_shows_the_volume_of_each_label():
    voxels = np.zeros(GRID.shape, np.uint8)
    voxels[:2] = 1
    voxels[0, 0, :] = 2
    voxels[3, 4, 5] = 255
    assert repr(LabelMap(voxels, GRID)) == f"LabelMap({SIZE}, 1: 0.5 ml, 2: 0.1 ml, 255: 0.0 ml)"
    assert repr(LabelMap(np.zeros(GRID.shape, np.uint8), GRID)) == f"LabelMap({SIZE}, empty)"


@given(arrays.arrays(np.uint8, (3, 4, 5)))
def test_shown_volumes_are_those_of_counted_voxels(voxels):
    grid = Geometry.from_axes((3, 4, 5), spacing_mm=(100, 100, 100))  # one litre a voxel
    shown = re.findall(r"(\d+): ([\d,]+)\.0 ml", repr(LabelMap(voxels[:, ::-1], grid)))
    counted = {str(value): int((voxels == value).sum()) for value in range(1, 256) if (voxels == value).any()}
    assert {value: int(ml.replace(",", "")) // 1000 for value, ml in shown} == counted


def test_an_image_shows_its_unit_and_range():
    voxels = np.zeros(GRID.shape, np.int16)
    voxels[0, 0, 0], voxels[1, 1, 1] = -1024, 1320
    assert repr(Volume(voxels, GRID)) == f"Volume({SIZE}, HU, -1024 to 1320)"
    fractions = np.full(GRID.shape, np.nan, np.float32)
    fractions[0, 0, :2] = 0.5, 1.25
    assert repr(Volume(fractions, GRID, Unit.INTENSITY)) == f"Volume({SIZE}, intensity, 0.5 to 1.25)"
    assert repr(Volume(np.full(GRID.shape, np.nan, np.float32), GRID)) == f"Volume({SIZE}, HU, nan to nan)"


def test_a_colour_image_shows_no_array():
    assert repr(ColorImage(np.zeros((*GRID.shape, 3), np.uint8), GRID)) == f"ColorImage({SIZE})"


def test_a_unit_may_be_written_as_text_and_must_be_known():
    voxels = np.zeros(GRID.shape, np.int16)
    assert Volume(voxels, GRID, "intensity").unit is Unit.INTENSITY
    with pytest.raises(ValueError, match="not a valid Unit"):
        Volume(voxels, GRID, "mm")
