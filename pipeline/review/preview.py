"""The picture of a volume in a package: a few slices with the outlines a reader is asked about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from pipeline.core.labels import LabelScheme
from pipeline.core.volume import LabelMap, Volume
from pipeline.pictures.display import Picture
from pipeline.pictures.frame import frame_around
from pipeline.pictures.outlines import Outline, drawn_on, label_outlines
from pipeline.pictures.sheets import captioned, choose_tiles, contact_sheet, most_disputed
from pipeline.review.pages import READER_COLORS

TILES = 4
"""They fill the width of the start page."""


def preview(
    image: Volume,
    labels: LabelMap,
    readings: Mapping[str, LabelMap],
    shown: tuple[float, float],
    doubtful: Sequence[int] = (),
    scheme: LabelScheme | None = None,
) -> Picture:
    """Some slices with the outlines of the mask to edit, or of all readings where there are some.

    Args:
        image: the volume.
        labels: the mask to edit.
        readings: letters to the masks of other readers; the slices on which they differ most are shown.
        shown: values of black and white.
        doubtful: slices to look at, where there are no readings that differ.
        scheme: whose lesion kinds are shown in their own colours.
    """
    wanted = _disputed(list(readings.values())) or dict.fromkeys(doubtful, "look closely")
    tiles = choose_tiles(labels.voxels, wanted, TILES)
    slices = [tile.index for tile in tiles]
    footprints = [mask.voxels.any(axis=0) for mask in (labels, *readings.values())]
    frame = frame_around(np.any(footprints, axis=0), image.geometry)
    outlines = _outlines(labels, readings, slices, scheme)
    sheet = drawn_on(contact_sheet(image.voxels[slices], frame, shown), outlines, frame)
    return captioned(sheet, [f"slice {tile.number}, {tile.why}" for tile in tiles])


def _disputed(readings: Sequence[LabelMap]) -> dict[int, str]:
    if len(readings) < 2:
        return {}
    differing = np.any([reading.voxels != readings[0].voxels for reading in readings[1:]], axis=0)
    return most_disputed(np.count_nonzero(differing, axis=(1, 2)).tolist(), TILES)


def _outlines(
    labels: LabelMap, readings: Mapping[str, LabelMap], slices: list[int], scheme: LabelScheme | None
) -> Sequence[Outline]:
    if not readings:
        return label_outlines(labels.voxels[slices], scheme)
    return [
        replace(outline, color=READER_COLORS[letter])
        for letter, reading in readings.items()
        for outline in label_outlines(reading.voxels[slices])
    ]
