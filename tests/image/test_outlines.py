"""Outlines against areas one can count."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.image.outlines import outline_of


def area(polygon: np.ndarray) -> float:
    """Signed area by the shoelace formula."""
    y, x = polygon[:, 0], polygon[:, 1]
    return 0.5 * float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]))


def test_one_voxel_is_a_diamond_around_its_centre():
    mask = np.zeros((5, 5), bool)
    mask[2, 3] = True
    (polygon,) = outline_of(mask)
    np.testing.assert_allclose(polygon.mean(axis=0)[0], 2, atol=0.2)
    assert abs(area(polygon)) == 0.5


def test_mask_that_touches_the_border_is_closed_and_a_hole_has_its_own_outline():
    mask = np.ones((6, 6), bool)
    mask[2:4, 2:4] = False
    polygons = outline_of(mask)
    assert len(polygons) == 2
    assert all((polygon[0] == polygon[-1]).all() for polygon in polygons)


@given(arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_no_outline_exactly_for_an_empty_mask(mask):
    assert bool(outline_of(mask)) == bool(mask.any())
