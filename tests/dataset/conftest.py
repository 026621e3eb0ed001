"""A small cohort of box-shaped livers whose every figure one can tell on paper."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.config import Config
from pipeline.core.geometry import Geometry
from pipeline.core.records import Patient, Phase
from pipeline.core.volume import LabelMap, Volume
from pipeline.dataset.release import ReleaseInputs, ReleaseVolume, ReviewFacts, ScanFacts, cut
from pipeline.image.nifti import write_nifti

SHAPE = (6, 20, 24)
SPACING_MM = (5.0, 2.0, 2.0)
VOXEL_ML = 0.02
"""5 x 2 x 2 mm."""

DIAGNOSES = ("HCC", "ICC", "normal")


def box_labels(lesions: int) -> LabelMap:
    """A liver of 4 x 10 x 12 voxels with up to two lesions of 2 x 3 x 2 and 1 x 2 x 2 voxels."""
    voxels = np.zeros(SHAPE, dtype=np.uint8)
    voxels[1:5, 4:14, 6:18] = 1
    if lesions > 0:
        voxels[2:4, 5:8, 7:9] = 2
    if lesions > 1:
        voxels[3:4, 10:12, 14:16] = 2
    return LabelMap(voxels, Geometry.from_axes(SHAPE, spacing_mm=SPACING_MM, origin_lps_mm=(-20, -30, 400)))


def image_of(labels: LabelMap, seed: int) -> Volume:
    noise = np.random.default_rng(seed).integers(-20, 20, labels.voxels.shape)
    return Volume((noise + 60 * (labels.voxels > 0)).astype(np.int16), labels.geometry)


def lesion_rows(count: int) -> tuple[dict[str, object], ...]:
    measures = [
        {"number": 1, "volume_ml": 12 * VOXEL_ML, "max_diameter_mm": 6.7082, "slices": 2, "appearance": None},
        {"number": 2, "volume_ml": 4 * VOXEL_ML, "max_diameter_mm": 2.8284, "slices": 1, "appearance": {"mean": 1 / 3}},
    ]
    return tuple(measures[:count])


MakeInputs = Callable[..., ReleaseInputs]


def inputs_in(folder: Path, version: str = "1.0.0", patients: int = 6, **changes: object) -> ReleaseInputs:
    """Inputs of a release with the given number of patients, two phases each."""
    volumes, people = [], {}
    for number in range(1, patients + 1):
        case_id, lesions = f"P{number:04d}", number % 3
        people[case_id] = Patient(40 + 10 * number, "MF"[number % 2], DIAGNOSES[number % 3 - 1], None)
        volumes += [volume_in(folder, number, case_id, phase, lesions) for phase in (Phase.PLAIN, Phase.ARTERIAL)]
    config = Config.model_validate({"dataset": {"name": "box-livers"}})
    return replace(ReleaseInputs(version, config, people, tuple(volumes), min_raters=3), **changes)


def volume_in(folder: Path, number: int, case_id: str, phase: Phase, lesions: int) -> ReleaseVolume:
    home = folder / "cases" / case_id / phase
    labels = box_labels(lesions)
    write_nifti(home / "labels.nii.gz", labels)
    write_nifti(home / "ct.nii.gz", image_of(labels, 2 * number + (phase is Phase.PLAIN)))
    return ReleaseVolume(
        case_id,
        phase,
        home / "ct.nii.gz",
        home / "labels.nii.gz",
        ScanFacts(f"2.25.{number}{len(phase)}", slices=10, site="AB"[number % 2], manufacturer="GE", kvp=120.0),
        ReviewFacts(("R1", "R2", "R3"), (0.97, 0.96, 0.98), (0.9, 0.8, 0.85) if lesions else ()),
        first_slice=3,
        window_hu=(0.0, 400.0),
        coarse_model="demo",
        coarse_sha256="a" * 64,
        lesions=lesion_rows(lesions),
    )


@pytest.fixture
def make_inputs(tmp_path: Path) -> MakeInputs:
    """Makes inputs below the test's own folder."""
    return partial(inputs_in, tmp_path)


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release of six patients that tests only read."""
    folder = tmp_path_factory.mktemp("released")
    return cut(inputs_in(folder), folder / "releases", leak_check=lambda _: [])
