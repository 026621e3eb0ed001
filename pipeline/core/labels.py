"""The labels of a mask and what they mean together."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import LabelError


class Label(IntEnum):
    """Voxel values of every mask we write. Nested: a lesion lies inside the liver."""

    BACKGROUND = 0
    LIVER = 1
    LESION = 2


class Structure(StrEnum):
    """What agreement and volumes are reported of; always named, since `liver` alone is ambiguous."""

    WHOLE_LIVER = "whole_liver"
    PARENCHYMA = "parenchyma"
    LESION = "lesion"

    @property
    def values(self) -> tuple[int, ...]:
        """The labels whose voxels together form the structure."""
        return STRUCTURE_VALUES[self]


STRUCTURE_VALUES = {
    Structure.WHOLE_LIVER: (int(Label.LIVER), int(Label.LESION)),
    Structure.PARENCHYMA: (int(Label.LIVER),),
    Structure.LESION: (int(Label.LESION),),
}

COLORS: dict[Label, tuple[int, int, int]] = {
    Label.BACKGROUND: (0, 0, 0),
    Label.LIVER: (76, 175, 80),
    Label.LESION: (244, 67, 54),
}
"""RGB of each label, the same in ITK-SNAP, Slicer and our pages."""


@dataclass(frozen=True, slots=True)
class LabelScheme:
    """The labels a dataset uses, and the lesion kinds its diagnoses may name."""

    lesion_kinds: tuple[str, ...] = ()

    @property
    def names(self) -> dict[int, str]:
        """Name of each value, as shown to radiologists and written to `labels.label`."""
        return {int(label): label.name.lower() for label in Label}

    def check(self, values: NDArray[np.integer], *, what: str) -> None:
        """Raise a `LabelError` when the array holds a value outside the scheme."""
        known = set(self.names)
        low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
        if high - low < len(known) and known.issuperset(range(low, high + 1)):
            return  # two passes instead of a sort, where nothing is wrong
        unknown = sorted(set(np.unique(values).tolist()) - known)
        if unknown:
            raise LabelError(f"{what} has the values {unknown}, expected only {self.names}; relabel and export again")


def structure_mask(values: NDArray[np.integer], structure: Structure) -> NDArray[np.bool_]:
    """Voxels that belong to a structure, as booleans of the same shape."""
    return np.isin(values, structure.values)
