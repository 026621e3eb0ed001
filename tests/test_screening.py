"""Files of doubtful or unknown patients stay out by themselves; everybody else's go on."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from pipeline import standalone
from pipeline.core.records import Phase
from pipeline.stages import CONVERT, SCAN, SCREEN, case_ids
from pipeline.stages.artefacts import ConvertedVolume
from pipeline.workspace import Outcome, Status, Workspace
from tests.dicom.scanner import Edit, Scan, body, expose

SETTINGS = """
[dataset]
name = "people"
[source]
paths = ["dicom/"]
[phases]
required = ["C2"]
[inclusion]
min_slices = 5
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "dataset.toml").write_text(SETTINGS)
    return tmp_path


def patient(**header: Any) -> Edit:
    def edit(dataset: Dataset, number: int) -> None:
        dataset.SeriesDescription = "portal venous"
        dataset.SliceThickness = 2.5
        dataset.update(dict.fromkeys(("PatientID", "PatientName"), ""))
        for keyword, value in header.items():
            setattr(dataset, keyword, value)

    return edit


def screened(root: Path) -> Outcome:
    ws = Workspace.open(root)
    assert SCAN(ws).is_well
    return SCREEN(ws)


def rules(root: Path) -> list[str]:
    with (root / "reports" / "exclusions.csv").open(newline="") as file:
        return sorted(row["rule"] for row in csv.DictReader(file) if row["series"])


def test_one_number_of_two_people_is_no_case_until_a_person_decides(root: Path):
    expose(root / "dicom" / "a", Scan(body()), patient(PatientID="1", PatientBirthDate="19500101"))
    expose(root / "dicom" / "b", Scan(body(seed=1)), patient(PatientID="2", PatientBirthDate="19600101"))
    expose(root / "dicom" / "c", Scan(body(seed=2)), patient(PatientID=" 2 ", PatientBirthDate="19700202"))
    outcome = screened(root)
    assert len(case_ids(Workspace.open(root))) == 1
    assert rules(root) == ["patient-conflict", "patient-conflict"]
    assert [problem.code for problem in outcome.problems] == ["needs-person", "needs-person"]
    with (root / "reports" / "series.csv").open(newline="") as file:
        doubtful = [row["series"] for row in csv.DictReader(file) if row["reasons"] == "patient-conflict"]
    (root / "decisions.csv").write_text(f"series,phase,by\n{doubtful[0]},C2,R9\n{doubtful[1]},none,R9\n")
    assert screened(root).problems == ()
    assert len(case_ids(Workspace.open(root))) == 2


def test_the_table_shows_a_person_what_to_choose_from(root: Path):
    """Two series are equally good: their rows stand together, say when they began, and why a person is needed."""
    for number, (words, time) in enumerate((("arterial", "101000"), ("venous", "101040"), ("venous", "101040"))):
        header = patient(PatientID="1", SeriesDescription=words, SeriesNumber=9 - number, AcquisitionTime=time)
        scan = Scan(body(seed=number), study_uid="1.2.3", series_uid=f"1.2.{number + 4}")
        expose(root / "dicom" / f"{number}", scan, header)
    expose(root / "dicom" / "other", Scan(body(seed=5)), patient(PatientID="2"))
    screened(root)
    with (root / "reports" / "series.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["description"] in ("arterial", "venous")]
    told = [(row["series_number"], row["seconds_into_study"], row["phase"]) for row in rows]
    assert told == [("7", "40", "C2"), ("8", "40", "C2"), ("9", "0", "C1")]
    assert [row["reason"] for row in rows[:2]] == ["needs review: 2 series are equally good for C2"] * 2
    assert len({row["patient"] for row in rows}) == len({row["study"] for row in rows}) == 1


def test_a_decision_about_a_series_that_is_not_there_is_named(root: Path):
    expose(root / "dicom", Scan(body()), patient(PatientID="1"))
    screened(root)
    name = series_rows(root)[0]["series"]
    (root / "decisions.csv").write_text(f"series,phase,by\n{name},C2,R9\n{name[:-1]}x,none,R9\n")
    found = [problem for problem in screened(root).problems if problem.code == "unknown-series"]
    assert [name[:-1] + "x" in problem.message for problem in found] == [True]


def test_files_without_a_patient_number_stop_nobody_else(root: Path):
    expose(root / "dicom" / "a", Scan(body()), patient(PatientID="1"))
    expose(root / "dicom" / "b", Scan(body(seed=1)), patient(PatientName="NOWAK^ANNA"))
    expose(root / "dicom" / "c", Scan(body(seed=2)), patient(PatientName="KLEIN^PAUL"))
    assert screened(root).status is Status.DONE
    assert len(case_ids(Workspace.open(root))) == 1
    assert rules(root) == ["no-patient", "no-patient"]


def skull(slices: int = 6) -> np.ndarray:
    """A ring of bone around a brain, in air."""
    rows, columns = np.mgrid[:240, :240] - 119.5
    from_axis_mm = np.hypot(rows * 0.7, columns * 0.8)
    slice_ = np.where(from_axis_mm < 66, 35, np.where(from_axis_mm < 74, 1100, -1000))
    return np.repeat(slice_[None], slices, axis=0).astype(np.int32)


@pytest.mark.parametrize("part", ["HEAD", ""], ids=["coded", "seen"])
def test_a_head_is_excluded_until_a_person_decides(root: Path, part: str):
    anatomy = body() if part else skull()
    expose(root / "dicom" / "a", Scan(body()), patient(PatientID="1"))
    expose(root / "dicom" / "b", Scan(anatomy), patient(PatientID="2", BodyPartExamined=part))
    screened(root)
    assert rules(root) == ["face"]
    assert len(case_ids(Workspace.open(root))) == 1
    with (root / "reports" / "series.csv").open(newline="") as file:
        (shown,) = [row["series"] for row in csv.DictReader(file) if row["reasons"] == "face"]
    (root / "decisions.csv").write_text(f"series,phase,by\n{shown},C2,R9\n")
    screened(root)
    assert rules(root) == []
    ws = Workspace.open(root)
    told = {ConvertedVolume.load(header_of(ws, case)).text("RecognizableVisualFeatures") for case in case_ids(ws)}
    assert told == {"YES", "NO"}


def header_of(ws: Workspace, case_id: str) -> Path:
    assert CONVERT(ws, case_id).is_well
    return ws.layout.header(case_id, Phase.PORTAL_VENOUS)


def test_of_a_whole_body_and_a_liver_the_liver_is_chosen(root: Path):
    expose(root / "dicom" / "a", Scan(skull(30)), patient(PatientID="1"))
    expose(root / "dicom" / "b", Scan(body(10)), patient(PatientID="1"))
    screened(root)
    assert rules(root) == ["face"]
    assert len(case_ids(Workspace.open(root))) == 1


def test_a_dicomdir_stands_for_its_folder(root: Path):
    expose(root / "dicom" / "a", Scan(body()), patient(PatientID="1"))
    (root / "dicom" / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    (root / "dataset.toml").write_text(SETTINGS.replace('"dicom/"', '"dicom/DICOMDIR"'))
    screened(root)
    assert len(case_ids(Workspace.open(root))) == 1


def test_what_a_header_says_of_its_scanner_stands_in_no_table_unless_it_is_known(root: Path):
    planted = {
        "Modality": "KANTOROW",
        "Manufacturer": "SIEMENS Kantorowitz",
        "ManufacturerModelName": "Aquilion Kantorowitz",
        "ConvolutionKernel": "KANTOROWITZ",
    }
    for number, (keyword, value) in enumerate(planted.items()):
        expose(root / "dicom" / keyword, Scan(body(seed=number)), patient(PatientID=str(number), **{keyword: value}))
    screened(root)
    tables = b"".join(path.read_bytes() for path in sorted((root / "reports").rglob("*.csv"))).lower()
    assert b"aquilion" not in tables
    assert b"kantorow" not in tables
    report = standalone.convert(root / "dicom", root / "volumes")
    assert "kantorow" not in f"{report.series}{report.files}".casefold()


def series_rows(root: Path) -> list[dict[str, str]]:
    with (root / "reports" / "series.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_decision_on_the_phase_replaces_the_guess_in_every_table(root: Path):
    expose(root / "dicom" / "a", Scan(body()), patient(PatientID="1", SeriesDescription="arterial"))
    screened(root)
    (row,) = series_rows(root)
    assert (row["phase"], row["confidence"], row["evidence"]) == ("C1", "0.9", "text: words for C1")
    (root / "decisions.csv").write_text(f"series,phase,by\n{row['series']},C2,R9\n")
    screened(root)
    (row,) = series_rows(root)
    assert (row["phase"], row["confidence"], row["evidence"]) == ("C2", "1.0", "decided by a person")
    ws = Workspace.open(root)
    assert CONVERT(ws, "P0001").is_well
    converted = ConvertedVolume.load(ws.layout.header("P0001", Phase.PORTAL_VENOUS))
    assert (converted.phase_confidence, converted.phase_evidence) == (1.0, ("decided by a person",))


def test_what_has_no_phase_is_named_in_the_table_and_in_its_reason(root: Path):
    expose(root / "dicom" / "a", Scan(body()), patient(PatientID="1", SeriesDescription="Portal venous VNC"))
    screened(root)
    (row,) = series_rows(root)
    assert (row["phase"], row["kind"], row["reasons"]) == ("", "virtual non-contrast image", "phase-unknown")
    assert row["reason"] == "no phase recognised (virtual non-contrast image)"
