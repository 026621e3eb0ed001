"""How many patients look alike in what is published, and how to make them alike enough.

A patient can be singled out by the values that someone may know from elsewhere (quasi-identifiers). Patients who share
all of them form a class; k is the size of the smallest. Ages are put into wider bands first, then values are left out
in a fixed order. In any order, the fewest would be costly to find (Meyerson & Williams 2004); in a fixed one they are
not.
Source: Sweeney 2002, k-anonymity; Machanavajjhala et al. 2007, l-diversity.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipeline.core.ages import OLDEST_EXACT_YEARS, OPEN_CLASS
from pipeline.core.errors import PrivacyError

LEFT_OUT_IN_TURN = (
    ("days_from_first_study", "kernel", "kvp", "slice_thickness_mm"),
    ("model",),
    ("manufacturer",),
    ("site",),
    ("age",),
    ("gender",),
)
"""What a patient who stands alone loses, group after group. A column that gives another away goes before it or with it:
a kernel is one maker's, a model is one maker's, and a hospital may have a single scanner."""

QUASI_IDENTIFIERS = tuple(column for group in reversed(LEFT_OUT_IN_TURN) for column in group)
"""Columns of the manifest that someone may know of a patient: who they are, where, when and how they were scanned.

Not among them: the diagnosis, which is what the dataset is about (the sensitive value of l-diversity), and what the
image itself shows, such as its grid, its phases and the size of the liver, which no table can hide.
"""

HELD_OUT = "held_out"
"""Whether a patient is a test patient because of a quasi-identifier: the split tells it, so it is never left out."""

AGE_BANDS_YEARS = (5, 10, 20)

Row: TypeAlias = Mapping[str, str | None]
_Key: TypeAlias = tuple[str | None, ...]
_Costs: TypeAlias = NDArray[np.float64]
"""By number of patients, from 0; infinite where that number is impossible."""

_Choice: TypeAlias = Callable[[int], list[int]]


@dataclass(frozen=True, slots=True)
class Anonymised:
    """Rows that keep a promise of k, and what it cost.

    Attributes:
        rows: one a patient, in the order given.
        k: size of the smallest class among rows that still tell something; 0 when none does.
        age_band_years: width of the bands that ages were widened to; None when they stayed as they were.
        left_out: how many known values are not published.
    """

    rows: tuple[Row, ...]
    k: int
    age_band_years: int | None
    left_out: int


def told_of_patients(volumes: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> dict[str, Row]:
    """What rows of volumes tell of each patient: one value a column, or one a phase where phases differ.

    Args:
        volumes: with `patient_id`, `phase` and the columns; a column that is absent is unknown.
        columns: what is asked for.
    """
    values: dict[str, dict[str, dict[str, Any]]] = defaultdict(lambda: {column: {} for column in columns})
    for volume in volumes:
        for column in columns:
            values[str(volume["patient_id"])][column][str(volume["phase"])] = volume.get(column)
    return {
        patient: {column: _over_phases(by_phase) for column, by_phase in own.items()}
        for patient, own in sorted(values.items())
    }


def class_sizes(rows: Sequence[Row], columns: Sequence[str] = QUASI_IDENTIFIERS) -> list[int]:
    """For each patient, how many patients share the values of all columns, the patient included."""
    classes = Counter(_class(row, columns) for row in rows)
    return [classes[_class(row, columns)] for row in rows]


def smallest_class(rows: Sequence[Row], columns: Sequence[str] = QUASI_IDENTIFIERS) -> int:
    """k: the size of the smallest class; 0 without patients."""
    return min(class_sizes(rows, columns), default=0)


def class_histogram(rows: Sequence[Row], columns: Sequence[str] = QUASI_IDENTIFIERS) -> dict[int, int]:
    """How many patients are in classes of each size, smallest first: {1: 3} are three who stand alone."""
    return dict(sorted(Counter(class_sizes(rows, columns)).items()))


def smallest_variety(rows: Sequence[Row], sensitive: str, columns: Sequence[str] = QUASI_IDENTIFIERS) -> int:
    """l: the fewest different values of a sensitive column within one class; 0 without patients.

    With 1, knowing the class of some patient is knowing the value.
    """
    values: dict[tuple[str | None, ...], set[str | None]] = {}
    for row in rows:
        values.setdefault(_class(row, columns), set()).add(row.get(sensitive))
    return min((len(found) for found in values.values()), default=0)


def anonymise(rows: Sequence[Row], min_k: int) -> Anonymised:
    """Rows of which every one shares its quasi-identifiers with at least `min_k` patients, or tells none.

    Whoever stands in too small a class loses the values of `LEFT_OUT_IN_TURN`, group after group, until there are
    `min_k` who look alike. Where some are missing, patients of larger classes lose the same values. No other choice of
    steps leaves out fewer values. The narrowest age bands that need the fewest are taken; exact ages are preferred.

    Args:
        rows: one a patient; ages as whole years, "90+" or None. `HELD_OUT`, where there, is never left out.
        min_k: smallest class that may be published.

    Raises:
        PrivacyError: when an age is neither whole years nor "90+".
    """
    attempts = [_anonymised(_banded(rows, width), min_k, width) for width in (None, *AGE_BANDS_YEARS)]
    return min(attempts, key=lambda attempt: attempt.left_out)


def age_band(age: str | None, width_years: int) -> str | None:
    """The band an age lies in, "60-69"; "90+" and None stay.

    Raises:
        PrivacyError: when it is neither whole years nor "90+".
    """
    if age is None or age == OPEN_CLASS:
        return age
    if not age.isdecimal():
        raise PrivacyError(f"an age is neither whole years nor {OPEN_CLASS}, so it has no band")
    if int(age) > OLDEST_EXACT_YEARS:
        return OPEN_CLASS
    low = int(age) // width_years * width_years
    return f"{low}-{min(low + width_years - 1, OLDEST_EXACT_YEARS)}"


def _anonymised(rows: Sequence[Row], min_k: int, age_band_years: int | None) -> Anonymised:
    """The rows without the fewest values."""
    search = _Search(rows, min_k)
    made = tuple(_without(row, step) for row, step in zip(rows, search.reached, strict=True))
    left_out = sum(
        row[column] is not None and now[column] is None for row, now in zip(rows, made, strict=True) for column in row
    )
    splits_tell = any(row.get(HELD_OUT) for row in made)
    sizes = class_sizes(made, (*QUASI_IDENTIFIERS, HELD_OUT))
    told = [size for row, size in zip(made, sizes, strict=True) if splits_tell or any(_class(row, QUASI_IDENTIFIERS))]
    return Anonymised(made, min(told, default=0), age_band_years, left_out)


class _Search:
    """The step of `LEFT_OUT_IN_TURN` for each patient by which the fewest values are left out; at step 0 none is.

    Who looks alike after a step does so after all later ones, so classes form a tree. From its leaves up, each class is
    asked what it costs when so and so many of its patients go on to the next step. It keeps none or at least `min_k`.
    """

    def __init__(self, rows: Sequence[Row], min_k: int) -> None:
        self.rows, self.min_k = rows, min_k
        self.reached = [0] * len(rows)
        for numbers in self._parts(range(len(rows)), len(LEFT_OUT_IN_TURN)):
            costs, arriving = self._arriving(numbers, len(LEFT_OUT_IN_TURN))
            costs[1 : min(min_k, len(numbers))] = np.inf
            self._keep(arriving(int(costs.argmin())), len(LEFT_OUT_IN_TURN))

    def _parts(self, numbers: Iterable[int], step: int) -> list[list[int]]:
        """Patients who look alike after a step, class by class."""
        parts: dict[_Key, list[int]] = defaultdict(list)
        for number in numbers:
            parts[_class(_without(self.rows[number], step), (*QUASI_IDENTIFIERS, HELD_OUT))].append(number)
        return [parts[key] for key in sorted(parts, key=str)]

    def _arriving(self, numbers: Sequence[int], step: int) -> tuple[_Costs, _Choice]:
        """What it costs when so and so many patients of a class reach its step, and who they are."""
        if step == 0:
            return np.append(np.full(len(numbers), np.inf), 0.0), lambda count: list(numbers)
        costs, chosen, leavers = np.zeros(1), [], []
        for part in self._parts(numbers, step - 1):
            own, leaving = self._leaving(part, step - 1)
            costs, choice = _added(costs, own)
            chosen.append(choice)
            leavers.append(leaving)

        def arriving(count: int) -> list[int]:
            found: list[int] = []
            for choice, leaving in zip(reversed(chosen), reversed(leavers), strict=True):
                found += leaving(int(choice[count]))
                count -= int(choice[count])
            return sorted(found)

        return costs, arriving

    def _leaving(self, numbers: Sequence[int], step: int) -> tuple[_Costs, _Choice]:
        """What it costs when so and so many patients of a class go on to the next step, and who they are."""
        costs, arriving = self._arriving(numbers, step)
        known = sum(self.rows[numbers[0]].get(column) is not None for column in LEFT_OUT_IN_TURN[step])
        stays = np.append(costs[self.min_k :], np.full(min(self.min_k, len(costs)), np.inf))
        kept = np.minimum.accumulate(stays[::-1])[::-1]

        def leaving(left: int) -> list[int]:
            more = 0 if costs[left] <= kept[left] else self.min_k + int(stays[left:].argmin())
            found = arriving(left + more)
            self._keep(found[left:], step)
            return found[:left]

        return np.minimum(costs, kept) + known * np.arange(len(costs)), leaving

    def _keep(self, numbers: Iterable[int], step: int) -> None:
        for number in numbers:
            self.reached[number] = step


def _added(costs: _Costs, own: _Costs) -> tuple[_Costs, NDArray[np.int64]]:
    """The least cost of every total of two counts, and the second count of it."""
    least = np.full(len(costs) + len(own) - 1, np.inf)
    choice = np.zeros(len(least), dtype=np.int64)
    for count in np.flatnonzero(np.isfinite(own)).tolist():
        here = slice(count, count + len(costs))
        is_less = costs + own[count] < least[here]
        least[here] = np.where(is_less, costs + own[count], least[here])
        choice[here] = np.where(is_less, count, choice[here])
    return least, choice


def _over_phases(values: Mapping[str, Any]) -> str | None:
    """One text for the values of all phases: the value where they have the same, else phase by phase."""
    known = {phase: value for phase, value in values.items() if value is not None}
    if len(set(values.values())) == 1:
        return str(next(iter(known.values()))) if known else None
    return ";".join(f"{phase} {value}" for phase, value in sorted(known.items()))


def _class(row: Row, columns: Sequence[str]) -> _Key:
    return tuple(row.get(column) for column in columns)


def _without(row: Row, step: int) -> Row:
    """The row without what is left out up to a step."""
    gone = {column for group in LEFT_OUT_IN_TURN[:step] for column in group}
    return {column: None if column in gone else value for column, value in row.items()}


def _banded(rows: Sequence[Row], width_years: int | None) -> list[Row]:
    if width_years is None:
        return list(rows)
    return [{**row, "age": age_band(row.get("age"), width_years)} for row in rows]
