"""Contact sheets: which slices, which way up, in the same bytes every time."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.core.geometry import Geometry
from pipeline.core.volume import Unit
from pipeline.pictures.display import display_range
from pipeline.pictures.frame import GAP_PX, TILE_PX, Frame, frame_around
from pipeline.pictures.outlines import as_svg, drawn_on, label_outlines
from pipeline.pictures.sheets import (
    captioned,
    choose_tiles,
    contact_sheet,
    in_rows,
    jpeg_bytes,
    most_disputed,
    png_bytes,
)
from pipeline.synth.phantom import LesionKind, make_phantom

SHAPE = (20, 60, 80)
GEOMETRY = Geometry.from_axes(SHAPE, spacing_mm=(5, 1, 1))


def labels_with(liver: slice, lesion_at: int | None = None) -> np.ndarray:
    voxels = np.zeros(SHAPE, np.uint8)
    voxels[liver, 20:40, 20:50] = 1
    if lesion_at is not None:
        voxels[lesion_at, 25:30, 25:30] = 2
    return voxels


def shown(labels: np.ndarray, wanted=(), count: int = 4) -> list[int]:
    return [tile.index for tile in choose_tiles(labels, dict.fromkeys(wanted, "wanted"), count)]


def test_slices_are_shown_with_the_reason():
    tiles = {tile.index: tile.why for tile in choose_tiles(labels_with(slice(2, 19), 16), {7: "most disputed"}, 5)}
    assert tiles == {
        2: "first with liver",
        7: "most disputed",
        10: "middle",
        16: "most lesion",
        18: "last with liver",
    }


def test_people_count_slices_from_1():
    assert [(tile.index, tile.number) for tile in choose_tiles(labels_with(slice(3, 5)), {}, 4)] == [(3, 4), (4, 5)]


def test_wanted_slices_come_first_and_many_are_thinned_evenly():
    assert set(shown(labels_with(slice(2, 19)), (3, 4))) >= {3, 4}
    assert shown(labels_with(slice(2, 19)), range(2, 15)) == [2, 6, 10, 14]
    assert set(shown(labels_with(slice(2, 19)), (-1, 99, 5))) >= {5}


def test_the_most_disputed_slices_are_those_with_most_voxels_and_the_first_of_equal_ones():
    assert list(most_disputed([0, 4, 9, 0, 9, 1], 3)) == [2, 4, 1]
    assert list(most_disputed([0, 4, 0], 3)) == [1]
    assert most_disputed([0, 0], 2) == most_disputed([], 2) == {}


def test_without_a_liver_slices_of_the_whole_volume_are_shown():
    tiles = choose_tiles(labels_with(slice(0, 0)), {}, 4)
    assert [(tile.index, tile.why) for tile in tiles] == [(index, "no liver") for index in (0, 6, 13, 19)]
    assert shown(np.zeros((1, 4, 5), np.uint8)) == [0]


@given(st.integers(0, 19), st.integers(1, 20), st.none() | st.integers(0, 19), st.lists(st.integers(-3, 25)))
def test_any_choice_is_in_order_inside_and_as_large_as_there_is_to_show(first, count, lesion_at, wanted):
    labels = labels_with(slice(first, first + count), lesion_at)
    for most in (1, 4, 6):
        found = shown(labels, wanted, most)
        assert found == sorted(set(found))
        assert set(found) <= set(range(20))
        liver = np.flatnonzero(labels.any(axis=(1, 2)))
        assert min(most, liver.size) <= len(found) <= most


@pytest.mark.parametrize("letters", ["SPL", "SAR", "SAL", "IPR", "SLP", "IRA"])
def test_the_patients_right_is_on_the_left_and_the_front_is_up_however_it_is_stored(letters):
    """A bright dot on the patient's right front must end in the upper left quarter of the picture."""
    towards = {"L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}
    geometry = Geometry.from_axes((1, 50, 50), spacing_mm=(5, 1, 1), directions=[towards[letter] for letter in letters])
    voxels = np.full((1, 50, 50), -150, np.int16)
    near, far = slice(15, 20), slice(30, 35)
    rows, columns = (near if letter in "PL" else far for letter in letters[1:])
    voxels[0, rows, columns] = 250
    sheet = contact_sheet(voxels, Frame(geometry), display_range(voxels, Unit.HU))
    bright = np.argwhere(sheet > 250)
    np.testing.assert_allclose(bright.mean(axis=0), np.array([17.0, 17.0]) * TILE_PX / 50, atol=3)


def test_a_sheet_has_one_tile_a_slice_with_a_gap_between():
    voxels = np.full((3, 60, 60), 250, np.int16)
    frame = Frame(Geometry.from_axes((3, 60, 60), spacing_mm=(5, 1, 1)))
    sheet = contact_sheet(voxels, frame, display_range(voxels, Unit.HU))
    assert sheet.shape == (TILE_PX, 3 * TILE_PX)
    assert (sheet == 0).all(axis=0).sum() == 3 * GAP_PX
    assert contact_sheet(voxels[:1], frame, (0, 1)).shape == (TILE_PX, TILE_PX)


def test_a_sheet_of_colour_is_in_colour():
    voxels = np.zeros((2, 30, 30, 3), np.uint8)
    voxels[1, ..., 2] = 200
    sheet = contact_sheet(voxels, Frame(Geometry.from_axes((2, 30, 30), spacing_mm=(5, 1, 1))), display_range(voxels))
    assert sheet.shape == (TILE_PX, 2 * TILE_PX, 3)
    assert sheet[TILE_PX // 2, TILE_PX * 3 // 2].tolist() == [0, 0, 200]


@given(st.integers(1, 17), st.integers(1, 5))
def test_rows_are_filled_in_reading_order(count, across):
    sheet = in_rows([np.full((2, 3), number + 1, np.uint8) for number in range(count)], across)
    assert sheet.shape == (2 * -(-count // across), 3 * across)
    numbers = sheet[::2, ::3].ravel().tolist()
    assert numbers == [*range(1, count + 1), *[0] * (len(numbers) - count)]


def test_each_caption_stands_on_its_own_tile():
    plain = np.zeros((TILE_PX, 3 * TILE_PX), np.uint8)
    drawn = captioned(plain, ["slice 1", "", "slice 12, most disputed"])
    inked = [drawn[:, start : start + TILE_PX].any() for start in range(0, 3 * TILE_PX, TILE_PX)]
    assert inked == [True, False, True]
    assert not drawn[40:].any()


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(np.random.default_rng(3), kinds=(LesionKind.HCC, LesionKind.CYST))


def made(phantom) -> tuple[bytes, bytes, bytes, str]:
    """Everything of a phantom that is written to files."""
    labels, geometry = phantom.labels.voxels, phantom.labels.geometry
    slices = shown(labels, count=6)
    frame = frame_around(labels.any(axis=0), geometry)
    sheet = contact_sheet(phantom.volume.voxels[slices], frame, display_range(phantom.volume.voxels, Unit.HU))
    outlines = label_outlines(labels[slices])
    drawn = captioned(drawn_on(sheet, outlines, frame), [f"slice {index + 1}" for index in slices])
    return jpeg_bytes(sheet), jpeg_bytes(drawn), png_bytes(drawn), as_svg(outlines, frame)


def test_pictures_have_the_same_bytes_every_time(phantom):
    assert made(phantom) == made(phantom)


def test_pictures_are_as_small_as_pages_need_them(phantom):
    gray, drawn, _, svg = made(phantom)
    assert len(gray) < 6 * 7_000
    assert len(drawn) < 6 * 16_000
    assert len(svg) < 6_000


def test_a_png_keeps_every_pixel():
    picture = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    for kept in (picture, picture[..., 0]):
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(png_bytes(kept)))), kept)
