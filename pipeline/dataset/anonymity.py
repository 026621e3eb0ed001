"""How many patients look alike in what is published, and how to make them alike enough.

A patient can be singled out by the values that someone may know from elsewhere (quasi-identifiers). Patients who share
all of them form a class; k is the size of the smallest. Ages are told in wider bands first, then values are left out.
Source: Sweeney 2002, k-anonymity; Machanavajjhala et al. 2007, l-diversity.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from pipeline.core.ages import OLDEST_EXACT_YEARS, OPEN_CLASS
from pipeline.core.errors import PrivacyError

QUASI_IDENTIFIERS = ("age", "gender", "site", "manufacturer", "model")
"""Columns of the manifest that someone may know of a patient."""

AGE_BANDS_YEARS = (5, 10, 20)

Row: TypeAlias = Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Anonymised:
    """Rows that keep a promise of k, and what it cost.

    Attributes:
        rows: one a patient, in the order given.
        k: size of the smallest class among rows that still tell something; 0 when none does.
        age_band_years: width of the bands that ages were widened to; None when they stayed as they were.
        suppressed: how many patients' quasi-identifiers were left out.
    """

    rows: tuple[Row, ...]
    k: int
    age_band_years: int | None
    suppressed: int


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


def anonymise(rows: Sequence[Row], min_k: int, columns: Sequence[str] = QUASI_IDENTIFIERS) -> Anonymised:
    """Rows of which every one shares its quasi-identifiers with at least `min_k` patients, or tells none.

    The narrowest age bands that need the fewest patients left out are taken; ages that stay exact are preferred. Those
    left out form a class too: it is filled from the smallest classes until it has `min_k` patients or none are left.

    Args:
        rows: one a patient; ages as whole years, "90+" or None.
        min_k: smallest class that may be published, at least 2.
        columns: the quasi-identifiers.

    Raises:
        PrivacyError: when an age is neither whole years nor "90+".
    """
    attempts = [_suppressed(_banded(rows, width), min_k, columns, width) for width in (None, *AGE_BANDS_YEARS)]
    return min(attempts, key=lambda attempt: attempt.suppressed)


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


def _class(row: Row, columns: Sequence[str]) -> tuple[str | None, ...]:
    return tuple(row.get(column) for column in columns)


def _banded(rows: Sequence[Row], width_years: int | None) -> list[Row]:
    if width_years is None:
        return list(rows)
    return [{**row, "age": age_band(row.get("age"), width_years)} for row in rows]


def _suppressed(rows: Sequence[Row], min_k: int, columns: Sequence[str], width_years: int | None) -> Anonymised:
    """The rows with the quasi-identifiers of too small classes left out."""
    sizes = class_sizes(rows, columns)
    order = sorted(range(len(rows)), key=lambda number: (sizes[number], tuple(map(str, _class(rows[number], columns)))))
    out = [number for number in order if sizes[number] < min_k]
    while 0 < len(out) < min(min_k, len(rows)):
        further = sizes[order[len(out)]]
        out = order[: len(out) + further]
    empty = dict.fromkeys(columns)
    kept = tuple({**row, **empty} if number in set(out) else row for number, row in enumerate(rows))
    told = [sizes[number] for number in set(range(len(rows))) - set(out)]
    return Anonymised(kept, min(told, default=0), width_years, len(out))
