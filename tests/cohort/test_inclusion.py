"""Inclusion and selection on small cohorts whose verdict one can tell on paper."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.cohort.inclusion import Candidate, consort, screen_cohort
from pipeline.cohort.rules import screen_series
from pipeline.cohort.selection import SHARP, SOFT_TISSUE, UNKNOWN_KERNEL, kernel_rank
from pipeline.core.config import Config
from pipeline.core.records import Patient, Phase, PhaseGuess, PixelFacts, Problem, SeriesFacts, Severity

PHASES = (Phase.PLAIN, Phase.ARTERIAL, Phase.PORTAL_VENOUS, Phase.DELAYED)
GOOD = SeriesFacts(
    modality="CT",
    kernel="B30f",
    kvp=120.0,
    slice_thickness_mm=5.0,
    slice_spacing_mm=5.0,
    pixel_spacing_mm=(0.8, 0.8),
    matrix=(512, 512),
    slice_count=40,
    coverage_mm=195.0,
    image_type=("ORIGINAL", "PRIMARY", "AXIAL"),
    study_date="20240110",
    acquisition_datetime="20240110093000",
    is_axial=True,
)


def config(**inclusion: object) -> Config:
    return Config.model_validate({"dataset": {"name": "test"}, "inclusion": inclusion})


def series(key: str, phase: Phase | None, *, case_id: str = "P0001", problems=(), person=False, **facts) -> Candidate:
    guess = PhaseGuess(phase, 0.9, needs_person=person)
    usable = not any(problem.severity is Severity.REFUSE for problem in problems)
    return Candidate(key, case_id, "study", replace(GOOD, **facts), guess, tuple(problems), usable)


def complete(case_id: str = "P0001", **facts) -> list[Candidate]:
    return [series(f"{case_id}-{phase}", phase, case_id=case_id, **facts) for phase in PHASES]


def rules_of(inclusion) -> dict[str, list[str]]:
    return {s.series_key: [reason.rule for reason in s.reasons] for s in inclusion.screenings}


def test_complete_patient_is_kept_whole():
    inclusion = screen_cohort(complete(), {"P0001": Patient(60)}, config())
    assert [case.case_id for case in inclusion.cases] == ["P0001"]
    assert dict(inclusion.cases[0].series) == {phase: f"P0001-{phase}" for phase in PHASES}
    assert all(screening.kept and not screening.reasons for screening in inclusion.screenings)
    assert not inclusion.left_out


@pytest.mark.parametrize(
    ("rule", "facts", "rules"),
    [
        ("modality", {"modality": "MR"}, {}),
        ("image-type", {"image_type": ("DERIVED", "SECONDARY", "REFORMATTED")}, {}),
        ("slice-thickness", {"slice_thickness_mm": 7.0}, {}),
        ("slice-thickness", {"slice_thickness_mm": None}, {}),
        ("slice-spacing", {"slice_spacing_mm": 5.2}, {}),
        ("slice-count", {"slice_count": 9}, {}),
        ("matrix", {"matrix": (256, 256)}, {"matrix": (512, 512)}),
        ("pixel-spacing", {"pixel_spacing_mm": (0.8, 1.2)}, {"pixel_spacing_mm": (0.5, 1.0)}),
        ("kvp", {"kvp": 70.0}, {"kvp": (80, 140)}),
        ("kvp", {"kvp": None}, {"kvp": (80, 140)}),
        ("kernel", {"kernel": "B70f"}, {"kernels": ("B3*", "STANDARD")}),
        ("coverage", {"coverage_mm": 100.0}, {"min_coverage_mm": 150}),
        ("tilt", {"is_tilted": True}, {}),
        ("not-axial", {"is_axial": False}, {}),
    ],
)
def test_each_rule_speaks_alone_and_says_what_it_found(rule, facts, rules):
    (reason,) = screen_series(series("s", Phase.PLAIN, **facts), config(**rules))
    assert reason.rule == rule
    assert reason.message


@pytest.mark.parametrize(
    ("rule", "limit", "facts", "told"),
    [
        ("noise", {"max_noise_hu": 40}, {"noise_hu": 48.2}, "48.2 HU, expected at most 40 HU"),
        ("metal", {"max_metal_ml": 0}, {"metal_ml": 0.3}, "0.3 ml, expected at most 0 ml"),
        ("motion", {"max_motion_mm": 3}, {"motion_mm": 3.4}, "3.4 mm, expected at most 3 mm"),
        ("motion", {"max_motion_mm": 3}, {"motion_mm": math.nan}, "cannot be measured"),
    ],
)
def test_rules_about_pixels_speak_where_they_were_measured_and_are_asked_for(rule, limit, facts, told):
    sound = PixelFacts(noise_hu=10.0, metal_ml=0.0, motion_mm=1.0)
    bad = replace(series("s", Phase.PLAIN), pixels=replace(sound, **facts))
    (reason,) = screen_series(bad, config(**limit))
    assert reason.rule == rule
    assert told in reason.message
    assert not screen_series(bad, config())
    for pixels in (None, sound):
        assert not screen_series(replace(bad, pixels=pixels), config(**limit))


def test_rules_that_are_not_set_are_not_asked():
    odd = series("s", Phase.PLAIN, matrix=(96, 96), kvp=None, kernel="", pixel_spacing_mm=None)
    assert screen_series(odd, config(slice_thickness_mm=None)) == ()


def test_bounds_belong_to_the_range():
    for thickness in (1.0, 5.0):
        assert not screen_series(series("s", Phase.PLAIN, slice_thickness_mm=thickness), config())


def test_every_reason_is_collected_in_the_order_of_the_table():
    gap = Problem("missing-slices", Severity.REFUSE, "2 slices missing after slice 12")
    bad = series("s", Phase.ARTERIAL, slice_thickness_mm=7.0, slice_count=3, modality="MR", problems=[gap])
    inclusion = screen_cohort([*complete(), bad], {"P0001": Patient(12)}, config(min_age_years=18))
    assert rules_of(inclusion)["s"] == ["missing-slices", "modality", "slice-count", "slice-thickness", "age"]


def test_what_the_files_forbid_stands_first_by_whatever_name():
    odd = Problem("conflicting-duplicates", Severity.REFUSE, "two slices at one place")
    inclusion = screen_cohort([*complete(), series("s", Phase.ARTERIAL, problems=[odd], modality="MR")], {}, config())
    assert rules_of(inclusion)["s"] == ["conflicting-duplicates", "modality"]
    assert [step.rule for step in consort(inclusion) if step.of == "series"] == [
        "assessed", "conflicting-duplicates", "modality", "kept",
    ]  # fmt: skip


def test_flags_do_not_refuse_and_problems_speak_with_the_name_of_their_rule():
    flag = Problem("mixed-exposure", Severity.FLAG, "exposure varies")
    assert not screen_series(series("s", Phase.PLAIN, problems=[flag]), config())
    short = Problem("too-few-slices", Severity.REFUSE, "2 slices")
    (reason,) = screen_series(series("s", Phase.PLAIN, problems=[short], slice_count=2), config())
    assert (reason.rule, reason.message) == ("slice-count", "2 slices")
    (reason,) = screen_series(replace(series("s", Phase.PLAIN), is_usable=False), config())
    assert reason.rule == "unusable"


@pytest.mark.parametrize(
    ("phase", "person", "rule"),
    [(None, False, "phase-unknown"), (None, True, "phase-conflict"), (Phase.ARTERIAL, True, "phase-conflict"),
     (Phase.HEPATOBILIARY, False, "phase-not-required")],
)  # fmt: skip
def test_a_doubtful_phase_is_never_used_by_default(phase, person, rule):
    (reason,) = screen_series(series("s", phase, person=person), config())
    assert reason.rule == rule


@pytest.mark.parametrize(
    ("better", "worse", "words"),
    [
        ({"kernel": "B30f", "slice_thickness_mm": 5.0}, {"kernel": "B70f", "slice_thickness_mm": 1.0}, "softer kernel"),
        ({"slice_thickness_mm": 1.0}, {"slice_thickness_mm": 5.0}, "thinner"),
        ({"slice_spacing_mm": 2.5}, {"slice_spacing_mm": 5.0}, "closer"),
        ({"coverage_mm": 250.0}, {"coverage_mm": 195.0}, "coverage"),
        ({"acquisition_datetime": "20240110093500"}, {"acquisition_datetime": "20240110093000"}, "later"),
    ],
)
def test_preference_decides_between_two_series_of_one_phase(better, worse, words):
    rest = [candidate for candidate in complete() if candidate.phase.phase is not Phase.ARTERIAL]
    rivals = [series("worse", Phase.ARTERIAL, **worse), series("better", Phase.ARTERIAL, **better)]
    inclusion = screen_cohort([*rest, *rivals], {}, config())
    assert inclusion.cases[0].series[Phase.ARTERIAL] == "better"
    assert rules_of(inclusion)["worse"] == ["not-preferred"]
    assert words in inclusion.won["better"]


def test_equal_series_go_to_a_person_and_the_patient_waits():
    inclusion = screen_cohort([*complete(), series("twin", Phase.ARTERIAL)], {}, config())
    assert rules_of(inclusion)["twin"] == ["tied"] == rules_of(inclusion)["P0001-C1"]
    assert rules_of(inclusion)["P0001-P"] == ["phases-complete"]
    assert [reason.message for reason in inclusion.left_out["P0001"]] == ["missing C1"]


def test_the_most_complete_study_wins_then_the_later_one():
    old = [replace(c, key=f"old-{c.phase.phase}", facts=replace(c.facts, study_date="20230101")) for c in complete()]
    later_but_incomplete = [replace(c, facts=replace(c.facts, study_date="20240601")) for c in complete()[:2]]
    inclusion = screen_cohort([*old, *later_but_incomplete], {}, config())
    assert set(inclusion.cases[0].series.values()) == {candidate.key for candidate in old}

    inclusion = screen_cohort([*old, *complete()], {}, config())
    assert set(inclusion.cases[0].series.values()) == {candidate.key for candidate in complete()}
    assert all(rules_of(inclusion)[candidate.key] == ["not-preferred"] for candidate in old)


def test_phases_of_two_visits_are_never_mixed():
    plain = replace(complete()[0], facts=replace(GOOD, study_date="20230101"))
    inclusion = screen_cohort([plain, *complete()[1:]], {}, config())
    assert not inclusion.cases
    assert [reason.message for reason in inclusion.left_out["P0001"]] == ["missing P"]


def test_two_studies_of_one_day_are_one_visit():
    candidates = [replace(candidate, study=f"study-{n}") for n, candidate in enumerate(complete())]
    assert len(screen_cohort(candidates, {}, config()).cases) == 1


def test_two_undated_studies_that_are_equally_complete_go_to_a_person():
    twice = [replace(c, key=f"{c.key}-{s}", study=s, facts=replace(c.facts, study_date="")) for s in "ab"
             for c in complete()]  # fmt: skip
    inclusion = screen_cohort(twice, {}, config())
    assert not inclusion.cases
    assert set(map(tuple, rules_of(inclusion).values())) == {("tied",)}


def test_allowed_gaps_keep_the_patient_with_what_is_there():
    allowing = Config.model_validate({"dataset": {"name": "test"}, "phases": {"missing": "allow"}})
    inclusion = screen_cohort(complete()[:2], {"P0002": Patient()}, allowing)
    assert list(inclusion.cases[0].series) == [Phase.PLAIN, Phase.ARTERIAL]
    assert inclusion.left_out["P0002"][0].rule == "phases-complete"


def test_phases_in_one_frame_of_reference_where_the_dataset_asks_for_it():
    moved = [replace(c, frame="2" if c.phase.phase is Phase.DELAYED else "1") for c in complete()]
    assert len(screen_cohort(moved, {}, config()).cases) == 1
    strict = screen_cohort(moved, {}, config(one_frame_of_reference=True))
    assert [reason.message for reason in strict.left_out["P0001"]] == ["missing C3"]
    again = [*moved, replace(series("again", Phase.DELAYED), frame="1")]
    assert screen_cohort(again, {}, config(one_frame_of_reference=True)).cases[0].series[Phase.DELAYED] == "again"


@pytest.mark.parametrize(
    ("patient", "rules"),
    [
        (Patient(17, diagnosis="HCC"), ["age"]),
        (Patient(60, diagnosis="abscess"), ["diagnosis"]),
        (Patient(None, diagnosis="HCC"), ["clinical-missing"]),
        (Patient(10, diagnosis=None), ["age", "clinical-missing"]),
    ],
)
def test_clinical_rules_keep_the_whole_patient_out(patient, rules):
    inclusion = screen_cohort(complete(), {"P0001": patient}, config(min_age_years=18, diagnosis=("HCC",)))
    assert [reason.rule for reason in inclusion.left_out["P0001"]] == rules
    assert all(found == rules for found in rules_of(inclusion).values())


@pytest.mark.parametrize(
    ("kernel", "rank"),
    [("B30f", SOFT_TISSUE), ("Br40d\\3", SOFT_TISSUE), ("I30f", SOFT_TISSUE), ("STANDARD", SOFT_TISSUE),
     ("FC08", SOFT_TISSUE), ("B", SOFT_TISSUE), ("B70f", SHARP), ("LUNG", SHARP), ("BONEPLUS", SHARP), ("FC51", SHARP),
     ("YA", SHARP), ("", UNKNOWN_KERNEL), ("AA", UNKNOWN_KERNEL)],
)  # fmt: skip
def test_kernels_of_the_vendors_are_ranked(kernel, rank):
    assert kernel_rank(kernel) == rank


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["P0001", "P0002", "P0003"]),
            st.sampled_from([*PHASES, None]),
            st.sampled_from([1.0, 5.0, 7.0]),
            st.sampled_from(["20240101", "20240202"]),
        ),
        max_size=24,
    ),
    st.randoms(use_true_random=False),
)
@settings(max_examples=60, deadline=None)
def test_order_never_matters_and_the_flow_adds_up(drawn, random):
    candidates = [
        series(str(n), phase, case_id=case_id, slice_thickness_mm=thickness, study_date=date, coverage_mm=100.0 + 2 * n)
        for n, (case_id, phase, thickness, date) in enumerate(drawn)
    ]
    shuffled = random.sample(candidates, len(candidates))
    one, other = screen_cohort(candidates, {}, config()), screen_cohort(shuffled, {}, config())
    assert rules_of(one) == rules_of(other)
    assert [dict(case.series) for case in one.cases] == [dict(case.series) for case in other.cases]

    kept = {key for case in one.cases for key in case.series.values()}
    assert kept == {screening.series_key for screening in one.screenings if screening.kept}
    for of, total in (("series", len(candidates)), ("patients", len({c.case_id for c in candidates}))):
        steps = [step for step in consort(one) if step.of == of]
        assert steps[0].remaining == total == steps[-1].remaining + sum(step.fell for step in steps)
    assert [step.remaining for step in consort(one) if step.rule == "kept"] == [len(kept), len(one.cases)]
