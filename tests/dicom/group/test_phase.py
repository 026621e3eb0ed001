"""Phases by words, by time, and by both when they disagree."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

import pytest

from pipeline.core.config import PhasesConfig
from pipeline.core.records import Instance, Phase, PhaseGuess, Series, SourceFile
from pipeline.dicom.group.phase import confirmed, from_image, guess_phases, recognise_phases
from pipeline.dicom.read.header import decode_text

P, C1, C2, C3 = Phase.PLAIN, Phase.ARTERIAL, Phase.PORTAL_VENOUS, Phase.DELAYED
RULES = PhasesConfig()


def series(key: str = "s", *, slices: int = 3, **facts: object) -> Series:
    header = {"Modality": "CT", **facts}
    instances = tuple(Instance(SourceFile(Path(f"{index}")), MappingProxyType(header)) for index in range(slices))
    return Series(key, instances, None)


def guess(description: str, **facts: object):
    return guess_phases([series(SeriesDescription=description, **facts)], RULES)["s"]


@pytest.mark.parametrize(
    ("description", "phase"),
    [
        *[
            ("平扫 5.0 B30f", P),
            ("动脉期 1.25mm", C1),
            ("动脉晚期", C1),
            ("门脉期", C2),
            ("门静脉期", C2),
            ("静脉期", C2),
        ],
        *[("延迟期 3min", C3), ("平衡期", C3), ("Abdomen native 5mm", P), ("NON-CON", P), ("without contrast", P)],
        *[("ABD_ART_1.25", C1), ("late arterial", C1), ("Portal Venous", C2), ("PV 70s", C2), ("DELAYED 5 MIN", C3)],
        *[("Equilibrium", C3), ("liver VP", C2), ("ARTERIELL", C1), ("ＡＲＴＥＲＩＡＬ", C1), ("unenhanced", P)],
    ],
)
def test_words_name_their_phase(description, phase):
    found = guess(description)
    assert found.phase is phase
    assert found.evidence
    assert not found.needs_person


@pytest.mark.parametrize("description", ["", "Abdomen 2.5", "Topogram", "ABDOMEN/PELVIS", "Partial", "Department B"])
def test_words_of_no_phase_name_none(description):
    assert guess(description).phase is None


@pytest.mark.parametrize("description", ["arterial and venous", "平扫 动脉期", "portal arterial"])
def test_words_of_two_phases_go_to_a_person(description):
    found = guess(description)
    assert found.phase is None
    assert found.needs_person


def test_evidence_never_quotes_the_header():
    found = guess("Mustermann arterial 19580312")
    assert "Mustermann" not in " ".join(found.evidence)
    assert "1958" not in " ".join(found.evidence)


def test_site_pattern_overrides_the_usual_meaning():
    rules = PhasesConfig(sites={"Site B": {C1: ("PORTAL ART",)}})
    study = [series(SeriesDescription="Portal Art 5mm", InstitutionName="Site B")]
    assert guess_phases(study, rules)["s"].phase is C1
    other = [series(SeriesDescription="Portal Art 5mm", InstitutionName="Site A")]
    assert guess_phases(other, rules)["s"].needs_person


@pytest.mark.parametrize(("delay", "phase"), [(-30, P), (35, C1), (70, C2), (180, C3)])
def test_delay_after_the_injection_names_the_phase(delay, phase):
    time = f"10{(600 + delay) // 60:02d}{(600 + delay) % 60:02d}"
    assert guess("Abdomen", ContrastBolusStartTime="101000", AcquisitionTime=time).phase is phase


def test_delay_counts_across_midnight():
    assert guess("Abdomen", ContrastBolusStartTime="235950", AcquisitionTime="000025").phase is C1


def test_words_against_the_clock_go_to_a_person():
    found = guess("arterial", ContrastBolusStartTime="101000", AcquisitionTime="101500")
    assert found.phase is None
    assert found.needs_person
    assert len(found.evidence) == 2


def test_words_with_the_clock_are_surer_than_words_alone():
    both = guess("arterial", ContrastBolusStartTime="101000", AcquisitionTime="101035")
    assert both.confidence > guess("arterial").confidence


def test_four_scans_without_words_are_taken_in_their_order():
    study = [series(f"s{number}", AcquisitionTime=f"10{10 + number}00") for number in (2, 0, 3, 1)]
    guesses = guess_phases(study, RULES)
    assert [guesses[f"s{number}"].phase for number in range(4)] == [P, C1, C2, C3]
    assert all(found.confidence <= 0.5 for found in guesses.values())


def test_three_scans_without_words_stay_unnamed():
    study = [series(f"s{number}", AcquisitionTime=f"10{10 + number}00") for number in range(3)]
    assert {found.phase for found in guess_phases(study, RULES).values()} == {None}


def test_names_in_the_wrong_order_of_time_go_to_a_person():
    study = [
        series("a", SeriesDescription="arterial", AcquisitionTime="101200"),
        series("v", SeriesDescription="portal venous", AcquisitionTime="101000"),
        series("p", SeriesDescription="plain", AcquisitionTime="100000"),
    ]
    guesses = guess_phases(study, RULES)
    assert guesses["a"].needs_person
    assert guesses["v"].needs_person
    assert guesses["p"].phase is P


@pytest.mark.parametrize(
    ("liver", "aorta", "phase"), [(55, 45, P), (70, 320, C1), (115, 160, C2), (90, 90, C3), (20, 40, P)]
)
def test_image_allows_the_phase_it_was_taken_in(liver, aorta, phase):
    assert phase in from_image(liver, aorta).phases
    assert confirmed(PhaseGuess(phase, 0.9), from_image(liver, aorta)).confidence > 0.9


@pytest.mark.parametrize(("liver", "aorta", "named"), [(55, 45, C2), (110, 300, P), (110, None, P), (50, 40, C1)])
def test_image_against_the_name_goes_to_a_person(liver, aorta, named):
    found = confirmed(PhaseGuess(named, 0.9, ("text: words",)), from_image(liver, aorta))
    assert found.phase is None
    assert found.needs_person
    assert len(found.evidence) == 2


def test_image_alone_names_only_what_it_can_tell():
    assert confirmed(PhaseGuess(None, 0.0), from_image(50, 45)).phase is P
    assert confirmed(PhaseGuess(None, 0.0), from_image(90)).phase is None
    assert confirmed(PhaseGuess(None, 0.0, needs_person=True), from_image(50, 45)).needs_person


@pytest.mark.parametrize(
    ("description", "phase"),
    [
        ("ep2d_diff_b50_800", Phase.DWI),
        ("t2_haste", Phase.T2),
        ("T1 VIBE fs", Phase.T1),
        ("VIBE HBP 20min", Phase.HEPATOBILIARY),
    ],
)
def test_mr_sequences_have_names(description, phase):
    assert guess(description, Modality="MR").phase is phase


@pytest.mark.parametrize("charset", ["", "ISO_IR 100", "ISO_IR 6", "GB18030"])
def test_chinese_bytes_are_read_whatever_is_declared(charset):
    assert decode_text("肝脏动脉期 5mm".encode("gb18030"), charset) == "肝脏动脉期 5mm"


@pytest.mark.parametrize("text", ["Müller", "Bäuchle Ö", "Ångström", "naïve café"])
def test_latin_bytes_stay_latin(text):
    assert decode_text(text.encode("latin-1"), "ISO_IR 100") == text


def test_declared_utf8_and_iso_2022_are_read_as_declared():
    assert decode_text("门脉期".encode(), "ISO_IR 192") == "门脉期"
    assert decode_text("Grün 静脉".encode(), "ISO_IR 100") == "Grün 静脉"
    assert decode_text(b"\x1b$)C\xb1\xe8\xc8\xf1\xc1\xdf", "\\ISO 2022 IR 149") == "김희중"


def test_two_patients_under_one_study_uid_are_looked_at_one_by_one():
    """Four scans in order of time are the four phases; those of another patient with the same UID do not count."""
    both = [
        series(f"{patient}-{number}", PatientID=patient, StudyInstanceUID="1.2", AcquisitionTime=f"10{number}000")
        for patient in ("1", " 2")
        for number in range(4)
    ]
    found = recognise_phases(both, RULES)
    for patient in ("1", " 2"):
        assert [found[f"{patient}-{number}"].phase for number in range(4)] == [P, C1, C2, C3]
