"""A person's word on a series: stronger than what the rules could not settle."""

from __future__ import annotations

from dataclasses import replace

from pipeline.cohort.inclusion import screen_cohort
from pipeline.core.decisions import Decision
from pipeline.core.records import Phase
from tests.cohort.test_inclusion import complete, config, rules_of, series


def test_a_decision_settles_a_tie_and_the_patient_is_complete():
    twin = series("twin", Phase.ARTERIAL)
    assert not screen_cohort([*complete(), twin], {}, config()).cases
    decided = replace(twin, decision=Decision(Phase.ARTERIAL, "R9"))
    inclusion = screen_cohort([*complete(), decided], {}, config())
    assert inclusion.cases[0].series[Phase.ARTERIAL] == "twin"
    assert inclusion.won["twin"] == "has a decision by a person"
    assert rules_of(inclusion)["P0001-C1"] == ["not-preferred"]


def test_a_decision_settles_a_doubtful_phase():
    rest = [candidate for candidate in complete() if candidate.phase.phase is not Phase.DELAYED]
    doubtful = series("odd", None, person=True)
    assert rules_of(screen_cohort([*rest, doubtful], {}, config()))["odd"] == ["phase-conflict"]
    decided = replace(doubtful, decision=Decision(Phase.DELAYED, "R9"))
    inclusion = screen_cohort([*rest, decided], {}, config())
    assert inclusion.cases[0].series[Phase.DELAYED] == "odd"
    assert inclusion.screenings[-1].phase.evidence == ("decided by a person",)


def test_a_rejected_series_is_out_and_another_takes_its_place():
    better = series("thin", Phase.PLAIN, slice_thickness_mm=1.0)
    assert screen_cohort([*complete(), better], {}, config()).cases[0].series[Phase.PLAIN] == "thin"
    rejected = replace(better, decision=Decision(None, "R9"))
    inclusion = screen_cohort([*complete(), rejected], {}, config())
    assert inclusion.cases[0].series[Phase.PLAIN] == "P0001-P"
    assert rules_of(inclusion)["thin"] == ["rejected"]


def test_a_decision_does_not_overrule_the_other_rules():
    thick = replace(series("thick", Phase.PLAIN, slice_thickness_mm=7.0), decision=Decision(Phase.PLAIN, "R9"))
    assert rules_of(screen_cohort([*complete(), thick], {}, config()))["thick"] == ["slice-thickness"]
