"""Drawn text makes a series suspect wherever it stands; anatomy, noise, tables and metal do not."""

from __future__ import annotations

import random

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from benchmarks.lettering import LETTERINGS, cover_of
from pipeline.dicom.deid.admission import admit
from pipeline.dicom.read.pixels import read_slice
from pipeline.dicom.read.scan import scan
from pipeline.text.find import MOST_COMPARED, TextFinding, find_text
from tests.places import SHARED

SIZE = 192


def phantom(count: int = 12, *, seed: int = 7) -> list[NDArray[np.int16]]:
    """A noisy body that changes from slice to slice, over noisy air, on a table: a thin curved line that does not."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIZE, :SIZE] - SIZE // 2
    slices = []
    for number in range(count):
        body = (rows / (55 + 2 * number)) ** 2 + (columns / (80 - number)) ** 2 < 1
        ring = np.abs(np.hypot(rows - 40, columns - number) - 12) < 2
        table = np.abs(rows - 85 - (columns / 60) ** 2) < 1
        means = np.where(body, 50.0, -990.0) + 600 * (ring & body) + 300 * table
        slices.append(rng.normal(means, 12).astype(np.int16))
    return slices


def letters(text: str, place: tuple[int, int], size: int, *, smooth: bool = False) -> NDArray[np.float64]:
    page = Image.new("L" if smooth else "1", (SIZE, SIZE))
    ImageDraw.Draw(page).text(place, text, fill=255 if smooth else 1, font=ImageFont.load_default(size))
    return np.asarray(page, dtype=np.float64) / (255 if smooth else 1)


def drawn(
    slices: list[NDArray[np.int16]], cover: NDArray[np.float64], level: int, only: set[int]
) -> list[NDArray[np.int16]]:
    return [
        np.round(values * (1 - cover) + level * cover).astype(np.int16) if number in only else values
        for number, values in enumerate(slices)
    ]


EVERY = set(range(12))
DRAWN = {
    "bright in the corner": ((5, 5), 12, 3071, EVERY, False),
    "faint in the corner": ((5, 5), 12, -700, EVERY, False),
    "bright over the body": ((60, 90), 12, 3071, EVERY, False),
    "faint over the body": ((60, 90), 12, 250, EVERY, False),
    "small": ((5, 170), 8, 1200, EVERY, False),
    "large": ((5, 5), 24, 1200, EVERY, False),
    "smooth in the corner": ((5, 5), 12, 1200, EVERY, True),
    "smooth over the body": ((60, 90), 16, 800, EVERY, True),
    "on one slice": ((5, 5), 12, 3071, {6}, False),
    "smooth on one slice": ((60, 90), 16, 1200, {6}, True),
    "dark over the body": ((60, 90), 12, -800, EVERY, False),
    "dark on one slice": ((60, 90), 16, -800, {6}, True),
    "smooth on the first slice": ((60, 90), 16, 1200, {0}, True),
    "smooth on the last slice": ((60, 90), 16, 1200, {11}, True),
}


@pytest.mark.parametrize("case", DRAWN)
@pytest.mark.parametrize("text", ["KOWALSKA 1954", "ID 00776655"])
def test_drawn_text_makes_a_series_suspect(case, text):
    place, size, level, only, smooth = DRAWN[case]
    assert find_text(drawn(phantom(), letters(text, place, size, smooth=smooth), level, only)).is_suspect


@pytest.mark.parametrize("noise", [0.0, 40.0, 150.0])
@pytest.mark.parametrize("count", [2, 10, 100])
def test_noise_alone_is_no_text(noise, count):
    rng = np.random.default_rng(5)
    slices = [rng.normal(1050, noise, (128, 128)).astype(np.int16) for _ in range(count)]
    assert not find_text(slices).is_suspect


@pytest.mark.parametrize("seed", range(6))
def test_body_noise_and_table_are_no_text(seed):
    assert find_text(phantom(seed=seed)) == TextFinding()


def test_slice_with_the_text_is_named():
    cover = letters("KOWALSKA 1954", (5, 5), 12)
    assert [number for number, _ in find_text(drawn(phantom(), cover, 3071, {6})).lines] == [6]


def test_metal_and_its_streaks_are_no_text():
    slices = phantom()
    for values in slices:
        values[90:96, 90:99] = 3071
        values[93, 60:130] = np.maximum(values[93, 60:130], 900)
    assert not find_text(slices).is_suspect


def test_copies_of_one_slice_are_not_taken_for_static_text():
    assert not find_text([phantom(1)[0]] * 10).is_suspect


def test_air_cut_off_at_one_value_is_no_text():
    slices = [np.maximum(values, -1000) for values in phantom()]
    for values in slices:
        values[:2] = -2000
    assert not find_text(slices).is_suspect


def test_padding_that_flickers_outside_the_field_of_view_is_no_text():
    rng = np.random.default_rng(3)
    slices = [np.where((values < -900) & (rng.random(values.shape) < 0.1), -2000, values) for values in phantom()]
    assert not find_text([values.astype(np.int16) for values in slices]).is_suspect


def test_no_slices_have_no_text():
    assert find_text([]) == TextFinding()


def test_one_slice_alone_is_searched():
    cover = letters("KOWALSKA 1954", (5, 5), 12)
    assert find_text(drawn(phantom(1), cover, 3071, {0})).is_suspect


def test_unsigned_values_are_searched_alike():
    cover = letters("KOWALSKA 1954", (60, 90), 12)
    stored = [(values + 1024).clip(0).astype(np.uint16) for values in drawn(phantom(), cover, 2000, EVERY)]
    assert find_text(stored).is_suspect


def test_fractional_intensities_are_searched_alike():
    cover = letters("KOWALSKA 1954", (60, 90), 12)
    intensities = [values.astype(np.float32) / 3 for values in drawn(phantom(), cover, 2400, EVERY)]
    assert find_text(intensities).is_suspect
    assert not find_text([values.astype(np.float32) / 3 for values in phantom()]).is_suspect


@pytest.mark.slow
def test_real_series_raise_no_alarm():
    if not SHARED.is_dir():
        pytest.skip("the shared real files are not here")
    groups: dict[str, list] = {}
    for folder in ("body_ct", "liver_ct_dicomseg", "gantry_tilt", "series_with_reference_nifti", "rtstruct"):
        for instance in scan([SHARED / folder]).instances:
            if admit(instance) is None:
                groups.setdefault(instance.text("SeriesInstanceUID"), []).append(read_slice(instance))
    assert len(groups) >= 7
    assert [number for number, slices in enumerate(groups.values()) if find_text(slices).is_suspect] == []


TYPES = {
    "int16": lambda values: values,
    "uint16": lambda values: (values + 1024).clip(0).astype(np.uint16),
    "int32": lambda values: values.astype(np.int32) * 3,
    "float32": lambda values: (values * 1.5346).astype(np.float32),
    "uint8": lambda values: ((values + 1100.0) / 6).clip(0, 255).astype(np.uint8),
    "colour": lambda values: np.stack([((values + 1100.0) / 6).clip(0, 255).astype(np.uint8)] * 3, axis=-1),
}


@pytest.mark.parametrize("pixels", TYPES)
@pytest.mark.parametrize("lettering", LETTERINGS)
@pytest.mark.parametrize("only", [EVERY, {6}], ids=["all slices", "one slice"])
def test_every_kind_of_mark_is_found_in_every_type_of_pixel(lettering, pixels, only):
    size = 2 if "code" in lettering else 14
    cover = cover_of(lettering, (SIZE, SIZE), size, "corner", random.Random(2), smooth=False)
    marked = drawn(phantom(), cover, 300, only)
    assert find_text([TYPES[pixels](values) for values in marked]).is_suspect
    assert not find_text([TYPES[pixels](values) for values in phantom()]).is_suspect


@pytest.mark.parametrize("place", ["corner", "middle"])
@pytest.mark.parametrize("lettering", [lettering for lettering in LETTERINGS if lettering != "short"])
def test_smooth_marks_are_found_and_the_only_slice_that_has_them_is_named(lettering, place):
    size = 2 if "code" in lettering else 14
    cover = cover_of(lettering, (SIZE, SIZE), size, place, random.Random(2), smooth=True)
    assert find_text(drawn(phantom(), cover, 300, EVERY)).is_suspect
    assert [number for number, _ in find_text(drawn(phantom(), cover, 300, {6})).lines] == [6]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_smooth_text_in_a_short_series_is_found(count):
    cover = letters("KOWALSKA 1954", (5, 90), 12, smooth=True)
    assert find_text(drawn(phantom(count), cover, 300, EVERY)).is_suspect
    assert not find_text(phantom(count)).is_suspect


def test_a_slice_with_text_is_named_in_a_series_of_several_pictures():
    count = 2 * MOST_COMPARED + 5
    rng = np.random.default_rng(3)
    slices = [rng.normal(50, 12, (128, 128)).astype(np.int16) for _ in range(count)]
    cover = letters("KOWALSKA 1954", (5, 60), 12, smooth=True)[:128, :128]
    assert [number for number, _ in find_text(drawn(slices, cover, 300, {count - 2})).lines] == [count - 2]


def test_the_same_series_gives_the_same_finding():
    slices = drawn(phantom(), letters("KOWALSKA 1954", (60, 90), 12, smooth=True), 300, {6})
    assert find_text(slices) == find_text([values.copy() for values in slices]) != TextFinding()


def test_text_in_one_colour_alone_is_found():
    cover = letters("KOWALSKA 1954", (5, 5), 12) > 0
    slices = [TYPES["colour"](values) for values in phantom()]
    for values in slices:
        values[cover, 2] = 255
    assert find_text(slices).is_suspect


def test_phases_of_one_slice_are_not_taken_for_static_text():
    rng = np.random.default_rng(4)
    fine = ndimage.gaussian_filter(rng.normal(0, 1, (SIZE, SIZE)), 2)
    anatomy = np.where(np.hypot(*(np.mgrid[:SIZE, :SIZE] - SIZE // 2)) < 80, 300 + 900 * fine / fine.std() / 4, 0)
    phases = [(anatomy * rng.uniform(0.8, 1.2) + rng.normal(0, 20, (SIZE, SIZE))).astype(np.int16) for _ in range(12)]
    assert not find_text(phases).is_suspect


def test_a_small_mark_at_the_highest_value_is_ink_when_many_slices_have_it():
    cover = letters("R", (5, 5), 14)
    assert find_text(drawn(phantom(), cover, 3071, EVERY)).static is not None
    assert [number for number, _ in find_text(drawn(phantom(), cover, 3071, {6})).lines] == [6]
