"""Burned-in marks of every kind as coverage of pixels: Latin and Chinese letters, codes and short marks."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Cover = NDArray[np.float64]

NAMES = ("KOWALSKA, M 1954-03-12", "ID 00776655", "Zhang Wei", "NGUYEN THI 12/07/61")
SHORT = ("R", "L", "JS", "AP", "K7", "HFS", "M K")

HANZI = {
    "王": "10,10-90,10 18,48-82,48 5,92-95,92 50,10-50,92",
    "田": "10,10-90,10 10,90-90,90 10,10-10,90 90,10-90,90 10,50-90,50 50,10-50,90",
    "林": "2,30-48,30 25,5-25,95 25,32-5,75 25,32-44,65 52,30-98,30 75,5-75,95 75,32-54,75 75,32-97,75",
    "李": "8,18-92,18 50,2-50,45 50,18-10,45 50,18-90,45 25,52-75,52 75,52-52,66 52,66-52,96 52,96-38,90 5,74-95,74",
    "吕": "25,5-75,5 25,5-25,38 75,5-75,38 25,38-75,38 12,55-88,55 12,55-12,95 88,55-88,95 12,95-88,95",
    "中": "12,25-88,25 12,25-12,62 88,25-88,62 12,62-88,62 50,3-50,97",
    "平": "12,10-88,10 28,20-38,42 72,20-62,42 5,52-95,52 50,10-50,97",
    "明": "5,12-40,12 5,12-5,85 40,12-40,85 5,48-40,48 5,85-40,85 55,8-92,8 55,8-48,95 92,8-92,95 55,36-92,36",
    "天": "12,12-88,12 5,45-95,45 50,12-46,55 46,55-8,95 50,45-94,95",
    "石": "6,10-94,10 45,10-5,70 32,50-88,50 32,50-32,94 88,50-88,94 32,94-88,94",
}
"""Characters of names as strokes in a box of 100 by 100, since fonts that hold them are large."""

SIZES: Mapping[str, tuple[int, ...]] = {
    "latin": (8, 10, 12, 16, 24),
    "turned": (8, 10, 12, 16, 24),
    "stacked": (8, 10, 12, 16, 24),
    "chinese": (12, 16, 24),
    "short": (8, 10, 12, 16, 24),
    "qr code": (2, 3, 4),
    "bar code": (1, 2, 3),
}
"""Height of letters, width of modules, in pixels."""

OVERSAMPLING = 4


def _latin(size: int, rng: random.Random) -> Image.Image:
    return _written(rng.choice(NAMES), size)


def _short(size: int, rng: random.Random) -> Image.Image:
    return _written(rng.choice(SHORT), size)


def _written(text: str, size: int) -> Image.Image:
    font = ImageFont.load_default(size * OVERSAMPLING)
    page = Image.new("L", (int(font.getlength(text)) + 4, size * OVERSAMPLING * 3 // 2))
    ImageDraw.Draw(page).text((2, 0), text, fill=255, font=font)
    return page


def _turned(size: int, rng: random.Random) -> Image.Image:
    return _latin(size, rng).rotate(rng.choice((90, 270)), expand=True)


def _stacked(size: int, rng: random.Random) -> Image.Image:
    letters = [_written(letter, size) for letter in rng.choice(("KOWALSKA", "00776655", "ZHANGWEI"))]
    high = size * OVERSAMPLING * 6 // 5
    page = Image.new("L", (max(one.width for one in letters), high * len(letters) + size * OVERSAMPLING))
    for number, letter in enumerate(letters):
        page.paste(letter, ((page.width - letter.width) // 2, number * high))
    return page


def _chinese(size: int, rng: random.Random) -> Image.Image:
    letters, side = rng.sample(sorted(HANZI), rng.choice((2, 3))), size * OVERSAMPLING
    page = Image.new("L", (int(1.1 * side * len(letters)), side))
    pen = ImageDraw.Draw(page)
    for number, letter in enumerate(letters):
        for stroke in HANZI[letter].split():
            ends = [tuple(float(part) / 100 * (side - 4) + 2 for part in end.split(",")) for end in stroke.split("-")]
            shifted = [(x + 1.1 * side * number, y) for x, y in ends]
            pen.line(shifted, fill=255, width=max(OVERSAMPLING, side // 10))
    return page


def _qr_code(size: int, rng: random.Random) -> Image.Image:
    """Modules as a QR code of version 1 has them: three finders, timing, and data by chance."""
    modules = np.array([[rng.random() < 0.5 for _ in range(21)] for _ in range(21)])
    finder = np.ones((8, 8), dtype=np.bool_)
    finder[7], finder[:, 7] = False, False
    finder[1:6, 1:6], finder[2:5, 2:5] = False, True
    modules[:8, :8], modules[:8, -8:], modules[-8:, :8] = finder, finder[:, ::-1], finder[::-1]
    modules[6, 8:13] = modules[8:13, 6] = np.arange(5) % 2 == 0
    return _of_modules(modules, size)


def _bar_code(size: int, rng: random.Random) -> Image.Image:
    bars = np.concatenate([[one % 2 == 0] * rng.randrange(1, 5) for one in range(49)])
    return _of_modules(np.tile(bars, (max(8, 24 // size), 1)), size)


def _of_modules(modules: NDArray[np.bool_], size: int) -> Image.Image:
    return Image.fromarray(np.kron(modules, np.ones((size * OVERSAMPLING,) * 2)).astype(np.uint8) * 255)


LETTERINGS: Mapping[str, Callable[[int, random.Random], Image.Image]] = {
    "latin": _latin,
    "turned": _turned,
    "stacked": _stacked,
    "chinese": _chinese,
    "short": _short,
    "qr code": _qr_code,
    "bar code": _bar_code,
}


def cover_of(
    lettering: str, shape: tuple[int, ...], size: int, place: str, rng: random.Random, *, smooth: bool
) -> Cover:
    """Coverage 0 to 1 of a mark drawn at a place of its kind, cut off where the picture ends."""
    mark = LETTERINGS[lettering](size, rng)
    page = Image.new("L", (shape[1] * OVERSAMPLING, shape[0] * OVERSAMPLING))
    left, top = (
        _start(length, extent, place, rng) for length, extent in zip((mark.width, mark.height), page.size, strict=True)
    )
    if not smooth:
        left, top = left - left % OVERSAMPLING, top - top % OVERSAMPLING
    page.paste(mark, (left, top))
    inked = np.asarray(page.reduce(OVERSAMPLING), dtype=np.float64) / 255
    return inked if smooth else (inked >= 0.35).astype(np.float64)


def _start(length: int, extent: int, place: str, rng: random.Random) -> int:
    room = extent - length
    if place == "corner" or room <= 0:
        return rng.randrange(4 * OVERSAMPLING, 30 * OVERSAMPLING) if room > 34 * OVERSAMPLING else 2 * OVERSAMPLING
    return rng.randrange(room // 4, room * 3 // 4 + 1)
