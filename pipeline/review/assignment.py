"""Who reads what, in which order: balanced incomplete blocks, shuffled for each rater, with hidden repeats.

Every choice follows a keyed hash of seed, rater and item, so that the same dataset and settings give the same
assignment on any machine. A patient's phases stay together: one rater reads them all, in one sitting.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from pipeline.core.config import ReviewConfig
from pipeline.core.errors import ReviewError
from pipeline.core.records import Phase

VolumeKey = tuple[str, Phase]

PRIORITY_BANDS = 3
"""Cases are shuffled within thirds of priority: the doubtful come first, and no two raters tire on the same cases."""


@dataclass(frozen=True, slots=True)
class AssignedItem:
    """One volume on one rater's list.

    Attributes:
        item_id: what the rater sees: "P0001_C1", or "X4821" for a hidden repeat.
        case_id: "P0001"...
        phase: of the case.
        is_repeat: True when the same rater has the volume under its own name too.
    """

    item_id: str
    case_id: str
    phase: Phase
    is_repeat: bool = False

    @property
    def volume(self) -> VolumeKey:
        """Case and phase, whatever the rater calls it."""
        return self.case_id, self.phase


@dataclass(frozen=True, slots=True)
class Assignment:
    """Each rater's list in reading order. Kept at home: it tells which items are repeats."""

    lists: Mapping[str, tuple[AssignedItem, ...]]


def item_id_of(case_id: str, phase: Phase) -> str:
    """What a volume is called in a package: "P0001_C1"."""
    return f"{case_id}_{phase}"


def assign(
    volumes: Sequence[VolumeKey], config: ReviewConfig, *, priority: Mapping[VolumeKey, float] | None = None
) -> Assignment:
    """Every rater's list: each case read by `per_case` raters, loads and pairs as even as they can be.

    Args:
        volumes: case and phase of each volume, in any order.
        config: raters, readers a case, share of repeats, seed.
        priority: larger is read earlier; volumes without one come last.

    Raises:
        ReviewError: when the same volume is named twice.
    """
    phases = _phases_by_case(volumes)
    readers = _readers(sorted(phases), config)
    urgency = {case: max((priority or {}).get((case, phase), 0.0) for phase in phases[case]) for case in phases}
    lists = {}
    for rater in config.raters:
        cases = [case for case in sorted(phases) if rater in readers[case]]
        ordered = _in_bands(cases, urgency, f"{config.seed}/{rater}")
        items = [AssignedItem(item_id_of(case, phase), case, phase) for case in ordered for phase in phases[case]]
        lists[rater] = _with_repeats(items, config.repeats, f"{config.seed}/{rater}")
    return Assignment(lists)


def _phases_by_case(volumes: Sequence[VolumeKey]) -> dict[str, list[Phase]]:
    if len(set(volumes)) != len(volumes):
        raise ReviewError("a volume is named twice for review; name each case and phase once")
    order = list(Phase)
    phases: dict[str, list[Phase]] = {}
    for case, phase in sorted(volumes, key=lambda volume: (volume[0], order.index(volume[1]))):
        phases.setdefault(case, []).append(phase)
    return phases


def _readers(cases: Sequence[str], config: ReviewConfig) -> dict[str, frozenset[str]]:
    """Who reads which case: least load first, then the pairs that met least often, then a draw."""
    load: Counter[str] = Counter()
    met: Counter[frozenset[str]] = Counter()
    readers = {}
    for case in cases:
        group: list[str] = []
        while len(group) < config.per_case:
            group.append(
                min((r for r in config.raters if r not in group), key=_need(case, group, load, met, config.seed))
            )
        load.update(group)
        met.update(frozenset(pair) for pair in combinations(group, 2))
        readers[case] = frozenset(group)
    return readers


def _need(case: str, group: list[str], load: Counter[str], met: Counter[frozenset[str]], seed: int) -> Any:
    """Sort key of a rater who could join the group: smaller is needed more."""

    def key(rater: str) -> tuple[int, int, str]:
        pairs = sum(met[frozenset((rater, other))] for other in group)
        return load[rater], pairs, _draw(f"{seed}/{case}/{rater}")

    return key


def _in_bands(cases: Sequence[str], urgency: Mapping[str, float], key: str) -> list[str]:
    """Cases by thirds of priority, shuffled within each; one shuffle of all where none is more urgent."""
    ranked = sorted(cases, key=lambda case: (-urgency[case], case))
    bands = PRIORITY_BANDS if len({urgency[case] for case in cases}) > 1 else 1
    band = {case: rank * bands // len(ranked) for rank, case in enumerate(ranked)}
    return sorted(cases, key=lambda case: (band[case], _draw(f"{key}/{case}")))


def _with_repeats(items: list[AssignedItem], share: float, key: str) -> tuple[AssignedItem, ...]:
    """The list with some volumes of its first half again, under other names, at drawn places of its second half."""
    half = len(items) // 2
    wanted = min(round(share * len(items)), half)
    drawn = sorted(items[:half], key=lambda item: _draw(f"{key}/repeat/{item.item_id}"))[:wanted]
    merged, names = list(items), _hidden_names(drawn, key)
    for item in drawn:
        repeat = AssignedItem(names[item.item_id], item.case_id, item.phase, is_repeat=True)
        spots = len(merged) - half + 1
        merged.insert(half + int(_draw(f"{key}/place/{item.item_id}")[:8], 16) % spots, repeat)
    return tuple(merged)


def _hidden_names(drawn: Sequence[AssignedItem], key: str) -> dict[str, str]:
    """Items to names such as "X4821", which hardly ever recur for another rater or in another round."""
    names: dict[str, str] = {}
    for item in sorted(drawn, key=lambda item: item.item_id):
        number = int(_draw(f"{key}/name/{item.item_id}")[:8], 16)
        while (name := f"X{number % 10_000:04d}") in names.values():
            number += 1
        names[item.item_id] = name
    return names


def _draw(key: str) -> str:
    """A number that looks random and is the same everywhere, as hexadecimal text."""
    return hashlib.sha256(key.encode()).hexdigest()
