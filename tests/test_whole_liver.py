"""With `whole_liver` a scan that ends within the liver waits for a person; other cases are handed out."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from pipeline import stages
from pipeline.core.records import Phase
from pipeline.stages.handed_out import assignments
from pipeline.synth.phantom import make_phantom
from pipeline.workspace import Outcome, Status, Workspace
from tests.dicom.scanner import Scan, expose
from tests.test_screening import SETTINGS, patient

WITH_THE_RULE = f"""{SETTINGS}whole_liver = true
[review]
raters = ["R1"]
per_case = 1
"""
SHAPE = (36, 80, 80)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """One patient scanned from above to below the liver, and one whose scan begins within it."""
    (tmp_path / "dataset.toml").write_text(WITH_THE_RULE)
    for number, first in (("1", 0), ("2", 18)):
        rng = np.random.default_rng(3)
        whole = make_phantom(rng, shape=SHAPE, spacing_mm=(5.0, 4.5, 4.5), phase=Phase.PORTAL_VENOUS).volume
        scan = Scan(whole.voxels[first:].astype(np.int32), spacing=(5.0, 4.5, 4.5))
        expose(tmp_path / "dicom" / number, scan, patient(PatientID=number))
    return tmp_path


def packed(root: Path) -> tuple[Outcome, set[str]]:
    """How packing ended, and which cases were handed out so far."""
    ws = Workspace.open(root)
    assert all(stage(ws).is_well for stage in stages.DATASET_STAGES)
    assert all(stage(ws, case_id).is_well for case_id in stages.case_ids(ws) for stage in stages.CASE_STAGES)
    outcome = stages.PACK(ws)
    handed_out = (item for one in assignments(ws).values() for items in one.lists.values() for item in items)
    return outcome, {item.case_id for item in handed_out}


@pytest.mark.slow
def test_a_scan_that_ends_within_the_liver_is_held_back_until_a_person_decides(root: Path):
    outcome, handed_out = packed(root)
    assert [problem.code for problem in outcome.problems] == ["liver-cut"]
    (held_back,) = set(stages.case_ids(Workspace.open(root))) - handed_out
    assert held_back in outcome.problems[0].message
    assert len(handed_out) == 1
    with (root / "reports" / "series.csv").open(newline="") as file:
        series = next(row["series"] for row in csv.DictReader(file) if row["patient"] == held_back)
    (root / "decisions.csv").write_text(f"series,phase,by\n{series},C2,R9\n")
    outcome, handed_out = packed(root)
    assert outcome.problems == ()
    assert outcome.status is Status.DONE
    assert held_back in handed_out
    (root / "decisions.csv").unlink()
    outcome, _ = packed(root)
    assert outcome.problems == (), "what is handed out already is not held back"
