"""Rules that a value must pass to stay: a number in its range, a word of a list, a code we know, or nothing.

A rule takes a plain value (text, number, or a tuple of these; for a sequence its items) and the subject it belongs to,
and gives back what may stand in its place, or None when nothing may. No rule passes on text that it does not know.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, timedelta

from pipeline.core.ages import OLDEST_EXACT_YEARS
from pipeline.core.config import DeidentificationOption
from pipeline.core.pseudonyms import Pseudonyms

DAY_SECONDS = 86_400
STUDY_STARTS_AT = DAY_SECONDS // 2
"""Every study begins at noon: times of day are gone, intervals within the study stay to the microsecond."""

EARLIEST_YEAR = 1880
"""Before X-rays there was nothing to image; such a date is a placeholder, or was moved before."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose values are cleaned, and how far they move.

    Attributes:
        pseudonyms: replacements under the project's secret.
        options: what the dataset asks to keep.
        patient_id: source id that stands for the patient. Private.
        name: what patient id and name become.
        study_second: seconds from midnight at which the study began, or a secret number of them where it does not tell.
    """

    pseudonyms: Pseudonyms
    options: frozenset[DeidentificationOption]
    patient_id: str
    name: str
    study_second: float = 0.0


Rule = Callable[[object, Subject], object]


def number(low: float, high: float, *, count: int | None = 1, is_whole: bool = False) -> Rule:
    """A rule for finite numbers within a range, all of them or none.

    Args:
        low: smallest number that may stay.
        high: largest number that may stay.
        count: how many values there must be; None for any.
        is_whole: True for integers.
    """

    def rule(value: object, _subject: Subject) -> object:
        values = [_as_number(part) for part in parts_of(value)]
        kept = [part for part in values if part is not None and low <= part <= high]
        if len(kept) < len(values) or not kept or (count is not None and len(kept) != count):
            return None
        if is_whole and any(part != int(part) for part in kept):
            return None
        return joined([int(part) for part in kept] if is_whole else kept)

    return rule


def word(*allowed: str) -> Rule:
    """A rule for one word of a list; in another case, the list's own spelling is written."""
    spelling = {**{text.casefold(): text for text in allowed}, **{text: text for text in allowed}}

    def rule(value: object, _subject: Subject) -> object:
        text = str(value).strip()
        return spelling.get(text) or spelling.get(text.casefold())

    return rule


def words(*allowed: str, instead: str | None = None) -> Rule:
    """A rule for several words of a list; words off the list are left out, or replaced where their place matters.

    Args:
        allowed: words that may stay.
        instead: what takes the place of an unknown word among the first three, as ImageType needs.
    """
    known = {text.casefold(): text for text in allowed}

    def rule(value: object, _subject: Subject) -> object:
        found = [known.get(str(part).strip().casefold()) for part in parts_of(value)]
        first = [part or instead for part in found[:3]]
        return joined([part for part in [*first, *found[3:]] if part])

    return rule


def pattern(expression: str, *, most: int = 1) -> Rule:
    """A rule for values, at most so many, of which every one matches the whole of a regular expression."""
    compiled = re.compile(expression)

    def rule(value: object, _subject: Subject) -> object:
        texts = [str(part).strip() for part in parts_of(value)]
        return joined(texts) if len(texts) <= most and all(compiled.fullmatch(text) for text in texts) else None

    return rule


def dummy(_value: object, _subject: Subject) -> object:
    """The same text for any value, where there must be one."""
    return "1"


def uid(value: object, subject: Subject) -> object:
    """The pseudonym of each UID."""
    return joined([subject.pseudonyms.uid(str(part)) for part in parts_of(value)])


def patient_name(_value: object, subject: Subject) -> object:
    """The patient's pseudonym."""
    return subject.name


def age(value: object, _subject: Subject) -> object:
    """An age string (PS3.5 AS) in its unit, 90 years and more as one class."""
    found = re.fullmatch(r"(\d{3})([DWMY])", str(value).strip())
    if found is None:
        return None
    count, unit = int(found[1]), found[2]
    years = count / {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}[unit]
    return f"{OLDEST_EXACT_YEARS + 1:03d}Y" if years > OLDEST_EXACT_YEARS else f"{count:03d}{unit}"


def moved_date(value: object, subject: Subject) -> object:
    """A date (PS3.5 DA) moved by the patient's own number of days.

    Where it comes as a pair with its time of day, the pair moves as one moment, by the same amount as every other
    moment of the study, so that what happened after midnight stays after what happened before.
    """
    day_text, *time_text = (str(part) for part in parts_of(value))
    day = parsed_date(day_text)
    second = parsed_time(time_text[0]) if time_text else None
    if day is None:
        return None
    crossed = 0 if second is None else math.floor((second - subject.study_second + STUDY_STARTS_AT) / DAY_SECONDS)
    return _shifted(day, crossed, subject)


def moved_time(value: object, subject: Subject) -> object:
    """A time of day (PS3.5 TM) told from noon of the study's first day."""
    second = parsed_time(str(value))
    return None if second is None else _time_text((second - subject.study_second + STUDY_STARTS_AT) % DAY_SECONDS)


def moved_moment(value: object, subject: Subject) -> object:
    """A date and time (PS3.5 DT) moved as one; zone offsets, which tell a place, are left out."""
    text = str(value).strip()
    day, time = moved_date((text[:8], text[8:]), subject), moved_time(text[8:], subject)
    return f"{day}{time}" if day and time else None


def parsed_date(text: str) -> date | None:
    """The day a DICOM date names, in the standard's or ACR-NEMA's spelling; None for anything else, or long ago."""
    found = re.fullmatch(r"(\d{4})\.?(\d{2})\.?(\d{2})", text.strip())
    try:
        day = date(*(int(part) for part in found.groups())) if found else None
    except ValueError:
        return None
    return day if day and day.year >= EARLIEST_YEAR else None


def parsed_time(text: str) -> float | None:
    """Seconds from midnight that a DICOM time names; None for anything else.

    Midnight itself is what exports write for "unknown": told like a time, it would tell how far all others moved.
    """
    found = re.fullmatch(r"(\d{2}):?(\d{2})?:?(\d{2}(?:\.\d{1,6})?)?", re.split(r"[+-]", text.strip())[0].strip())
    if not found:
        return None
    hours, minutes, seconds = (float(part or 0) for part in found.groups())
    second = hours * 3600 + minutes * 60 + seconds
    return second if second and hours < 24 and minutes < 60 and seconds < 61 else None


def parts_of(value: object) -> tuple[object, ...]:
    """The values of a multi-value, or the one value."""
    return value if isinstance(value, tuple) else (value,)


def joined(values: Iterable[object]) -> object:
    """One value as itself, several as a tuple, none as None."""
    found = tuple(values)
    return found[0] if len(found) == 1 else found or None


def _shifted(day: date, crossed_days: int, subject: Subject) -> str:
    moved = day + timedelta(days=subject.pseudonyms.date_shift_days(subject.patient_id) + crossed_days)
    return f"{moved.year:04d}{moved.month:02d}{moved.day:02d}"


def _time_text(second: float) -> str:
    micro = round(second * 1_000_000) % (DAY_SECONDS * 1_000_000)
    whole, fraction = divmod(micro, 1_000_000)
    text = f"{whole // 3600:02d}{whole // 60 % 60:02d}{whole % 60:02d}"
    return f"{text}.{fraction:06d}".rstrip("0") if fraction else text


def _as_number(value: object) -> float | None:
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None
