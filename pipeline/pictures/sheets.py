"""Contact sheets: the slices of a volume that matter, side by side, the same bytes every time."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pipeline.core.labels import Structure, structure_mask
from pipeline.core.words import slice_number
from pipeline.pictures.display import Picture, to_gray
from pipeline.pictures.frame import TILE_PX, Frame

CAPTION_PX = 15
CAPTION_COLOR = (255, 235, 59)

JPEG_QUALITY = {"L": 65, "RGB": 80}
"""About 6 kB a grey tile, on which vessels of 3 pixels stay visible; thin lines in colour need more.

WebP would be half as large but takes 10 to 40 times as long.
"""


PNG_LEVEL = 3
"""As small as the usual 6 and twice as fast: noise does not compress further."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One slice of a sheet and why it is shown.

    Attributes:
        index: of the slice, from 0.
        why: in words.
    """

    index: int
    why: str

    @property
    def number(self) -> int:
        """The slice as people count, from 1."""
        return slice_number(self.index)


def choose_tiles(labels: NDArray[np.uint8], wanted: Mapping[int, str], count: int) -> tuple[Tile, ...]:
    """The slices worth looking at, in order.

    First those wanted, or an even choice of them; then the one with most lesion, the middle and the ends of the liver,
    and some between. Without a liver an even choice of all slices.

    Args:
        labels: (slices, rows, columns), the mask.
        wanted: slices to why each is wanted, the most wanted first; those outside the volume are passed over.
        count: how many at most.
    """
    known = [index for index in wanted if 0 <= index < len(labels)]
    chosen = {index: wanted[index] for index in _evenly(known, count)}
    for tile in _usual_tiles(labels, count):
        chosen.setdefault(tile.index, tile.why)
    return tuple(Tile(index, chosen[index]) for index in sorted(list(chosen)[:count]))


def most_disputed(voxels: Sequence[int], count: int) -> dict[int, str]:
    """The slices on which readers differ most, as `choose_tiles` wants them; none on which they agree.

    Args:
        voxels: how many are disputed, slice by slice.
        count: how many slices at most.
    """
    worst = sorted(range(len(voxels)), key=lambda index: -voxels[index])[:count]
    return {index: "most disputed" for index in worst if voxels[index]}


def contact_sheet(slices: NDArray[Any], frame: Frame, shown: tuple[float, float]) -> Picture:
    """Slices of a volume side by side, upright, in shades of grey, or in colour where they are.

    Args:
        slices: (tiles, rows, columns) as stored, or (tiles, rows, columns, 3).
        frame: what of each is shown.
        shown: values of black and white, from `display_range`.
    """
    return in_rows([frame.tile(to_gray(frame.cut(plane), shown)) for plane in slices], len(slices))


def in_rows(tiles: Sequence[Picture], across: int) -> Picture:
    """Tiles of one size in rows of so many; black where the last row is not full."""
    full = [*tiles, *[np.zeros_like(tiles[0])] * (-len(tiles) % across)]
    rows = [np.concatenate(full[start : start + across], axis=1) for start in range(0, len(full), across)]
    return np.concatenate(rows)


def captioned(sheet: Picture, captions: Sequence[str]) -> Picture:
    """A contact sheet in colour with a caption in the upper left corner of each tile."""
    picture = Image.fromarray(sheet).convert("RGB")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(CAPTION_PX)
    for place, caption in enumerate(captions):
        left = place * TILE_PX + 6
        pen.text((left + 1, 5), caption, fill=(0, 0, 0), font=font)
        pen.text((left, 4), caption, fill=CAPTION_COLOR, font=font)
    return np.asarray(picture)


def jpeg_bytes(picture: Picture) -> bytes:
    """A JPEG, for pages that carry their pictures inside."""
    image = Image.fromarray(picture)
    return _encoded(image, "JPEG", quality=JPEG_QUALITY[image.mode], optimize=True)


def png_bytes(picture: Picture) -> bytes:
    """A PNG, for files: every pixel stays as it is."""
    return _encoded(Image.fromarray(picture), "PNG", compress_level=PNG_LEVEL)


def _usual_tiles(labels: NDArray[np.uint8], count: int) -> list[Tile]:
    """Slices worth looking at in any volume, the most important first."""
    liver = np.flatnonzero(labels.any(axis=(1, 2))).tolist()
    if not liver:
        return [Tile(index, "no liver") for index in _evenly(range(len(labels)), count)]
    lesion = [np.count_nonzero(structure_mask(plane, Structure.LESION)) for plane in labels]
    return [
        *([Tile(lesion.index(max(lesion)), "most lesion")] if any(lesion) else []),
        Tile(liver[len(liver) // 2], "middle"),
        Tile(liver[0], "first with liver"),
        Tile(liver[-1], "last with liver"),
        *(Tile(index, "between") for index in _evenly(range(liver[0], liver[-1] + 1), 2 * count)),
    ]


def _evenly(indices: Sequence[int], count: int) -> list[int]:
    """All of them, or so many of them at even distances."""
    if len(indices) <= count:
        return list(indices)
    return [indices[round(place)] for place in np.linspace(0, len(indices) - 1, count)]


def _encoded(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()
