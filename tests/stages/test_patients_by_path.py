"""A dataset whose files do not say whose they are: the path does, from the scan to the search for leaks."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import ConfigError
from pipeline.stages import CONVERT, SCAN, SCREEN, case_ids
from pipeline.stages.privacy import places_of_leaks
from pipeline.workspace import Status, Workspace
from tests.dicom.scanner import Scan, body, expose
from tests.dicom.test_situations import stamped

SETTINGS = """
[dataset]
name = "people"
[source]
paths = ["dicom/"]
patient = "folder"
[phases]
required = ["C2"]
[inclusion]
min_slices = 5
"""
ANONYMOUS: dict[str, Any] = {
    "PatientID": "",
    "PatientName": "",
    "SeriesDescription": "portal venous",
    "SliceThickness": 2.5,
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two patients without any number, each in a folder of its own; one UID in both, as careless tools leave it."""
    (tmp_path / "dataset.toml").write_text(SETTINGS, encoding="utf-8")
    for number in (1, 2):
        scan = Scan(body(seed=number), series_uid="1.2.3", study_uid="1.2.4")
        expose(tmp_path / "dicom" / f"subject-000{number}" / "CT" / "anon", scan, stamped(**ANONYMOUS))
    return tmp_path


def built(root: Path) -> Workspace:
    ws = Workspace.open(root)
    assert SCAN(ws).is_well
    assert SCREEN(ws).is_well
    return ws


def rules(root: Path) -> list[str]:
    with (root / "reports" / "exclusions.csv").open(newline="") as file:
        return sorted(row["rule"] for row in csv.DictReader(file) if row["series"])


def test_each_folder_is_a_patient(root: Path):
    ws = built(root)
    assert case_ids(ws) == ("P0001", "P0002")
    assert {ws.crosswalk.patient_of(case) for case in case_ids(ws)} == {"SUBJECT-0001", "SUBJECT-0002"}
    assert [CONVERT(ws, case).status for case in case_ids(ws)] == [Status.DONE, Status.DONE]
    for path in [*(root / "cases").rglob("*"), *(root / "reports").rglob("*")]:
        assert "subject-000" not in path.name
        assert path.is_dir() or b"subject-000" not in path.read_bytes().lower()


def test_a_pattern_names_the_patient_too(root: Path):
    text = SETTINGS.replace('patient = "folder"', 'patient = "subject-{patient}/CT/**"')
    (root / "dataset.toml").write_text(text, encoding="utf-8")
    ws = built(root)
    assert {ws.crosswalk.patient_of(case) for case in case_ids(ws)} == {"0001", "0002"}


def test_the_search_for_leaks_knows_the_folders(root: Path):
    ws = built(root)
    clean, leaking = root / "clean.txt", root / "leaking.txt"
    clean.write_text("nothing of a patient", encoding="utf-8")
    leaking.write_text("volume of subject-0001", encoding="utf-8")
    assert places_of_leaks(ws, [clean]) == ()
    assert len(places_of_leaks(Workspace.open(root), [leaking])) == 1


def test_without_the_rule_nobody_of_them_is_a_case(root: Path):
    (root / "dataset.toml").write_text(SETTINGS.replace('patient = "folder"\n', ""), encoding="utf-8")
    assert case_ids(built(root)) == ()
    assert "no-patient" in rules(root)


@pytest.mark.parametrize(
    ("facts", "found"),
    [
        ([{"PatientID": "4711"}, {"PatientID": "4712"}], "2 numbers in the headers"),
        ([{"PatientBirthDate": "19500101"}, {"PatientBirthDate": "19600101"}], "2 dates of birth"),
        ([{"PatientName": "NOWAK^ANNA"}, {"PatientName": "KLEIN^PAUL"}], "names with nothing in common"),
    ],
)
def test_two_people_in_one_folder_stay_apart_until_a_person_decides(
    root: Path, facts: list[dict[str, str]], found: str
):
    for number, header in enumerate(facts):
        scan = Scan(body(seed=5 + number), series_uid="1.2.5", study_uid="1.2.6")
        expose(root / "dicom" / "mixed" / f"{number}", scan, stamped(**{**ANONYMOUS, **header}))
    ws = built(root)
    assert len(case_ids(ws)) == 2
    with (root / "reports" / "exclusions.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["rule"] == "patient-conflict"]
    assert rows
    assert all(found in row["message"] for row in rows)


def test_one_number_in_the_headers_of_a_folder_is_no_conflict(root: Path):
    expose(root / "dicom" / "third", Scan(body(seed=5)), stamped(**{**ANONYMOUS, "PatientID": "anonymous"}))
    assert len(case_ids(built(root))) == 3


def test_a_file_outside_all_folders_stops_the_scan_with_a_fix(root: Path):
    expose(root / "dicom", Scan(body(5, seed=9)), stamped(**ANONYMOUS))
    with pytest.raises(ConfigError, match='"folder" names no patient for 5 of 17 DICOM files; move them') as caught:
        SCAN(Workspace.open(root))
    assert "subject" not in str(caught.value)
