"""The coarse label that is measured is the one raters were sent, not one that was made since."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.core.geometry import Geometry
from pipeline.core.labels import LabelScheme
from pipeline.core.records import Phase
from pipeline.core.volume import LabelMap, Volume
from pipeline.image.nifti import write_nifti
from pipeline.review.assignment import AssignedItem, Assignment
from pipeline.review.package import PackageItem, build_package
from pipeline.stages.artefacts import RoundAssignment
from pipeline.stages.handed_out import coarse_as_sent
from pipeline.workspace import Workspace

GRID = Geometry.from_axes((6, 16, 16), spacing_mm=(5.0, 2.0, 2.0))


def outlined(columns: int) -> LabelMap:
    voxels = np.zeros(GRID.shape, np.uint8)
    voxels[1:5, 2:12, 2 : 2 + columns] = 1
    return LabelMap(voxels, GRID)


@pytest.fixture
def packed(tmp_path: Path) -> Workspace:
    """A dataset whose one volume was sent to R2, and labelled anew since."""
    (tmp_path / "dataset.toml").write_text('[dataset]\nname = "box-livers"\n')
    ws = Workspace.open(tmp_path)
    volume = "P0001", Phase.ARTERIAL
    write_nifti(ws.layout.image(*volume), Volume(np.full(GRID.shape, 60, np.int16), GRID))
    write_nifti(ws.layout.coarse(*volume), outlined(8))
    item = PackageItem("P0001_C1", *volume, ws.layout.image(*volume), ws.layout.coarse(*volume))
    build_package(ws.layout.outbox(1), "R2", [item], LabelScheme(), round_number=1, dataset="box-livers")
    repeat = AssignedItem("X0001", *volume, is_repeat=True)
    lists = {"R1": (repeat,), "R2": (AssignedItem("P0001_C1", *volume),)}
    RoundAssignment(assignment=Assignment(lists)).save(ws.layout.assignment(1))
    write_nifti(ws.layout.coarse(*volume), outlined(4))
    return ws


def test_the_label_in_the_package_counts(packed: Workspace):
    sent = coarse_as_sent(packed, "P0001", Phase.ARTERIAL)
    np.testing.assert_array_equal(sent.voxels, outlined(8).voxels)


def test_without_the_package_the_last_label_counts(packed: Workspace):
    for package in packed.layout.outbox(1).glob("*.zip"):
        package.unlink()
    sent = coarse_as_sent(packed, "P0001", Phase.ARTERIAL)
    np.testing.assert_array_equal(sent.voxels, outlined(4).voxels)


def test_the_last_round_counts(packed: Workspace):
    volume = "P0001", Phase.ARTERIAL
    write_nifti(packed.layout.coarse(*volume), outlined(6))
    item = PackageItem("P0001_C1", *volume, packed.layout.image(*volume), packed.layout.coarse(*volume))
    build_package(packed.layout.outbox(2), "R1", [item], LabelScheme(), round_number=2, dataset="box-livers")
    again = Assignment({"R1": (AssignedItem("P0001_C1", *volume),)})
    RoundAssignment(assignment=again).save(packed.layout.assignment(2))
    write_nifti(packed.layout.coarse(*volume), outlined(4))
    np.testing.assert_array_equal(coarse_as_sent(packed, *volume).voxels, outlined(6).voxels)


def test_a_raters_own_earlier_work_is_no_label_of_the_network(packed: Workspace):
    write_nifti(packed.layout.carried_over(1, "R2", "P0001_C1"), outlined(8))
    sent = coarse_as_sent(packed, "P0001", Phase.ARTERIAL)
    np.testing.assert_array_equal(sent.voxels, outlined(4).voxels)
