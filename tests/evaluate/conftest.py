"""A release of box-shaped livers with lesion kinds, and predictions of it that one can score on paper."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.core.config import Config
from pipeline.core.records import Patient
from pipeline.dataset.release import cut
from tests.dataset.conftest import inputs_in

DIAGNOSES = ("HCC", "ICC", "HCC;ICC", "normal")
PATIENTS = 12


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve patients with two phases each: three folds, and two test patients; patient n has n % 3 lesions."""
    folder = tmp_path_factory.mktemp("evaluated")
    people = {
        f"P{number:04d}": Patient(50, "MF"[number % 2], DIAGNOSES[number % 4]) for number in range(1, PATIENTS + 1)
    }
    config = Config.model_validate(
        {
            "dataset": {"name": "box-livers"},
            "splits": {"folds": 3, "test_fraction": 0.2},
            "labels": {"lesion_kinds": ["HCC", "ICC"]},
        }
    )
    inputs = replace(inputs_in(folder, patients=PATIENTS, config=config), patients=people)
    return cut(inputs, folder / "releases", leak_check=lambda _: [])
