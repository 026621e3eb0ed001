"""`liverset init --from`: settings that fit an export, with its patients kept in private."""

from __future__ import annotations

import csv
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pipeline.cli import main
from pipeline.core.config import Config, Modality, load_config
from pipeline.core.records import Phase
from pipeline.dataset.layout import Layout
from pipeline.stages import SCAN, SCREEN, case_ids
from pipeline.stages.survey import fewest_slices, limits
from pipeline.synth.cohort import make_cohort
from pipeline.workspace import Workspace
from tests.dicom.scanner import Scan, body, expose
from tests.dicom.test_situations import stamped

WORDS = {"P": "native", "C1": "arterial", "C2": "portal venous", "C3": "delayed"}


def scanned(root: Path, patient: str, phases: str, *, folder: str = "", **header: Any) -> None:
    """One study of a patient, a series a phase, each of six slices."""
    for number, phase in enumerate(phases.split(), start=1):
        scan = Scan(
            body(6, seed=len(list(root.rglob("IM*")))), study_uid=f"1.2.{len(folder or patient)}.{number // 9}9"
        )
        facts = {"PatientID": patient, "SeriesDescription": WORDS[phase], "SeriesNumber": number, "SliceThickness": 2.5}
        expose(root / "dicom" / (folder or patient) / phase, scan, stamped(**{**facts, **header}))


def init(root: Path) -> Result:
    return CliRunner().invoke(main, ["init", str(root / "ds"), "--from", str(root / "dicom")])


def settings_of(root: Path) -> Config:
    result = init(root)
    assert result.exit_code == 0, result.output
    return load_config(root / "ds" / "dataset.toml")


def built(root: Path) -> tuple[str, ...]:
    settings = root / "ds" / "dataset.toml"
    settings.write_text(settings.read_text(encoding="utf-8").replace("settle_minutes = 10", "settle_minutes = 0"))
    ws = Workspace.open(root / "ds")
    assert SCAN(ws).is_well
    assert SCREEN(ws).is_well
    return case_ids(ws)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_phases_that_most_patients_have_are_required(tmp_path: Path):
    scanned(tmp_path, "4711", "P C2")
    scanned(tmp_path, "47112", "P C2 C1")
    scanned(tmp_path, "471134", "P C2")
    config = settings_of(tmp_path)
    assert config.phases.required == (Phase.PLAIN, Phase.PORTAL_VENOUS)
    assert "of 3 patients: P 3, C1 1, C2 3" in (tmp_path / "ds" / "dataset.toml").read_text()
    assert len(built(tmp_path)) == 3


def test_limits_fit_a_cohort_of_thick_slices(tmp_path: Path):
    for patient in ("4711", "47112"):
        scanned(tmp_path, patient, "P C2", SliceThickness=7.2)
    rules = settings_of(tmp_path).inclusion
    assert rules.slice_thickness_mm == (7.0, 7.5)
    assert rules.slice_spacing_mm == (0.5, 5.0)
    assert rules.min_slices == 6
    assert len(built(tmp_path)) == 2


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([1.25, 5.0], (1.0, 5.0)),
        ([5.0, 7.0], (1.0, 5.0)),
        ([5.0, 7.0, 7.0], (5.0, 7.0)),
        ([0.3, 0.6, 0.9], (0.0, 1.0)),
        ([7.0], (7.0, 7.0)),
    ],
)
def test_usual_limits_stay_where_half_of_the_volumes_keep_them(found: list[float], expected: tuple[float, float]):
    assert limits(found, (1.0, 5.0)) == expected


@pytest.mark.parametrize(("found", "fewest"), [([6, 20], 20), ([6, 19], 6), ([6, 19, 30], 6), ([20], 20)])
def test_the_usual_number_of_slices_stays_where_half_of_the_volumes_have_it(found: list[float], fewest: int):
    assert fewest_slices(found, 20) == fewest


def test_the_comments_count_what_the_stages_then_exclude(tmp_path: Path):
    for patient in ("4711", "47112", "471134"):
        scanned(tmp_path, patient, "P C2")
    scanned(tmp_path, "4711345", "P")
    scanned(tmp_path, "47113456", "C2", SliceThickness=9.0)
    settings_of(tmp_path)
    text = (tmp_path / "ds" / "dataset.toml").read_text()
    assert "# These rules keep 6 of 8 series, the clinical table not asked:" in text
    assert "#   slice-thickness speaks against 1\n" in text
    assert "# These rules keep 3 of 5 patients, the clinical table not asked:" in text
    assert len(built(tmp_path)) == 3
    reasons = [row["reasons"] for row in table(tmp_path / "ds" / "reports" / "series.csv") if row["reasons"]]
    assert sorted(reasons) == ["phases-complete", "slice-thickness"]


def test_patients_stand_in_a_private_table_only(tmp_path: Path):
    scanned(tmp_path, "HN-1", "P C2", PatientAge="059Y", PatientSex="F", InstitutionName="Saint Florian")
    scanned(tmp_path, "HN-22", "P C2", PatientAge="006M", PatientSex="?")
    settings_of(tmp_path)
    layout = Layout(tmp_path / "ds")
    assert table(layout.clinical) == [
        {"patient_id": "HN-1", "age": "59", "sex": "F", "diagnosis": ""},
        {"patient_id": "HN-22", "age": "", "sex": "", "diagnosis": ""},
    ]
    assert table(layout.hospitals) == [
        {"hospital": "", "series": "2", "phase not recognised": "0"},
        {"hospital": "Saint Florian", "series": "2", "phase not recognised": "0"},
    ]
    assert stat.S_IMODE(layout.private.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (layout.clinical, layout.hospitals)} == {0o600}
    told = layout.config.read_text(encoding="utf-8") + init(tmp_path).output
    assert not [word for word in ("HN-", "Florian", "Zimmermann") if word in told]
    assert "# 1 hospital found, listed in private/hospitals.csv" in told


def test_a_filled_in_table_is_read_and_its_rules_can_be_switched_on(tmp_path: Path):
    scanned(tmp_path, "4711", "P C2", PatientAge="059Y")
    scanned(tmp_path, "47112", "P C2", PatientAge="012Y")
    settings_of(tmp_path)
    path = tmp_path / "ds" / "dataset.toml"
    text = path.read_text(encoding="utf-8")
    assert "# min_age_years = 18 " in text
    path.write_text(text.replace("# min_age_years", "min_age_years"), encoding="utf-8")
    assert len(built(tmp_path)) == 1


def test_folders_name_patients_where_no_file_has_a_number_and_each_holds_one_study(tmp_path: Path):
    for number in (1, 22):
        scanned(tmp_path, "", "P C2", folder=f"{number}", PatientName="")
    config = settings_of(tmp_path)
    assert config.source.patient == "folder"
    assert {row["patient_id"] for row in table(Layout(tmp_path / "ds").clinical)} == {"1", "22"}
    assert len(built(tmp_path)) == 2


@pytest.mark.parametrize("outer", ["CT/", ""], ids=["folders of several studies", "some with a number"])
def test_what_the_files_do_not_decide_stays_the_default_with_a_comment(tmp_path: Path, outer: str):
    scanned(tmp_path, "", "P C2", folder=f"{outer}1", PatientName="")
    scanned(tmp_path, "" if outer else "4711", "P C2", folder=f"{outer}22", PatientName="")
    assert settings_of(tmp_path).source.patient == "PatientID"
    text = (tmp_path / "ds" / "dataset.toml").read_text()
    assert f"# {24 if outer else 12} of 24 files hold no PatientID: the first folder" in text


def test_where_no_phase_is_recognised_the_usual_ones_are_written_and_said_so(tmp_path: Path):
    scanned(tmp_path, "4711", "P C2", SeriesDescription="Abdomen")
    assert settings_of(tmp_path).phases.required == Config.model_validate(EMPTY).phases.required
    assert "# no phase was recognised" in (tmp_path / "ds" / "dataset.toml").read_text()


EMPTY: Mapping[str, Any] = {"dataset": {"name": "x"}}


def test_the_modality_of_most_series_is_taken(tmp_path: Path):
    for number in range(3):
        scan = Scan(body(6, seed=number), modality="MR" if number else "CT", series_uid=f"1.2.{number + 1}")
        header = {"PatientID": "4711", "SeriesDescription": "T1 vibe", "SeriesNumber": number, "SliceThickness": 2.5}
        expose(tmp_path / "dicom" / f"{number}", scan, stamped(**header))
    config = settings_of(tmp_path)
    assert config.dataset.modality is Modality.MR
    assert config.phases.required == (Phase.T1,)


def test_a_source_without_dicom_leaves_no_settings(tmp_path: Path):
    (tmp_path / "dicom").mkdir()
    (tmp_path / "dicom" / "Mustermann.txt").write_text("hello")
    result = init(tmp_path)
    assert result.exit_code == 1
    assert "found 1 file but no DICOM image" in result.output
    assert not (tmp_path / "ds" / "dataset.toml").exists()


def test_settings_and_tables_of_a_person_are_never_overwritten(tmp_path: Path):
    scanned(tmp_path, "4711", "P C2")
    settings_of(tmp_path)
    layout = Layout(tmp_path / "ds")
    assert init(tmp_path).exit_code == 2
    layout.config.unlink()
    layout.clinical.write_text("patient_id,age\n4711,60\n")
    assert init(tmp_path).exit_code == 0
    assert table(layout.clinical) == [{"patient_id": "4711", "age": "60"}]


def test_the_demo_cohort_gets_its_own_phases_and_patients(tmp_path: Path):
    truth = make_cohort(tmp_path)
    config = settings_of(tmp_path)
    assert config.phases.required == tuple(Phase)[:4]
    assert config.inclusion.slice_thickness_mm == (1.0, 5.0)
    patients = {row["patient_id"] for row in table(Layout(tmp_path / "ds").clinical)}
    assert patients == {one.patient_id.upper() for one in truth.patients}
    expected = [one for one in truth.patients if not {"phases-complete"} & set(one.rules)]
    assert len(built(tmp_path)) == len(expected)
