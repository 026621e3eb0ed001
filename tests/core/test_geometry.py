"""Grids checked against geometry one can do on paper."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import GeometryError
from pipeline.core.geometry import Geometry, require_same_space

AXIAL = Geometry.from_axes((10, 20, 30), spacing_mm=(5.0, 0.8, 0.7), origin_lps_mm=(-100, -50, 300))


def test_axial_scan_grows_to_superior_posterior_left():
    assert AXIAL.orientation == "SPL"
    np.testing.assert_allclose(AXIAL.to_lps_mm((2, 3, 4)), (-100 + 4 * 0.7, -50 + 3 * 0.8, 300 + 2 * 5))


def test_spacing_follows_the_array():
    assert AXIAL.spacing_mm == pytest.approx((5.0, 0.8, 0.7))
    assert AXIAL.voxel_volume_ml == pytest.approx(5.0 * 0.8 * 0.7 / 1000)


def test_feet_first_scan_is_named_inferior():
    directions = [(0, 0, -1), (0, 1, 0), (-1, 0, 0)]
    geometry = Geometry.from_axes((4, 4, 4), spacing_mm=(3, 1, 1), directions=directions)
    assert geometry.orientation == "IPR"


def test_crop_keeps_every_voxel_at_its_place():
    box = AXIAL.cropped((3, 1, 2), (4, 5, 6))
    np.testing.assert_allclose(box.to_lps_mm((0, 0, 0)), AXIAL.to_lps_mm((3, 1, 2)))
    np.testing.assert_allclose(box.to_lps_mm((3, 4, 5)), AXIAL.to_lps_mm((6, 5, 7)))


def test_crop_that_leaves_the_grid_is_refused():
    with pytest.raises(GeometryError, match="leaves the grid"):
        AXIAL.cropped((8, 0, 0), (3, 20, 30))


@pytest.mark.parametrize(
    ("shape", "affine", "message"),
    [
        ((0, 2, 2), np.eye(4), "at least one voxel"),
        ((2, 2, 2), np.full((4, 4), np.nan), "finite"),
        ((2, 2, 2), np.zeros((4, 4)), "singular"),
    ],
)
def test_impossible_grids_are_refused(shape, affine, message):
    with pytest.raises(GeometryError, match=message):
        Geometry(shape, affine)


def test_tilted_gantry_is_sheared_and_its_volume_is_that_of_the_parallelepiped():
    affine = np.array(AXIAL.affine)
    affine[1, 0] = 5.0 * np.tan(np.radians(15))  # each slice moves up the gantry's tilt
    tilted = Geometry(AXIAL.shape, affine)
    assert tilted.is_sheared
    assert not AXIAL.is_sheared
    assert tilted.voxel_volume_ml == pytest.approx(AXIAL.voxel_volume_ml)


def test_affine_is_copied_and_read_only():
    source = np.eye(4)
    geometry = Geometry((2, 2, 2), source)
    source[0, 0] = 7
    assert geometry.affine[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        geometry.affine[0, 0] = 2


@given(st.tuples(*[st.floats(-50, 50)] * 3), st.tuples(*[st.floats(0.2, 8)] * 3))
def test_index_and_position_are_inverse(point, spacing):
    geometry = Geometry.from_axes((9, 9, 9), spacing_mm=spacing, origin_lps_mm=(3, -4, 5))
    np.testing.assert_allclose(geometry.to_index(geometry.to_lps_mm(point)), point, atol=1e-9)


def test_same_space_forgives_rounding_but_not_half_a_voxel():
    rounded = Geometry(AXIAL.shape, AXIAL.affine.astype(np.float32))
    moved = np.array(AXIAL.affine)
    moved[0, 3] += 0.35
    assert AXIAL.same_space(rounded)
    assert not AXIAL.same_space(Geometry(AXIAL.shape, moved))


def test_refusal_names_shape_or_distance():
    with pytest.raises(GeometryError, match=r"mask of P0001 C1 has shape \(9, 20, 30\), expected \(10, 20, 30\)"):
        require_same_space(AXIAL, AXIAL.cropped((0, 0, 0), (9, 20, 30)), what="mask of P0001 C1")
    moved = np.array(AXIAL.affine)
    moved[2, 3] += 2
    with pytest.raises(GeometryError, match=r"up to 2\.00 mm away"):
        require_same_space(AXIAL, Geometry(AXIAL.shape, moved), what="mask of P0001 C1")


@given(
    st.tuples(*[st.integers(1, 9)] * 3),
    st.tuples(*[st.floats(0.1, 9)] * 3),
    st.tuples(*[st.one_of(st.just(0.0), st.floats(-500, 500))] * 3),
)
def test_grids_of_equal_numbers_are_equal_and_hash_alike(shape, spacing, origin):
    one = Geometry.from_axes(shape, spacing_mm=spacing, origin_lps_mm=origin)
    same = Geometry(shape, np.where(one.affine == 0, -0.0, one.affine))  # zeros of the other sign are equal numbers
    assert one == same
    assert hash(one) == hash(same)
    assert len({one, same}) == 1


@given(st.integers(0, 3), st.integers(0, 2))
def test_the_last_bit_of_an_affine_makes_another_grid_in_the_same_space(column, row):
    affine = AXIAL.affine.copy()
    affine[row, column] = np.nextafter(affine[row, column], 9999)
    other = Geometry(AXIAL.shape, affine)
    assert other != AXIAL
    assert AXIAL.same_space(other)


def test_a_grid_is_no_other_shape_and_no_other_thing():
    assert Geometry((9, 20, 30), AXIAL.affine) != AXIAL
    assert AXIAL != "Geometry"


def test_a_grid_is_shown_in_one_line_in_the_array_order():
    assert str(AXIAL) == "10 slices x 20 x 30, 5.00 x 0.80 x 0.70 mm"
    assert repr(AXIAL) == "Geometry(10 slices x 20 x 30, 5.00 x 0.80 x 0.70 mm, SPL)"
    assert str(Geometry.from_axes((1, 2, 3), spacing_mm=(1, 1, 1))).startswith("1 slice x")
