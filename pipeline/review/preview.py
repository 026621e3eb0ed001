"""Contact sheets: a few slices with contours, drawn by numpy and Pillow, the same bytes every time."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pipeline.core.labels import COLORS, Label
from pipeline.core.volume import LabelMap, Unit, Volume
from pipeline.image.components import bounding_box

Sheet = NDArray[np.uint8]
Color = tuple[int, int, int]

TILE_PX = 250
TILES = 4
MARGIN_MM = 25.0
ABDOMEN_HU = (-150.0, 250.0)
"""The usual abdominal window, level 50 width 400."""
LINE_PX = 2
DASH_PX = 6
INTENSITY_PERCENTILES = (1.0, 99.0)
_JPEG_QUALITY = 80
_CAPTION: Color = (255, 235, 59)


@dataclass(frozen=True, slots=True, eq=False)
class Contour:
    """An outline to draw: voxels on the image's grid, and an RGB colour."""

    mask: NDArray[np.bool_]
    color: Color


def contours_of(labels: LabelMap) -> tuple[Contour, ...]:
    """Outlines of the whole liver and of the lesions, in the colours of the viewers."""
    return (
        Contour(labels.voxels != Label.BACKGROUND, COLORS[Label.LIVER]),
        Contour(labels.voxels == Label.LESION, COLORS[Label.LESION]),
    )


def display_range(image: Volume) -> tuple[float, float]:
    """Values shown as black and white: the abdominal window for CT, the 1st and 99th percentile for MR."""
    if image.unit is Unit.HU:
        return ABDOMEN_HU
    low, high = np.percentile(image.voxels, INTENSITY_PERCENTILES)
    return float(low), float(max(high, low + 1))


def slices_to_show(labels: LabelMap, wanted: Sequence[int] = ()) -> tuple[int, ...]:
    """Up to `TILES` slices in order: an even choice of those wanted, the one with most lesion, some of the liver."""
    count = labels.geometry.shape[0]
    known = [index for index in dict.fromkeys(wanted) if 0 <= index < count]
    chosen = known if len(known) <= TILES else [known[round(n * (len(known) - 1) / (TILES - 1))] for n in range(TILES)]
    lesion = (labels.voxels == Label.LESION).sum(axis=(1, 2))
    filled = np.flatnonzero((labels.voxels != Label.BACKGROUND).any(axis=(1, 2)))
    span = filled if filled.size else np.arange(count)
    candidates = [int(lesion.argmax())] * bool(lesion.any())
    candidates += [int(span[round(share * (span.size - 1))]) for share in (0.5, 0.25, 0.75, 0.4, 0.6, 0.0, 1.0)]
    chosen += [index for index in dict.fromkeys(candidates) if index not in chosen]
    return tuple(sorted(chosen[:TILES]))


def contact_sheet(image: Volume, contours: Sequence[Contour], slices: Sequence[int]) -> Sheet:
    """(rows, columns, RGB) picture of some slices side by side around the contours, patient's right on the left.

    Args:
        image: the volume, axial.
        contours: what to outline; the first one decides the part of the slice that is shown.
        slices: indices along axis 0.
    """
    box = _shown_box(image, contours[0].mask)
    low, high = display_range(image)
    tiles = []
    for index in slices:
        pixels = np.clip((image.voxels[index][box].astype(np.float32) - low) / (high - low), 0, 1) * 255
        outlines = [Contour(contour.mask[index][box], contour.color) for contour in contours]
        tile = _tile(_upright(pixels.astype(np.uint8), image), outlines, image)
        tiles.append(_captioned(tile, f"slice {index + 1}"))
    return np.concatenate(tiles, axis=1)


def png_bytes(sheet: Sheet, colors: Sequence[Color]) -> bytes:
    """A small PNG of a sheet: greys, and the colours of its outlines, which a palette drawn from the pixels would lose.

    Args:
        sheet: from `contact_sheet`.
        colors: of its contours.
    """
    kept = [_CAPTION, *dict.fromkeys(colors)]
    greys = [(round(n * 255 / (255 - len(kept))),) * 3 for n in range(256 - len(kept))]
    palette = Image.new("P", (1, 1))
    palette.putpalette([part for color in (*greys, *kept) for part in color])
    indexed = Image.fromarray(sheet).quantize(palette=palette, dither=Image.Dither.NONE)
    return _encoded(indexed, "PNG", compress_level=6)


def jpeg_bytes(sheet: Sheet) -> bytes:
    """A JPEG of a sheet, for pages that carry their pictures inside."""
    return _encoded(Image.fromarray(sheet), "JPEG", quality=_JPEG_QUALITY, optimize=True)


def _encoded(picture: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def _shown_box(image: Volume, mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Rows and columns around a mask with a margin; the whole slice when it is empty."""
    box = bounding_box(mask)
    if box is None:
        return slice(None), slice(None)
    margins = [round(MARGIN_MM / step) for step in image.geometry.spacing_mm[1:]]
    rows, columns = (
        slice(max(0, span.start - margin), span.stop + margin) for span, margin in zip(box[1:], margins, strict=True)
    )
    return rows, columns


def _upright(pixels: NDArray[np.generic], image: Volume) -> NDArray[np.generic]:
    """A slice as radiologists look at it: patient's right on the left, front up."""
    orientation = image.geometry.orientation
    flipped = pixels[::-1] if orientation[1] == "A" else pixels
    return flipped[:, ::-1] if orientation[2] == "R" else flipped


def _tile(pixels: NDArray[np.generic], outlines: Sequence[Contour], image: Volume) -> Sheet:
    _, row_mm, column_mm = image.geometry.spacing_mm
    height_mm, width_mm = pixels.shape[0] * row_mm, pixels.shape[1] * column_mm
    size = TILE_PX, max(1, round(TILE_PX * height_mm / width_mm))
    picture = np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).resize(size, Image.Resampling.BILINEAR))
    colored = np.repeat(picture[:, :, np.newaxis], 3, axis=2)
    shapes = [Image.fromarray(np.ascontiguousarray(_upright(outline.mask, image))) for outline in outlines]
    edges = [_edge(np.asarray(shape.resize(size, Image.Resampling.NEAREST))) for shape in shapes]
    _draw_outlines(colored, edges, [outline.color for outline in outlines])
    return colored


def _draw_outlines(colored: Sheet, edges: Sequence[NDArray[np.bool_]], colors: Sequence[Color]) -> None:
    """Every outline drawn in, in alternating dashes where several run together, so that none hides another."""
    for edge, color in zip(edges, colors, strict=True):
        colored[edge] = color
    owner = np.indices(colored.shape[:2]).sum(axis=0) // DASH_PX % len(edges)
    for place, (edge, color) in enumerate(zip(edges, colors, strict=True)):
        colored[edge & (owner == place)] = color


def _edge(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The inner rim of a plane mask, `LINE_PX` wide."""
    inner = mask
    for _ in range(LINE_PX):
        wide = np.pad(inner, 1)
        inner = inner & wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]
    return mask & ~inner


def _captioned(tile: Sheet, caption: str) -> Sheet:
    """The tile with a thin frame and its caption."""
    picture = Image.fromarray(tile)
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, 0, picture.width - 1, picture.height - 1), outline=(0, 0, 0))
    pen.text((9, 7), caption, fill=(0, 0, 0), font=ImageFont.load_default(15))
    pen.text((8, 6), caption, fill=_CAPTION, font=ImageFont.load_default(15))
    return np.asarray(picture)
