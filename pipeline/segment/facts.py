"""A coarse label in numbers."""

from __future__ import annotations

import numpy as np

from pipeline.core.labels import Label
from pipeline.image.components import component_count
from pipeline.segment.postprocess import Postprocessed
from pipeline.segment.segmenter import LabelFacts, PostprocessedVoxels, Segmentation


def label_facts(segmentation: Segmentation, cleaned: Postprocessed) -> LabelFacts:
    """Provenance and size of a label.

    Args:
        segmentation: what the network said.
        cleaned: what became of it.
    """
    labels = cleaned.labels
    lesion = labels.voxels == Label.LESION
    voxel_ml = labels.geometry.voxel_volume_ml
    return LabelFacts(
        whole_liver_ml=round(float(np.count_nonzero(labels.voxels)) * voxel_ml, 3),
        lesion_ml=round(float(np.count_nonzero(lesion)) * voxel_ml, 3),
        lesion_count=component_count(lesion),
        raw_sha256=segmentation.raw_sha256,
        postprocessing=PostprocessedVoxels(
            cleaned.changed_voxels, cleaned.stray_voxels, cleaned.filled_voxels, cleaned.dust_voxels
        ),
        signals={name: round(value, 6) for name, value in segmentation.signals.items()},
        device=segmentation.device,
        model=dict(segmentation.model),
        notes=tuple(segmentation.notes),
        aorta_hu=segmentation.aorta_hu,
    )
