from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.lesions.diameters import max_diameter_mm, short_axis_mm

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


def brute_short_axis(indices, steps_mm):
    """Lines at right angles to every largest diameter, cut with every segment between two voxel centres."""
    points = [tuple(point) for point in (indices @ steps_mm)[:, 1:].tolist()]
    pairs = list(itertools.combinations(points, 2))
    longest = max((math.dist(*pair) for pair in pairs), default=0.0)
    best = 0.0
    for start, stop in (pair for pair in pairs if math.dist(*pair) >= longest - 1e-9):
        way = ((stop[0] - start[0]) / longest, (stop[1] - start[1]) / longest)
        turned = [(p[0] * way[0] + p[1] * way[1], p[1] * way[0] - p[0] * way[1]) for p in points]
        for line, _ in turned:
            cuts = [across for along, across in turned if abs(along - line) < 1e-9]
            for (a, s), (b, t) in itertools.combinations(turned, 2):
                if min(a, b) < line < max(a, b):
                    cuts.append(s + (line - a) / (b - a) * (t - s))
            best = max(best, max(cuts) - min(cuts))
    return best


@settings(max_examples=60, deadline=None)
@given(arrays(np.bool_, (1, 5, 6)))
def test_the_short_axis_is_the_longest_chord_of_all_lines(mask):
    indices = np.argwhere(mask)
    if len(indices):
        assert short_axis_mm(indices, STEPS) == pytest.approx(brute_short_axis(indices, STEPS), abs=1e-7)


@pytest.mark.parametrize("angle_deg", [0, 17, 45, 80, 90, 133])
def test_an_ellipse_has_its_two_axes(angle_deg):
    y, x = np.mgrid[-60:61, -60:61] * 0.25
    cos, sin = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    ellipse = ((x * cos + y * sin) / 12) ** 2 + ((y * cos - x * sin) / 7) ** 2 <= 1
    indices = np.argwhere(ellipse[np.newaxis])
    steps = np.diag([5, 0.25, 0.25])
    assert max_diameter_mm(indices, steps) == pytest.approx(24, abs=0.3)
    assert short_axis_mm(indices, steps) == pytest.approx(14, abs=0.4)


def test_a_box_has_the_chord_across_its_diagonal():
    """A box of a x b has a chord of a d / b at right angles to its diagonal d, where a < b."""
    indices = np.argwhere(np.ones((1, 5, 11)))
    a, b = 4 * 0.8, 10 * 0.7
    assert short_axis_mm(indices, STEPS) == pytest.approx(a * math.hypot(a, b) / b)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 9), (1, 9, 1)])
def test_a_voxel_and_a_line_have_no_short_axis(shape):
    assert short_axis_mm(np.argwhere(np.ones(shape)), STEPS) == 0.0


def test_the_short_axis_does_not_hang_on_the_orientation_of_the_grid():
    rng = np.random.default_rng(2)
    indices = np.argwhere(rng.random((1, 30, 30)) < 0.3)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    assert short_axis_mm(indices, STEPS @ turn) == pytest.approx(short_axis_mm(indices, STEPS))
