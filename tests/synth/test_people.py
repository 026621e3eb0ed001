"""Invented people are consistent: their birthday fits their age, and everything that names them is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.synth.people import make_person, name_parts
from pipeline.synth.scanners import GENERAL, UNIVERSITY

SCANNERS = {"Latin": GENERAL, "Chinese": UNIVERSITY}


@given(
    seed=st.integers(0, 10**6),
    number=st.integers(1, 40),
    age=st.integers(0, 100),
    scanner=st.sampled_from(list(SCANNERS.values())),
)
@settings(max_examples=60, deadline=None)
def test_the_birthday_gives_the_age_on_the_day_of_the_study(seed, number, age, scanner):
    person = make_person(np.random.default_rng(seed), number, scanner, age)
    born, seen = person.birth_date, person.study_date
    had_birthday = (seen.month, seen.day) >= (born.month, born.day)
    assert seen.year - born.year - (not had_birthday) == age


@pytest.mark.parametrize("scanner", SCANNERS.values(), ids=SCANNERS.keys())
def test_ten_patients_of_a_site_have_ten_names_that_its_character_set_can_write(scanner):
    rng = np.random.default_rng(0)
    people = [make_person(rng, number, scanner, 50) for number in range(0, 20, 2)]
    assert len({person.name for person in people}) == 10
    charset = {"ISO_IR 100": "latin-1", "GB18030": "gb18030"}[scanner.charset]
    for person in people:
        texts = (person.name, person.address, person.referring, person.operator, scanner.institution)
        assert all(text.encode(charset) for text in texts)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("O'Sullivan^Fionn^^Dr", ("O'Sullivan", "Fionn")),
        ("Situ^Meiling=司徒^美玲", ("Situ", "Meiling", "司徒美玲")),
        ("Li^Na=李^娜", ("李娜",)),
    ],
)
def test_name_parts_are_those_that_tell_who_it_is(name, parts):
    assert name_parts(name) == parts


def test_secrets_hold_every_identifier_of_a_person():
    person = make_person(np.random.default_rng(1), 2, UNIVERSITY, 60)
    assert {person.patient_id, person.accession, person.telephone, person.address} <= set(person.secrets)
    assert f"{person.birth_date:%Y%m%d}" in person.secrets
    assert "令狐文斌" in person.secrets
    assert all(len(secret) >= 3 or not secret.isascii() for secret in person.secrets)
