"""One series a phase: among those that no rule speaks against, a declared preference decides, or a person must."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import pairwise
from types import MappingProxyType

from pipeline.cohort.rules import Candidate
from pipeline.core.records import Phase, Reason

SOFT_TISSUE, UNKNOWN_KERNEL, SHARP = range(3)

FIRST_SHARP_NUMBER = 50
"""Siemens numbers its kernels by sharpness: body soft tissue is B20 to B45 and Br36 to Br44, edges and lung from 50."""

_SOFT_KERNELS = ("STANDARD", "SOFT", "A", "B", "C", "FC0*", "FC1*")
_SHARP_KERNELS = ("LUNG*", "BONE*", "EDGE*", "DETAIL", "CHST", "D", "E", "L", "Y*", "FC3*", "FC5*", "FC8*")


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
        tied = Reason("tied", "needs review: two studies of one date are equally complete")
        return Choice(lost={candidate.key: tied for candidate in candidates})
    lost = {other.key: _lesser_visit(best, visits[visit], required) for visit in ranked[1:] for other in visits[visit]}
    return _one_a_phase(best, lost)


def _completeness(visit: Sequence[Candidate], required: Iterable[Phase]) -> tuple[int, str]:
    """Sorts visits: how many required phases, then the later date."""
    there = {candidate.agreed_phase.phase for candidate in visit}
    return len(there & set(required)), visit[0].facts.study_date


def _lesser_visit(best: Sequence[Candidate], other: Sequence[Candidate], required: Iterable[Phase]) -> Reason:
    more, fewer = (_completeness(visit, required)[0] for visit in (best, other))
    if more > fewer:
        return Reason("not-preferred", f"another study has {more} of the required phases, this one {fewer}")
    return Reason("not-preferred", "a later study is equally complete")


def _one_a_phase(visit: Sequence[Candidate], lost: dict[str, Reason]) -> Choice:
    chosen: dict[Phase, str] = {}
    won: dict[str, str] = {}
    for phase in Phase:
        rivals = sorted((c for c in visit if c.agreed_phase.phase is phase), key=_preference)
        if len(rivals) > 1 and _preference(rivals[0]) == _preference(rivals[1]):
            equal = [rival for rival in rivals if _preference(rival) == _preference(rivals[0])]
            tied = Reason("tied", f"needs review: {len(equal)} series are equally good for {phase}")
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


PREFERENCES: Mapping[str, Callable[[Candidate], float]] = MappingProxyType(
    {
        "a decision by a person": lambda candidate: candidate.decision is None,
        "a softer kernel": lambda candidate: kernel_rank(candidate.facts.kernel),
        "thinner slices": lambda candidate: round(candidate.facts.slice_thickness_mm or 99.0, 1),
        "closer slices": lambda candidate: round(candidate.facts.slice_spacing_mm or 99.0, 1),
        "more coverage": lambda candidate: -round(candidate.facts.coverage_mm or 0.0),
        "a later acquisition": lambda candidate: -_moment(candidate.facts.acquisition_datetime),
    }
)
"""What decides between series of one phase and visit, most important first; the smaller number wins. A scan is repeated
because the first failed, so the later one is taken."""
