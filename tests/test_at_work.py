"""A dataset at work as Python shows it: what the stages left, by case and phase, and nothing changed by looking."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset as Header

from pipeline.agreement.consensus import vote
from pipeline.at_work import Dataset, open_dataset
from pipeline.core.config import ConsensusConfig
from pipeline.core.errors import ConfigError, StorageError
from pipeline.core.records import Phase
from pipeline.core.volume import LabelMap, Unit
from pipeline.dataset.layout import Layout
from pipeline.image.nifti import write_nifti
from pipeline.stages import CONVERT, SCAN, SCREEN
from pipeline.stages.artefacts import LeadDecision, VotedMask
from pipeline.workspace import Workspace
from tests.dicom.scanner import Scan, body, expose

SETTINGS = """
[dataset]
name = "people"
[phases]
required = ["C1", "C2"]
[inclusion]
min_slices = 5
"""
SCANS = {"C1": Scan(body(seed=1), study_uid="1.2.3"), "C2": Scan(body(seed=2), study_uid="1.2.3")}


def named(dataset: Header, phase: str) -> None:
    dataset.SeriesDescription, dataset.SliceThickness = {"C1": "arterial", "C2": "portal venous"}[phase], 2.5


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """One patient, converted."""
    (tmp_path / "dataset.toml").write_text(SETTINGS, encoding="utf-8")
    for phase, scan in SCANS.items():
        expose(tmp_path / "dicom" / phase, scan, lambda dataset, _, phase=phase: named(dataset, phase))
    ws = Workspace.open(tmp_path)
    assert all(outcome.is_well for outcome in (SCAN(ws), SCREEN(ws), CONVERT(ws, "P0001")))
    return tmp_path


@pytest.fixture
def dataset(root: Path) -> Dataset:
    return open_dataset(str(root))


def mask(dataset: Dataset, value: int) -> LabelMap:
    geometry = dataset.image("P0001", "C1").geometry
    return LabelMap(np.full(geometry.shape, value, np.uint8), geometry)


def test_images_are_what_was_scanned(dataset: Dataset):
    for phase, scan in SCANS.items():
        image = dataset.image("P0001", phase)
        np.testing.assert_array_equal(image.voxels, scan.hu)
        np.testing.assert_allclose(image.geometry.affine, scan.affine, atol=1e-4)
        assert image.unit is Unit.HU


def test_progress_and_series_are_tables(dataset: Dataset):
    assert repr(dataset) == "Dataset(people, 1 case)"
    assert dataset.config.dataset.name == "people"
    assert dataset.cases.set_index("case_id").loc["P0001", ["phases", "convert", "label"]].tolist() == [
        *("C1 C2", "done", "to do")
    ]
    assert sorted(dataset.series["phase"]) == ["C1", "C2"]
    assert dataset.series["slices"].tolist() == [6, 6]
    assert dataset.series["kept"].all()
    assert list(dataset.problems.columns) == ["severity", "code", "message", "fix"]


def test_masks_are_found_as_they_come_in(dataset: Dataset):
    layout = Layout(dataset.root)
    assert dataset.ratings("P0001", "C1") == {}
    for value, rater in enumerate(("R2", "R1")):
        write_nifti(layout.rating("P0001", Phase.ARTERIAL, rater), mask(dataset, value))
    assert {rater: labels.voxels.max() for rater, labels in dataset.ratings("P0001", "C1").items()} == {
        "R1": 1,
        "R2": 0,
    }
    write_nifti(layout.coarse("P0001", Phase.ARTERIAL), mask(dataset, 2))
    assert dataset.coarse("P0001", "C1").voxels.min() == 2

    voted = vote({rater: mask(dataset, 1) for rater in ("R1", "R2", "R3")}, ConsensusConfig())
    write_nifti(layout.consensus("P0001", Phase.ARTERIAL), voted.labels)
    VotedMask(explanation=voted.explanation()).save(layout.consensus_explanation("P0001", Phase.ARTERIAL))
    assert dataset.labels("P0001", "C1").voxels.min() == 1
    write_nifti(layout.adjudicated("P0001", Phase.ARTERIAL), mask(dataset, 2))
    decision = LeadDecision(by="R9", voted_sha256=voted.explanation().labels_sha256, changed_voxels=None)
    decision.save(layout.adjudication("P0001", Phase.ARTERIAL))
    assert dataset.labels("P0001", "C1").voxels.min() == 2, "the lead's mask counts"
    assert dataset.consensus("P0001", "C1").voxels.max() == 1
    decision.model_copy(update={"voted_sha256": "0" * 64}).save(layout.adjudication("P0001", Phase.ARTERIAL))
    assert dataset.labels("P0001", "C1").voxels.max() == 1, "a mask about another vote does not"


@pytest.mark.parametrize("ask", ["coarse", "consensus", "labels"])
def test_what_is_not_made_yet_says_so(dataset: Dataset, ask: str):
    with pytest.raises(StorageError, match=r"P0001 C1 has no .* yet; `liverset status` shows how far each case is"):
        getattr(dataset, ask)("P0001", "C1")


@pytest.mark.parametrize("ask", ["image", "coarse", "ratings", "consensus", "labels"])
def test_an_unknown_case_or_phase_is_named(dataset: Dataset, ask: str):
    with pytest.raises(ConfigError, match="P0001 has no phase P; it has C1, C2"):
        getattr(dataset, ask)("P0001", "P")
    with pytest.raises(ConfigError, match="P0002 is not a case of this dataset"):
        getattr(dataset, ask)("P0002", "C1")


def test_looking_changes_nothing(dataset: Dataset, root: Path):
    def state() -> dict[Path, tuple[int, int]]:
        return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(root.rglob("*"))}

    before = state()
    dataset.cases, dataset.series, dataset.problems, dataset.image("P0001", "C1")
    assert state() == before


def test_a_dataset_before_its_first_build_is_empty(tmp_path: Path):
    (tmp_path / "dataset.toml").write_text(SETTINGS, encoding="utf-8")
    dataset = open_dataset(tmp_path)
    assert dataset.cases.empty
    assert dataset.series.empty
    assert "phase" in dataset.series
    assert dataset.problems.empty
    with pytest.raises(ConfigError, match="the sources are not screened yet"):
        dataset.image("P0001", "C1")
