from __future__ import annotations

import numpy as np
import pytest

from pipeline.agreement.agree import agree
from pipeline.core.files import write_json, write_text
from pipeline.core.geometry import Geometry
from pipeline.core.records import Phase
from pipeline.core.volume import LabelMap, Volume
from pipeline.image.nifti import write_nifti
from pipeline.stages.figures import RELEASED_TABLES, agreement_tables, enhancement_rows
from pipeline.workspace import Workspace

GRID = Geometry.from_axes((4, 10, 10), spacing_mm=(5, 1, 1))


def mask_of(columns):
    voxels = np.ones(GRID.shape, np.uint8)
    voxels[1:3, 2:6, 1 : 1 + columns] = 2
    return LabelMap(voxels, GRID)


@pytest.fixture
def ws(tmp_path):
    """Two cases with two phases each; of the second case only one phase was read."""
    write_text(tmp_path / "dataset.toml", '[dataset]\nname = "small"\n')
    ws = Workspace.open(tmp_path)
    series = {"P": "a", "C1": "b"}
    cases = {case: {"series": series, "patient": {}} for case in ("P0001", "P0002")}
    write_json(ws.layout.screening, {"cases": cases})
    for case, phase, vendor in (("P0001", "P", "SIEMENS"), ("P0001", "C1", "SIEMENS"), ("P0002", "P", "GE")):
        header = {"Manufacturer": vendor, "SliceThickness": 5.0}
        write_json(ws.layout.header(case, Phase(phase)), {"header": header})
        ratings = {"R1": mask_of(4), "R2": mask_of(5), "R3": mask_of(6)}
        write_json(ws.layout.agreement(case, Phase(phase)), agree(ratings).to_json())
    return ws


def test_agreement_of_a_dataset_is_grouped_by_vendor_and_slice_thickness(ws):
    tables = agreement_tables(ws, ("P0001", "P0002"))
    volumes = {
        (row["group"], row["value"]): row["volumes"]
        for row in tables["summary"]
        if (row["structure"], row["measure"]) == ("lesion", "dice")
    }
    assert volumes == {
        ("all", "all"): 3,
        ("phase", "C1"): 1,
        ("phase", "P"): 2,
        ("vendor", "GE"): 1,
        ("vendor", "SIEMENS"): 2,
        ("slice_thickness", "5 mm"): 3,
    }
    assert all(tables[name] for name in RELEASED_TABLES)


def test_no_case_gives_empty_tables(ws):
    assert all(agreement_tables(ws, ())[name] == [] for name in RELEASED_TABLES)


def test_enhancement_of_a_case_is_one_row_a_lesion_and_phase(ws):
    masks = {}
    for phase, hu in ((Phase.PLAIN, 40), (Phase.ARTERIAL, 95)):
        labels = mask_of(4)
        masks[phase] = ws.layout.consensus("P0001", phase)
        write_nifti(masks[phase], labels)
        write_nifti(
            ws.layout.image("P0001", phase), Volume(np.where(labels.voxels == 2, hu, 60).astype(np.int16), GRID)
        )
    rows = enhancement_rows(ws, "P0001", masks)
    assert [(row["patient_id"], row["lesion"], row["phase"], row["enhancement"]) for row in rows] == [
        ("P0001", 1, "P", 0.0),
        ("P0001", 1, "C1", 55.0),
    ]
