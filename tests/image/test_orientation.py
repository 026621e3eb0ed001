"""Turning axes moves voxels but never an anatomical point."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import GeometryError
from pipeline.core.geometry import Geometry
from pipeline.core.volume import LabelMap
from pipeline.image.orientation import reoriented

ORIENTATIONS = [
    "".join(letters) for lines in itertools.permutations(["LR", "PA", "SI"]) for letters in itertools.product(*lines)
]


def stack(shape: tuple[int, int, int] = (3, 4, 5)) -> LabelMap:
    voxels = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    tilted = [[0, np.sin(0.2), np.cos(0.2)], [0, np.cos(0.2), -np.sin(0.2)], [1, 0, 0]]
    return LabelMap(
        voxels, Geometry.from_axes(shape, spacing_mm=(5, 2, 1), origin_lps_mm=(-10, 20, 30), directions=tilted)
    )


@given(st.sampled_from(ORIENTATIONS), st.sampled_from(ORIENTATIONS))
def test_every_voxel_keeps_its_value_and_its_place(first: str, second: str):
    image = stack()
    turned = reoriented(reoriented(image, first), second)
    assert turned.geometry.orientation == second
    indices = np.argwhere(np.ones(turned.voxels.shape, dtype=bool))
    home = np.rint(image.geometry.to_index(turned.geometry.to_lps_mm(indices))).astype(int)
    assert np.array_equal(turned.voxels[tuple(indices.T)], image.voxels[tuple(home.T)])
    assert np.allclose(image.geometry.to_lps_mm(home), turned.geometry.to_lps_mm(indices), atol=1e-9)


def test_image_that_already_lies_so_is_handed_back_itself():
    image = stack()
    assert image.geometry.orientation == "SPL"
    assert reoriented(image, "SPL") is image


@pytest.mark.parametrize("impossible", ["SPA", "XYZ", "SP", "SPLL"])
def test_impossible_orientation_is_refused(impossible: str):
    with pytest.raises(GeometryError, match="cannot turn axes"):
        reoriented(stack(), impossible)
