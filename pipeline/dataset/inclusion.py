"""Which series become the dataset: rules with a reason each, then one series a phase by a declared preference.

Every rule is asked of every series, so that all reasons are known, not only the first. What the preferences cannot
decide is left out with the rule "tied" and goes to a person. Nothing here names a patient, a date or a site.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import pairwise
from types import MappingProxyType

from pipeline.core.config import Config
from pipeline.core.records import (
    Case,
    Patient,
    Phase,
    PhaseGuess,
    Problem,
    Reason,
    Screening,
    SeriesFacts,
    Severity,
)
from pipeline.dataset.decisions import Decision

SOFT_TISSUE, UNKNOWN_KERNEL, SHARP = range(3)

FIRST_SHARP_NUMBER = 50
"""Siemens numbers its kernels by sharpness: body soft tissue is B20 to B45 and Br36 to Br44, edges and lung from 50."""

_SOFT_KERNELS = ("STANDARD", "SOFT", "A", "B", "C", "FC0*", "FC1*")
_SHARP_KERNELS = ("LUNG*", "BONE*", "EDGE*", "DETAIL", "CHST", "D", "E", "L", "Y*", "FC3*", "FC5*", "FC8*")
_RULE_OF_PROBLEM = MappingProxyType({"too-few-slices": "slice-count", "tilted": "tilt"})
_SECONDARY_IMAGES = frozenset({"SECONDARY", "LOCALIZER", "MPR", "MIP", "REFORMATTED", "PROJECTION IMAGE", "MIP_MPR"})


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """One series that might become a volume. Private.

    Attributes:
        key: `Series.key`.
        case_id: "P0001"...
        study: what tells one study of the patient from another; used where the study has no date.
        facts: what the rules ask.
        phase: as recognised.
        problems: of the series; each that refuses is a reason.
        is_usable: False when no volume can be made of it.
        decision: what a person said about it, None where nobody did.
        frame: FrameOfReferenceUID; "" where unknown.
    """

    key: str
    case_id: str
    study: str
    facts: SeriesFacts
    phase: PhaseGuess
    problems: tuple[Problem, ...] = ()
    is_usable: bool = True
    decision: Decision | None = None
    frame: str = ""

    @property
    def agreed_phase(self) -> PhaseGuess:
        """The phase as a person decided it, or else as it was recognised."""
        if self.decision is None or self.decision.phase is None:
            return self.phase
        return PhaseGuess(self.decision.phase, 1.0, (*self.phase.evidence, "decided by a person"))

    @property
    def visit(self) -> str:
        """Studies of one day belong together: hospitals give plain and contrast scans an order number each."""
        return self.facts.study_date or self.study


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
class Choice:
    """Which series stand for which phase of one patient.

    Attributes:
        chosen: phase to series key, in the order of `Phase`.
        lost: series key to why another one was taken, or why a person must decide.
        won: series key to why it was taken, where there was a choice.
    """

    chosen: Mapping[Phase, str] = field(default_factory=dict)
    lost: Mapping[str, Reason] = field(default_factory=dict)
    won: Mapping[str, str] = field(default_factory=dict)


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


def kernel_rank(kernel: str) -> int:
    """How well a reconstruction kernel suits the liver: `SOFT_TISSUE`, `UNKNOWN_KERNEL` or `SHARP`, best first."""
    name = kernel.split("\\")[0].strip().upper()
    if any(fnmatchcase(name, pattern) for pattern in _SHARP_KERNELS):
        return SHARP
    if any(fnmatchcase(name, pattern) for pattern in _SOFT_KERNELS):
        return SOFT_TISSUE
    number = re.match(r"[A-Z]{1,2}(\d\d)", name)
    if number is None:
        return UNKNOWN_KERNEL
    return SHARP if int(number.group(1)) >= FIRST_SHARP_NUMBER else SOFT_TISSUE


def screen_series(candidate: Candidate, config: Config) -> tuple[Reason, ...]:
    """Every rule that speaks against a series on its own; empty when it may be chosen."""
    refused = [problem for problem in candidate.problems if problem.severity is Severity.REFUSE]
    reasons = [Reason(_RULE_OF_PROBLEM.get(problem.code, problem.code), problem.message) for problem in refused]
    if not candidate.is_usable and not refused:
        reasons.append(Reason("unusable", "no volume can be made of its slices"))
    known = {reason.rule for reason in reasons}
    for rule, check in SERIES_RULES.items():
        message = check(candidate, config)
        if message and rule not in known:
            reasons.append(Reason(rule, message))
    return tuple(reasons)


def screen_patient(patient: Patient, config: Config) -> tuple[Reason, ...]:
    """Every rule about age and diagnosis that speaks against a patient; what a rule asks must be known."""
    rules = config.inclusion
    reasons = []
    if rules.min_age_years is not None:
        if patient.age_years is None:
            reasons.append(Reason("clinical-missing", "the age is not known"))
        elif patient.age_years < rules.min_age_years:
            reasons.append(Reason("age", f"younger than {rules.min_age_years} years"))
    if rules.diagnosis is not None:
        if patient.diagnosis is None:
            reasons.append(Reason("clinical-missing", "the diagnosis is not known"))
        elif patient.diagnosis not in rules.diagnosis:
            reasons.append(Reason("diagnosis", f"not one of {', '.join(rules.diagnosis)}"))
    return tuple(reasons)


def choose(
    candidates: Sequence[Candidate], required: Iterable[Phase], *, one_frame_of_reference: bool = False
) -> Choice:
    """One series a phase, all of one visit: the most complete visit, then the later one; then by `PREFERENCES`.

    Args:
        candidates: series of one patient that no rule speaks against.
        required: the phases that make a patient complete.
        one_frame_of_reference: series of one visit in different coordinate systems count as different visits.
    """
    if not candidates:
        return Choice()
    visits: dict[tuple[str, str], list[Candidate]] = {}
    for candidate in candidates:
        frame = candidate.frame if one_frame_of_reference else ""
        visits.setdefault((candidate.visit, frame), []).append(candidate)
    ranked = sorted(visits, key=lambda visit: _completeness(visits[visit], required), reverse=True)
    best = visits[ranked[0]]
    if len(ranked) > 1 and _completeness(best, required) == _completeness(visits[ranked[1]], required):
        tied = Reason("tied", "two studies are equally complete and of one date; a person must choose")
        return Choice(lost={candidate.key: tied for candidate in candidates})
    lost = {other.key: _lesser_visit(best, visits[visit], required) for visit in ranked[1:] for other in visits[visit]}
    return _one_a_phase(best, lost)


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
    order = sorted(against, key=_place)
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
    ordered = tuple(sorted(reasons, key=lambda reason: _place(reason.rule)))
    return Screening(candidate.key, candidate.case_id, candidate.agreed_phase, kept=not ordered, reasons=ordered)


def _incomplete(chosen: Mapping[Phase, str], config: Config) -> tuple[Reason, ...]:
    missing = [phase for phase in config.phases.required if phase not in chosen]
    if not chosen and missing:
        return (Reason("phases-complete", "none of the required phases is there"),)
    if missing and config.phases.missing == "exclude":
        return (Reason("phases-complete", f"missing {', '.join(missing)}"),)
    return ()


def _completeness(visit: Sequence[Candidate], required: Iterable[Phase]) -> tuple[int, str]:
    """Sorts visits: how many required phases, then the later date."""
    there = {candidate.agreed_phase.phase for candidate in visit}
    return len(there & set(required)), visit[0].facts.study_date


def _lesser_visit(best: Sequence[Candidate], other: Sequence[Candidate], required: Iterable[Phase]) -> Reason:
    more, fewer = (_completeness(visit, required)[0] for visit in (best, other))
    if more > fewer:
        return Reason("not-preferred", f"another study has {more} of the required phases, this one {fewer}")
    return Reason("not-preferred", "a later study is as complete")


def _one_a_phase(visit: Sequence[Candidate], lost: dict[str, Reason]) -> Choice:
    chosen: dict[Phase, str] = {}
    won: dict[str, str] = {}
    for phase in Phase:
        rivals = sorted((c for c in visit if c.agreed_phase.phase is phase), key=_preference)
        if len(rivals) > 1 and _preference(rivals[0]) == _preference(rivals[1]):
            equal = [rival for rival in rivals if _preference(rival) == _preference(rivals[0])]
            tied = Reason("tied", f"{len(equal)} series are equally good for {phase}; a person must choose")
            lost.update({rival.key: tied for rival in equal})
            lost.update({rival.key: _loses(rivals[0], rival) for rival in rivals[len(equal) :]})
        elif rivals:
            chosen[phase] = rivals[0].key
            lost.update({rival.key: _loses(rivals[0], rival) for rival in rivals[1:]})
            won.update({better.key: _wins(better, worse) for better, worse in list(pairwise(rivals))[:1]})
    return Choice(chosen, lost, won)


def _preference(candidate: Candidate) -> tuple[float, ...]:
    return tuple(measure(candidate) for measure in PREFERENCES.values())


def _decisive(better: Candidate, worse: Candidate) -> str:
    """Name of the first preference in which two series differ."""
    return next(name for name, measure in PREFERENCES.items() if measure(better) != measure(worse))


def _loses(better: Candidate, worse: Candidate) -> Reason:
    return Reason("not-preferred", f"another series of {worse.agreed_phase.phase} has {_decisive(better, worse)}")


def _wins(better: Candidate, worse: Candidate) -> str:
    return f"has {_decisive(better, worse)}"


def _moment(acquisition_datetime: str) -> int:
    """A number that grows with time, from the part of a date and time that is known."""
    return int(re.sub(r"\D", "", acquisition_datetime)[:14].ljust(14, "0"))


def _place(rule: str) -> tuple[int, str]:
    """Sorts rules as `RULE_ORDER` has them; one that is not there comes with those of the files, before all others."""
    return RULE_ORDER.index(rule) if rule in RULE_ORDER else 0, rule


def _outside(value: float | None, bounds: tuple[float, float] | None, unit: str) -> str | None:
    """What is wrong with a number that must lie within bounds; None when nothing is, or no bounds are set."""
    if bounds is None:
        return None
    low, high = bounds
    if value is None:
        return f"not stated, expected {low:g} to {high:g} {unit}"
    return None if low <= round(value, 3) <= high else f"{value:g} {unit}, expected {low:g} to {high:g} {unit}"


def _modality(candidate: Candidate, config: Config) -> str | None:
    wanted, found = config.dataset.modality, candidate.facts.modality
    return None if found == wanted else f"{found or 'not stated'}, expected {wanted}"


def _image_type(candidate: Candidate, config: Config) -> str | None:
    derived = sorted(_SECONDARY_IMAGES.intersection(candidate.facts.image_type))
    return f"{derived[0]} is not an original axial image" if derived else None


def _thickness(candidate: Candidate, config: Config) -> str | None:
    return _outside(candidate.facts.slice_thickness_mm, config.inclusion.slice_thickness_mm, "mm")


def _spacing(candidate: Candidate, config: Config) -> str | None:
    if not candidate.is_usable:
        return None  # slices that form no volume have no spacing, and are refused for that already
    return _outside(candidate.facts.slice_spacing_mm, config.inclusion.slice_spacing_mm, "mm")


def _pixel_spacing(candidate: Candidate, config: Config) -> str | None:
    pixels = candidate.facts.pixel_spacing_mm or (None,)
    return next(filter(None, (_outside(value, config.inclusion.pixel_spacing_mm, "mm") for value in pixels)), None)


def _matrix(candidate: Candidate, config: Config) -> str | None:
    wanted, found = config.inclusion.matrix, candidate.facts.matrix
    if wanted is None or found == wanted:
        return None
    return f"{'x'.join(map(str, found)) if found else 'not stated'}, expected {'x'.join(map(str, wanted))}"


def _slice_count(candidate: Candidate, config: Config) -> str | None:
    found, wanted = candidate.facts.slice_count, config.inclusion.min_slices
    return None if found >= wanted else f"{found} slices, expected at least {wanted}"


def _coverage(candidate: Candidate, config: Config) -> str | None:
    found, wanted = candidate.facts.coverage_mm or 0.0, config.inclusion.min_coverage_mm
    return None if found >= wanted else f"{found:g} mm from first to last slice, expected at least {wanted:g} mm"


def _kvp(candidate: Candidate, config: Config) -> str | None:
    return _outside(candidate.facts.kvp, config.inclusion.kvp, "kV")


def _kernel(candidate: Candidate, config: Config) -> str | None:
    wanted, found = config.inclusion.kernels, candidate.facts.kernel
    if wanted is None or any(fnmatchcase(found.upper(), pattern.upper()) for pattern in wanted):
        return None
    return f"{found or 'not stated'}, expected one of {', '.join(wanted)}"


def _axial(candidate: Candidate, config: Config) -> str | None:
    return None if candidate.facts.is_axial else "slices do not lie across the body's axis within 5 degrees"


def _tilt(candidate: Candidate, config: Config) -> str | None:
    tilted = candidate.facts.is_tilted and not config.inclusion.allow_tilt
    return "the gantry was tilted: slices are stacked aslant" if tilted else None


def _phase_known(candidate: Candidate, config: Config) -> str | None:
    unknown = candidate.agreed_phase.phase is None and not candidate.agreed_phase.needs_person
    return "nothing in text or timing tells the phase" if unknown else None


def _phase_agreed(candidate: Candidate, config: Config) -> str | None:
    return "the evidence for the phase disagrees; a person must decide" if candidate.agreed_phase.needs_person else None


def _phase_wanted(candidate: Candidate, config: Config) -> str | None:
    phase = candidate.agreed_phase.phase
    wanted = phase is None or candidate.agreed_phase.needs_person or phase in config.phases.required
    return None if wanted else f"{phase} is not one of the required phases"


def _not_rejected(candidate: Candidate, config: Config) -> str | None:
    rejected = candidate.decision is not None and candidate.decision.phase is None
    return "a person decided that it must not be used" if rejected else None


Rule = Callable[[Candidate, Config], str | None]

SERIES_RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "rejected": _not_rejected,
        "modality": _modality,
        "image-type": _image_type,
        "not-axial": _axial,
        "tilt": _tilt,
        "slice-count": _slice_count,
        "slice-thickness": _thickness,
        "slice-spacing": _spacing,
        "pixel-spacing": _pixel_spacing,
        "matrix": _matrix,
        "coverage": _coverage,
        "kernel": _kernel,
        "kvp": _kvp,
        "phase-unknown": _phase_known,
        "phase-conflict": _phase_agreed,
        "phase-not-required": _phase_wanted,
    }
)
"""What is asked of a series alone: each answers with what was found and expected, or None."""

PREFERENCES: Mapping[str, Callable[[Candidate], float]] = MappingProxyType(
    {
        "a person's word": lambda candidate: candidate.decision is None,
        "a softer kernel": lambda candidate: kernel_rank(candidate.facts.kernel),
        "thinner slices": lambda candidate: round(candidate.facts.slice_thickness_mm or 99.0, 1),
        "closer slices": lambda candidate: round(candidate.facts.slice_spacing_mm or 99.0, 1),
        "more coverage": lambda candidate: -round(candidate.facts.coverage_mm or 0.0),
        "a later acquisition": lambda candidate: -_moment(candidate.facts.acquisition_datetime),
    }
)
"""What decides between series of one phase and visit, most important first; the smaller number wins. A scan is repeated
because the first failed, so the later one is taken."""

RULE_ORDER = (
    "unusable",
    *SERIES_RULES,
    "not-preferred",
    "tied",
    "age",
    "diagnosis",
    "clinical-missing",
    "phases-complete",
)
"""The order of reasons and of the CONSORT table; what the files themselves forbid, by whatever name, is first."""
