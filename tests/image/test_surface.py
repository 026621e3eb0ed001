from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

from pipeline.core.geometry import Geometry
from pipeline.image.surface import distance_to, edge_voxels

STEPS = [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)]
SHEARED = np.array([[0, 0, 0.7, 0], [1.5, 0.8, 0, 0], [5.0, 0, 0, 0], [0, 0, 0, 1]])


def inside(mask, index):
    return all(0 <= n < size for n, size in zip(index, mask.shape, strict=True)) and mask[index]


@settings(max_examples=50, deadline=None)
@given(arrays(np.bool_, (3, 4, 5)))
def test_the_surface_is_every_voxel_with_a_face_neighbour_outside(mask):
    expected = [
        index
        for index in np.ndindex(mask.shape)
        if mask[index] and not all(inside(mask, tuple(np.add(index, step))) for step in STEPS)
    ]
    found = np.stack(np.unravel_index(edge_voxels(mask), mask.shape), axis=-1)
    assert list(map(tuple, found.tolist())) == expected


def test_a_mask_that_fills_the_image_has_its_surface_on_the_border():
    assert len(edge_voxels(np.ones((3, 4, 5), bool))) == 60 - 1 * 2 * 3


@pytest.mark.parametrize("shape", [(1, 4, 5), (4, 1, 5), (1, 1, 1)])
def test_a_mask_one_voxel_thin_is_all_surface(shape):
    assert len(edge_voxels(np.ones(shape, bool))) == math.prod(shape)


@pytest.mark.parametrize("affine", [None, SHEARED], ids=["straight", "sheared"])
def test_distances_are_those_to_the_nearest_voxel_in_millimetres(affine):
    shape = (4, 5, 6)
    geometry = Geometry.from_axes(shape, spacing_mm=(5, 0.8, 0.7)) if affine is None else Geometry(shape, affine)
    edge = np.array([3, 47, 110])
    centres = geometry.to_lps_mm(np.stack(np.unravel_index(np.arange(120), shape), axis=-1))
    expected = np.linalg.norm(centres[:, np.newaxis] - centres[edge], axis=-1).min(axis=1)
    assert distance_to(edge, shape, geometry)(np.arange(120)) == pytest.approx(expected, abs=1e-5)
