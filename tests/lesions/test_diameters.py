from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.lesions.diameters import max_diameter_mm

STEPS = np.diag([5.0, 0.8, 0.7])


def brute(indices, steps_mm):
    points = indices @ steps_mm
    return max((float(np.linalg.norm(points - point, axis=1).max()) for point in points), default=0.0)


@settings(max_examples=60, deadline=None)
@given(arrays(np.bool_, (4, 9, 10)))
def test_diameter_equals_the_largest_of_all_pairs(mask):
    indices = np.argwhere(mask)
    assert max_diameter_mm(indices, STEPS) == pytest.approx(brute(indices, STEPS), abs=1e-9)


SHAPES = {
    "line": [(0, 0, n) for n in range(100)],
    "diagonal": [(n, n, n) for n in range(100)],
    "plane": [(3, n, m) for n in range(20) for m in range(30)],
    "oblique plane": [(n + m, n, m) for n in range(20) for m in range(20)],
    "step": [(n // 90, 0, n) for n in range(180)],
    "ball": [tuple(index) for index in np.argwhere(sum(g**2 for g in np.ogrid[-9:10, -9:10, -9:10]) <= 81).tolist()],
    "empty": np.empty((0, 3), np.int64),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_degenerate_shapes_are_measured_exactly(shape):
    indices = np.asarray(shape, np.int64).reshape(-1, 3)
    assert max_diameter_mm(indices, STEPS) == pytest.approx(brute(indices, STEPS), abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(arrays(np.bool_, (5, 8, 8)), arrays(np.float64, (3, 3), elements=st.floats(-2, 2)))
def test_diameter_is_exact_on_sheared_grids(mask, shear):
    indices = np.argwhere(mask)
    steps = STEPS + shear
    assert max_diameter_mm(indices, steps) == pytest.approx(brute(indices, steps), abs=1e-9)
