"""Lesions of a mask file on one or several image files, in any usual format and any orientation of one grid."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.core.labels import LabelScheme
from pipeline.image.loading import (
    AXIAL,
    MaskMeaning,
    MaskReader,
    axial_grid,
    labels_in,
    placed_exactly,
    read_image,
    without_lesion,
)
from pipeline.image.masks import read_mask
from pipeline.image.orientation import reoriented
from pipeline.lesions.appearance import appearances
from pipeline.lesions.measure import LESION_DEFINITIONS, measure_lesions, without_liver
from pipeline.lesions.regions import lesion_regions


def lesions_files(
    images: Sequence[Path],
    mask: Path,
    *,
    image: Path | None = None,
    meaning: MaskMeaning = "labels",
    scheme: LabelScheme | None = None,
    read: MaskReader = read_mask,
) -> dict[str, Any]:
    """Every lesion of a mask, measured, and its appearance on each image by file name.

    Slices are axial and counted from the feet, whatever the orientation of the files: on the image that names the grid,
    else on the first of the images, else on the mask.

    Args:
        images: of one patient, each on the mask's grid; none gives sizes alone.
        mask: liver and lesions.
        image: names the grid.
        meaning: what the mask's values mean.
        scheme: the labels that may occur.
        read: what reads the mask's file.

    Raises:
        StorageError: when a file is missing, damaged or of another format.
        GeometryError: when mask and an image lie on different grids.
        LabelError: when the mask holds other labels than the scheme's.
    """
    scheme = scheme or LabelScheme()
    stored = labels_in(read(mask), scheme, meaning, what=mask.name).labels
    volumes = {path.name: reoriented(read_image(path), AXIAL) for path in images}
    grids = [axial_grid(image)] if image else [volume.geometry for volume in volumes.values()]
    labels = placed_exactly(stored, (*grids, reoriented(stored, AXIAL).geometry)[0], what=mask.name).labels
    looks = {
        name: appearances(lesion_regions(on_image), on_image, volume)
        for name, volume in volumes.items()
        for on_image in (placed_exactly(stored, volume.geometry, what=mask.name).labels,)
    }
    measured = measure_lesions(labels, scheme=scheme)
    if meaning == "lesion":
        measured = without_liver(measured)
    lesions = [
        lesion.to_json() | {"appearance": {name: seen[lesion.number - 1].to_json() for name, seen in looks.items()}}
        for lesion in measured
    ]
    return {"lesions": lesions, "definitions": LESION_DEFINITIONS, "warnings": without_lesion({mask.name: labels})}
