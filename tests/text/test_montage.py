"""A person sees on the montage the body, the letters, and what a mask would cover."""

from __future__ import annotations

import imagecodecs
import numpy as np
import pytest

from pipeline.core.boxes import Box
from pipeline.pictures.sheets import CAPTION_COLOR
from pipeline.text.marks import find_boxes
from pipeline.text.montage import CAPTION_PIXELS, montage
from tests.text.test_find import EVERY, SIZE, drawn, letters, phantom

ZOOM = 3
"""To which 192 columns are enlarged, so that they are 400 pixels wide or more."""

TEXT = letters("KOWALSKA 1954", (5, 5), 12)


def pictures(slices: list[np.ndarray], boxes: tuple[Box, ...]) -> np.ndarray:
    return imagecodecs.png_decode(montage(slices, boxes))


def kinds() -> dict[str, list[np.ndarray]]:
    slices = drawn(phantom(), TEXT, 3071, EVERY)
    floats = [((values + 1000) * 0.37).astype(np.float32) for values in slices]
    floats[3][:, 150] = np.nan
    floats[4][100, 100] = 1e9
    shades = [((values + 1000) // 17).clip(0, 255).astype(np.uint8) for values in slices]
    colour = [np.repeat(values[..., None], 3, axis=2) for values in shades]
    return {"int16": slices, "float32": floats, "uint8": shades, "colour": colour}


@pytest.mark.parametrize("kind", kinds())
def test_body_air_and_letters_can_be_told_apart(kind: str):
    slices = kinds()[kind]
    tile = pictures(slices, find_boxes(slices))[CAPTION_PIXELS:, : SIZE * ZOOM].astype(int).mean(axis=2)
    large = {name: np.kron(mask, np.ones((ZOOM, ZOOM))) > 0 for name, mask in places().items()}
    air, body, ink = (float(np.median(tile[: SIZE * ZOOM][large[name]])) for name in ("air", "body", "ink"))
    step = 20 if kind == "colour" else 60
    assert body - air > step
    assert ink - body > step


def places() -> dict[str, np.ndarray]:
    rows, columns = np.mgrid[:SIZE, :SIZE] - SIZE // 2
    body = (rows / 50) ** 2 + (columns / 60) ** 2 < 1
    return {"air": (np.abs(columns) > 85) & (np.abs(rows) < 20), "body": body & (rows < 0), "ink": TEXT > 0}


def test_the_outline_encloses_what_a_mask_covers_and_hides_nothing_of_it():
    values = np.random.default_rng(1).integers(0, 200, (SIZE, SIZE)).astype(np.int16)
    box = Box((60, 70), (40, 90))
    with_box = pictures([values], (box,))[CAPTION_PIXELS:][: SIZE * ZOOM]
    line = (with_box == CAPTION_COLOR).all(axis=2)
    down, across = np.nonzero(line)
    assert (down.min(), down.max()) == (60 * ZOOM - 1, 70 * ZOOM)
    assert (across.min(), across.max()) == (40 * ZOOM - 1, 90 * ZOOM)
    assert not line[60 * ZOOM : 70 * ZOOM, 40 * ZOOM : 90 * ZOOM].any()


def test_the_place_is_enlarged_below_with_what_is_around_it():
    slices = drawn(phantom(), TEXT, 3071, {6})
    (box,) = find_boxes(slices)
    picture = pictures(slices, (box,))
    near = picture[CAPTION_PIXELS + SIZE * ZOOM :]
    assert picture.shape[1] == SIZE * ZOOM
    assert (near.max(axis=2) > 250).sum() > (TEXT > 0).sum() * ZOOM**2
    assert (near == CAPTION_COLOR).all(axis=2).any()


@pytest.mark.parametrize(("count", "slices", "tiles"), [(1, None, 4), (1, (6, 7), 1), (3, None, 12), (20, None, 20)])
def test_each_box_is_shown_on_some_of_its_slices(count: int, slices: tuple[int, int] | None, tiles: int):
    boxes = tuple(Box((20, 30), (20, 40), slices) for _ in range(count))
    picture = pictures(phantom(), boxes)
    across = int(np.ceil(np.sqrt(tiles)))
    assert picture.shape[1] == across * SIZE * ZOOM
    assert picture.shape[0] % -(-tiles // across) == 0


def test_a_slice_without_a_known_value_is_shown_black():
    blank = [np.full((SIZE, SIZE), np.nan, np.float32)]
    assert pictures(blank, (Box((60, 70), (40, 90)),))[CAPTION_PIXELS + 5, 5].tolist() == [0, 0, 0]
