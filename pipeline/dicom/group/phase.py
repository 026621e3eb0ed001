"""Which contrast phase or MR sequence a series is: from its words, from its time, and from the image.

Each source gives a guess of its own with a sentence of evidence. Where two sources disagree, nothing is guessed and a
person is asked.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.core.config import PhasesConfig
from pipeline.core.pseudonyms import normalised_patient_id
from pipeline.core.records import Phase, PhaseGuess, Series
from pipeline.dicom.group.times import clock_s, time_s

SURE = 0.9
"""Confidence of a word that means one phase only."""
LIKELY = 0.6
"""Confidence of an abbreviation that also means other things ("AP" is arterial phase, or abdomen and pelvis)."""
PLAUSIBLE = 0.5
"""Confidence of the order of acquisition alone."""

_WORDS: dict[Phase, tuple[str, ...]] = {
    Phase.HEPATOBILIARY: (r"肝胆期", r"hepato ?biliary", r"\bhbp\b"),
    Phase.ARTERIAL: (r"动脉", r"arter", r"\bart\b", r"\bhap\b", r"\beap\b", r"\blap\b"),
    Phase.PORTAL_VENOUS: (r"门脉", r"门静脉", r"门期", r"静脉期", r"portal", r"venous", r"\bpvp?\b", r"\bven\b"),
    Phase.DELAYED: (r"延迟", r"延时", r"平衡期", r"delay", r"equil", r"\bdel\b", r"\blate phase\b"),
    Phase.PLAIN: (
        *(r"平扫", r"非增强", r"\bnon ?con", r"without contrast", r"\bw ?o contrast", r"unenhanced", r"non ?enhanced"),
        *(r"\bnative?\b", r"\bplain\b", r"\bncct\b", r"\bpre ?con"),
    ),
}
_ABBREVIATIONS: dict[Phase, tuple[str, ...]] = {
    Phase.ARTERIAL: (r"\bap\b",),
    Phase.PORTAL_VENOUS: (r"\bvp\b",),
    Phase.DELAYED: (r"\bdp\b", r"\bep\b"),
    Phase.PLAIN: (r"\bnc\b", r"\bne\b"),
}
_SEQUENCE_WORDS: dict[Phase, tuple[str, ...]] = {
    Phase.DWI: (r"\bdwi\b", r"diff", r"弥散", r"扩散", r"\bb ?\d{2,4}\b"),
    Phase.T2: (r"\bt2",),
    Phase.T1: (r"\bt1", r"\bvibe\b", r"\blava\b", r"\bthrive\b"),
}
_SUBSIDIARY = {(Phase.ARTERIAL, Phase.DELAYED): r"late arter|动脉晚期|delayed arter"}
"""Pairs in which the second word only qualifies the first."""

_CT_DELAYS_S = ((10.0, Phase.PLAIN), (50.0, Phase.ARTERIAL), (100.0, Phase.PORTAL_VENOUS), (1200.0, Phase.DELAYED))
"""Seconds after the injection up to which a phase is usual (the bounds of TotalSegmentator's phase classifier)."""

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

_IN_ORDER = (Phase.PLAIN, Phase.ARTERIAL, Phase.PORTAL_VENOUS, Phase.DELAYED)
DAY_S = 86400.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one source says.

    Attributes:
        phases: what it allows; several where its words contradict each other, none where it is silent.
        confidence: 0.0 to 1.0.
        sentence: for a person, without patient data.
    """

    phases: frozenset[Phase]
    confidence: float
    sentence: str


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
    order = _order_evidence(study, rules)
    guesses = {}
    for series in study:
        sources = [from_text(series, rules), from_delay(series)]
        spoken = [source for source in sources if source is not None]
        last = order.get(series.key)
        if last is not None and not any(source.phases for source in spoken):
            spoken.append(last)
        guesses[series.key] = combined(spoken)
    return _in_time_order(study, guesses)


def combined(sources: Iterable[Evidence]) -> PhaseGuess:
    """One guess from several sources; they must agree, else a person is asked."""
    spoken = [source for source in sources if source.phases]
    sentences = tuple(source.sentence for source in spoken)
    if not spoken:
        return PhaseGuess(None, 0.0, sentences)
    common = frozenset.intersection(*(source.phases for source in spoken))
    if len(common) != 1:
        return PhaseGuess(None, 0.0, sentences, needs_person=True)
    doubt = 1.0
    for source in spoken:
        doubt *= 1.0 - source.confidence
    return PhaseGuess(next(iter(common)), round(1.0 - doubt, 4), sentences)


def from_text(series: Series, rules: PhasesConfig) -> Evidence | None:
    """What SeriesDescription, ProtocolName and ImageComments say; None when they say nothing.

    A site's own patterns, where the configuration has some that match, decide alone.
    """
    text = normalised(" ".join(series.first.text(word) for word in ("SeriesDescription", "ProtocolName")))
    comments = normalised(series.first.text("ImageComments"))
    own = _site_phases(text, series.first.text("InstitutionName"), rules)
    if own:
        return Evidence(own, SURE, f"text: the site's own pattern for {_listed(own)}")
    for words, confidence, where in ((_WORDS, SURE, text), (_ABBREVIATIONS, LIKELY, text), (_WORDS, LIKELY, comments)):
        phases = _matching(where, words)
        if phases:
            return Evidence(phases, confidence, f"text: words for {_listed(phases)}")
    if series.first.text("Modality") == "MR":
        phases = _matching(text, _SEQUENCE_WORDS)
        return Evidence(phases, SURE, f"text: words for {_listed(phases)}") if phases else None
    return None


def normalised(text: str) -> str:
    """Lower case, full-width letters folded, separators as blanks."""
    return re.sub(r"[\s_\-./\\+,;:()\[\]]+", " ", unicodedata.normalize("NFKC", text).lower()).strip()


def _matching(text: str, words: Mapping[Phase, tuple[str, ...]]) -> frozenset[Phase]:
    found = {phase for phase, patterns in words.items() if any(re.search(pattern, text) for pattern in patterns)}
    for (main, subsidiary), pattern in _SUBSIDIARY.items():
        if {main, subsidiary} <= found and re.search(pattern, text):
            found.discard(subsidiary)
    return frozenset(found)


def _site_phases(text: str, institution: str, rules: PhasesConfig) -> frozenset[Phase]:
    site = {name.casefold(): patterns for name, patterns in rules.sites.items()}.get(institution.strip().casefold(), {})
    return frozenset(phase for phase, patterns in site.items() if any(normalised(one) in text for one in patterns))


def from_delay(series: Series) -> Evidence | None:
    """What the time since the injection says; None when the header does not tell both."""
    start = clock_s(series.first.text("ContrastBolusStartTime"))
    times = [time for time in map(time_s, series.instances) if time is not None]
    if start is None or not times or series.first.text("Modality") != "CT":
        return None
    delay = (min(times) - start + DAY_S / 2) % DAY_S - DAY_S / 2
    phase = next((phase for bound, phase in _CT_DELAYS_S if delay < bound), None)
    if phase is None:
        return None
    return Evidence(frozenset({phase}), LIKELY, f"timing: {delay:.0f} s after the start of the injection")


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
    """A guess once its image has been looked at: surer where the image allows it, a person's where it does not."""
    evidence = (*guess.evidence, image.sentence)
    if guess.phase is None:
        only = next(iter(image.phases)) if len(image.phases) == 1 and not guess.needs_person else None
        return PhaseGuess(only, image.confidence if only else 0.0, evidence, guess.needs_person)
    if guess.phase in image.phases:
        return PhaseGuess(guess.phase, round(1 - (1 - guess.confidence) * (1 - image.confidence), 4), evidence)
    return PhaseGuess(None, 0.0, evidence, needs_person=True)


def _order_evidence(study: Sequence[Series], rules: PhasesConfig) -> dict[str, Evidence]:
    """What the order of acquisition says, where the study has exactly as many scans as phases are expected."""
    expected = [phase for phase in _IN_ORDER if phase in rules.required]
    starts = {series.key: start for series in study if (start := _start_s(series)) is not None and _is_scan(series)}
    moments = sorted(set(starts.values()))
    if len(moments) != len(expected) or len(expected) < len(_IN_ORDER):
        return {}
    phase_at = dict(zip(moments, expected, strict=True))
    sentence = "timing: number {} of {} scans in the study"
    return {
        key: Evidence(frozenset({phase_at[start]}), PLAUSIBLE, sentence.format(moments.index(start) + 1, len(moments)))
        for key, start in starts.items()
    }


def _is_scan(series: Series) -> bool:
    return series.first.text("Modality") == "CT" and len(series.instances) > 1


def _start_s(series: Series) -> float | None:
    return min((time for time in map(time_s, series.instances) if time is not None), default=None)


def _in_time_order(study: Sequence[Series], guesses: Mapping[str, PhaseGuess]) -> dict[str, PhaseGuess]:
    """Guesses, but for those that contradict the course of time: no arterial phase follows a portal venous one."""
    timed = [
        (start, _IN_ORDER.index(phase), series.key)
        for series in study
        if (phase := guesses[series.key].phase) in _IN_ORDER
        and (start := _start_s(series)) is not None
        and series.first.text("Modality") == "CT"
    ]
    doubtful = {
        key
        for start, rank, key in timed
        for other_start, other_rank, _ in timed
        if (start < other_start and rank > other_rank) or (start > other_start and rank < other_rank)
    }
    return {key: _withdrawn(guess) if key in doubtful else guess for key, guess in guesses.items()}


def _withdrawn(guess: PhaseGuess) -> PhaseGuess:
    sentence = f"timing: {guess.phase} stands in the wrong order among the scans of the study"
    return PhaseGuess(None, 0.0, (*guess.evidence, sentence), needs_person=True)


def _listed(phases: frozenset[Phase]) -> str:
    return " and ".join(sorted(phases))
