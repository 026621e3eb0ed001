"""The picture of a volume in a package: what it outlines, where, and what its frame holds."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.core.geometry import Geometry
from pipeline.core.labels import COLORS, Label
from pipeline.core.volume import LabelMap, Volume
from pipeline.pictures.frame import TILE_PX
from pipeline.review.pages import READER_COLORS
from pipeline.review.preview import TILES, preview

SHAPE = (20, 100, 100)
GEOMETRY = Geometry.from_axes(SHAPE, spacing_mm=(5, 1, 1))
BLACK = Volume(np.full(SHAPE, -1000, np.int16), GEOMETRY)
SHOWN = (-150.0, 250.0)


def box(rows: slice, columns: slice, slices: slice = slice(2, 18), value: int = 1) -> LabelMap:
    voxels = np.zeros(SHAPE, np.uint8)
    voxels[slices, rows, columns] = value
    return LabelMap(voxels, GEOMETRY)


def tiles_with(picture: np.ndarray, color: tuple[int, int, int]) -> list[int]:
    found = (picture == color).all(axis=2)
    return [place for place in range(TILES) if found[:, place * TILE_PX : (place + 1) * TILE_PX].any()]


def test_the_mask_to_edit_is_outlined_in_the_colours_of_the_labels():
    labels = box(slice(40, 60), slice(40, 60))
    lesion = labels.voxels.copy()
    lesion[10, 45:50, 45:50] = 2
    picture = preview(BLACK, LabelMap(lesion, GEOMETRY), {}, SHOWN, (4,))
    assert picture.shape == (TILE_PX, TILES * TILE_PX, 3)
    assert tiles_with(picture, COLORS[Label.LIVER]) == [0, 1, 2, 3]
    assert tiles_with(picture, COLORS[Label.LESION]) == [2]  # 3, 5, then 11 of most lesion, then 18


@pytest.mark.parametrize("readers", [1, 2, 8])
def test_each_reading_is_outlined_in_its_own_colour_and_none_in_that_of_a_label(readers):
    one = box(slice(40, 60), slice(40, 60))
    readings = dict.fromkeys(list(READER_COLORS)[:readers], one)
    picture = preview(BLACK, one, readings, SHOWN)
    for letter in readings:
        assert tiles_with(picture, READER_COLORS[letter]) == [0, 1, 2, 3]
    assert not tiles_with(picture, COLORS[Label.LIVER])


def test_what_one_reader_alone_saw_lies_in_the_picture_too():
    here, there = box(slice(10, 20), slice(10, 20)), box(slice(85, 95), slice(85, 95), slice(7, 8))
    picture = preview(BLACK, here, {"A": here, "B": there}, SHOWN)
    assert len(tiles_with(picture, READER_COLORS["B"])) == 1


def test_without_any_label_there_is_a_picture():
    nothing = box(slice(0, 0), slice(0, 0))
    for readings in ({}, {"A": nothing}, {"A": nothing, "B": nothing}):
        assert preview(BLACK, nothing, readings, SHOWN).shape == (TILE_PX, TILES * TILE_PX, 3)
    thin = Geometry.from_axes((1, 4, 5), spacing_mm=(5, 1, 1))
    one = preview(Volume(np.zeros((1, 4, 5), np.int16), thin), LabelMap(np.zeros((1, 4, 5), np.uint8), thin), {}, SHOWN)
    assert one.shape == (TILE_PX, TILE_PX, 3)
