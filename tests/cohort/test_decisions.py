"""A person's word on a series: read from a table, and stronger than what the rules could not settle."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.cohort.decisions import Decision, read_decisions
from pipeline.cohort.inclusion import screen_cohort
from pipeline.core.errors import ConfigError
from pipeline.core.records import Phase
from tests.cohort.test_inclusion import complete, config, rules_of, series


def test_no_table_means_no_decisions(tmp_path):
    assert read_decisions(tmp_path / "decisions.csv") == {}


def test_each_line_is_a_decision(tmp_path):
    path = tmp_path / "decisions.csv"
    path.write_text("series,phase,by,note\nab12,C1,R9,first of two\ncd34,none,R9,\n")
    assert read_decisions(path) == {"ab12": Decision(Phase.ARTERIAL, "R9"), "cd34": Decision(None, "R9")}


def test_all_faulty_lines_are_named(tmp_path):
    path = tmp_path / "decisions.csv"
    path.write_text("series,phase,by\nab12,C1,R9\nab12,C2,R9\n,C1,R9\nef56,arterial,R9\ngh78,C1,\n")
    with pytest.raises(ConfigError) as caught:
        read_decisions(path)
    assert [f"line {n}" in str(caught.value) for n in range(2, 7)] == [False, True, True, True, True]
    path.write_text("series,by\n")
    with pytest.raises(ConfigError, match="needs the columns"):
        read_decisions(path)


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
