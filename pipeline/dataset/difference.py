"""What changed between two releases: volumes, labels with their Dice, facts, columns, and whether any patient moved.

Tables are compared as text, so that a release whose columns this program no longer writes can still be compared.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import ReleaseError
from pipeline.core.labels import Structure, structure_mask
from pipeline.core.volume import LabelMap
from pipeline.core.words import counted
from pipeline.dataset.layout import ReleaseLayout
from pipeline.dataset.splits import Splits
from pipeline.image.nifti import read_labels

MAJOR, MINOR, PATCH = range(3)
"""Places of a version's numbers, from the left."""

Table = Mapping[str, Mapping[str, str]]
"""Volume to its row: column to cell."""

_CONTENT = ("ct_content_sha256", "label_content_sha256")
_OF_EVERY_VERSION = frozenset({"release", *_CONTENT, "mask_content_sha256", "liver_mask_content_sha256"})


@dataclass(frozen=True, slots=True)
class VolumeChange:
    """One volume that both versions have and that is not the same in both.

    Attributes:
        volume: patient and phase.
        what: some of "image", "labels" and "facts".
        columns: manifest columns that differ, hashes and version left out.
        dice: of old and new labels by structure, where the labels changed on the same grid; None where neither holds
            the structure.
    """

    volume: str
    what: tuple[str, ...]
    columns: tuple[str, ...] = ()
    dice: Mapping[str, float | None] | None = None


@dataclass(frozen=True, slots=True)
class ReleaseDifference:
    """Two releases side by side.

    Attributes:
        old: version before; "" where there is none.
        new: version in question.
        added: volumes only in the new one.
        removed: volumes only in the old one.
        changed: volumes in both that differ.
        unchanged: how many are the same.
        moved: patients with another split or fold; there must be none.
        columns_added: manifest columns only in the new one.
        columns_removed: manifest columns only in the old one.
    """

    old: str
    new: str
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[VolumeChange, ...] = ()
    unchanged: int = 0
    moved: tuple[str, ...] = ()
    columns_added: tuple[str, ...] = ()
    columns_removed: tuple[str, ...] = ()

    @property
    def step(self) -> int | None:
        """Which number of the version must rise (`MAJOR`, `MINOR` or `PATCH`); None when nothing changed.

        Major: cases or columns went, or patients moved, so that older code or results no longer fit. Minor: cases or
        columns came. Patch: labels, images or facts were corrected.
        """
        if self.removed or self.columns_removed or self.moved:
            return MAJOR
        if self.added or self.columns_added:
            return MINOR
        return PATCH if self.changed else None

    def to_json(self) -> dict[str, Any]:
        """All of it, as plain values."""
        return asdict(self)

    def to_markdown(self) -> str:
        """`CHANGES.md`: what a user of the version before must know."""
        if not self.old:
            return f"# Changes in {self.new}\n\nFirst version: {counted(len(self.added), 'volume')}.\n"
        lines = [f"# Changes in {self.new} against {self.old}", ""]
        lines += [
            f"{counted(len(self.added), 'volume')} added, {len(self.removed)} removed, {len(self.changed)} changed, "
            f"{self.unchanged} unchanged. {counted(len(self.moved), 'patient')} moved between splits.",
            "",
        ]
        for title, names in (
            ("Added", self.added),
            ("Removed", self.removed),
            ("Columns added", self.columns_added),
            ("Columns removed", self.columns_removed),
            ("Moved between splits", self.moved),
        ):
            lines += [f"## {title}", "", ", ".join(names), ""] if names else []
        if self.changed:
            lines += [
                "## Changed",
                "",
                "| volume | changed | columns | Dice, liver | Dice, lesions |",
                "|---|---|---|---|---|",
            ]
            lines += [_table_line(change) for change in self.changed] + [""]
        return "\n".join(lines)


def diff(old: Path | None, new: Path) -> ReleaseDifference:
    """How a release differs from another; with no other one, everything is added.

    Args:
        old: folder of the version before, or None.
        new: folder of the version in question.

    Raises:
        ReleaseError: when a manifest cannot be read.
    """
    rows = _table(new)
    if old is None:
        return ReleaseDifference("", _version(rows), added=tuple(rows))
    before = _table(old)
    both = [name for name in rows if name in before]
    changes = [_change(name, old, new, before[name], rows[name]) for name in both]
    changed = tuple(change for change in changes if change.what)
    columns, old_columns = _columns(rows), _columns(before)
    return ReleaseDifference(
        old=_version(before),
        new=_version(rows),
        added=tuple(name for name in rows if name not in before),
        removed=tuple(name for name in before if name not in rows),
        changed=changed,
        unchanged=len(both) - len(changed),
        moved=_moved(old, new),
        columns_added=tuple(name for name in columns if name not in old_columns),
        columns_removed=tuple(name for name in old_columns if name not in columns),
    )


def dice_by_structure(a: LabelMap, b: LabelMap) -> dict[str, float | None]:
    """Dice of two masks on one grid for whole liver and lesion; None where neither has any."""
    found = {}
    for structure in (Structure.WHOLE_LIVER, Structure.LESION):
        one, other = structure_mask(a.voxels, structure), structure_mask(b.voxels, structure)
        total = int(one.sum()) + int(other.sum())
        found[str(structure)] = round(2 * int(np.sum(one & other)) / total, 4) if total else None
    return found


def _table(release: Path) -> Table:
    manifest = ReleaseLayout(release).manifest
    try:
        with manifest.open(encoding="utf-8", newline="") as file:
            return {f"{row['patient_id']} {row['phase']}": row for row in csv.DictReader(file)}
    except (OSError, UnicodeDecodeError, KeyError):
        raise ReleaseError(
            f"{manifest.name} of {release.name} cannot be read; check that the folder is a release"
        ) from None


def _columns(table: Table) -> tuple[str, ...]:
    return tuple(next(iter(table.values()), {}))


def _version(table: Table) -> str:
    return next((row["release"] for row in table.values()), "")


def _change(name: str, old: Path, new: Path, before: Mapping[str, str], after: Mapping[str, str]) -> VolumeChange:
    columns = tuple(
        column
        for column in after
        if column not in _OF_EVERY_VERSION and column in before and before[column] != after[column]
    )
    image, labels = (before[column] != after[column] for column in _CONTENT)
    what = [word for word, is_so in (("image", image), ("labels", labels), ("facts", bool(columns))) if is_so]
    dice = _dice(old / before["label_path"], new / after["label_path"]) if labels else None
    return VolumeChange(name, tuple(what), columns, dice)


def _dice(old: Path, new: Path) -> dict[str, float | None] | None:
    before, after = read_labels(old), read_labels(new)
    return dice_by_structure(before, after) if before.geometry.same_space(after.geometry) else None


def _moved(old: Path, new: Path) -> tuple[str, ...]:
    before, after = (Splits.read(ReleaseLayout(release).splits).places for release in (old, new))
    return tuple(case_id for case_id in after if case_id in before and before[case_id] != after[case_id])


def _table_line(change: VolumeChange) -> str:
    dice = change.dice or {}
    shown = [
        "" if dice.get(structure) is None else f"{dice[structure]:.4f}"
        for structure in (Structure.WHOLE_LIVER, Structure.LESION)
    ]
    return f"| {change.volume} | {', '.join(change.what)} | {', '.join(change.columns)} | {shown[0]} | {shown[1]} |"
