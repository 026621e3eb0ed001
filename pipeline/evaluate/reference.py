"""What a release asks of predictions: volumes and their names, lesions on slices, classes of patients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pipeline.agreement.tables import volume_groups
from pipeline.core.files import read_csv, read_json
from pipeline.core.labels import LabelScheme
from pipeline.core.volume import LabelMap
from pipeline.dataset.layout import ReleaseLayout
from pipeline.dataset.manifest import ManifestRow
from pipeline.dataset.reading import read_rows
from pipeline.dataset.release_inputs import released_scheme
from pipeline.dataset.tasks import CLASSIFICATION_COLUMNS, KINDS_IN_MASK
from pipeline.image.masks import mask_suffix
from pipeline.image.nifti import read_labels

VolumeName: TypeAlias = tuple[str, str]
"""Patient and phase."""

Meaning: TypeAlias = Literal["labels", "lesion", "liver"]
"""What a predicted mask holds: all labels, lesions alone, or the whole liver alone."""

Corners: TypeAlias = tuple[float, float, float, float]
"""A box as COCO has it: left, top, width, height in pixels of the released slice."""


@dataclass(frozen=True, slots=True)
class Slice:
    """One released slice, an image of `detection/coco.json`; slices count from 0."""

    volume: VolumeName
    index: int


@dataclass(frozen=True, slots=True)
class LesionBox:
    """A lesion on one slice: its number in the volume and its kind."""

    image: int
    kind: str
    lesion: int
    corners: Corners


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """The release as predictions are measured against it.

    Attributes:
        root: its folder.
        version: such as "1.0.0".
        rows: the manifest, by patient and phase.
        scheme: the labels of its masks.
        slices: image number of `detection/coco.json` to the slice it is.
        kinds: category number to the kind of lesion.
        boxes: every lesion on every slice.
        classes: names of the classes of `classification.csv`.
        truth: patient to the classes that apply.
    """

    root: Path
    version: str
    rows: Mapping[VolumeName, ManifestRow]
    scheme: LabelScheme
    slices: Mapping[int, Slice]
    kinds: Mapping[int, str]
    boxes: tuple[LesionBox, ...]
    classes: tuple[str, ...]
    truth: Mapping[str, frozenset[str]]

    @property
    def mask_names(self) -> dict[str, tuple[VolumeName, Meaning]]:
        """What a predicted mask may be called, without its ending: as the release or as nnU-Net calls it."""
        names: dict[str, tuple[VolumeName, Meaning]] = {}
        for volume, row in self.rows.items():
            meanings: dict[str, Meaning] = {
                row.ct_path: "labels",
                row.label_path: "labels",
                row.mask_path: "lesion",
                row.liver_mask_path: "liver",
            }
            names |= {stem_of(Path(path).name): (volume, meaning) for path, meaning in meanings.items()}
            names["_".join(volume)] = volume, "labels"
        return names

    def labels(self, volume: VolumeName) -> LabelMap:
        """The released mask of all labels.

        Raises:
            StorageError: when the file is missing or damaged.
        """
        return read_labels(self.root / self.rows[volume].label_path)


def open_reference(folder: Path) -> Reference:
    """The release in a folder, ready to be measured against.

    Raises:
        ReleaseError: when the folder holds no release, or its table is damaged.
        StorageError: when another of its files is missing or damaged.
    """
    layout = ReleaseLayout(folder)
    rows = {(row.patient_id, str(row.phase)): row for row in read_rows(folder)}
    coco = read_json(layout.detection)
    by_file = {row.ct_path: volume for volume, row in rows.items()}
    kinds = {category["id"]: category["name"] for category in coco["categories"]}
    classes, truth = _classes(read_csv(layout.classification))
    return Reference(
        root=folder,
        version=next(iter(rows.values())).release,
        rows=rows,
        scheme=released_scheme(read_json(layout.provenance)),
        slices={image["id"]: Slice(by_file[image["file_name"]], image["slice"]) for image in coco["images"]},
        kinds=kinds,
        boxes=tuple(_box(found, kinds) for found in coco["annotations"]),
        classes=classes,
        truth=truth,
    )


def stem_of(name: str) -> str:
    """The name of a mask file without the ending that tells its format."""
    return name[: -len(mask_suffix(name) or "") or None]


def groups_of(rows: Iterable[ManifestRow]) -> list[dict[str, str]]:
    """What each volume is grouped by, each a name and the volume's value; a test patient has no fold."""
    return [
        {"split": row.split, **({} if row.fold is None else {"fold": str(row.fold)}), "phase": str(row.phase)}
        | {"site": row.site or "unknown"}
        | volume_groups(row.manufacturer, row.kernel, row.slice_thickness_mm, row.largest_lesion_mm)
        for row in rows
    ]


def _box(found: Mapping[str, Any], kinds: Mapping[int, str]) -> LesionBox:
    left, top, width, height = found["bbox"]
    return LesionBox(found["image_id"], kinds[found["category_id"]], found["lesion"], (left, top, width, height))


def _classes(table: Sequence[Mapping[str, str]]) -> tuple[tuple[str, ...], dict[str, frozenset[str]]]:
    """The classes of `classification.csv`, and which of them each patient has."""
    others = (*CLASSIFICATION_COLUMNS, KINDS_IN_MASK)
    classes = tuple(column for column in (table[0] if table else ()) if column not in others)
    return classes, {row["patient_id"]: frozenset(name for name in classes if row[name] == "1") for row in table}
