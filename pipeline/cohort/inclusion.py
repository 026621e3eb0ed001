"""Which series become the dataset: the rules asked, one series a phase chosen, patients kept or left out, all counted.

What neither rules nor preferences can decide is left out and goes to a person.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from pipeline.cohort.rules import Candidate, rule_place, screen_patient, screen_series
from pipeline.cohort.selection import Choice, choose
from pipeline.core.config import Config
from pipeline.core.records import Case, Patient, Phase, Reason, Screening

__all__ = ["Candidate", "FlowStep", "Inclusion", "consort", "screen_cohort"]


@dataclass(frozen=True, slots=True)
class Inclusion:
    """The verdict on a cohort.

    Attributes:
        screenings: one a series, in the order they came.
        cases: patients that stay, by case_id.
        left_out: why a patient stays out, by case_id; holds every patient that is no case.
        won: private series key to why a series was chosen, where there was a choice.
    """

    screenings: tuple[Screening, ...]
    cases: tuple[Case, ...]
    left_out: Mapping[str, tuple[Reason, ...]]
    won: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class FlowStep:
    """One line of the CONSORT table.

    Attributes:
        of: "series" or "patients".
        rule: the rule, or "assessed" and "kept" for the first and last line.
        fell: how many fell here, each counted once, at the first rule that speaks against it.
        against: how many this rule speaks against, whatever else does.
        remaining: how many were left after it.
    """

    of: str
    rule: str
    fell: int
    against: int
    remaining: int


def screen_cohort(candidates: Sequence[Candidate], patients: Mapping[str, Patient], config: Config) -> Inclusion:
    """The verdict on every series and every patient.

    Args:
        candidates: every series that forms, or should form, a volume.
        patients: clinical facts by case_id; a patient that is missing is unknown. Patients without any series count.
        config: `inclusion`, `phases` and `dataset.modality` decide.
    """
    by_case: dict[str, list[Candidate]] = {case_id: [] for case_id in sorted(patients)}
    for candidate in candidates:
        by_case.setdefault(candidate.case_id, []).append(candidate)
    verdicts: dict[str, Screening] = {}
    won: dict[str, str] = {}
    cases, left_out = [], {}
    for case_id in sorted(by_case):
        patient = patients.get(case_id, Patient())
        own = {candidate.key: screen_series(candidate, config) for candidate in by_case[case_id]}
        choice = choose(
            [candidate for candidate in by_case[case_id] if not own[candidate.key]],
            config.phases.required,
            one_frame_of_reference=config.inclusion.one_frame_of_reference,
        )
        against = screen_patient(patient, config)
        incomplete = _incomplete(choice.chosen, config)
        for candidate in by_case[case_id]:
            verdicts[candidate.key] = _verdict(candidate, own[candidate.key], choice, against, incomplete)
        if against or incomplete:
            left_out[case_id] = (*against, *incomplete)
        else:
            cases.append(Case(case_id, MappingProxyType(dict(choice.chosen)), patient))
            won.update(choice.won)
    screenings = tuple(verdicts[candidate.key] for candidate in candidates)
    return Inclusion(screenings, tuple(cases), MappingProxyType(left_out), MappingProxyType(won))


def consort(inclusion: Inclusion) -> tuple[FlowStep, ...]:
    """How many series, then patients, fell at each rule; each falls once, so that the numbers add up."""
    series = [screening.reasons for screening in inclusion.screenings]
    patients = [*inclusion.left_out.values(), *(() for _ in inclusion.cases)]
    return (*_flow("series", series), *_flow("patients", patients))


def _flow(of: str, verdicts: Sequence[tuple[Reason, ...]]) -> tuple[FlowStep, ...]:
    fell = Counter(reasons[0].rule for reasons in verdicts if reasons)
    against = Counter(rule for reasons in verdicts for rule in {reason.rule for reason in reasons})
    order = sorted(against, key=rule_place)
    remaining = len(verdicts)
    steps = [FlowStep(of, "assessed", 0, 0, remaining)]
    for rule in order:
        remaining -= fell[rule]
        steps.append(FlowStep(of, rule, fell[rule], against[rule], remaining))
    return (*steps, FlowStep(of, "kept", 0, 0, remaining))


def _verdict(
    candidate: Candidate,
    own: tuple[Reason, ...],
    choice: Choice,
    against: tuple[Reason, ...],
    incomplete: tuple[Reason, ...],
) -> Screening:
    """All reasons of a series; that its patient is incomplete is one only for those that would have been kept."""
    lost = (choice.lost[candidate.key],) if candidate.key in choice.lost else ()
    alone = (*own, *lost, *against)
    reasons = alone if own or lost else (*alone, *incomplete)
    ordered = tuple(sorted(reasons, key=lambda reason: rule_place(reason.rule)))
    return Screening(candidate.key, candidate.case_id, candidate.agreed_phase, kept=not ordered, reasons=ordered)


def _incomplete(chosen: Mapping[Phase, str], config: Config) -> tuple[Reason, ...]:
    missing = [phase for phase in config.phases.required if phase not in chosen]
    if not chosen and missing:
        return (Reason("phases-complete", "none of the required phases was found"),)
    if missing and config.phases.missing == "exclude":
        return (Reason("phases-complete", f"missing {', '.join(missing)}"),)
    return ()
