"""What every coarse label goes through before a person sees it, in millimetres and never in voxels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.core.config import CoarseConfig
from pipeline.core.labels import Label
from pipeline.core.volume import LabelMap
from pipeline.image.components import bounding_box, fill_holes, largest_component, without_dust


@dataclass(frozen=True, slots=True, eq=False)
class Postprocessed:
    """Cleaned labels, and how much each step changed.

    Attributes:
        labels: 0, 1, 2 nested.
        changed_voxels: voxels whose value differs from the network's.
        stray_voxels: liver or lesion outside the largest part, removed.
        filled_voxels: holes inside the liver, filled with liver.
        dust_voxels: lesions too small to keep, turned into liver.
    """

    labels: LabelMap
    changed_voxels: int
    stray_voxels: int
    filled_voxels: int
    dust_voxels: int


def postprocess(labels: LabelMap, config: CoarseConfig) -> Postprocessed:
    """One liver without holes, with the lesions inside it that are large enough.

    The largest part of liver and lesion together is kept, never of liver alone: a lesion at the rim would be cut off.
    Empty labels stay empty. Only the box that holds labels is worked on: a liver fills a tenth of a long scan.
    """
    box = bounding_box(labels.voxels != Label.BACKGROUND)
    if box is None:
        return Postprocessed(labels, 0, 0, 0, 0)
    network = labels.voxels[box]
    found = network != Label.BACKGROUND
    liver = fill_holes(largest_component(found))
    inside = (network == Label.LESION) & liver
    lesion = without_dust(inside, min_volume_mm3=config.min_lesion_mm3, voxel_volume_ml=labels.geometry.voxel_volume_ml)
    cleaned = liver.astype(np.uint8) * np.uint8(Label.LIVER)
    cleaned[lesion] = Label.LESION
    voxels = np.zeros_like(labels.voxels)
    voxels[box] = cleaned
    return Postprocessed(
        LabelMap(voxels, labels.geometry),
        changed_voxels=int(np.count_nonzero(cleaned != network)),
        stray_voxels=int(np.count_nonzero(found & ~liver)),
        filled_voxels=int(np.count_nonzero(liver & ~found)),
        dust_voxels=int(np.count_nonzero(inside & ~lesion)),
    )
