"""The working parts come to the planted truth, and what is wrong in a run is told in lines without a patient."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import pytest

from pipeline.core.config import load_config
from pipeline.core.pseudonyms import normalised_patient_id
from pipeline.core.records import Fate, FileFate, Patient, Phase, PhaseGuess, Reason, Screening, SourceFile
from pipeline.dataset.clinical import read_clinical
from pipeline.dataset.inclusion import Candidate, screen_cohort
from pipeline.dicom.convert import read_series, series_facts
from pipeline.dicom.phase import guess_phases
from pipeline.dicom.scan import scan
from pipeline.dicom.series import group_series
from pipeline.image.nifti import content_sha256
from pipeline.synth.demo import demo_config
from pipeline.synth.verify import wrong_files, wrong_masks, wrong_rows, wrong_series


@pytest.fixture(scope="module")
def intake(cohort):
    """What scan and grouping make of the cohort."""
    folder, _ = cohort
    found = scan([folder / "dicom"])
    return found, group_series(found.instances)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "dataset.toml"
    path.write_text(demo_config(), encoding="utf-8")
    return load_config(path)


def perfect_screenings(truth) -> list[Screening]:
    return [
        Screening(
            series.series_uid,
            None,
            PhaseGuess(series.phase, 1.0),
            kept=series.kept,
            reasons=tuple(Reason(rule, "") for rule in sorted(truth.expected_rules(series))),
        )
        for series in truth.series
    ]


def perfect_masks(truth) -> dict[str, str]:
    return {volume.image_sha256: content_sha256(volume.labels) for volume in truth.volumes}


def perfect_rows(truth) -> list[dict[str, str]]:
    """Rows as a release holds them, the patient's own id in place of a released one."""
    patients = {patient.patient_id: patient for patient in truth.patients}
    return [
        {
            "patient_id": volume.patient_id,
            "phase": str(volume.phase),
            "age": "90+" if patients[volume.patient_id].age_years == 91 else str(patients[volume.patient_id].age_years),
            "gender": patients[volume.patient_id].sex,
            "cancer_type": patients[volume.patient_id].diagnosis,
        }
        for volume in truth.volumes
    ]


@pytest.mark.slow
def test_scan_and_grouping_come_to_the_truth(cohort, intake):
    folder, truth = cohort
    found, grouping = intake
    assert wrong_files(truth, folder, (*found.set_aside, *grouping.set_aside)) == ()
    assert {series.key for series in grouping.series} == {series.series_uid for series in truth.series}


@pytest.mark.slow
def test_conversion_comes_to_the_truth(cohort, intake):
    _, truth = cohort
    wanted = {volume.series_uid: volume.image_sha256 for volume in truth.volumes}
    kept = [series for series in intake[1].series if series.key in wanted]
    assert {series.key: content_sha256(read_series(series).volume) for series in kept} == wanted


@pytest.mark.slow
def test_phases_and_inclusion_come_to_the_truth(cohort, intake, config):
    folder, truth = cohort
    studies = defaultdict(list)
    for series in intake[1].series:
        studies[series.first.text("StudyInstanceUID")].append(series)
    guesses = {key: guess for study in studies.values() for key, guess in guess_phases(study, config.phases).items()}
    clinical = read_clinical(folder / "clinical.csv")
    candidates = [
        Candidate(
            series.key,
            normalised_patient_id(series.first.text("PatientID")),
            study,
            series_facts(series),
            guesses[series.key],
            series.problems,
            series.is_usable,
        )
        for study, group in studies.items()
        for series in group
    ]
    patients = {candidate.case_id: clinical.get(candidate.case_id, Patient()) for candidate in candidates}
    inclusion = screen_cohort(candidates, patients, config)
    assert wrong_series(truth, inclusion.screenings) == ()
    assert len(inclusion.cases) == 12


def test_a_perfect_run_has_no_differences(cohort):
    folder, truth = cohort
    fates = [FileFate(SourceFile(folder / item.path), Fate.EXCLUDED, item.code) for item in truth.set_aside]
    assert wrong_files(truth, folder, fates) == ()
    assert wrong_series(truth, perfect_screenings(truth)) == ()
    assert wrong_masks(truth, perfect_masks(truth)) == ()
    assert wrong_rows(truth, perfect_rows(truth), str) == ()


def test_a_file_with_another_fate_is_told(cohort):
    folder, truth = cohort
    fates = [FileFate(SourceFile(folder / item.path), Fate.EXCLUDED, item.code) for item in truth.set_aside]
    localizer = next(fate for fate in fates if fate.code == "localizer")
    wrong = [fate for fate in fates if fate.code != "dose-report"]
    wrong[wrong.index(localizer)] = replace(localizer, code="duplicate")
    wrong.append(FileFate(SourceFile(folder / "dicom" / "slice"), Fate.EXCLUDED, "not-dicom"))
    assert wrong_files(truth, folder, wrong) == (
        "1 files of code dose-report were not set aside",
        "1 files were set aside as not-dicom that should be used",
        "1 files are duplicate, expected localizer",
    )


def test_a_series_with_another_verdict_is_told_by_number(cohort):
    _, truth = cohort
    screenings = perfect_screenings(truth)
    screenings[0] = replace(screenings[0], phase=PhaseGuess(Phase.DELAYED, 1.0))
    screenings[1] = replace(screenings[1], kept=False, reasons=(Reason("matrix", ""),))
    screenings[2] = replace(screenings[2], series_key="never planted")
    assert wrong_series(truth, screenings) == (
        "patient 1, series 1 is of phase C3, expected P",
        "patient 1, series 2 was refused for matrix, expected nothing",
        "patient 1, series 3 was not found",
        "a series was found that was not planted",
    )


def test_another_mask_and_another_volume_are_told(cohort):
    _, truth = cohort
    masks = perfect_masks(truth)
    first, second, *_, last = masks
    masks[first] = masks[last]
    masks["0" * 64] = masks.pop(second)
    assert wrong_masks(truth, masks) == (
        "patient 1, P: the mask is not the planted one",
        "patient 1, C1: no such volume",
        "a volume was made that was not planted",
    )


def test_a_wrong_or_missing_row_is_told(cohort):
    _, truth = cohort
    rows = perfect_rows(truth)
    rows[0] |= {"age": "64", "cancer_type": "ICC"}
    rows[4] = rows[5]
    assert wrong_rows(truth, rows, str) == (
        "patient 1, P: age is 64, expected 63",
        "patient 1, P: cancer_type is ICC, expected HCC",
        "a row of phase C1 was not planted",
        "patient 2, P: no row",
    )


def test_a_line_never_names_a_patient(cohort):
    folder, truth = cohort
    lines = [
        *wrong_files(truth, folder, ()),
        *wrong_series(truth, ()),
        *wrong_masks(truth, {}),
        *wrong_rows(truth, (), str),
    ]
    assert len(lines) > 100
    assert not any(secret in line for line in lines for secret in truth.secrets)
