"""The labels of a mask and what they mean together: the one home of values, names, colours and codes.

0 background, 1 liver, 2 lesion of unknown kind, from 3 on one value a lesion kind that `[labels] lesion_kinds` lists.
They are nested: a kind lies inside lesion, lesion inside liver. Who looks for lesions asks `structure_mask`, and need
not know that there are kinds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import LabelError
from pipeline.core.kinds import FIRST_KIND, LAST_KIND, Color, Kind, KindEntry, completed, plain


class Label(IntEnum):
    """Levels of every mask we write. Nested: a lesion lies inside the liver; a lesion kind is a `LESION` too."""

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
        """The levels whose voxels together form the structure; every lesion kind is a `Label.LESION`."""
        return STRUCTURE_VALUES[self]


STRUCTURE_VALUES = {
    Structure.WHOLE_LIVER: (int(Label.LIVER), int(Label.LESION)),
    Structure.PARENCHYMA: (int(Label.LIVER),),
    Structure.LESION: (int(Label.LESION),),
}

COLORS: dict[Label, Color] = {
    Label.BACKGROUND: (0, 0, 0),
    Label.LIVER: (76, 175, 80),
    Label.LESION: (244, 67, 54),
}
"""RGB of each level, the same in ITK-SNAP, Slicer and our pages."""


@dataclass(frozen=True, slots=True)
class LabelScheme:
    """The labels a dataset uses.

    Attributes:
        lesion_kinds: as `[labels]` lists them: a known kind's name, any other name, or an entry that says more.

    Raises:
        LabelError: when two kinds share a name or a value, or a name cannot be one.
    """

    lesion_kinds: tuple[str | KindEntry, ...] = ()

    def __post_init__(self) -> None:
        _require_apart(self.kinds)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Every lesion kind, with all that is known of it."""
        return completed(self.lesion_kinds)

    @property
    def kind_names(self) -> dict[int, str]:
        """Value to name of each lesion kind."""
        return {kind.value: kind.name for kind in self.kinds}

    @property
    def names(self) -> dict[int, str]:
        """Name of each value, as files and messages spell it."""
        return {int(label): label.name.lower() for label in Label} | self.kind_names

    @property
    def titles(self) -> dict[int, str]:
        """Name of each value as radiologists see it: of lesion kinds in both languages."""
        return self.names | {kind.value: kind.title for kind in self.kinds}

    @property
    def colors(self) -> dict[int, Color]:
        """RGB of each value."""
        return {int(label): color for label, color in COLORS.items()} | {kind.value: kind.color for kind in self.kinds}

    def value_of(self, name: str) -> int | None:
        """The value that a name means, in any of the languages we write it in; None for any other text."""
        spelled = {plain(text): value for shown in (self.titles, self.names) for value, text in shown.items()}
        spelled |= {plain(kind.chinese): kind.value for kind in self.kinds if kind.chinese}
        return spelled.get(plain(name))

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
    """Voxels that belong to a structure, as booleans of the same shape; a lesion of any kind is a lesion."""
    if structure is Structure.PARENCHYMA:
        return np.asarray(values == Label.LIVER)
    lowest = Label.LIVER if structure is Structure.WHOLE_LIVER else Label.LESION
    return np.asarray((values >= lowest) & (values <= LAST_KIND))


def largest_first(values: NDArray[np.integer]) -> tuple[int, ...]:
    """The lesion kinds among some values, by how many there are of each; lower values first where equal."""
    counts = np.bincount(values, minlength=LAST_KIND + 1)[FIRST_KIND : LAST_KIND + 1]
    order = np.argsort(-counts, kind="stable")
    return tuple((order[counts[order] > 0] + FIRST_KIND).tolist())


def _require_apart(kinds: Sequence[Kind]) -> None:
    """Raise a `LabelError` unless each name and value says which kind is meant."""
    taken = {plain(text) for text in (*Structure, *(label.name for label in Label))}
    values: dict[int, str] = {}
    for kind in kinds:
        if not kind.name.strip() or any(mark in kind.name for mark in ';",\n'):
            raise LabelError(f"lesion kind {kind.name!r}: a name has letters, and no comma, semicolon or quote")
        if plain(kind.name).isdigit() or plain(kind.name) in taken:
            raise LabelError(f"lesion kind {kind.name}: the name means something else already; choose another")
        if not FIRST_KIND <= kind.value <= LAST_KIND:
            raise LabelError(f"lesion kind {kind.name}: value {kind.value}, expected {FIRST_KIND} to {LAST_KIND}")
        if kind.value in values:
            raise LabelError(
                f"lesion kinds {values[kind.value]} and {kind.name} have the same value {kind.value}; give each its own"
            )
        taken.add(plain(kind.name))
        values[kind.value] = kind.name
