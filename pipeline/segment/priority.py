"""Which coarse labels a person should see first, and why, in words.

The order is that of a cohort: the mean rank of signs of doubt that were held against true error on phantoms
(`benchmarks/segment.py` prints the correlation), and before all others what cannot be right. Nothing is ever ranked so
low that it need not be seen: a network that finds no lesion has not shown that there is none.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from pipeline.segment.segmenter import LabelFacts

RANKED_SIGNALS = ("entropy", "lesion_doubt_ml", "folds")
"""Mean lesion entropy, lesion count and volumes were tried too: they correlate less with true error or not at all."""

ODD_VOLUME_FACTOR = 2.0
"""Livers of adults differ by less than this from their cohort's median, but for rare hepatomegaly and resections."""

MIN_COHORT = 5
"""Fewer livers have no median worth comparing with."""

MAX_PHASE_DISAGREEMENT = 0.15
"""One minus the Dice of the same liver in two phases; breathing alone stays below."""

_Key = TypeVar("_Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Ranked(Generic[_Key]):
    """One volume's place in the queue.

    Attributes:
        key: as given.
        priority: larger comes first; 1.0 and above cannot be right as it is.
        reason: one sentence for the person who looks.
    """

    key: _Key
    priority: float
    reason: str


def rank(
    labels: Mapping[_Key, LabelFacts], *, phase_disagreement: Mapping[_Key, float] | None = None
) -> tuple[Ranked[_Key], ...]:
    """All volumes, most doubtful first; equal ones in the order given.

    Args:
        labels: facts of each label, see `facts.label_facts`.
        phase_disagreement: see `phases.phase_disagreement`; a volume that is not in it has no other phase.
    """
    if not labels:
        return ()
    doubt = _mean_ranks(list(labels.values()))
    median_ml = _median_liver_ml(list(labels.values()))
    apart = phase_disagreement or {}
    ranked = []
    for (key, facts), share in zip(labels.items(), doubt, strict=True):
        oddities = _oddities(facts, median_ml, apart.get(key, 0.0))
        reason = "; ".join([*oddities, _doubt_in_words(facts, share)])
        ranked.append(Ranked(key, round(share + len(oddities), 4), reason))
    return tuple(sorted(ranked, key=lambda row: -row.priority))


def _mean_ranks(facts: Sequence[LabelFacts]) -> list[float]:
    """Place of each volume within the cohort, 0.0 (least doubtful) to below 1.0."""
    table = np.array([[row.signals.get(name, 0.0) for name in RANKED_SIGNALS] for row in facts])
    telling = table[:, np.ptp(table, axis=0) > 0]
    if telling.size == 0:
        return [0.5] * len(facts)
    below = (telling[None] < telling[:, None]).sum(1)
    equal = (telling[None] == telling[:, None]).sum(1) - 1
    shares: list[float] = ((below + equal / 2) / len(facts)).mean(1).tolist()
    return shares


def _median_liver_ml(facts: Sequence[LabelFacts]) -> float | None:
    found = [row.whole_liver_ml for row in facts if row.whole_liver_ml > 0]
    return float(np.median(found)) if len(found) >= MIN_COHORT else None


def _oddities(facts: LabelFacts, median_ml: float | None, apart: float) -> list[str]:
    liver_ml = facts.whole_liver_ml
    odd = []
    if liver_ml == 0:
        odd.append("no liver found")
    elif median_ml is not None and not median_ml / ODD_VOLUME_FACTOR <= liver_ml <= median_ml * ODD_VOLUME_FACTOR:
        odd.append(f"liver volume {liver_ml:.0f} ml, median of this dataset {median_ml:.0f} ml")
    if apart > MAX_PHASE_DISAGREEMENT:
        odd.append(f"the liver mask differs from the patient's other phases (Dice {1 - apart:.2f})")
    return odd


def _doubt_in_words(facts: LabelFacts, share: float) -> str:
    place = f"less certain than {100 * share:.0f} % of the dataset"
    if facts.lesion_count == 0:
        return f"{place}; no lesion found, but there may be one"
    unsure_ml = facts.signals.get("lesion_doubt_ml", 0.0)
    return f"{place}; {unsure_ml:.0f} ml may or may not be lesion"
