"""A release as its users read it, from any copy of its folder: tables, images and masks, lists for training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from pipeline.core.config import Modality
from pipeline.core.errors import ReleaseError
from pipeline.core.files import read_json
from pipeline.core.volume import LabelMap, Unit, Volume
from pipeline.dataset.export import export
from pipeline.dataset.layout import ExportFormat, ReleaseLayout
from pipeline.dataset.manifest import PATIENT_COLUMNS, ManifestRow, manifest_frame, read_manifest
from pipeline.dataset.release_inputs import released_scheme
from pipeline.dataset.splits import SplitName
from pipeline.dataset.tables import by_patient
from pipeline.frames import read_frame
from pipeline.image.nifti import read_labels, read_volume

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

Part: TypeAlias = Literal["train", "val", "test", "test-ood"]
PARTS: tuple[Part, ...] = get_args(Part)
SPLITS = get_args(SplitName)


def open_release(folder: str | PathLike[str]) -> Release:
    """The release in a folder, wherever it was copied to.

    Raises:
        ReleaseError: when the folder holds no release, or its table is damaged.
    """
    root = Path(folder).resolve()
    return Release(root, read_rows(root))


def read_rows(folder: Path) -> tuple[ManifestRow, ...]:
    """The manifest of the release in a folder, at least one row.

    Raises: as `open_release`.
    """
    layout = ReleaseLayout(folder)
    if not layout.manifest.is_file():
        raise ReleaseError(
            f"there is no {layout.manifest.name} in this folder; open the folder of one version, such as releases/1.0.0"
        )
    rows = read_manifest(layout.manifest)
    if not rows:
        raise ReleaseError(f"{layout.manifest.name} lists no volume; copy the release again")
    return rows


class Release:
    """One version of a dataset. Volumes go by patient and phase: `release.image("P0001", "C1")`.

    Attributes:
        root: its folder.
        version: such as "1.0.0".
    """

    def __init__(self, root: Path, rows: Sequence[ManifestRow]) -> None:
        self.root = root
        self.version = rows[0].release
        self._layout = ReleaseLayout(root)
        self._rows = {(row.patient_id, str(row.phase)): row for row in rows}

    def __repr__(self) -> str:
        return f"Release({self.version}, {len(self.patients)} patients, {len(self._rows)} volumes)"

    @cached_property
    def volumes(self) -> pd.DataFrame:
        """One row a volume, as in `patient_data.csv`; `schema.json` says what each column means."""
        return manifest_frame(self._rows.values())

    @cached_property
    def patients(self) -> pd.DataFrame:
        """One row a patient: age, gender, diagnosis, split, fold, and the phases there are."""
        phases = self.volumes.groupby("patient_id", sort=False)["phase"].agg(" ".join)
        people = self.volumes.drop_duplicates("patient_id")[["patient_id", *PATIENT_COLUMNS]]
        return people.merge(phases.rename("phases"), on="patient_id").reset_index(drop=True)

    @cached_property
    def lesions(self) -> pd.DataFrame:
        """One row a lesion of a volume: kind, volume, diameters, intensities.

        Raises:
            StorageError: when `lesions.csv` is missing or damaged.
        """
        return read_frame(self._layout.lesions, text=("patient_id", "phase", "kind", "other_kinds"))

    @property
    def splits(self) -> dict[str, list[str]]:
        """Patients of "train", "test" and "test-ood"; the fold of each stands in `patients`."""
        people = by_patient(self._rows.values()).items()
        return {split: [patient for patient, row in people if row.split == split] for split in SPLITS}

    def image(self, patient_id: str, phase: str) -> Volume:
        """The image as released: windowed, liver slices only, where the dataset says so.

        Raises: as `labels`.
        """
        return read_volume(self.root / self._row(patient_id, phase).ct_path, self._unit)

    def labels(self, patient_id: str, phase: str) -> LabelMap:
        """The mask of all labels: 0 background, 1 liver, 2 lesion, from 3 on the kinds of `lesion_kinds.csv`.

        Raises:
            ReleaseError: when there is no such patient or phase.
            StorageError: when the file is missing or damaged.
        """
        return read_labels(self.root / self._row(patient_id, phase).label_path)

    def mask(self, patient_id: str, phase: str, *, kind: str | None = None) -> LabelMap:
        """The binary mask of all lesions, or of those of one kind.

        Args:
            patient_id: such as "P0001".
            phase: such as "C1".
            kind: as `lesion_kinds.csv` names it.

        Raises: as `labels`, and `ReleaseError` when the release tells no such kind.
        """
        if kind is None:
            return read_labels(self.root / self._row(patient_id, phase).mask_path)
        scheme = released_scheme(read_json(self._layout.provenance))
        value = scheme.value_of(kind)
        if value not in scheme.kind_names:
            known = ", ".join(scheme.kind_names.values()) or "none"
            raise ReleaseError(f"there is no lesion kind {kind} in version {self.version}; its kinds: {known}")
        labels = self.labels(patient_id, phase)
        return LabelMap((labels.voxels == value).astype("uint8"), labels.geometry)

    def liver_mask(self, patient_id: str, phase: str) -> LabelMap:
        """The binary mask of the whole liver, lesions included.

        Raises: as `labels`.
        """
        return read_labels(self.root / self._row(patient_id, phase).liver_mask_path)

    def to_monai(self, part: Part | None = None, *, fold: int | None = None) -> list[dict[str, str]]:
        """Volumes as `monai.data.Dataset` takes them: paths of "image" and "label", and "patient_id" and "phase".

        Args:
            part: "train", "val", "test" or "test-ood"; all of them if absent.
            fold: whose patients "val" holds and "train" leaves out; without one "train" holds all training patients.

        Raises:
            ReleaseError: when there is no such part or fold.
        """
        return [
            {
                "image": str(self.root / row.ct_path),
                "label": str(self.root / row.label_path),
                "patient_id": row.patient_id,
                "phase": str(row.phase),
            }
            for row in self._selected(part, fold)
        ]

    def to_torch(self, part: Part | None = None, *, fold: int | None = None) -> Samples:
        """Volumes as `torch.utils.data.DataLoader` takes them; arguments and errors as of `to_monai`."""
        return Samples(self.root, self._selected(part, fold), self._unit)

    def to_nnunet(self, out: str | PathLike[str], *, number: int = 1) -> Path:
        """The folder of the release in nnU-Net's raw layout, with `dataset.json` and the folds.

        Args:
            out: nnU-Net's raw folder.
            number: of the dataset; stands in the folder's name.

        Raises:
            ReleaseError: when that folder exists.
        """
        return export(self.root, Path(out), ExportFormat.NNUNET, number=number)

    @cached_property
    def _unit(self) -> Unit:
        modality = read_json(self._layout.provenance)["config"]["dataset"]["modality"]
        return Unit.HU if modality == Modality.CT else Unit.INTENSITY

    def _row(self, patient_id: str, phase: str) -> ManifestRow:
        phases = [known for patient, known in self._rows if patient == patient_id]
        if not phases:
            raise ReleaseError(f"version {self.version} has no patient {patient_id}; `patients` lists them")
        if phase not in phases:
            raise ReleaseError(
                f"{patient_id} has no phase {phase} in version {self.version}; it has {', '.join(phases)}"
            )
        return self._rows[patient_id, phase]

    def _selected(self, part: Part | None, fold: int | None) -> tuple[ManifestRow, ...]:
        if part is not None and part not in PARTS:
            raise ReleaseError(f"there is no part {part!r}; choose {', '.join(PARTS)}")
        folds = sorted({row.fold for row in self._rows.values() if row.fold is not None})
        if fold is not None and fold not in folds:
            raise ReleaseError(f"there is no fold {fold}; there are {', '.join(map(str, folds))}")
        if (part == "val" and fold is None) or (part not in ("train", "val") and fold is not None):
            raise ReleaseError('"val" needs a fold, "train" may have one, no other part has any')
        return tuple(row for row in self._rows.values() if _is_in(row, part, fold))


@dataclass(frozen=True, slots=True)
class Samples:
    """Images and labels one by one, as a map-style dataset of torch; needs no torch itself.

    A sample holds "image" (1, slices, rows, columns) float32, "label" of the same shape uint8, "patient_id" and
    "phase". Volumes differ in shape: take a batch size of 1, or crop in your `collate_fn`.
    """

    root: Path
    rows: tuple[ManifestRow, ...]
    unit: Unit

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self.rows[index]
        image: NDArray[np.float32] = read_volume(self.root / row.ct_path, self.unit).voxels[None].astype("float32")
        label: NDArray[np.uint8] = read_labels(self.root / row.label_path).voxels[None].copy()
        return {"image": image, "label": label, "patient_id": row.patient_id, "phase": str(row.phase)}

    def __repr__(self) -> str:
        return f"Samples({len(self)} volumes)"


def _is_in(row: ManifestRow, part: Part | None, fold: int | None) -> bool:
    if part == "val":
        return row.fold == fold
    return part is None or (row.split == part and (fold is None or row.fold != fold))
