"""Outlines against areas one can count, in polygons, in vectors and in lines drawn into pictures."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from pipeline.core.geometry import Geometry
from pipeline.core.labels import COLORS, Label
from pipeline.pictures.frame import TILE_PX, Frame
from pipeline.pictures.outlines import (
    PATH_UNITS,
    Outline,
    as_svg,
    css_color,
    drawn_on,
    label_outlines,
    polygons_of,
)
from pipeline.review.pages import READER_COLORS

RED, GREEN = (255, 0, 0), (0, 255, 0)
masks = arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12)))


def area(points: np.ndarray) -> float:
    """Signed area of a polygon by the shoelace formula."""
    one, other = np.asarray(points, dtype=float).T
    return 0.5 * float(np.sum(one * np.roll(other, -1) - other * np.roll(one, -1)))


def paths_of(svg: str) -> list[np.ndarray]:
    """The polygons of an SVG of relative steps, in pixels of the sheet."""
    polygons = []
    for x, y, steps in re.findall(r"M(-?\d+) (-?\d+)l([^z]+)z", svg):
        moves = np.array(steps.split(), dtype=int).reshape(-1, 2)
        polygons.append((np.array([int(x), int(y)]) + np.cumsum(moves, axis=0)) / PATH_UNITS)
    return polygons


def frame_of(rows: int, columns: int, spacing_mm=(5, 1, 1)) -> Frame:
    return Frame(Geometry.from_axes((1, rows, columns), spacing_mm=spacing_mm))


def disc(edge: int, radius: float) -> np.ndarray:
    rows, columns = np.indices((edge, edge)) - (edge - 1) / 2
    return np.hypot(rows, columns) <= radius


def black(tiles: int = 1) -> np.ndarray:
    return np.zeros((TILE_PX, TILE_PX * tiles), np.uint8)


def test_one_voxel_is_a_diamond_around_its_centre():
    mask = np.zeros((5, 5), bool)
    mask[2, 3] = True
    (polygon,) = polygons_of(mask)
    assert {tuple(point) for point in polygon} == {(1.5, 3), (2.5, 3), (2, 2.5), (2, 3.5)}
    assert abs(area(polygon)) == 0.5


def test_mask_that_touches_the_border_is_closed_and_a_hole_has_its_own_outline():
    mask = np.ones((6, 6), bool)
    mask[2:4, 2:4] = False
    polygons = polygons_of(mask)
    assert len(polygons) == 2
    assert all((polygon[0] == polygon[-1]).all() for polygon in polygons)


@given(masks)
def test_no_outline_exactly_for_an_empty_mask(mask):
    assert bool(polygons_of(mask)) == bool(mask.any())


@given(masks)
def test_outlines_enclose_the_voxels_but_for_half_a_voxel_of_corners_a_part(mask):
    """A closed line along voxel edges turns four times more outwards than inwards, and a cut corner is an eighth."""
    parts = ndimage.label(mask)[1]
    holes = ndimage.label(np.pad(~mask, 1, constant_values=True), np.ones((3, 3)))[1] - 1
    polygons = polygons_of(mask)
    assert len(polygons) == parts + holes
    assert abs(sum(map(area, polygons))) == pytest.approx(mask.sum() - parts / 2 + holes / 2)


@given(masks, st.sampled_from([(5, 1, 1), (5, 0.7, 1.3), (5, 2.5, 0.5)]))
def test_vectors_enclose_the_millimetres_of_the_mask_at_any_pixel_spacing(mask, spacing_mm):
    frame = frame_of(*mask.shape, spacing_mm)
    _, row_mm, column_mm = spacing_mm
    mm_per_px = max(mask.shape[0] * row_mm, mask.shape[1] * column_mm) / TILE_PX
    found_mm2 = abs(sum(map(area, paths_of(as_svg([Outline(mask[np.newaxis], RED)], frame))))) * mm_per_px**2
    cut_mm2 = row_mm * column_mm * abs(sum(map(area, polygons_of(mask))))
    rounding_mm2 = (mask.sum() + 1) * 6 * (TILE_PX * mm_per_px) / PATH_UNITS * mm_per_px / 12
    assert found_mm2 == pytest.approx(cut_mm2, abs=rounding_mm2)


def test_the_outline_of_a_square_of_the_patient_is_a_square():
    mask = np.zeros((60, 30), bool)
    mask[20:40, 10:20] = True
    (points,) = paths_of(as_svg([Outline(mask[np.newaxis], RED)], frame_of(60, 30, (5, 1, 2))))
    width, height = np.ptp(points, axis=0)
    assert width == height == pytest.approx(TILE_PX / 3, abs=0.5)
    np.testing.assert_allclose(points.mean(axis=0), TILE_PX / 2, atol=2)


def test_vectors_of_each_slice_lie_on_its_tile():
    voxels = np.zeros((3, 20, 20), bool)
    voxels[0, 5:15, 5:15] = voxels[2, 5:15, 5:15] = True
    polygons = paths_of(as_svg([Outline(voxels, RED)], frame_of(20, 20)))
    assert [int(points[:, 0].mean() // TILE_PX) for points in polygons] == [0, 2]


def test_labels_are_outlined_in_their_colours():
    labels = np.array([[[0, 1, 1, 2]]], np.uint8)
    liver, lesion = label_outlines(labels)
    assert (liver.color, lesion.color) == (COLORS[Label.LIVER], COLORS[Label.LESION])
    assert liver.mask.tolist() == [[[False, True, True, True]]]
    assert lesion.mask.tolist() == [[[False, False, False, True]]]
    svg = as_svg([liver, lesion], frame_of(1, 4))
    assert re.findall('stroke="([^"]+)"', svg) == ["#4caf50", "#f44336"]
    assert css_color((0, 15, 255)) == "#000fff"


def test_an_empty_mask_leaves_no_trace():
    nothing = Outline(np.zeros((2, 9, 9), bool), RED)
    assert "<path" not in as_svg([nothing], frame_of(9, 9))
    assert not drawn_on(black(2), [nothing], frame_of(9, 9)).any()


@pytest.mark.parametrize("edge", [64, 100, 1000])
def test_lines_run_along_the_border_and_leave_the_inside_free(edge):
    frame = frame_of(edge, edge)
    mask = np.zeros((1, edge, edge), bool)
    mask[0, edge // 4 : -edge // 4, edge // 4 : -edge // 4] = True
    red = (drawn_on(black(), [Outline(mask, RED)], frame) == RED).all(axis=2)
    enclosed = ndimage.binary_fill_holes(red)
    assert enclosed.sum() == pytest.approx((TILE_PX / 2) ** 2, rel=0.04)
    assert red.sum() == pytest.approx(2 * 4 * TILE_PX / 2, rel=0.04)


@given(st.integers(0, 999), st.integers(0, 999))
def test_one_voxel_of_a_large_slice_is_seen_where_it_lies(row, column):
    mask = np.zeros((1, 1000, 1000), bool)
    mask[0, row, column] = True
    drawn = drawn_on(black(), [Outline(mask, RED)], frame_of(1000, 1000))
    found = np.argwhere(drawn.any(axis=2))
    assert len(found) > 0
    np.testing.assert_allclose(found.mean(axis=0), np.array([row, column]) * TILE_PX / 1000, atol=1.5)


@pytest.mark.parametrize("readers", range(1, 9))
def test_each_of_several_outlines_that_coincide_is_seen(readers):
    mask = disc(80, 25)[np.newaxis]
    colors = list(READER_COLORS.values())[:readers]
    drawn = drawn_on(black(), [Outline(mask, color) for color in colors], frame_of(80, 80))
    line = drawn.any(axis=2).sum()
    for color in colors:
        assert (drawn == color).all(axis=2).sum() > 0.5 * line / readers


def test_where_outlines_part_each_keeps_its_whole_line():
    left, right = np.zeros((2, 1, 100, 100), bool)
    left[0, 20:80, 10:40] = True
    right[0, 20:80, 60:90] = True
    drawn = drawn_on(black(), [Outline(left, RED), Outline(right, GREEN)], frame_of(100, 100))
    red, green = ((drawn == color).all(axis=2).sum() for color in (RED, GREEN))
    assert red == green == (drawn_on(black(), [Outline(left, RED)], frame_of(100, 100)) == RED).all(axis=2).sum()


def test_the_picture_beneath_is_kept_and_the_sheet_itself_not_changed():
    sheet = np.random.default_rng(0).integers(0, 256, (TILE_PX, TILE_PX)).astype(np.uint8)
    before = sheet.copy()
    drawn = drawn_on(sheet, [Outline(disc(50, 12)[np.newaxis], RED)], frame_of(50, 50))
    untouched = ~(drawn == RED).all(axis=2)
    assert (drawn[untouched] == sheet[untouched][:, np.newaxis]).all()
    assert np.array_equal(sheet, before)
