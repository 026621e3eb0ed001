"""The cohort in distributions, as LiMT prints them: diagnoses by sex and age, sizes of livers and lesions, scanners.

Everything is counted from manifest rows, so that whoever has the table can count it again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from pipeline.core.ages import OLDEST_EXACT_YEARS
from pipeline.dataset.manifest import ManifestRow

AGE_GROUPS = (0, 18, 30, 40, 50, 60, 70, 80, OLDEST_EXACT_YEARS + 1)
"""Lower bounds in years; the last group is open."""

LIVER_ML = (0, 500, 1000, 1250, 1500, 1750, 2000, 2500)
LESION_CM = (0, 1, 2, 3, 5, 10)
"""1 cm: smallest lesion LiMT took; 2, 3 and 5 cm decide the stage of HCC (BCLC 2022) and the T category of ICC."""

LESION_COUNTS = {1: "1", 2: "2", 3: "3", 4: "4 or 5", 6: "6 and more"}
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Distribution:
    """How many patients or volumes fall into each category, group by group.

    Attributes:
        title: what is counted.
        unit: "patients" or "volumes".
        categories: in order.
        counts: group to one count a category.
    """

    title: str
    unit: str
    categories: tuple[str, ...]
    counts: Mapping[str, tuple[int, ...]]


def distributions(rows: Sequence[ManifestRow]) -> tuple[Distribution, ...]:
    """All distributions of a cohort; those of which nothing is known are left out."""
    patients = list({row.patient_id: row for row in reversed(rows)}.values())
    marked = [row for row in rows if row.lesion_count]
    found = (
        _crossed("Diagnosis by sex", "patients", patients, _diagnosis, lambda row: row.gender),
        _crossed("Age by diagnosis", "patients", patients, _age_group, _diagnosis, order=_ranges(AGE_GROUPS)),
        _crossed("Phases by site", "volumes", rows, lambda row: str(row.phase), lambda row: row.site),
        _binned("Liver volume (ml)", rows, lambda row: row.liver_volume_ml, LIVER_ML),
        _binned("Largest lesion (cm)", marked, lambda row: (row.largest_lesion_mm or 0) / 10, LESION_CM),
        _binned(
            "Lesions per volume", marked, lambda row: row.lesion_count, tuple(LESION_COUNTS), LESION_COUNTS.values()
        ),
    )
    return tuple(one for one in found if one.categories)


def statistics_rows(rows: Sequence[ManifestRow]) -> list[dict[str, Any]]:
    """The distributions as one long table."""
    return [
        {"figure": one.title, "unit": one.unit, "category": category, "group": group, "count": count}
        for one in distributions(rows)
        for group, counts in one.counts.items()
        for category, count in zip(one.categories, counts, strict=True)
    ]


def scanners(rows: Iterable[ManifestRow]) -> list[dict[str, Any]]:
    """One row a scanner and reconstruction: what it is, and how many patients and volumes come from it."""
    groups: dict[tuple[Any, ...], list[ManifestRow]] = {}
    names = ("manufacturer", "model", "kernel", "kvp", "slice_thickness_mm", "slice_spacing_mm")
    for row in rows:
        groups.setdefault(tuple(getattr(row, name) for name in names), []).append(row)
    ordered = sorted(groups.items(), key=lambda item: [str(value) for value in item[0]])
    return [
        {**dict(zip(names, key, strict=True)), "patients": len({row.patient_id for row in own}), "volumes": len(own)}
        for key, own in ordered
    ]


def _crossed(
    title: str,
    unit: str,
    rows: Sequence[ManifestRow],
    category: Callable[[ManifestRow], str | None],
    group: Callable[[ManifestRow], str | None],
    order: Sequence[str] | None = None,
) -> Distribution:
    counts = Counter((category(row) or UNKNOWN, group(row) or UNKNOWN) for row in rows)
    found = {name for name, _ in counts}
    categories = tuple(name for name in (*(order or sorted(found - {UNKNOWN})), UNKNOWN) if name in found)
    groups = sorted({name for _, name in counts}, key=lambda name: (name == UNKNOWN, name))
    return Distribution(
        title, unit, categories, {name: tuple(counts[each, name] for each in categories) for name in groups}
    )


def _binned(
    title: str,
    rows: Sequence[ManifestRow],
    value: Callable[[ManifestRow], float],
    bounds: Sequence[float],
    names: Iterable[str] | None = None,
) -> Distribution:
    counts = Counter(_bin_of(value(row), bounds) for row in rows)
    categories = tuple(names or _ranges(bounds)) if rows else ()
    return Distribution(title, "volumes", categories, {"all": tuple(counts[place] for place in range(len(bounds)))})


def _ranges(bounds: Sequence[float]) -> list[str]:
    return [*(f"{low:g} to <{high:g}" for low, high in pairwise(bounds)), f"{bounds[-1]:g} and more"]


def _bin_of(value: float, bounds: Sequence[float]) -> int:
    return sum(value >= bound for bound in bounds[1:])


def _diagnosis(row: ManifestRow) -> str | None:
    return row.cancer_type


def _age_group(row: ManifestRow) -> str | None:
    """The group of an age; a released band belongs to the group of its middle."""
    if row.age is None:
        return None
    ends = [float(part) for part in row.age.rstrip("+").split("-")]
    return _ranges(AGE_GROUPS)[_bin_of(sum(ends) / len(ends), AGE_GROUPS)]
