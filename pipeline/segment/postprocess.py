"""What every coarse label goes through before a person sees it, in millimetres and never in voxels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.core.config import CoarseConfig
from pipeline.core.labels import Label
from pipeline.core.volume import LabelMap
from pipeline.image.components import fill_holes, largest_component, without_dust


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
    Empty labels stay empty.
    """
    found = labels.voxels != Label.BACKGROUND
    largest = largest_component(found)
    liver = fill_holes(largest)
    inside = (labels.voxels == Label.LESION) & liver
    lesion = without_dust(inside, min_volume_mm3=config.min_lesion_mm3, voxel_volume_ml=labels.geometry.voxel_volume_ml)
    voxels = liver.astype(np.uint8) * np.uint8(Label.LIVER)
    voxels[lesion] = Label.LESION
    return Postprocessed(
        LabelMap(voxels, labels.geometry),
        changed_voxels=int(np.count_nonzero(voxels != labels.voxels)),
        stray_voxels=int(np.count_nonzero(found & ~liver)),
        filled_voxels=int(np.count_nonzero(liver & ~found)),
        dust_voxels=int(np.count_nonzero(inside & ~lesion)),
    )
