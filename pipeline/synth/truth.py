"""What a pipeline must find in the demo cohort, exactly: known because it was put there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

from pipeline.core.records import Phase
from pipeline.core.volume import LabelMap
from pipeline.image.nifti import content_sha256
from pipeline.synth.anatomy import LesionKind


@dataclass(frozen=True, slots=True)
class PatientTruth:
    """One patient of the export.

    Attributes:
        patient_id: as in PatientID and `clinical.csv`.
        site: code of the hospital.
        rules: why the patient must be refused; empty exactly when kept.
    """

    patient_id: str
    site: str
    age_years: int
    sex: str
    diagnosis: str
    rules: tuple[str, ...]

    @property
    def kept(self) -> bool:
        """True when the patient becomes a case."""
        return not self.rules


@dataclass(frozen=True, slots=True)
class SeriesTruth:
    """One series of slices.

    Attributes:
        rules: why the series itself must be refused; those of its patient come on top.
        kept: True when it becomes the patient's volume of this phase.
    """

    patient_id: str
    series_uid: str
    phase: Phase
    slice_count: int
    rules: tuple[str, ...]
    kept: bool


@dataclass(frozen=True, slots=True)
class LesionTruth:
    """One lesion as it lies in one volume.

    Attributes:
        centre_lps_mm: middle of the ellipsoid.
        voxels: how many voxels of the mask are this lesion's.
    """

    kind: LesionKind
    centre_lps_mm: tuple[float, float, float]
    voxels: int


@dataclass(frozen=True, slots=True, eq=False)
class VolumeTruth:
    """One kept volume.

    Attributes:
        image_sha256: `content_sha256` of the volume in HU that a right conversion gives.
        labels: the mask, on the volume's grid.
    """

    patient_id: str
    phase: Phase
    series_uid: str
    image_sha256: str
    labels: LabelMap
    lesions: tuple[LesionTruth, ...]


@dataclass(frozen=True, slots=True)
class SetAsideTruth:
    """A file that must become no slice: where it lies below the cohort's folder, and the code of its fate."""

    path: str
    code: str


@dataclass(frozen=True, eq=False)
class CohortTruth:
    """Everything planted.

    Attributes:
        patients: in the order in which they were enrolled.
        series: every series of slices.
        volumes: kept ones.
        set_aside: files that are no slice of any series.
        file_count: files below `dicom/`, all of them.
        secrets: identifiers planted; none may be found in what leaves the house.
    """

    patients: tuple[PatientTruth, ...]
    series: tuple[SeriesTruth, ...]
    volumes: tuple[VolumeTruth, ...]
    set_aside: tuple[SetAsideTruth, ...]
    file_count: int
    secrets: tuple[str, ...]

    @cached_property
    def labels_of_image(self) -> Mapping[str, LabelMap]:
        """The planted mask of each kept volume by `image_sha256`."""
        return MappingProxyType({volume.image_sha256: volume.labels for volume in self.volumes})

    def to_json(self) -> dict[str, Any]:
        """The truth as JSON-able values; a mask is told by its `content_sha256`. Private: it names the patients."""
        return {
            "patients": [_patient_json(patient) for patient in self.patients],
            "series": [_series_json(series) for series in self.series],
            "volumes": [_volume_json(volume) for volume in self.volumes],
            "set_aside": {item.path: item.code for item in self.set_aside},
            "file_count": self.file_count,
        }


def _patient_json(patient: PatientTruth) -> dict[str, Any]:
    return {
        "patient_id": patient.patient_id,
        "site": patient.site,
        "age_years": patient.age_years,
        "sex": patient.sex,
        "diagnosis": patient.diagnosis,
        "kept": patient.kept,
        "rules": list(patient.rules),
    }


def _series_json(series: SeriesTruth) -> dict[str, Any]:
    return {
        "patient_id": series.patient_id,
        "series_uid": series.series_uid,
        "phase": str(series.phase),
        "slice_count": series.slice_count,
        "kept": series.kept,
        "rules": list(series.rules),
    }


def _volume_json(volume: VolumeTruth) -> dict[str, Any]:
    return {
        "patient_id": volume.patient_id,
        "phase": str(volume.phase),
        "series_uid": volume.series_uid,
        "image_sha256": volume.image_sha256,
        "labels_sha256": content_sha256(volume.labels),
        "lesions": [
            {"kind": str(lesion.kind), "centre_lps_mm": list(lesion.centre_lps_mm), "voxels": lesion.voxels}
            for lesion in volume.lesions
        ],
    }
