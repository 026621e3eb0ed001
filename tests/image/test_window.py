"""HU windows, by values one can say by heart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.config import WindowConfig
from pipeline.core.errors import GeometryError
from pipeline.core.geometry import Geometry
from pipeline.core.volume import Unit, Volume
from pipeline.image.window import apply_window


def row_of(values, dtype=np.int16, unit=Unit.HU) -> Volume:
    voxels = np.array(values, dtype=dtype).reshape(1, 1, -1)
    return Volume(voxels, Geometry.from_axes((1, 1, len(values)), spacing_mm=(5, 1, 1)), unit)


def test_the_default_window_keeps_minus_200_to_200():
    windowed = apply_window(row_of([-1024, -201, -200, 0, 89, 200, 201, 3000]), WindowConfig())
    assert windowed.voxels.ravel().tolist() == [-200, -200, -200, 0, 89, 200, 200, 200]
    assert windowed.voxels.dtype == np.int16


def test_fractions_are_rounded_and_nan_goes_to_the_lower_bound():
    windowed = apply_window(row_of([-0.6, 0.4, np.nan, 1e9], np.float32), WindowConfig(level_hu=50, width_hu=300))
    assert windowed.voxels.ravel().tolist() == [-1, 0, -100, 200]


def test_the_grid_stays_and_the_original_is_untouched():
    volume = row_of([-1000, 1000])
    windowed = apply_window(volume, WindowConfig())
    assert windowed.geometry is volume.geometry
    assert volume.voxels.ravel().tolist() == [-1000, 1000]


def test_mr_is_refused_because_its_numbers_are_no_hu():
    with pytest.raises(GeometryError, match="CT only"):
        apply_window(row_of([1, 2], unit=Unit.INTENSITY), WindowConfig())


@given(
    values=st.lists(st.integers(-32768, 32767), min_size=1, max_size=30),
    level=st.integers(-300, 300),
    half=st.integers(1, 1000),
)
def test_every_value_is_kept_or_moved_to_the_nearest_bound(values, level, half):
    windowed = apply_window(row_of(values), WindowConfig(level_hu=level, width_hu=2 * half))
    assert windowed.voxels.ravel().tolist() == [sorted((level - half, value, level + half))[1] for value in values]
