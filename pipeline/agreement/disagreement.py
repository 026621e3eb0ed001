"""Where raters differ: slice by slice, from the histogram."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.agreement.joint import Joint
from pipeline.agreement.records import DisagreementSlice
from pipeline.core.labels import Structure


def disagreement_slices(joint: Joint, structure: str, values: Sequence[int]) -> tuple[DisagreementSlice, ...]:
    """The slices on which some raters, but not all, marked voxels as this structure."""
    members = joint.members(values)
    anyone = members.any(axis=1)
    union = joint.slice_counts @ anyone
    differing = joint.slice_counts @ (anyone & ~members.all(axis=1))
    return tuple(
        DisagreementSlice(structure, joint.start[0] + index, int(differing[index]), int(union[index]))
        for index in np.flatnonzero(differing).tolist()
    )


def slices_to_look_at(joint: Joint, most: int = 10) -> list[int]:
    """The slices on which raters differ most about lesions, or about the liver where no lesion is in dispute."""
    for structure in (Structure.LESION, Structure.WHOLE_LIVER):
        found = disagreement_slices(joint, structure, structure.values)
        if found:
            worst = sorted(found, key=lambda here: (-here.disagreeing_voxels, here.slice))[:most]
            return sorted(here.slice for here in worst)
    return []
