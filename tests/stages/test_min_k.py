"""The whole way with min_k: what the manifest leaves out of a patient stands nowhere in the release."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import pytest

from pipeline import stages
from pipeline.dataset.sums import files_of
from tests.stages.awkward import Person, build, settle, write_dataset

OTHER = {
    "Manufacturer": "GE MEDICAL SYSTEMS",
    "ManufacturerModelName": "LightSpeed VCT",
    "ConvolutionKernel": "STANDARD",
}


@pytest.mark.slow
def test_the_scanner_of_one_patient_stands_nowhere_in_the_release(tmp_path: Path):
    people = [Person(f"Kofler^{name}", f"66012{n}", OTHER if n == 2 else {}) for n, name in enumerate("ABCD")]
    ws = write_dataset(tmp_path / "min-k", tuple(people), more="[deidentification]\nmin_k = 2\n")
    build(ws)
    assert stages.PACK(ws).is_well
    settle(ws)
    outcomes = [step(ws, "1.0.0") for step in (stages.cut_release, stages.verify_release)]
    assert not [problem for outcome in outcomes for problem in outcome.problems]
    release = ws.layout.release("1.0.0")
    with (release / "patient_data.csv").open(newline="") as file:
        told = [(row["manufacturer"], row["model"], row["kernel"], row["kvp"]) for row in csv.DictReader(file)]
    assert sorted(told) == [("", "", "", "")] * 2 + [("SIEMENS", "SOMATOM Definition Flash", "B30f", "120.0")] * 2
    page = (release / "qc" / "index.html").read_text()
    assert (
        page.count("<dt>manufacturer</dt><dd>SIEMENS</dd>") == page.count("<dt>manufacturer</dt><dd>unknown</dd>") == 2
    )
    for path in files_of(release):
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        assert not [value for value in OTHER.values() if value.casefold().encode() in content.lower()], path.name
