"""Pseudonyms are stable, apart in every domain, and closed to whoever has a list but not the secret."""

from __future__ import annotations

import hashlib
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import PrivacyError
from pipeline.core.pseudonyms import Pseudonyms, normalised_patient_id

KEYS = Pseudonyms(bytes(range(32)))
HASHES = ("md5", "sha1", "sha224", "sha256", "sha384", "sha512", "sha3_256", "blake2b", "blake2s")


def test_dictionary_of_hospital_numbers_reverses_no_pseudonym():
    """An attacker hashes every number of a hospital in every usual way and looks for the result."""
    secret_numbers = [f"{number:05d}" for number in range(0, 20_000, 997)]
    published = {KEYS.patient(number)[1:] for number in secret_numbers}
    uids = {int(KEYS.uid(f"1.2.840.113619.{number}").rpartition(".")[2]) for number in secret_numbers}
    shifts = {KEYS.date_shift_days(number) for number in secret_numbers}
    reversed_ = 0
    for number in range(20_000):
        for text in (f"{number:05d}", f"1.2.840.113619.{number:05d}", f"patient\0{number:05d}"):
            for name in HASHES:
                hexadecimal = hashlib.new(name, text.encode()).hexdigest()
                reversed_ += hexadecimal[:12] in published or hexadecimal[-12:] in published
                reversed_ += int(hexadecimal[:32], 16) in uids
    assert reversed_ == 0
    assert len(shifts) > len(secret_numbers) * 0.9


def test_another_secret_gives_other_pseudonyms():
    other = Pseudonyms(bytes(range(1, 33)))
    numbers = [str(number) for number in range(100)]
    assert not {KEYS.patient(number) for number in numbers} & {other.patient(number) for number in numbers}
    assert not {KEYS.uid(number) for number in numbers} & {other.uid(number) for number in numbers}


@given(st.sets(st.from_regex(r"[0-9.]{1,64}", fullmatch=True), min_size=2))
def test_different_sources_have_different_uids(sources):
    assert len({KEYS.uid(source) for source in sources}) == len(sources)


@given(st.text())
def test_uid_is_valid_and_stable(source):
    uid = KEYS.uid(source)
    assert uid == KEYS.uid(source)
    assert uid == "" or (len(uid) <= 64 and uid.startswith("2.25.") and uid[5:].isdigit() and uid[5] != "0")


@given(st.text())
def test_dates_move_by_whole_weeks_out_of_any_true_range(patient_id):
    days = KEYS.date_shift_days(patient_id)
    assert days % 7 == 0
    assert date(2030, 1, 1) + timedelta(days=days) < date(1911, 1, 1)


@given(st.text(alphabet="abcXYZ０１２9-"))
def test_spellings_of_a_patient_id_are_one_patient(patient_id):
    assert KEYS.patient(patient_id) == KEYS.patient(f" {patient_id.lower()} ")
    assert normalised_patient_id("ＡＢ１２") == "AB12"


def test_domains_never_meet():
    tokens = {KEYS.token(domain, "12345", digits=64) for domain in ("patient", "uid", "date", "case-order", "key")}
    assert len(tokens) == 5


def test_short_secret_is_refused_and_no_secret_is_printed():
    with pytest.raises(PrivacyError, match="at least 32"):
        Pseudonyms(b"short")
    assert "secret" not in repr(KEYS)
