"""What changed between two releases: volumes, labels with their Dice, facts, and whether any patient moved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.files import read_json
from pipeline.core.labels import Structure, structure_mask
from pipeline.core.volume import LabelMap
from pipeline.dataset.layout import ReleaseLayout
from pipeline.dataset.manifest import ManifestRow, read_manifest
from pipeline.dataset.splits import Splits
from pipeline.image.nifti import read_labels

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
    """

    old: str
    new: str
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[VolumeChange, ...] = ()
    unchanged: int = 0
    moved: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """All of it, as plain values."""
        return asdict(self)

    def to_markdown(self) -> str:
        """`CHANGES.md`: what a user of the version before must know."""
        if not self.old:
            return f"# Changes in {self.new}\n\nFirst version: {len(self.added)} volumes.\n"
        lines = [f"# Changes in {self.new} against {self.old}", ""]
        lines += [
            f"{len(self.added)} volumes added, {len(self.removed)} removed, {len(self.changed)} changed, "
            f"{self.unchanged} unchanged. {len(self.moved)} patients moved between splits.",
            "",
        ]
        for title, volumes in (("Added", self.added), ("Removed", self.removed)):
            lines += [f"## {title}", "", ", ".join(volumes), ""] if volumes else []
        if self.changed:
            lines += [
                "## Changed",
                "",
                "| volume | what | columns | Dice liver | Dice lesion |",
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
    rows = _by_volume(new)
    if old is None:
        return ReleaseDifference("", _version(rows), added=tuple(rows))
    before = _by_volume(old)
    both = [name for name in rows if name in before]
    changes = [_change(old, new, before[name], rows[name]) for name in both]
    changed = tuple(change for change in changes if change.what)
    return ReleaseDifference(
        old=_version(before),
        new=_version(rows),
        added=tuple(name for name in rows if name not in before),
        removed=tuple(name for name in before if name not in rows),
        changed=changed,
        unchanged=len(both) - len(changed),
        moved=_moved(old, new),
    )


def dice_by_structure(a: LabelMap, b: LabelMap) -> dict[str, float | None]:
    """Dice of two masks on one grid for whole liver and lesion; None where neither has any."""
    found = {}
    for structure in (Structure.WHOLE_LIVER, Structure.LESION):
        one, other = structure_mask(a.voxels, structure), structure_mask(b.voxels, structure)
        total = int(one.sum()) + int(other.sum())
        found[str(structure)] = round(2 * int(np.sum(one & other)) / total, 4) if total else None
    return found


def _by_volume(release: Path) -> dict[str, ManifestRow]:
    rows = read_manifest(ReleaseLayout(release).manifest)
    return {f"{row.patient_id} {row.phase}": row for row in rows}


def _version(rows: Mapping[str, ManifestRow]) -> str:
    return next((row.release for row in rows.values()), "")


def _change(old: Path, new: Path, before: ManifestRow, after: ManifestRow) -> VolumeChange:
    columns = tuple(
        name
        for name in ManifestRow.model_fields
        if name not in _OF_EVERY_VERSION and getattr(before, name) != getattr(after, name)
    )
    image, labels = (getattr(before, name) != getattr(after, name) for name in _CONTENT)
    what = [word for word, is_so in (("image", image), ("labels", labels), ("facts", bool(columns))) if is_so]
    dice = _dice(old / before.label_path, new / after.label_path) if labels else None
    return VolumeChange(f"{after.patient_id} {after.phase}", tuple(what), columns, dice)


def _dice(old: Path, new: Path) -> dict[str, float | None] | None:
    before, after = read_labels(old), read_labels(new)
    return dice_by_structure(before, after) if before.geometry.same_space(after.geometry) else None


def _moved(old: Path, new: Path) -> tuple[str, ...]:
    before, after = (Splits.from_json(read_json(ReleaseLayout(release).splits)).places for release in (old, new))
    return tuple(case_id for case_id in after if case_id in before and before[case_id] != after[case_id])


def _table_line(change: VolumeChange) -> str:
    dice = change.dice or {}
    shown = [
        "" if dice.get(structure) is None else f"{dice[structure]:.4f}"
        for structure in (Structure.WHOLE_LIVER, Structure.LESION)
    ]
    return f"| {change.volume} | {', '.join(change.what)} | {', '.join(change.columns)} | {shown[0]} | {shown[1]} |"
