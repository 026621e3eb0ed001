"""Which way up a slice is shown, however it is stored, and how large its voxels are on the tile."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from pipeline.core.geometry import Geometry
from pipeline.core.volume import Volume
from pipeline.image.loading import AXIAL
from pipeline.image.orientation import reoriented
from pipeline.pictures.frame import GAP_PX, MARGIN_MM, TILE_PX, Frame, frame_around

STORED = [
    "".join(letters) for lines in itertools.permutations(["LR", "PA", "SI"]) for letters in itertools.product(*lines)
]
DOWN_AND_RIGHT = {
    "S": ((0, 1, 0), (1, 0, 0)),
    "I": ((0, 1, 0), (1, 0, 0)),
    "P": ((0, 0, -1), (1, 0, 0)),
    "A": ((0, 0, -1), (1, 0, 0)),
    "L": ((0, 0, -1), (0, 1, 0)),
    "R": ((0, 0, -1), (0, 1, 0)),
}
"""As radiologists hang films: axial from the feet with the front up, coronal from the front, sagittal facing left."""


def stack() -> Volume:
    rng = np.random.default_rng(5)
    geometry = Geometry.from_axes((5, 12, 9), spacing_mm=(5, 1.5, 2), origin_lps_mm=(-10, 20, 30))
    return Volume(rng.integers(-500, 500, geometry.shape).astype(np.int16), geometry)


def steps_of(frame: Frame) -> np.ndarray:
    """(2, 3): where one step down and one step right on the upright picture lead in the patient, in LPS."""
    rows, columns = (frame.cut(index) for index in np.indices(frame.geometry.shape[1:]))
    places = frame.geometry.to_lps_mm(np.stack([np.zeros_like(rows), rows, columns], axis=-1))
    return np.stack([places[1, 0] - places[0, 0], places[0, 1] - places[0, 0]])


@pytest.mark.parametrize("letters", STORED)
def test_slices_stand_upright_however_the_volume_is_stored(letters):
    stored = reoriented(stack(), letters)
    steps = steps_of(Frame(stored.geometry))
    unit = steps / np.linalg.norm(steps, axis=1, keepdims=True)
    np.testing.assert_allclose(unit, DOWN_AND_RIGHT[letters[0]], atol=1e-9)


@pytest.mark.parametrize("letters", STORED)
def test_the_axial_picture_is_the_same_from_all_48_ways_to_store_a_volume(letters):
    """Slices along the body's axis are shown as they lie; a volume stored in another plane is turned first."""
    expected = stack().voxels[3]
    stored = reoriented(stack(), letters)
    axial = stored if letters[0] in "SI" else reoriented(stored, AXIAL)
    index = 3 if axial.geometry.orientation[0] == "S" else 1
    frame = Frame(axial.geometry)
    assert np.array_equal(frame.cut(axial.voxels[index]), expected)
    assert frame.voxel_px == pytest.approx((TILE_PX / 12, TILE_PX / 12 * 2 / 1.5))


@given(st.integers(0, 2**32 - 1))
def test_of_the_eight_ways_to_turn_an_oblique_slice_the_most_upright_is_shown(seed):
    directions = Rotation.random(random_state=seed).as_matrix()
    frame = Frame(Geometry.from_axes((2, 3, 4), spacing_mm=(3, 1, 1), directions=directions))
    down, right = steps_of(frame)
    normal = np.abs(np.cross(down, right))
    wanted_down, wanted_right = DOWN_AND_RIGHT["LPS"[int(normal.argmax())]]
    pairs = [(down, right), (right, down)]
    turns = [(a * one, b * other) for one, other in pairs for a in (1, -1) for b in (1, -1)]
    uprightness = [float(one @ wanted_down + other @ wanted_right) for one, other in turns]
    assert uprightness[0] == pytest.approx(max(uprightness))


def test_colours_are_turned_like_shades():
    geometry = reoriented(stack(), "IAR").geometry
    plane = np.random.default_rng(1).integers(0, 255, (*geometry.shape[1:], 3)).astype(np.uint8)
    frame = Frame(geometry)
    tile = frame.tile(frame.cut(plane))
    assert tile.shape == (TILE_PX, TILE_PX, 3)
    for channel in range(3):
        assert np.array_equal(frame.cut(plane)[..., channel], frame.cut(plane[..., channel]))
        assert np.array_equal(tile[..., channel], frame.tile(frame.cut(plane[..., channel])))


@given(st.integers(0, 9), st.integers(0, 9), st.integers(1, 30), st.integers(1, 30))
def test_a_frame_is_square_in_millimetres_and_holds_what_is_marked_with_a_margin(top, left, height, width):
    """On a grid large enough for it; pixels of 0.7 mm by 1.3 mm."""
    footprint = np.zeros((200, 120), np.bool_)
    footprint[80 + top : 80 + top + height, 40 + left : 40 + left + width] = True
    frame = frame_around(footprint, Geometry.from_axes((1, 200, 120), spacing_mm=(5, 0.7, 1.3)))
    shown = frame.cut(footprint)
    assert shown.sum() == footprint.sum()
    edge_mm = max(height * 0.7, width * 1.3) + 2 * MARGIN_MM
    np.testing.assert_allclose((shown.shape[0] * 0.7, shown.shape[1] * 1.3), edge_mm, atol=0.7)
    rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
    assert min(rows[0], shown.shape[0] - 1 - rows[-1]) * 0.7 > MARGIN_MM - 1.4
    assert min(columns[0], shown.shape[1] - 1 - columns[-1]) * 1.3 > MARGIN_MM - 2.6


def test_at_the_edge_of_the_image_the_frame_moves_inside():
    footprint = np.zeros((100, 100), np.bool_)
    footprint[0:20, 90:100] = True
    frame = frame_around(footprint, Geometry.from_axes((1, 100, 100), spacing_mm=(5, 1, 1)))
    assert (frame.rows, frame.columns) == (slice(0, 52), slice(48, 100))


def test_without_a_mark_and_around_more_than_the_image_all_is_shown():
    geometry = Geometry.from_axes((1, 30, 40), spacing_mm=(5, 1, 1))
    for footprint in (np.zeros((30, 40), np.bool_), np.ones((30, 40), np.bool_)):
        assert frame_around(footprint, geometry).cut(footprint).shape == (30, 40)


@pytest.mark.parametrize("spacing_mm", [(5, 1, 1), (5, 0.5, 2), (5, 3, 0.6)])
def test_a_square_of_the_patient_is_a_square_on_the_tile(spacing_mm):
    _, row_mm, column_mm = spacing_mm
    shape = (1, round(120 / row_mm), round(120 / column_mm))
    picture = np.zeros(shape[1:], np.uint8)
    picture[round(30 / row_mm) : round(90 / row_mm), round(30 / column_mm) : round(90 / column_mm)] = 255
    tile = Frame(Geometry.from_axes(shape, spacing_mm=spacing_mm)).tile(picture)
    bright = tile > 127
    assert bright.any(axis=1).sum() == pytest.approx(TILE_PX / 2, abs=2)
    assert bright.any(axis=0).sum() == pytest.approx(TILE_PX / 2, abs=2)


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (700, 1)])
def test_the_thinnest_slices_have_a_tile(shape):
    frame = Frame(Geometry.from_axes((1, *shape), spacing_mm=(1, 1, 1)))
    tile = frame.tile(np.full(shape, 200, np.uint8))
    assert tile.shape == (TILE_PX, TILE_PX)
    assert (tile == 200).any()
    assert not tile[:, -GAP_PX:].any()
