"""One list of words in many languages: every form is known again, however it is spelled, and stays in a description."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.config import DeidentificationOption as Option
from pipeline.core.pseudonyms import Pseudonyms
from pipeline.dicom.deid.value_rules import Subject
from pipeline.dicom.deid.vocabulary import contrast_agent, description, scanner_model
from pipeline.vocabulary import folded, vocabulary, words_of

SUBJECT = Subject(Pseudonyms(bytes(range(32))), frozenset(Option), "MRN1", "Sabc")
PHASES = vocabulary()["phase"]
FORMS = [form for languages in PHASES.values() for forms in languages.values() for form in forms]


@pytest.mark.parametrize("language", ["en", "zh", "de", "fr", "es", "it", "pt", "ja", "ko", "nl", "tr", "pl", "ru"])
@pytest.mark.parametrize("phase", ["plain", "arterial", "portal_venous", "delayed"])
def test_every_phase_has_words_in_every_language(phase, language):
    assert PHASES[phase][language]


@given(st.sampled_from(FORMS), st.sampled_from([str, str.upper, str.title]))
def test_a_phase_stays_in_a_description_whatever_its_letters(form, spelled):
    found = description(f"NOWAK {spelled(form)} 1954", SUBJECT)
    assert folded(str(found)).replace(" ", "") == folded(spelled(form)).replace(" ", "").replace("'", "")


@pytest.mark.parametrize(
    ("source", "kept"),
    [
        ("Abdomen spätarteriell 1.0 Kowalski", "Abdomen spätarteriell 1.0"),
        ("ABDOMEN SPÄTARTERIELL", "ABDOMEN SPÄTARTERIELL"),
        ("王芳腹部增强动脉期5mm", "腹部 增强 动脉期"),
        ("faza tętnicza późna Nowak", "faza tętnicza późna"),
        ("t1_vibe_fs_tra_bh 15min", "t1 vibe fs tra bh 15min"),
        ("dynamic(30s)", "dynamic 30s"),
        ("b800 b50 b1954", "b800 b50"),
        ("조영희 문맥기", "문맥기"),
        ("GEÇ ARTERİYEL", "GEÇ ARTERİYEL"),
    ],
)
def test_descriptions_of_many_languages(source, kept):
    assert description(source, SUBJECT) == kept


@pytest.mark.parametrize(
    ("source", "kept"),
    [
        ("Ultravist 370", "Ultravist 370"),
        ("Ultravist370 Dr. Nowak", "Ultravist 370"),
        ("OMNIPAQUE (350 mgI/ml) 100ml", "OMNIPAQUE 350 100ml"),
        ("Gd-EOB-DTPA", "Gd EOB DTPA"),
        ("370 Nowak", None),
        ("room 370", None),
        ("Ultravist 371", "Ultravist"),
        ("碘海醇 350", "碘海醇 350"),
    ],
)
def test_an_agent_keeps_its_concentration(source, kept):
    assert contrast_agent(source, SUBJECT) == kept


@pytest.mark.parametrize("name", ["SWAN", "TOUCH", "QUICK", "SMART", "CARE", "BOLD"])
def test_names_among_the_words_of_recognition_do_not_stay(name):
    """Each is a part of a sequence's or a program's name, and a family name."""
    assert description(f"T1 {name}", SUBJECT) == "T1"


@given(st.text())
def test_whatever_stays_of_a_text_is_known(text):
    known = words_of("phase", "exam", "relation", "time", "body", "scan", "derived", "spectral_ct", "mr")
    for word in str(description(text, SUBJECT) or "").split():
        assert folded(word) in known or any(letter.isdigit() for letter in word)
    assert scanner_model(text, SUBJECT) in (None, " ".join(text.split()))


@given(st.text())
def test_folding_twice_is_folding_once(text):
    assert folded(folded(text)) == folded(text)


def test_no_form_is_listed_twice_in_one_language():
    def lists(section: Any) -> list[list[str]]:
        return [section] if isinstance(section, list) else [one for part in section.values() for one in lists(part)]

    for forms in lists(vocabulary()):
        assert [form for form, count in Counter(map(folded, forms)).items() if count > 1] == []
