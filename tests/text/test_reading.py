"""Letters are read where they stand, whatever runs along rows or not; rings, noise and rows of spots are not."""

from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.lettering import cover_of
from pipeline.text.reading import HIGHEST_LETTERS_PIXELS, LEAST_CONFIDENCE, is_text, read
from tests.places import ROOT

SHAPE = (256, 256)


def gray(cover: NDArray[np.float64], ink: float) -> NDArray[np.uint8]:
    noise = np.random.default_rng(1).normal(110, 6, cover.shape)
    return (noise * (1 - cover) + ink * cover).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("ink", [10, 230])
@pytest.mark.parametrize("lettering", ["latin", "turned", "stacked", "chinese"])
def test_smooth_letters_are_read_where_they_stand(lettering, ink):
    cover = cover_of(lettering, SHAPE, 16, "middle", random.Random(4), smooth=True)
    lines = read(gray(cover, ink))
    assert lines
    for line in lines:
        inside = cover[line.top : line.bottom, line.left : line.right]
        assert inside.mean() > 2 * cover.mean()


@pytest.mark.parametrize(("side", "size"), [(128, 8), (128, 24), (200, 8), (512, 10), (512, 24)])
def test_small_and_large_print_is_read_in_pictures_of_any_size(side, size):
    cover = cover_of("latin", (side, 2 * side), size, "corner", random.Random(5), smooth=True)
    assert read(gray(cover, 230))


def test_no_letters_are_read_in_noise_rings_and_stripes():
    rows, columns = np.mgrid[:256, :256]
    rings = np.abs(np.hypot(rows % 64 - 32, columns % 64 - 32) - 20) < 2
    for cover in (np.zeros(SHAPE), rings.astype(float), (columns % 32 < 3).astype(float)):
        assert read(gray(cover, 230)) == []


def test_a_row_of_large_pictures_is_no_line():
    small = cover_of("latin", (512, 512), HIGHEST_LETTERS_PIXELS // 2, "corner", random.Random(6), smooth=True)
    large = cover_of("latin", (512, 512), 3 * HIGHEST_LETTERS_PIXELS, "corner", random.Random(6), smooth=True)
    assert read(gray(small, 230))
    assert read(gray(large, 230)) == []


@pytest.mark.parametrize(
    ("text", "different"), [("R", 1), ("K7", 2), ("AP.", 2), ("王伟", 2), ("ID 77", 3), ("KOW", 3)]
)
def test_the_fewer_characters_the_surer_a_reading_must_be(text, different):
    least = LEAST_CONFIDENCE[different]
    assert is_text(text, least)
    assert not is_text(text, least - 0.001)


@pytest.mark.parametrize("text", ["", " ", "...", "O", "00000", "8 8 8", "OOQ00", "l", "一", "68096"])
def test_what_rings_and_edges_look_like_is_no_text(text):
    assert not is_text(text, 1.0)


def test_equal_pictures_give_equal_readings():
    picture = gray(cover_of("latin", SHAPE, 12, "middle", random.Random(7), smooth=True), 230)
    assert read(picture) == read(picture.copy()) != []


ALONE = """
import sys
import numpy as np

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "os.mkdir"):
        raise RuntimeError(event)
    if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        raise RuntimeError(f"{arguments[0]} is written")

sys.dont_write_bytecode = True
sys.addaudithook(refuse)
from pipeline.text.reading import read
assert read(np.load(sys.argv[1]))
"""


def test_the_reader_asks_no_network_writes_no_file_and_says_nothing(tmp_path):
    np.save(tmp_path / "picture.npy", gray(cover_of("latin", SHAPE, 16, "middle", random.Random(8), smooth=True), 230))
    done = subprocess.run(
        [sys.executable, "-c", ALONE, tmp_path / "picture.npy"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
