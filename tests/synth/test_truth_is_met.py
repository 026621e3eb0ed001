"""The working parts, each on its own, come to the planted truth."""

from __future__ import annotations

from collections import defaultdict

import pytest

from pipeline.cohort.clinical import known_diagnoses, read_clinical
from pipeline.cohort.inclusion import Candidate, screen_cohort
from pipeline.core.config import load_config
from pipeline.core.pseudonyms import normalised_patient_id
from pipeline.core.records import Patient
from pipeline.dicom.convert import read_series, series_facts
from pipeline.dicom.deid.admission import admit
from pipeline.dicom.group.phase import guess_phases
from pipeline.dicom.group.series import group_series
from pipeline.dicom.read.scan import scan
from pipeline.image.nifti import content_sha256
from pipeline.synth.demo import demo_config


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


@pytest.mark.slow
def test_scan_and_grouping_come_to_the_truth(cohort, intake):
    folder, truth = cohort
    found, grouping = intake
    fates = {fate.source.path.relative_to(folder).as_posix(): fate.code for fate in found.set_aside}
    fates |= {fate.source.path.relative_to(folder).as_posix(): fate.code for fate in grouping.set_aside}
    assert fates == {item.path: item.code for item in truth.set_aside}
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
    clinical = read_clinical(folder / "clinical.csv", known_diagnoses(config))
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
    assert len(inclusion.cases) == 12
    refused = {series.key: admit(series.first) for series in intake[1].series}
    found = {}
    for screening in inclusion.screenings:
        reasons = {*screening.reasons, refused[screening.series_key]} - {None}
        rules = {reason.rule for reason in reasons}
        found[screening.series_key] = (screening.phase.phase, screening.kept, rules)
    of_patient = {patient.patient_id: set(patient.rules) for patient in truth.patients}
    for series in truth.series:
        # That phases are missing speaks only against series without a fault of their own.
        on_top = of_patient[series.patient_id] - ({"phases-complete"} if series.rules else set())
        assert found.pop(series.series_uid) == (series.phase, series.kept, set(series.rules) | on_top)
    assert not found
