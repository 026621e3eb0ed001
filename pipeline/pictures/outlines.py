"""Outlines of masks: polygons, as vectors to lay over a picture or as lines drawn into it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pipeline.core.kinds import Color
from pipeline.core.labels import COLORS, Label, LabelScheme, Structure, structure_mask
from pipeline.pictures.display import Picture
from pipeline.pictures.frame import TILE_PX, Frame

HALF_WAY = 0.5
"""Between a voxel of the mask and one outside: the outline runs along the border."""

PATH_UNITS = 4
"""Steps a pixel in vectors: whole numbers, so that paths are short and the same on every CPU."""

DASH_PX = 5
"""Of each colour in turn where outlines of several colours run together."""


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """What to outline on the tiles of a sheet, and in which colour.

    Attributes:
        mask: (tiles, rows, columns), slices as stored.
        color: RGB.
    """

    mask: NDArray[np.bool_]
    color: Color


def label_outlines(labels: NDArray[np.uint8], scheme: LabelScheme | None = None) -> tuple[Outline, ...]:
    """The whole liver, the lesions, and the lesion kinds there are, in the colours of the labels.

    Args:
        labels: (tiles, rows, columns), slices of a mask.
        scheme: whose kinds are shown in their own colours; others are outlined as lesions.
    """
    kinds = {kind.value: kind.color for kind in scheme.kinds if (labels == kind.value).any()} if scheme else {}
    lesion = structure_mask(labels, Structure.LESION) & ~np.isin(labels, list(kinds))
    return (
        Outline(labels != Label.BACKGROUND, COLORS[Label.LIVER]),
        Outline(lesion, COLORS[Label.LESION]),
        *(Outline(labels == value, color) for value, color in kinds.items()),
    )


def css_color(color: Color) -> str:
    """A colour as pages write it, "#4caf50"."""
    return f"#{bytes(color).hex()}"


def polygons_of(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """Closed polygons around the parts of a slice and their holes; none for an empty slice.

    They cut the corners of voxels: each part loses an area of half a voxel, each hole too.

    Args:
        mask: (rows, columns).

    Returns:
        one array (points, 2) of (row, column) a polygon, in voxels; the border of the slice counts as outside.
    """
    from skimage.measure import find_contours

    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return []
    corner = np.array([rows[0], columns[0]])
    inside = np.pad(mask[corner[0] : rows[-1] + 1, corner[1] : columns[-1] + 1], 1).astype(np.float64)
    return [polygon + corner - 1 for polygon in find_contours(inside, HALF_WAY)]


def as_svg(outlines: Sequence[Outline], frame: Frame) -> str:
    """Outlines as an SVG to lay over a contact sheet of the same slices and frame."""
    edge = TILE_PX * PATH_UNITS
    paths = []
    for outline in outlines:
        lines = [
            _path(points * PATH_UNITS + (place * edge, 0))
            for place, plane in enumerate(outline.mask)
            for points in _on_tile(plane, frame)
        ]
        paths += [f'<path stroke="{css_color(outline.color)}" d="{"".join(lines)}"/>'] if lines else []
    width = edge * len(outlines[0].mask)
    return f'<svg class="outlines" viewBox="0 0 {width} {edge}" aria-hidden="true">{"".join(paths)}</svg>'


def drawn_on(sheet: Picture, outlines: Sequence[Outline], frame: Frame) -> Picture:
    """A contact sheet in colour with outlines drawn in, in dashes where colours run together: none hides another.

    Args:
        sheet: of the same slices and frame.
        outlines: a later one covers an earlier one of its colour.
        frame: what is shown.
    """
    drawn = np.array(Image.fromarray(sheet).convert("RGB"))
    edges = {outline.color: np.zeros(drawn.shape[:2], np.bool_) for outline in outlines}
    for outline in outlines:
        edges[outline.color] |= _edges(outline.mask, frame)
    for color, edge in edges.items():
        drawn[edge] = color
    for place, (color, edge) in enumerate(edges.items()):
        down, across = np.nonzero(edge)
        is_own = (down + across) // DASH_PX % len(edges) == place
        drawn[down[is_own], across[is_own]] = color
    return drawn


def _on_tile(plane: NDArray[np.bool_], frame: Frame) -> Iterator[NDArray[np.float64]]:
    """The polygons of a slice in pixels of its tile: (points, 2) of (across, down)."""
    height_px, width_px = frame.voxel_px
    for polygon in polygons_of(frame.cut(plane)):
        yield (polygon[:, ::-1] + 0.5) * (width_px, height_px)


def _edges(mask: NDArray[np.bool_], frame: Frame) -> NDArray[np.bool_]:
    """Lines two pixels wide along the outlines, one on either side of the border."""
    tiles = []
    for plane in mask:
        line = Image.new("1", (TILE_PX, TILE_PX))
        for points in _on_tile(plane, frame):
            ImageDraw.Draw(line).line([(x, y) for x, y in points.round().astype(int).tolist()], fill=1)
        edge = np.array(line)
        edge[:-1] |= edge[1:]
        edge[:, :-1] |= edge[:, 1:]
        tiles.append(edge)
    return np.concatenate(tiles, axis=1)


def _path(points: NDArray[np.float64]) -> str:
    """A closed path of whole steps; steps that keep their direction become one."""
    whole = points.round().astype(int)
    steps = np.diff(whole, axis=0)
    steps = steps[np.any(steps != 0, axis=1)]
    merged: list[tuple[int, int]] = []
    for across, down in steps.tolist():
        before = merged[-1] if merged else (0, 0)
        is_straight = before[0] * down == before[1] * across and before[0] * across + before[1] * down > 0
        if is_straight:
            merged[-1] = (before[0] + across, before[1] + down)
        else:
            merged.append((across, down))
    return f"M{whole[0, 0]} {whole[0, 1]}l" + " ".join(f"{across} {down}" for across, down in merged) + "z"
