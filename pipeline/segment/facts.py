"""What stands beside every coarse label: how it came about, and what it looks like in numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pipeline.core.labels import Label
from pipeline.image.components import component_count
from pipeline.segment.postprocess import Postprocessed
from pipeline.segment.segmenter import Segmentation


def label_facts(
    segmentation: Segmentation, cleaned: Postprocessed, *, seconds: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """Provenance and size of a label, fit for JSON.

    Args:
        segmentation: what the network said.
        cleaned: what became of it.
        seconds: wall time of steps the network knows nothing of, such as reading.
    """
    labels = cleaned.labels
    lesion = labels.voxels == Label.LESION
    voxel_ml = labels.geometry.voxel_volume_ml
    return {
        "origin": "coarse",
        "whole_liver_ml": round(float(np.count_nonzero(labels.voxels)) * voxel_ml, 3),
        "lesion_ml": round(float(np.count_nonzero(lesion)) * voxel_ml, 3),
        "lesion_count": component_count(lesion),
        "aorta_hu": segmentation.aorta_hu,
        "raw_sha256": segmentation.raw_sha256,
        "postprocessing": {
            "changed_voxels": cleaned.changed_voxels,
            "stray_voxels": cleaned.stray_voxels,
            "filled_voxels": cleaned.filled_voxels,
            "dust_voxels": cleaned.dust_voxels,
        },
        "signals": {name: round(value, 6) for name, value in segmentation.signals.items()},
        "device": segmentation.device,
        "notes": list(segmentation.notes),
        "model": dict(segmentation.model),
        "seconds": {step: round(value, 4) for step, value in {**segmentation.seconds, **(seconds or {})}.items()},
    }
