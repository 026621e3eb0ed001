"""The rule on motion in a whole screening: pixels are read, the restless series falls and is counted."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from pipeline import stages
from pipeline.core.files import write_text
from pipeline.core.volume import Volume
from pipeline.synth.phantom import make_phantom
from pipeline.workspace import Workspace
from tests.dicom.scanner import Scan, expose
from tests.image.breathing import breathed

CONFIG = """
[dataset]
name = "restless"
[source]
paths = ["dicom/"]
[phases]
required = ["C1"]
[inclusion]
slice_thickness_mm = [1.0, 5.0]
"""


def export(folder: Path, patient: str, volume: Volume) -> None:
    scan = Scan(np.clip(volume.voxels, -1024, 3000).astype(np.int32), spacing=volume.geometry.spacing_mm)

    def edit(ds, index):
        ds.PatientID, ds.SeriesDescription = patient, "Abdomen arterial"

    expose(folder / patient, scan, edit)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    shape, spacing_mm = (12, 96, 96), (5.0, 3.8, 3.8)
    still = make_phantom(np.random.default_rng(5), shape=shape, spacing_mm=spacing_mm).volume
    export(tmp_path / "dicom", "A1", still)
    export(tmp_path / "dicom", "A2", breathed(still, 6, 8.0))
    return tmp_path


@pytest.mark.parametrize(("rule", "kept"), [("", 2), ("max_motion_mm = 3.0\n", 1)])
def test_a_series_with_a_breath_in_it_falls_where_the_rule_is_set(dataset, rule, kept):
    write_text(dataset / "dataset.toml", CONFIG + rule)
    ws = Workspace.open(dataset)
    assert stages.SCREEN(ws).is_well
    assert len(stages.case_ids(ws)) == kept
    with ws.layout.exclusions_table.open(encoding="utf-8", newline="") as file:
        rules = [row["rule"] for row in csv.DictReader(file) if row["series"]]
    steps = {
        step["rule"]: step["fell"]
        for step in json.loads(ws.layout.consort.read_text())["steps"]
        if step["of"] == "series"
    }
    assert rules == ["motion"] * (2 - kept)
    assert steps.get("motion", 0) == 2 - kept
