"""Contact sheets: which slices, which way up, what is outlined."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from pipeline.core.geometry import Geometry
from pipeline.core.volume import LabelMap, Unit, Volume
from pipeline.review.preview import Contour, contact_sheet, display_range, png_bytes, slices_to_show

SHAPE = (20, 60, 80)
RED = (255, 0, 0)


def labels_with(liver: slice, lesion_at: int | None = None) -> LabelMap:
    voxels = np.zeros(SHAPE, np.uint8)
    voxels[liver, 20:40, 20:50] = 1
    if lesion_at is not None:
        voxels[lesion_at, 25:30, 25:30] = 2
    return LabelMap(voxels, Geometry.from_axes(SHAPE, spacing_mm=(5, 1, 1)))


def test_the_slice_with_most_lesion_is_always_shown():
    assert 16 in slices_to_show(labels_with(slice(2, 19), lesion_at=16))


def test_wanted_slices_come_first_and_many_are_thinned_evenly():
    assert set(slices_to_show(labels_with(slice(2, 19)), (3, 4))) >= {3, 4}
    assert slices_to_show(labels_with(slice(2, 19)), tuple(range(2, 15))) == (2, 6, 10, 14)
    assert set(slices_to_show(labels_with(slice(2, 19)), (-1, 99, 5))) >= {5}


def test_an_empty_mask_and_a_thin_volume_still_give_a_picture():
    assert len(slices_to_show(labels_with(slice(0, 0)))) == 4
    thin = LabelMap(np.zeros((1, 4, 5), np.uint8), Geometry.from_axes((1, 4, 5), spacing_mm=(5, 1, 1)))
    assert slices_to_show(thin) == (0,)
    image = Volume(np.zeros((1, 4, 5), np.int16), thin.geometry)
    assert contact_sheet(image, [Contour(thin.voxels > 0, RED)], (0,)).shape[2] == 3


@pytest.mark.parametrize("letters", ["SPL", "SAR", "SAL", "IPR"])
def test_the_patients_right_is_on_the_left_and_the_front_is_up_however_it_is_stored(letters):
    """A bright dot on the patient's right front must end in the upper left quarter of the picture."""
    towards = {"L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}
    geometry = Geometry.from_axes((1, 50, 50), spacing_mm=(5, 1, 1), directions=[towards[letter] for letter in letters])
    voxels = np.full((1, 50, 50), -150, np.int16)
    near, far = slice(15, 20), slice(30, 35)
    voxels[0, near if letters[1] == "P" else far, near if letters[2] == "L" else far] = 250
    sheet = contact_sheet(Volume(voxels, geometry), [Contour(np.zeros((1, 50, 50), bool), RED)], (0,))
    bright = np.argwhere((sheet == 255).all(axis=2))
    np.testing.assert_allclose(bright.mean(axis=0), np.array([17.0, 17.0]) * sheet.shape[0] / 50, atol=3)


def test_the_outline_runs_along_the_mask_and_leaves_its_inside_free():
    mask = np.zeros((1, 50, 50), bool)
    mask[0, 10:40, 10:40] = True
    geometry = Geometry.from_axes((1, 50, 50), spacing_mm=(5, 5, 5))
    sheet = contact_sheet(Volume(np.zeros((1, 50, 50), np.int16), geometry), [Contour(mask, RED)], (0,))
    red = (sheet == RED).all(axis=2)
    assert red.sum() == pytest.approx(4 * 2 * red.any(axis=1).sum(), rel=0.05)
    middle = np.argwhere(red).mean(axis=0).astype(int)
    assert not red[middle[0] - 20 : middle[0] + 20, middle[1] - 20 : middle[1] + 20].any()


def test_mr_is_shown_by_its_own_percentiles_and_a_flat_image_does_not_divide_by_zero():
    geometry = Geometry.from_axes((1, 10, 10), spacing_mm=(5, 1, 1))
    ramp = np.arange(100, dtype=np.float32).reshape(1, 10, 10)
    assert display_range(Volume(ramp, geometry, Unit.INTENSITY)) == pytest.approx((0.99, 98.01))
    assert display_range(Volume(ramp * 0, geometry, Unit.INTENSITY)) == (0, 1)
    assert display_range(Volume(ramp, geometry)) == (-150, 250)


def test_a_png_is_the_same_bytes_twice_and_keeps_even_one_pixel_of_an_outline():
    sheet = np.repeat(np.random.default_rng(0).integers(0, 255, (90, 90, 1)), 3, axis=2).astype(np.uint8)
    sheet[40, 50] = RED
    content = png_bytes(sheet, [RED, (76, 175, 80)])
    assert png_bytes(sheet.copy(), [RED, (76, 175, 80)]) == content
    picture = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)
    assert picture[40, 50].tolist() == list(RED)
    assert np.abs(picture - sheet).max() <= 4
