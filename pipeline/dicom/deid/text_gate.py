"""Text burned into a series of DICOM images: searched for, and masked or let pass where a person who looked said so."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.boxes import Box
from pipeline.core.decisions import TextDecision
from pipeline.core.errors import PrivacyError
from pipeline.core.files import PRIVATE_FILE_MODE, make_private_folder, write_atomically
from pipeline.text.find import find_text
from pipeline.text.marks import beside, find_boxes
from pipeline.text.montage import montage
from pipeline.text.suspects import is_read


@dataclass(frozen=True, slots=True)
class Suspect:
    """A series that looks as if it held text, until a person who looked decides.

    Attributes:
        series: its keyed name, as decisions name it.
        boxes: where.
        picture: file name of the montage; empty where none was written.
        masked: boxes that an earlier decision masks.
    """

    series: str
    boxes: tuple[Box, ...]
    picture: str
    masked: tuple[Box, ...] = ()


def suspect_of(
    images: Sequence[NDArray[Any]],
    series: str,
    decision: TextDecision | None,
    masked: Sequence[Box],
    private: Path | None,
) -> Suspect | None:
    """What a person must look at before a series may leave; None when nothing, or when that was done.

    The montage goes to the private folder, with "read" in its name where tesseract reads letters.

    Args:
        images: stored values, (rows, columns) or (frames, rows, columns).
        series: its keyed name.
        decision: of a person who looked.
        masked: boxes that are covered already.
        private: folder for the montage; without one none is written.
    """
    if decision and decision.publishes:
        return None
    for slices in _by_shape(images):
        left = beside(slices, masked)
        finding = find_text(left)
        if finding.is_suspect:
            boxes, name = find_boxes(left, finding), ""
            if private is not None:
                name = f"text_{series}{'_read' if is_read(left, finding) else ''}.png"
                write_atomically(make_private_folder(private) / name, montage(left, boxes), mode=PRIVATE_FILE_MODE)
            return Suspect(series, boxes, name, tuple(masked))
    return None


def boxes_to_mask(images: Sequence[NDArray[Any]], decision: TextDecision | None) -> tuple[Box, ...]:
    """Boxes that a person wants masked; slices are counted through the series, frame by frame.

    Raises:
        PrivacyError: when the images have several sizes, so that one box has several meanings.
    """
    if decision is None or not decision.masks or not images:
        return ()
    shapes = _by_shape(images)
    if len(shapes) > 1:
        raise PrivacyError("its images have several sizes, so they cannot be masked together; exclude the series")
    return decision.boxes or find_boxes(shapes[0])


def masked_images(images: Sequence[NDArray[np.integer]], boxes: Sequence[Box]) -> list[NDArray[np.integer]]:
    """The images with each box set to the lowest value of its slice."""
    copies = [image.copy() for image in images]
    slices = (plane for copy in copies for plane in _planes(copy))
    for index, plane in enumerate(slices):
        lowest = plane.min()
        for box in (box for box in boxes if box.is_on(index)):
            plane[slice(*box.rows), slice(*box.columns)] = lowest
    return copies


def _planes(image: NDArray[Any]) -> NDArray[Any]:
    """Its frames, as views into it."""
    return image[None] if image.ndim == 2 else image


def _by_shape(images: Sequence[NDArray[Any]]) -> list[list[NDArray[Any]]]:
    """All slices, those of one size together."""
    shapes: dict[tuple[int, ...], list[NDArray[Any]]] = defaultdict(list)
    for image in images:
        for plane in _planes(image):
            shapes[plane.shape].append(plane)
    return list(shapes.values())
