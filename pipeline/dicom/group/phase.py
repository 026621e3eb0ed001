"""Which contrast phase or MR sequence a series is: from its header, its words, its time, and from the image.

Each source gives a guess of its own with a sentence of evidence. Where two sources disagree, or leave more than one
phase, nothing is guessed and a person is asked. What kind of image it is comes first: a map or a subtraction has no
contrast phase, and a T1-weighted scan with contrast agent is never called plain T1.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import pairwise

from pipeline.core.config import PhasesConfig
from pipeline.core.pseudonyms import normalised_patient_id
from pipeline.core.records import Phase, PhaseGuess, Series
from pipeline.dicom.group.injection import BEFORE_S, LONGEST_EXAM_S, SAME_MOMENT_S, Timing, count_scans, timings
from pipeline.dicom.group.sequence import ImageKind, kind_of
from pipeline.dicom.group.wording import Mention, mentions, named_delays_s, names_several_phases, normalised

SURE = 0.9
"""Confidence of a word that means one phase only, and of a header that names the phase."""
LIKELY = 0.6
"""Confidence of an abbreviation that also means other things ("AP" is arterial phase, or abdomen and pelvis)."""
PLAUSIBLE = 0.5
"""Confidence of the order of acquisition alone, and of a protocol's name."""

_P, _C1, _C2, _C3 = Phase.PLAIN, Phase.ARTERIAL, Phase.PORTAL_VENOUS, Phase.DELAYED
_HBP = Phase.HEPATOBILIARY
ENHANCED = frozenset({_C1, _C2, _C3, _HBP})

_OF_SECTION: Mapping[str, Phase] = {
    "phase.plain": _P,
    "phase.arterial": _C1,
    "phase.arterial_early": _C1,
    "phase.arterial_late": _C1,
    "phase.portal_venous": _C2,
    "phase.delayed": _C3,
    "phase.transitional": _C3,
    "phase.hepatobiliary": _HBP,
}
_FINER_NAMES = {
    "phase.arterial_early": "early arterial",
    "phase.arterial_late": "late arterial",
    "phase.transitional": "transitional",
}
_AGENT_PHASES: Mapping[str, Phase] = {
    "PRE_CONTRAST": _P,
    "ARTERIAL": _C1,
    "PORTAL_VENOUS": _C2,
    "VENOUS": _C2,
    "DELAYED": _C3,
}
"""Contrast/Bolus Agent Phase (PS3.3 C.7.6.16.2.12); its other values name no phase of the liver."""

Windows = tuple[tuple[float, frozenset[Phase]], ...]
"""Seconds after the injection up to which phases are possible; beyond the last nothing is."""

_CT_WINDOWS: Windows = (
    (BEFORE_S, frozenset({_P})),
    (45.0, frozenset({_C1})),
    (65.0, frozenset({_C1, _C2})),
    (90.0, frozenset({_C2})),
    (120.0, frozenset({_C2, _C3})),
    (1200.0, frozenset({_C3})),
)
"""Late arterial 35 to 45 s, portal venous 60 to 80 s, delayed 2 to 5 min (LI-RADS v2018); between them, both."""

_MR_EARLY: Windows = (
    (BEFORE_S, frozenset({_P})),
    (45.0, frozenset({_C1})),
    (55.0, frozenset({_C1, _C2})),
    (100.0, frozenset({_C2})),
    (120.0, frozenset({_C2, _C3})),
)
_MR_WINDOWS: Mapping[str, Windows] = {
    "gadoxetate": (
        *_MR_EARLY,
        (480.0, frozenset({_C3})),
        (720.0, frozenset({_C3, _HBP})),
        (5400.0, frozenset({_HBP})),
    ),
    "gadobenate": (
        *_MR_EARLY,
        (2700.0, frozenset({_C3})),
        (3600.0, frozenset({_C3, _HBP})),
        (10800.0, frozenset({_HBP})),
    ),
    "extracellular": (*_MR_EARLY, (2400.0, frozenset({_C3}))),
    "": (*_MR_EARLY, (480.0, frozenset({_C3})), (5400.0, frozenset({_C3, _HBP}))),
}
"""By agent. Gadoxetate is in the liver cells after 10 to 40 min, in cirrhosis later, and gadobenate after 1 to 3 h."""

_RUN_GAPS_S = ((10.0, 60.0), (15.0, 60.0), (45.0, 400.0))
"""From plain to arterial, to portal venous, to delayed, where one series holds these four and no start is known."""

_LIVER_HU_OF_PHASE = {
    Phase.PLAIN: (0.0, 75.0),
    Phase.ARTERIAL: (35.0, 105.0),
    Phase.PORTAL_VENOUS: (65.0, 180.0),
    Phase.DELAYED: (55.0, 150.0),
}
_AORTA_HU = {
    Phase.PLAIN: (15.0, 80.0),
    Phase.ARTERIAL: (170.0, 700.0),
    Phase.PORTAL_VENOUS: (95.0, 250.0),
    Phase.DELAYED: (70.0, 170.0),
}
"""HU seen in each phase, wide: plain blood 30 to 60, liver 40 to 65 (a fatty one far less); a portal venous liver gains
40 to 70. Proposals, not from a cited source; they only ever contradict a name, never a person."""

_IN_ORDER = (_P, _C1, _C2, _C3, _HBP)

_ECHO_TOLERANCE_MS = 0.3
_REPETITION_TOLERANCE = 0.1
"""Two scans of one protocol agree in these, the second relatively."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one source says.

    Attributes:
        phases: what it allows; several where its words contradict each other, none where it is silent.
        confidence: 0.0 to 1.0.
        sentence: for a person, without patient data.
        is_weak: True for what only counts where nothing else speaks.
    """

    phases: frozenset[Phase]
    confidence: float
    sentence: str
    is_weak: bool = False


@dataclass(frozen=True, slots=True)
class _Exam:
    """What all series of an examination have in common, which tells nothing of a single one.

    Attributes:
        words: phase words in every SeriesDescription, how often at least.
        delays: times in every SeriesDescription.
        protocol: the ProtocolName of all; None where they differ.
    """

    words: Counter[tuple[str, str]]
    delays: frozenset[float]
    protocol: str | None


def recognise_phases(series: Iterable[Series], rules: PhasesConfig) -> dict[str, PhaseGuess]:
    """The phase of each of any series, by `Series.key`: each patient's studies looked at one by one.

    Args: as `guess_phases`.
    """
    studies: dict[tuple[str, str], list[Series]] = defaultdict(list)
    for one in series:
        studies[normalised_patient_id(one.first.text("PatientID")), one.first.text("StudyInstanceUID")].append(one)
    return {key: guess for study in studies.values() for key, guess in guess_phases(study, rules).items()}


def guess_phases(study: Sequence[Series], rules: PhasesConfig) -> dict[str, PhaseGuess]:
    """The phase of each series of one patient's study, by `Series.key`.

    Args:
        study: all series of the study; their order in time is part of the evidence.
        rules: patterns that single sites use differently, and the phases that are expected.
    """
    timing = timings(study)
    exam = _shared(study, timing)
    kinds = {one.key: kind_of(one, _own_protocol(one, exam)) for one in study}
    further = {**_order_evidence(study, kinds, timing, rules), **_run_evidence(study, kinds, timing)}
    guesses = {}
    for one in study:
        sources = _sources(one, kinds[one.key], timing[one.key], exam, rules)
        sources += [further[one.key]] if one.key in further else []
        why = _why_enhanced(_own_words(one, exam), timing[one.key], _repeats_earlier(one, study, kinds, timing))
        guesses[one.key] = _guess(one, kinds[one.key], sources, why)
    return _in_time_order(study, guesses, timing)


def combined(sources: Iterable[Evidence]) -> PhaseGuess:
    """One guess from several sources; they must agree on one phase, else a person is asked."""
    found = [source for source in sources if source.phases]
    spoken = [source for source in found if not source.is_weak] or found[:1]
    sentences = tuple(source.sentence for source in spoken)
    if not spoken:
        return PhaseGuess(None, 0.0, sentences)
    common = frozenset.intersection(*(source.phases for source in spoken))
    if len(common) != 1:
        return PhaseGuess(None, 0.0, sentences, needs_person=True)
    doubt = math.prod(1.0 - source.confidence for source in spoken)
    return PhaseGuess(next(iter(common)), round(1.0 - doubt, 4), sentences)


def _guess(series: Series, kind: ImageKind, sources: Sequence[Evidence], why_enhanced: str) -> PhaseGuess:
    """What the kind of image and its evidence make of a series."""
    own = (kind.sentence,) if kind.sentence else ()
    if not kind.has_phase or kind.is_disputed:
        return PhaseGuess(None, 0.0, own, needs_person=kind.is_disputed, kind=kind.name)
    guess = combined(sources)
    named = replace(guess, evidence=(*guess.evidence, *own), kind=kind.name or _finer_name(series, guess))
    if kind.sequence in (Phase.T2, Phase.DWI):
        return _of_sequence(kind, named)
    if kind.sequence is not Phase.T1 or named.phase or named.needs_person:
        return named
    if why_enhanced:
        return replace(named, evidence=(*named.evidence, why_enhanced))
    return replace(named, phase=Phase.T1, confidence=SURE)


def _of_sequence(kind: ImageKind, guess: PhaseGuess) -> PhaseGuess:
    """A T2 or DWI, which has no contrast phase; words for one go to a person."""
    if guess.needs_person or guess.phase in ENHANCED:
        return PhaseGuess(None, 0.0, guess.evidence, needs_person=True, kind=kind.name)
    return PhaseGuess(kind.sequence, SURE, (kind.sentence,), kind=kind.name)


def _finer_name(series: Series, guess: PhaseGuess) -> str:
    """What the words say beyond the phase, such as "late arterial"."""
    sections = {mention.section for mention in mentions(series.first.text("SeriesDescription"))} & _FINER_NAMES.keys()
    names = [_FINER_NAMES[section] for section in sections if _OF_SECTION[section] is guess.phase]
    return names[0] if len(names) == 1 else ""


def _why_enhanced(words: Iterable[Mention], timing: Timing, repeats: bool) -> str:
    """Why a T1 may have been taken after the contrast agent; "" where nothing says so."""
    if any(word.section == "phase.contrast" for word in words):
        return "text: words for contrast agent, none for a phase"
    if timing.delay_s is not None and timing.delay_s >= BEFORE_S:
        return f"timing: {timing.delay_s:.0f} s after the start of the injection"
    if timing.delay_s is not None and timing.delay_s >= -LONGEST_EXAM_S and timing.confidence >= PLAUSIBLE:
        return ""
    if timing.has_agent:
        return "header: contrast agent is named, and no true time of it"
    if timing.run:
        return "timing: volume {} of {} over time".format(*timing.run)
    if timing.follows_agent:
        return "timing: taken after a scan that names a contrast agent"
    return "timing: an earlier scan has the same sequence, so this one may be enhanced" if repeats else ""


def _sources(series: Series, kind: ImageKind, timing: Timing, exam: _Exam, rules: PhasesConfig) -> list[Evidence]:
    """What header, words and time say; a site's own pattern decides alone.

    A T1 before the injection need not be the plain scan of the dynamic series: only words or its place there say so.
    """
    text = " ".join(series.first.text(word) for word in ("SeriesDescription", "ProtocolName"))
    own = _site_phases(text, series.first.text("InstitutionName"), rules)
    if own:
        return [Evidence(own, SURE, f"text: the site's own pattern for {_listed(own)}")]
    is_t1 = kind.sequence is Phase.T1
    takes_contrast = is_t1 or series.first.text("Modality") == "CT"
    named = _from_named_delay(series, timing, exam) if takes_contrast else None
    said = [one for one in (_from_header(series, timing), _from_text(series, timing, exam), named) if one]
    timed = _from_delay(series, timing) if takes_contrast else None
    is_some_t1 = is_t1 and timed is not None and timed.phases == {_P} and not said and timing.run is None
    contrast = _from_contrast_words(series, exam)
    found = [*said, *([timed] if timed and not is_some_t1 else [])]
    return [*found, contrast] if found and contrast else found


def _from_header(series: Series, timing: Timing) -> Evidence | None:
    """What the header of an enhanced image says of the phase itself."""
    phase = _AGENT_PHASES.get(series.first.text("ContrastBolusAgentPhase"))
    if phase is None:
        return None
    phases = _as_agent_has_it(frozenset({phase}), timing)
    return Evidence(phases, SURE, f"header: names {_listed(phases)}")


def _from_text(series: Series, timing: Timing, exam: _Exam) -> Evidence | None:
    """What SeriesDescription says; where it is silent, a ProtocolName of one phase, then ImageComments."""
    words = _own_words(series, exam)
    protocol = _own_protocol(series, exam)
    of_protocol = [] if names_several_phases(protocol) else _sure(mentions(protocol))
    for found, confidence, source in (
        (_sure(words), SURE, "text"),
        (words, LIKELY, "text"),
        (of_protocol if len(_phases_of(of_protocol)) == 1 else [], PLAUSIBLE, "protocol"),
        (_sure(mentions(series.first.text("ImageComments"))), LIKELY, "comment"),
    ):
        phases = _phases_of(found)
        if phases:
            is_mr = series.first.text("Modality") == "MR"
            meant = _as_agent_has_it(phases, timing) if is_mr else phases
            return Evidence(meant, confidence, f"{source}: words for {_listed(phases)}")
    return None


def _as_agent_has_it(phases: frozenset[Phase], timing: Timing) -> frozenset[Phase]:
    """With an agent for liver cells "delayed" may be the hepatobiliary phase."""
    is_late = _C3 in phases and timing.agent in ("gadoxetate", "gadobenate")
    return phases | {_HBP} if is_late else phases


def _from_contrast_words(series: Series, exam: _Exam) -> Evidence | None:
    """That words for contrast agent forbid a plain scan."""
    said = any(word.section == "phase.contrast" and not word.is_ambiguous for word in _own_words(series, exam))
    return Evidence(ENHANCED, 0.0, "text: words for contrast agent") if said else None


def _from_named_delay(series: Series, timing: Timing, exam: _Exam) -> Evidence | None:
    """What a time in SeriesDescription says, such as "20min"."""
    delays = named_delays_s(series.first.text("SeriesDescription")) - exam.delays
    phases = _possible_at(next(iter(delays)), series, timing) if len(delays) == 1 else frozenset()
    return Evidence(phases, LIKELY, f"text: a time of {_listed(phases)}") if phases else None


def _from_delay(series: Series, timing: Timing) -> Evidence | None:
    """What the time since the injection says; None when the header does not tell both."""
    if timing.delay_s is None:
        return None
    phases = _possible_at(timing.delay_s, series, timing)
    sentence = f"timing: {timing.delay_s:.0f} s after the start of the injection"
    return Evidence(phases, timing.confidence, sentence, is_weak=timing.confidence < PLAUSIBLE)


def _possible_at(delay_s: float, series: Series, timing: Timing) -> frozenset[Phase]:
    windows = _CT_WINDOWS if series.first.text("Modality") == "CT" else _MR_WINDOWS[timing.agent]
    if delay_s < -LONGEST_EXAM_S:
        return frozenset()
    return next((phases for bound, phases in windows if delay_s < bound), frozenset())


def _shared(study: Sequence[Series], timing: Mapping[str, Timing]) -> _Exam:
    """What all series say alike; nothing where there is but one scan, which may have several reconstructions."""
    if count_scans(timing[one.key].moment_s for one in study) < 2:
        return _Exam(Counter(), frozenset(), None)
    texts = [one.first.text("SeriesDescription") for one in study]
    words = [Counter((word.section, word.form) for word in _phase_words(text)) for text in texts]
    protocols = {one.first.text("ProtocolName") for one in study}
    return _Exam(
        reduce(lambda one, other: one & other, words),
        frozenset.intersection(*map(named_delays_s, texts)),
        protocols.pop() if len(protocols) == 1 else None,
    )


def _own_words(series: Series, exam: _Exam) -> list[Mention]:
    """Phase words of SeriesDescription without those of the whole exam."""
    left, own = Counter(exam.words), []
    for word in _phase_words(series.first.text("SeriesDescription")):
        if left[word.section, word.form] > 0:
            left[word.section, word.form] -= 1
        else:
            own.append(word)
    return own


def _own_protocol(series: Series, exam: _Exam) -> str:
    protocol = series.first.text("ProtocolName")
    return "" if protocol == exam.protocol else protocol


def _phase_words(text: str) -> list[Mention]:
    return [word for word in mentions(text) if word.section.startswith("phase.")]


def _sure(words: Iterable[Mention]) -> list[Mention]:
    return [word for word in words if not word.is_ambiguous]


def _phases_of(words: Iterable[Mention]) -> frozenset[Phase]:
    return frozenset(_OF_SECTION[word.section] for word in words if word.section in _OF_SECTION)


def _site_phases(text: str, institution: str, rules: PhasesConfig) -> frozenset[Phase]:
    site = {name.casefold(): patterns for name, patterns in rules.sites.items()}.get(institution.strip().casefold(), {})
    looked_at = normalised(text)
    return frozenset(phase for phase, patterns in site.items() if any(normalised(one) in looked_at for one in patterns))


def from_image(liver_hu: float, aorta_hu: float | None = None) -> Evidence:
    """What the image says: the phases in which liver and blood are as bright as they are here.

    Neighbouring phases overlap, so it can seldom name one; what it can do is contradict.

    Args:
        liver_hu: median inside the liver, without lesions and vessels as far as possible.
        aorta_hu: median inside the aorta; None where nobody has labelled it.
    """
    phases = {phase for phase, (low, high) in _LIVER_HU_OF_PHASE.items() if low <= liver_hu <= high}
    sentence = f"image: liver at {liver_hu:.0f} HU"
    if aorta_hu is not None:
        phases &= {phase for phase, (low, high) in _AORTA_HU.items() if low <= aorta_hu <= high}
        sentence += f", aorta at {aorta_hu:.0f} HU"
    return Evidence(frozenset(phases), LIKELY, sentence)


def confirmed(guess: PhaseGuess, image: Evidence) -> PhaseGuess:
    """A guess once its image has been looked at: surer where the image allows it, a person's where it does not.

    What a person has decided stays as it is.
    """
    if guess.is_decided:
        return guess
    evidence = (*guess.evidence, image.sentence)
    if guess.phase is None:
        only = next(iter(image.phases)) if len(image.phases) == 1 and not guess.needs_person else None
        return PhaseGuess(only, image.confidence if only else 0.0, evidence, guess.needs_person)
    if guess.phase in image.phases:
        return PhaseGuess(guess.phase, round(1 - (1 - guess.confidence) * (1 - image.confidence), 4), evidence)
    return PhaseGuess(None, 0.0, evidence, needs_person=True)


def _order_evidence(
    study: Sequence[Series], kinds: Mapping[str, ImageKind], timing: Mapping[str, Timing], rules: PhasesConfig
) -> dict[str, Evidence]:
    """What the order of acquisition says, where the study has exactly as many scans as phases are expected."""
    of_ct = _IN_ORDER[:4]
    starts = {
        one.key: start
        for one in study
        if (start := timing[one.key].moment_s) is not None and _is_ct_scan(one) and kinds[one.key].has_phase
    }
    moments = sorted(set(starts.values()))
    if len(moments) != len(of_ct) or not set(of_ct) <= set(rules.required):
        return {}
    phase_at = dict(zip(moments, of_ct, strict=True))
    sentence = "timing: number {} of {} scans in the study"
    return {
        key: Evidence(
            frozenset({phase_at[start]}),
            PLAUSIBLE,
            sentence.format(moments.index(start) + 1, len(moments)),
            is_weak=True,
        )
        for key, start in starts.items()
    }


def _run_evidence(
    study: Sequence[Series], kinds: Mapping[str, ImageKind], timing: Mapping[str, Timing]
) -> dict[str, Evidence]:
    """What the place among four volumes of one MR series says, where their times fit and no start is known."""
    runs: dict[str, list[str]] = defaultdict(list)
    for one in study:
        if timing[one.key].run and timing[one.key].delay_s is None and kinds[one.key].sequence is Phase.T1:
            runs[one.first.text("SeriesInstanceUID")].append(one.key)
    found = {}
    for keys in runs.values():
        keys.sort(key=lambda key: timing[key].run or (0, 0))
        times = [time for key in keys if (time := timing[key].moment_s) is not None]
        gaps = [later - earlier for earlier, later in pairwise(times)]
        if len(keys) == len(gaps) + 1 == len(_RUN_GAPS_S) + 1 and all(
            low <= gap <= high for gap, (low, high) in zip(gaps, _RUN_GAPS_S, strict=True)
        ):
            for number, (key, phase) in enumerate(zip(keys, _IN_ORDER, strict=False), start=1):
                found[key] = Evidence(frozenset({phase}), LIKELY, f"timing: volume {number} of {len(keys)} over time")
    return found


def _is_ct_scan(series: Series) -> bool:
    return series.first.text("Modality") == "CT" and len(series.instances) > 1


def _repeats_earlier(
    series: Series, study: Sequence[Series], kinds: Mapping[str, ImageKind], timing: Mapping[str, Timing]
) -> bool:
    """True for a T1 whose sequence an earlier scan of the study has too: it may be the same after contrast agent."""
    moment = timing[series.key].moment_s
    return any(
        kinds[other.key] == kinds[series.key]
        and _is_same_sequence(series, other)
        and (before := timing[other.key].moment_s) is not None
        and moment is not None
        and moment - before > SAME_MOMENT_S
        for other in study
        if kinds[series.key].sequence is Phase.T1
    )


def _is_same_sequence(one: Series, other: Series) -> bool:
    """True where echo time, repetition time and plane agree, as far as they are known; the echo time must be."""
    echoes = [series.first.number("EchoTime") for series in (one, other)]
    repetitions = [series.first.number("RepetitionTime") or 0.0 for series in (one, other)]
    planes = {series.first.text("ImageOrientationPatient") for series in (one, other)}
    if echoes[0] is None or echoes[1] is None or len(planes) > 1:
        return False
    same_echo = abs(echoes[0] - echoes[1]) <= _ECHO_TOLERANCE_MS
    return same_echo and math.isclose(*repetitions, rel_tol=_REPETITION_TOLERANCE)


def _in_time_order(
    study: Sequence[Series], guesses: Mapping[str, PhaseGuess], timing: Mapping[str, Timing]
) -> dict[str, PhaseGuess]:
    """Guesses, but for those that contradict the course of time: no arterial phase follows a portal venous one."""
    timed = [
        (one.first.text("Modality"), start, _IN_ORDER.index(phase), one.key)
        for one in study
        if (phase := guesses[one.key].phase) in _IN_ORDER and (start := timing[one.key].moment_s) is not None
    ]
    doubtful = {
        key
        for modality, start, rank, key in timed
        for other_modality, other_start, other_rank, _ in timed
        if modality == other_modality and (start - other_start) * (rank - other_rank) < 0
    }
    return {key: _withdrawn(guess) if key in doubtful else guess for key, guess in guesses.items()}


def _withdrawn(guess: PhaseGuess) -> PhaseGuess:
    sentence = f"timing: {guess.phase} stands in the wrong order among the scans of the study"
    return replace(guess, phase=None, confidence=0.0, evidence=(*guess.evidence, sentence), needs_person=True)


def _listed(phases: Iterable[Phase]) -> str:
    return " and ".join(sorted(phases))
