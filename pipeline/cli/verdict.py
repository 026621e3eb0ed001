"""Whether a demo met its planted truth exactly: every file, series, patient, volume, mask and manifest row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.core.ages import OLDEST_EXACT_YEARS, OPEN_CLASS
from pipeline.core.files import read_csv
from pipeline.core.labels import Structure, structure_mask
from pipeline.core.words import counted
from pipeline.dataset.layout import image_name, liver_mask_name, mask_name

if TYPE_CHECKING:
    from pipeline.dataset.manifest import ManifestRow
    from pipeline.synth.truth import CohortTruth, PatientTruth, VolumeTruth
    from pipeline.workspace import Workspace

SAME_ML = 0.01
"""Volumes in the manifest are rounded; a lesion of one voxel more would differ by at least 0.02 ml."""


def differences(ws: Workspace, truth: CohortTruth, version: str) -> Iterator[str]:
    """Everything in which the dataset is not what was planted, in words; nothing when it is."""
    cases = ws.crosswalk.case_ids(patient.patient_id for patient in truth.patients if patient.kept)
    yield from _files(ws, truth)
    yield from _series(ws, truth)
    yield from _volumes(ws, truth, cases)
    yield from _rows(ws, truth, cases, version)
    yield from _secrets(ws.layout.release(version), truth)


def manifest_differences(expected: Path, found: Path) -> Iterator[str]:
    """Each cell in which a manifest is not the expected one; a content hash tells which file changed."""
    before = {(row["patient_id"], row["phase"]): row for row in read_csv(expected)}
    now = {(row["patient_id"], row["phase"]): row for row in read_csv(found)}
    for name in sorted(before.keys() ^ now.keys()):
        yield f"{' '.join(name)}: {'missing from' if name in before else 'not expected in'} the manifest"
    for name in sorted(before.keys() & now.keys()):
        columns = {**before[name], **now[name]}
        changed = [column for column in columns if before[name].get(column) != now[name].get(column)]
        if changed:
            yield f"{' '.join(name)}: {', '.join(changed)} differ from {expected.name}"


def _files(ws: Workspace, truth: CohortTruth) -> Iterator[str]:
    rows = read_csv(ws.layout.files_table)
    found = Counter({row["code"]: 0 for row in rows if row["status"] != "used"})
    for row in rows:
        if row["status"] != "used":
            found[row["code"]] += int(row["files"])
    planted = Counter(item.code for item in truth.set_aside)
    if found != planted:
        yield f"files not used: found {dict(found)}, planted {dict(planted)}"
    total = sum(int(row["files"]) for row in rows)
    if total != truth.file_count:
        yield f"files accounted for: {total}, planted {truth.file_count}"


def _series(ws: Workspace, truth: CohortTruth) -> Iterator[str]:
    rows = {row["series"]: row for row in read_csv(ws.layout.series_table)}
    against = {patient.patient_id: set(patient.rules) for patient in truth.patients}
    for number, series in enumerate(truth.series, start=1):
        row = rows.pop(ws.crosswalk.pseudonyms.token("series", series.series_uid), None)
        if row is None:
            yield f"planted series {number} was not found"
            continue
        of_patient = against[series.patient_id] - ({"phases-complete"} if series.rules else set())
        expected = (series.phase, series.kept, set(series.rules) | of_patient)
        found = (row["phase"], row["kept"] == "true", set(row["reasons"].split()))
        if found != expected:
            yield f"planted series {number}: found {found}, planted {expected}"
    if rows:
        yield f"{counted(len(rows), 'series', 'series')} found that nobody planted"


def _volumes(ws: Workspace, truth: CohortTruth, cases: dict[str, str]) -> Iterator[str]:
    from pipeline.image.nifti import content_sha256, read_labels
    from pipeline.stages.artefacts import ConvertedVolume
    from pipeline.stages.case import require_vote

    for volume in truth.volumes:
        case_id, name = cases[volume.patient_id], f"{cases[volume.patient_id]} {volume.phase}"
        converted = ConvertedVolume.load(ws.layout.header(case_id, volume.phase))
        if converted.content_sha256 != volume.image_sha256:
            yield f"{name}: the converted volume differs from the planted one"
        vote = require_vote(ws, case_id, volume.phase)
        if vote.explanation.labels_sha256 != content_sha256(volume.labels):
            yield f"{name}: the voted mask differs from the planted one"
        if content_sha256(read_labels(vote.mask)) != content_sha256(volume.labels):
            yield f"{name}: the settled mask differs from the planted one"


def _rows(ws: Workspace, truth: CohortTruth, cases: dict[str, str], version: str) -> Iterator[str]:
    from pipeline.dataset.layout import ReleaseLayout
    from pipeline.dataset.manifest import read_manifest

    path = ReleaseLayout(ws.layout.release(version)).manifest
    rows = {(row.patient_id, row.phase): row for row in read_manifest(path)}
    patients = {patient.patient_id: patient for patient in truth.patients}
    for volume in truth.volumes:
        row = rows.pop((cases[volume.patient_id], volume.phase), None)
        if row is None:
            yield f"{cases[volume.patient_id]} {volume.phase}: no row in the manifest"
        else:
            yield from _row(row, volume, patients[volume.patient_id])
    if rows:
        yield f"{counted(len(rows), 'manifest row')} of volumes that nobody planted"


def _row(row: ManifestRow, volume: VolumeTruth, patient: PatientTruth) -> Iterator[str]:
    case_id, phase, voxels = row.patient_id, volume.phase, volume.labels.voxels
    voxel_ml = volume.labels.geometry.voxel_volume_ml
    age = str(patient.age_years) if patient.age_years <= OLDEST_EXACT_YEARS else OPEN_CLASS
    planted = {
        "age": age,
        "gender": patient.sex,
        "cancer_type": patient.diagnosis,
        "ct_path": image_name(case_id, phase),
        "mask_path": mask_name(case_id, phase),
        "liver_mask_path": liver_mask_name(case_id, phase),
        "scan_slices": voxels.shape[0],
        "liver_slices": int(structure_mask(voxels, Structure.WHOLE_LIVER).any(axis=(1, 2)).sum()),
        "lesion_slices": int(structure_mask(voxels, Structure.LESION).any(axis=(1, 2)).sum()),
    }
    for column, value in planted.items():
        if getattr(row, column) != value:
            yield f"{case_id} {phase}: {column} is {getattr(row, column)}, planted {value}"
    for column, structure in (("liver_volume_ml", Structure.WHOLE_LIVER), ("lesion_volume_ml", Structure.LESION)):
        value = np.count_nonzero(structure_mask(voxels, structure)) * voxel_ml
        if abs(getattr(row, column) - value) > SAME_ML:
            yield f"{case_id} {phase}: {column} is {getattr(row, column)}, planted {value:.2f}"


def _secrets(release: Path, truth: CohortTruth) -> Iterator[str]:
    """Planted identifiers, sought as plain bytes in every file that is not compressed."""
    secrets = [secret.encode() for secret in truth.secrets]
    for path in sorted(release.rglob("*")):
        if path.is_file() and path.suffix != ".gz" and any(secret in path.read_bytes() for secret in secrets):
            yield f"{path.relative_to(release)} holds a planted identifier"
