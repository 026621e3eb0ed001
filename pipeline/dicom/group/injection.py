"""When each volume of a study was taken, and how long after the contrast agent."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.core.records import Instance, Series
from pipeline.dicom.group.times import begun_s, clock_s
from pipeline.dicom.group.wording import stands_in

DAY_S = 86400.0

TRUE_TIME, STATED_TIME, DOUBTFUL_TIME = 0.8, 0.6, 0.4
"""Confidence of a time after the injection: proven by a volume or an end of the injection; stated; or a mere filling
of the field (no volume, or an end at the same moment)."""

SAME_MOMENT_S = 3.0
"""Two scans begin at least so far apart; reconstructions of one scan share its time."""

BEFORE_S = 10.0
"""Contrast agent reaches the liver later than this after the start of the injection."""

LONGEST_EXAM_S = 7200.0
"""A plain scan is taken no longer before the injection; a start that lies further ahead is no true one."""

_NO_AGENT = re.compile(r"(?:no(?:ne)?|n|nil|without|ohne|oral\w*|0|-)?\W*", re.IGNORECASE)
_AGENTS = ("gadoxetate", "gadobenate", "extracellular")


@dataclass(frozen=True, slots=True)
class Timing:
    """What is known of a volume's moment.

    Attributes:
        moment_s: seconds into the day; None where the header does not tell.
        delay_s: seconds after the start of the injection; None where either is unknown.
        confidence: of the delay.
        has_agent: True where its own header names a contrast agent.
        follows_agent: True for an MR taken after one that names an agent.
        run: its place, from 1, in a series of several volumes over time, and their number.
        agent: of the study: "gadoxetate", "gadobenate", "extracellular", or "".
    """

    moment_s: float | None
    delay_s: float | None = None
    confidence: float = 0.0
    has_agent: bool = False
    follows_agent: bool = False
    run: tuple[int, int] | None = None
    agent: str = ""


def timings(study: Sequence[Series]) -> dict[str, Timing]:
    """The timing of each series of a study, by `Series.key`."""
    moments = moments_s(study)
    runs = _runs(study, moments)
    starts = {start for one in study if (start := _start_s(one.first)) is not None}
    only = next(iter(starts)) if len(starts) == 1 else None
    trust = TRUE_TIME if len(starts) > 1 else max((_trust(one.first) for one in study), default=0.0)
    given = [moments[one.key] for one in study if _is_mr(one) and has_agent(one.first)]
    zero = min((moment for moment in given if moment is not None), default=None)
    agent = _agent(study)
    found = {}
    for one in study:
        moment, own = moments[one.key], _start_s(one.first)
        since_agent = _since(zero, moment) if _is_mr(one) else None
        found[one.key] = Timing(
            moment_s=moment,
            delay_s=_since(only if own is None else own, moment),
            confidence=trust,
            has_agent=has_agent(one.first),
            follows_agent=since_agent is not None and since_agent > BEFORE_S,
            run=runs.get(one.key),
            agent=agent,
        )
    return found


def has_agent(instance: Instance) -> bool:
    """True where the header names an agent given into a vein."""
    return _NO_AGENT.fullmatch(instance.text("ContrastBolusAgent").strip()) is None


def moments_s(study: Sequence[Series]) -> dict[str, float | None]:
    """Seconds into the day at which each series began, by key.

    Volumes of one MR series that share a time are separated by TriggerTime, which Philips and GE count from the first.
    """
    begun = {one.key: begun_s(one.instances) for one in study}
    for volumes in _repeated_volumes(study):
        triggers = {one.key: one.first.number("TriggerTime") for one in volumes}
        is_shared = len({begun[one.key] for one in volumes}) == 1 and begun[volumes[0].key] is not None
        if is_shared and len(set(triggers.values()) - {None}) == len(volumes):
            begun.update({key: (begun[key] or 0.0) + (trigger or 0.0) / 1000 for key, trigger in triggers.items()})
    return begun


def count_scans(moments: Iterable[float | None]) -> int:
    """How many scans of known time there are; series that begin within `SAME_MOMENT_S` are one."""
    known = sorted(moment for moment in moments if moment is not None)
    return sum(index == 0 or moment - known[index - 1] > SAME_MOMENT_S for index, moment in enumerate(known))


def _runs(study: Sequence[Series], moments: Mapping[str, float | None]) -> dict[str, tuple[int, int]]:
    """Place and number of MR volumes that one series holds over time; those of unknown order have none."""
    found: dict[str, tuple[int, int]] = {}
    for volumes in _repeated_volumes(study):
        places = {one.key: _place(one, moments) for one in volumes}
        if len(set(places.values())) == len(volumes):
            ordered = sorted(places, key=places.__getitem__)
            found.update({key: (number, len(ordered)) for number, key in enumerate(ordered, start=1)})
    return found


def _place(series: Series, moments: Mapping[str, float | None]) -> tuple[float, float]:
    position = series.first.number("TemporalPositionIdentifier")
    return moments[series.key] or 0.0, -1.0 if position is None else position


def _repeated_volumes(study: Sequence[Series]) -> list[list[Series]]:
    """MR volumes that one series holds of one kind: of one ImageType, echo time and b-value."""
    alike: dict[tuple[str, ...], list[Series]] = defaultdict(list)
    for one in filter(_is_mr, study):
        words = ("SeriesInstanceUID", "ImageType", "EchoTime", "DiffusionBValue")
        alike[tuple(one.first.text(word) for word in words)].append(one)
    return [volumes for volumes in alike.values() if len(volumes) > 1 and volumes[0].first.text("SeriesInstanceUID")]


def _start_s(instance: Instance) -> float | None:
    return clock_s(instance.text("ContrastBolusStartTime"))


def _trust(instance: Instance) -> float:
    """How far the start of the injection can be believed; 0.0 without one."""
    start, stop = _start_s(instance), clock_s(instance.text("ContrastBolusStopTime"))
    volume = instance.number("ContrastBolusVolume")
    if start is None:
        return 0.0
    if (volume is not None and volume > 0) or (stop is not None and stop > start):
        return TRUE_TIME
    return DOUBTFUL_TIME if volume == 0 or stop == start else STATED_TIME


def _since(start: float | None, moment: float | None) -> float | None:
    """Seconds from one time of the day to another, across midnight the shorter way; None where one is unknown."""
    return None if start is None or moment is None else (moment - start + DAY_S / 2) % DAY_S - DAY_S / 2


def _agent(study: Sequence[Series]) -> str:
    texts = {
        one.first.text(word) for one in study for word in ("ContrastBolusAgent", "SeriesDescription", "ProtocolName")
    }
    return next((agent for agent in _AGENTS if any(stands_in(text, "agent", agent) for text in texts)), "")


def _is_mr(series: Series) -> bool:
    return series.first.text("Modality") == "MR"
