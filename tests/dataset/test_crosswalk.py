"""Case ids are stable, one a patient, and sealed from everyone without the secret."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import PrivacyError, StorageError
from pipeline.core.pseudonyms import Pseudonyms
from pipeline.dataset.crosswalk import SECRET_VARIABLE, Crosswalk
from pipeline.dataset.layout import Layout

PATIENTS = [f"MRN{number:07d}" for number in range(40)]


@pytest.fixture(autouse=True)
def no_secret_from_outside(monkeypatch):
    monkeypatch.delenv(SECRET_VARIABLE, raising=False)


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path)


def test_case_ids_stay_when_more_patients_come_later(layout):
    first = Crosswalk.open(layout)
    early = first.case_ids(PATIENTS[10:20])
    first.save()
    second = Crosswalk.open(layout)
    late = second.case_ids(PATIENTS)
    assert {patient: late[patient] for patient in early} == early
    assert sorted(late.values()) == [f"P{number:04d}" for number in range(1, 41)]


def test_order_of_numbers_is_neither_that_of_arrival_nor_of_the_ids(layout):
    numbers = list(Crosswalk.open(layout).case_ids(PATIENTS).values())
    assert numbers != sorted(numbers)
    assert numbers != sorted(numbers, reverse=True)


def test_arrival_order_does_not_change_the_numbers(tmp_path):
    walk = Crosswalk.open(Layout(tmp_path))
    other = Crosswalk(Layout(tmp_path), walk.pseudonyms)
    assert walk.case_ids(PATIENTS) == other.case_ids(reversed(PATIENTS))


@given(st.text(alphabet="abcXYZ0123456789-", min_size=1))
@settings(max_examples=30, deadline=None)
def test_spellings_of_one_patient_id_share_a_case(patient_id):
    walk = Crosswalk(Layout(Path("unused")), Pseudonyms(b"k" * 32))
    cases = walk.case_ids([patient_id, f" {patient_id.lower()} ", patient_id.upper()])
    assert set(cases.values()) == {"P0001"}


def test_secret_and_crosswalk_are_for_the_owner_alone(layout):
    walk = Crosswalk.open(layout)
    walk.case_ids(PATIENTS)
    walk.save()
    assert stat.S_IMODE(layout.private.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in (layout.secret, layout.crosswalk)] == [0o600, 0o600]


def test_sealed_list_shows_no_patient(layout):
    walk = Crosswalk.open(layout)
    walk.case_ids(PATIENTS)
    walk.save()
    content = layout.crosswalk.read_bytes()
    assert not any(patient.encode() in content for patient in PATIENTS)


def test_wrong_secret_is_refused_and_changes_nothing(layout, monkeypatch):
    walk = Crosswalk.open(layout)
    walk.case_ids(PATIENTS)
    walk.save()
    before = layout.crosswalk.read_bytes()
    monkeypatch.setenv(SECRET_VARIABLE, "ab" * 32)
    with pytest.raises(PrivacyError, match="another project's secret"):
        Crosswalk.open(layout)
    assert layout.crosswalk.read_bytes() == before


@pytest.mark.parametrize("place", [0, 25, 40, -1])
def test_changed_byte_is_refused(layout, place):
    walk = Crosswalk.open(layout)
    walk.case_ids(PATIENTS)
    walk.save()
    content = bytearray(layout.crosswalk.read_bytes())
    content[place] ^= 1
    layout.crosswalk.write_bytes(content)
    with pytest.raises(PrivacyError):
        Crosswalk.open(layout)


def test_lost_secret_is_explained(layout):
    walk = Crosswalk.open(layout)
    walk.case_ids(PATIENTS)
    walk.save()
    layout.secret.unlink()
    with pytest.raises(PrivacyError, match="backup"):
        Crosswalk.open(layout)
    assert not layout.secret.exists()


def test_secret_from_the_environment_leaves_no_key_file(layout, monkeypatch):
    monkeypatch.setenv(SECRET_VARIABLE, "ab" * 32)
    assert Crosswalk.open(layout).pseudonyms == Pseudonyms(bytes.fromhex("ab" * 32))
    assert not layout.secret.exists()


@pytest.mark.parametrize("secret", ["short", "ab" * 31, "zz" * 32])
def test_bad_secret_is_refused_without_being_shown(layout, monkeypatch, secret):
    monkeypatch.setenv(SECRET_VARIABLE, secret)
    with pytest.raises(PrivacyError) as refused:
        Crosswalk.open(layout)
    assert secret not in str(refused.value)


def test_key_file_open_to_others_is_refused(layout):
    Crosswalk.open(layout)
    layout.secret.chmod(0o644)
    with pytest.raises(PrivacyError, match="chmod 600"):
        Crosswalk.open(layout)


def test_saving_twice_writes_once(layout):
    walk = Crosswalk.open(layout)
    walk.case_ids(PATIENTS)
    walk.save()
    before = layout.crosswalk.read_bytes()
    again = Crosswalk.open(layout)
    again.case_ids(PATIENTS)
    again.save()
    assert layout.crosswalk.read_bytes() == before


def test_blank_patient_id_is_refused(layout):
    with pytest.raises(PrivacyError, match="a patient has no patient number"):
        Crosswalk.open(layout).case_ids(["A1", "  "])


def test_look_up_answers_and_is_logged_without_the_answer(layout):
    walk = Crosswalk.open(layout)
    case_id = walk.case_ids(["mrn x77 "])["mrn x77 "]
    for number in (1, 2):
        assert walk.patient_of(case_id) == "MRN X77"
        lines = layout.look_ups.read_text().splitlines()
        assert len(lines) == number
        assert all(line.endswith(f" {case_id}") and "X77" not in line for line in lines)
    assert stat.S_IMODE(layout.look_ups.stat().st_mode) == 0o600


def test_look_up_that_cannot_be_logged_is_not_answered(layout):
    walk = Crosswalk.open(layout)
    case_id = walk.case_ids(["mrn 77 "])["mrn 77 "]
    layout.look_ups.mkdir()
    with pytest.raises(StorageError):
        walk.patient_of(case_id)


def test_unknown_case_is_refused_and_what_was_typed_is_not_logged(layout):
    with pytest.raises(PrivacyError):
        Crosswalk.open(layout).patient_of("MRN0000001")
    assert layout.look_ups.read_text().endswith(" not a case id\n")
