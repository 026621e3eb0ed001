"""The rules of inclusion: what is asked of a series and of a patient, each with a reason of its own.

Every rule is asked, so that all reasons are known, not only the first. No reason names a patient, a date or a site.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import MappingProxyType

from pipeline.core.config import Config
from pipeline.core.decisions import Decision
from pipeline.core.problems import meaning_of
from pipeline.core.records import UNLISTED, Patient, PhaseGuess, PixelFacts, Problem, Reason, SeriesFacts, Severity

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
        contradiction: what under the patient's number no one person can have; "" where nothing.
        pixels: what the pixels tell; None where nothing was measured.
        has_face: True when header or image show a head.
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
    contradiction: str = ""
    pixels: PixelFacts | None = None
    has_face: bool = False

    @property
    def agreed_phase(self) -> PhaseGuess:
        """The phase as a person decided it, or else as it was recognised."""
        if self.decision is None or self.decision.phase is None:
            return self.phase
        said = ("decided by a person",)
        return PhaseGuess(self.decision.phase, 1.0, said, kind=self.phase.kind, is_decided=True)

    @property
    def visit(self) -> str:
        """Studies of one day belong together: hospitals give plain and contrast scans an order number each."""
        return self.facts.study_date or self.study


def screen_series(candidate: Candidate, config: Config) -> tuple[Reason, ...]:
    """Every rule that speaks against a series on its own; empty when it may be chosen."""
    refused = [problem for problem in candidate.problems if problem.severity is Severity.REFUSE]
    reasons = [Reason(_RULE_OF_PROBLEM.get(problem.code, problem.code), problem.message) for problem in refused]
    if not candidate.is_usable and not refused:
        reasons.append(Reason("unusable", meaning_of("unusable")))
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
    if patient.diagnosis == UNLISTED:
        reasons.append(Reason("diagnosis", "none of those that [labels] lesion_kinds and [inclusion] diagnosis list"))
    elif rules.diagnosis is not None:
        if patient.diagnosis is None:
            reasons.append(Reason("clinical-missing", "the diagnosis is not known"))
        elif patient.diagnosis not in rules.diagnosis:
            reasons.append(Reason("diagnosis", f"not one of {', '.join(rules.diagnosis)}"))
    return tuple(reasons)


def rule_place(rule: str) -> tuple[int, str]:
    """Sorts rules as `RULE_ORDER` has them; one that is not there comes with those of the files, before all others."""
    return RULE_ORDER.index(rule) if rule in RULE_ORDER else 0, rule


def _outside(what: str, value: float | None, bounds: tuple[float, float] | None, unit: str) -> str | None:
    """What is wrong with a number that must lie within bounds; None when nothing is, or no bounds are set."""
    if bounds is None:
        return None
    low, high = bounds
    if value is None:
        return f"{what} not stated, expected {low:g} to {high:g} {unit}"
    return None if low <= round(value, 3) <= high else f"{what} {value:g} {unit}, expected {low:g} to {high:g} {unit}"


def _modality(candidate: Candidate, config: Config) -> str | None:
    wanted, found = config.dataset.modality, candidate.facts.modality
    return None if found == wanted else f"modality {found or 'not stated'}, expected {wanted}"


def _image_type(candidate: Candidate, config: Config) -> str | None:
    derived = sorted(_SECONDARY_IMAGES.intersection(candidate.facts.image_type))
    return f"ImageType {derived[0]}, expected an original axial image" if derived else None


def _thickness(candidate: Candidate, config: Config) -> str | None:
    return _outside("slice thickness", candidate.facts.slice_thickness_mm, config.inclusion.slice_thickness_mm, "mm")


def _spacing(candidate: Candidate, config: Config) -> str | None:
    if not candidate.is_usable:
        return None  # slices that form no volume have no spacing, and are refused for that already
    return _outside("slice spacing", candidate.facts.slice_spacing_mm, config.inclusion.slice_spacing_mm, "mm")


def _pixel_spacing(candidate: Candidate, config: Config) -> str | None:
    pixels, bounds = candidate.facts.pixel_spacing_mm or (None,), config.inclusion.pixel_spacing_mm
    return next(filter(None, (_outside("pixel spacing", value, bounds, "mm") for value in pixels)), None)


def _matrix(candidate: Candidate, config: Config) -> str | None:
    wanted, found = config.inclusion.matrix, candidate.facts.matrix
    if wanted is None or found == wanted:
        return None
    return f"matrix {'x'.join(map(str, found)) if found else 'not stated'}, expected {'x'.join(map(str, wanted))}"


def _slice_count(candidate: Candidate, config: Config) -> str | None:
    found, wanted = candidate.facts.slice_count, config.inclusion.min_slices
    return None if found >= wanted else f"{found} slices, expected at least {wanted}"


def _coverage(candidate: Candidate, config: Config) -> str | None:
    found, wanted = candidate.facts.coverage_mm or 0.0, config.inclusion.min_coverage_mm
    return None if found >= wanted else f"{found:g} mm from first to last slice, expected at least {wanted:g} mm"


def _kvp(candidate: Candidate, config: Config) -> str | None:
    return _outside("tube voltage", candidate.facts.kvp, config.inclusion.kvp, "kV")


def _kernel(candidate: Candidate, config: Config) -> str | None:
    wanted, found = config.inclusion.kernels, candidate.facts.kernel
    if wanted is None or any(fnmatchcase(found.upper(), pattern.upper()) for pattern in wanted):
        return None
    return f"{'another kernel' if found else 'kernel not stated'}, expected one of {', '.join(wanted)}"


def _axial(candidate: Candidate, config: Config) -> str | None:
    return None if candidate.facts.is_axial else "the slices are not axial within 5 degrees"


def _tilt(candidate: Candidate, config: Config) -> str | None:
    tilted = candidate.facts.is_tilted and not config.inclusion.allow_tilt
    return meaning_of("tilt") if tilted else None


def _noise(candidate: Candidate, config: Config) -> str | None:
    pixels, limit = candidate.pixels, config.inclusion.max_noise_hu
    return _above(pixels.noise_hu, limit, "noise in soft tissue", "HU") if pixels else None


def _metal(candidate: Candidate, config: Config) -> str | None:
    pixels, limit = candidate.pixels, config.inclusion.max_metal_ml
    return _above(pixels.metal_ml, limit, "metal", "ml") if pixels else None


def _motion(candidate: Candidate, config: Config) -> str | None:
    pixels, limit = candidate.pixels, config.inclusion.max_motion_mm
    return _above(pixels.motion_mm, limit, "largest jump of the skin between slices", "mm") if pixels else None


def _above(found: float, limit: float | None, what: str, unit: str) -> str | None:
    """What is wrong with something measured in the pixels; None when nothing is, or nobody asked."""
    if limit is None or found <= limit:
        return None
    if math.isnan(found):
        return f"{what} cannot be measured, expected at most {limit:g} {unit}"
    return f"{what} {found:.1f} {unit}, expected at most {limit:g} {unit}"


def _phase_known(candidate: Candidate, config: Config) -> str | None:
    guess = candidate.agreed_phase
    if guess.phase is not None or guess.needs_person:
        return None
    return f"no phase recognised ({guess.kind})" if guess.kind else meaning_of("phase-unknown")


def _phase_agreed(candidate: Candidate, config: Config) -> str | None:
    needs_review = "needs review: header, text and timing disagree about the phase, or leave several"
    return needs_review if candidate.agreed_phase.needs_person else None


def _phase_wanted(candidate: Candidate, config: Config) -> str | None:
    phase = candidate.agreed_phase.phase
    wanted = phase is None or candidate.agreed_phase.needs_person or phase in config.phases.required
    return None if wanted else f"{phase} is not one of the required phases"


def _not_rejected(candidate: Candidate, config: Config) -> str | None:
    rejected = candidate.decision is not None and candidate.decision.phase is None
    return meaning_of("rejected") if rejected else None


def _one_patient(candidate: Candidate, config: Config) -> str | None:
    doubtful = candidate.contradiction and candidate.decision is None
    return f"needs review: one patient number, but {candidate.contradiction}" if doubtful else None


def _faceless(candidate: Candidate, config: Config) -> str | None:
    return meaning_of("face") if candidate.has_face and candidate.decision is None else None


Rule = Callable[[Candidate, Config], str | None]

SERIES_RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "rejected": _not_rejected,
        "patient-conflict": _one_patient,
        "face": _faceless,
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
        "noise": _noise,
        "metal": _metal,
        "motion": _motion,
        "phase-unknown": _phase_known,
        "phase-conflict": _phase_agreed,
        "phase-not-required": _phase_wanted,
    }
)
"""What is asked of a series alone: each answers with what was found and expected, or None."""

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
