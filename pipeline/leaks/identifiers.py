"""What must not get out: identifiers by kind, each in the spellings that people and machines give it.

How specific an identifier must be to be searched for: names of at least four Latin letters or two others, and always
the full name; numbers of at least six digits, numbers with letters of at least five characters; words alone
("PHANTOM") of at least eight; free text of at least twelve; dates as whole dates. What is shorter is searched only as
part of something longer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from itertools import pairwise


class Kind(StrEnum):
    """What sort of identifier something is."""

    NAME = "name"
    NUMBER = "number"
    DATE = "date"
    UID = "UID"
    PHONE = "phone"
    PLACE = "place"
    DEVICE = "device"
    TEXT = "free text"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True, repr=False)
class Identifiers:
    """Everything a source must not be recognised by. Private: it is printed as counts only.

    Attributes:
        texts: identifiers as text, by kind.
        raw: the same as the source spelled them in bytes, where that is not plain ASCII.
        files: DICOM files read.
        unreadable: files and archives that could not be read; what only they hold is not searched for.
    """

    texts: frozenset[tuple[Kind, str]] = frozenset()
    raw: frozenset[tuple[Kind, bytes]] = frozenset()
    files: int = 0
    unreadable: int = 0

    def __repr__(self) -> str:
        return f"Identifiers({len(self.texts)} texts, {self.files} files, {self.unreadable} unreadable)"


MIN_NAME_LETTERS = 4
MIN_DIGITS = 6
MIN_MIXED = 5
MIN_WORD = 8
MIN_FREE_TEXT = 12
MIN_UID = 12
MIN_PHONE_DIGITS = 7

_STANDING_FOR_NOBODY = """
    anon deidentified unknown patient phantom test name none null noname subject case
"""
PLACEHOLDERS = frozenset(_STANDING_FOR_NOBODY.split())
"""What stands in a name or number where there is no person; searched only beside another name."""

_PHONES = re.compile(r"(?<!\d)\+?\d[\d ()./-]{5,18}\d(?!\d)", re.ASCII)
_EMAILS = re.compile(r"[\w.+-]+@[\w-]+\.[\w.]+")
_BETWEEN = ("^", " ", "", "_", ", ", ",", "-", ".")
_INNER_SIGNS = re.compile(r"[\s'’`.-]+")
_BETWEEN_NAMES = re.compile(r"[\s^=,.;_/\\-]+")
_STANDARD_UIDS = "1.2.840.10008."
_MONTH_NAMES = "January February March April May June July August September October November December"
_MONTHS = _MONTH_NAMES.split()
_PLACEHOLDER_DATES = frozenset({date(1900, 1, 1), date(1970, 1, 1)})


@dataclass(slots=True, repr=False)
class Basket:
    """Identifiers while they are gathered. Private.

    Attributes:
        texts: as in `Identifiers`.
        raw: as in `Identifiers`.
    """

    texts: set[tuple[Kind, str]] = field(default_factory=set)
    raw: set[tuple[Kind, bytes]] = field(default_factory=set)

    def add(self, kind: Kind, text: str) -> None:
        """One identifier as it is."""
        self.texts.add((kind, text))

    def add_name(self, text: str) -> None:
        """A person's name: every part, every component, and family and given name together as people write them."""
        for group in text.split("="):
            components = [component.strip() for component in group.split("^") if component.strip()]
            parts = [part for component in components for part in _BETWEEN_NAMES.split(component) if part]
            for name in {*parts, *components}:
                self.texts.update((Kind.NAME, spelling) for spelling in _name_spellings(name))
            for first, second in {*pairwise(components[:2]), *pairwise(parts[:2])}:
                joined = [f"{a}{between}{b}" for a, b in ((first, second), (second, first)) for between in _BETWEEN]
                self.texts.update(
                    (Kind.NAME, name) for name in joined if len(name) > MIN_NAME_LETTERS or not name.isascii()
                )

    def add_number(self, kind: Kind, text: str) -> None:
        """A number of a patient, a study or a device, with and without leading zeros."""
        for spelling in {text, text.lstrip("0")}:
            if is_specific_number(spelling):
                self.add(kind, spelling)

    def add_place(self, text: str) -> None:
        """A hospital, a ward or an address, whole and line by line."""
        for line in {text, *text.splitlines()}:
            if len(line.strip()) >= MIN_WORD or (len(line.strip()) >= MIN_NAME_LETTERS and not line.isascii()):
                self.add(Kind.PLACE, line.strip())

    def add_phone(self, text: str) -> None:
        """A phone number, as written and as digits."""
        digits = re.sub(r"\D", "", text)
        if len(digits) >= MIN_PHONE_DIGITS:
            self.texts.update({(Kind.PHONE, text.strip()), (Kind.PHONE, digits)})

    def add_free_text(self, text: str) -> None:
        """Lines long enough to be told from others, and what looks like a phone number or an address in them."""
        for found in _PHONES.findall(text):
            self.add_phone(found)
        for found in _EMAILS.findall(text):
            self.add(Kind.TEXT, found)
        for line in text.splitlines():
            if len(line.strip()) >= MIN_FREE_TEXT:
                self.add(Kind.TEXT, line.strip())

    def add_uid(self, text: str) -> None:
        """A UID that the standard did not assign."""
        if len(text) >= MIN_UID and not text.startswith(_STANDARD_UIDS):
            self.add(Kind.UID, text)

    def add_date(self, text: str) -> None:
        """A day that a DICOM date or moment names, in all its spellings."""
        found = re.match(r"(\d{4})[.-]?(\d{2})[.-]?(\d{2})", text)
        if found:
            self.add_day(*(int(part) for part in found.groups()))

    def add_day(self, year: int, month: int, number: int) -> None:
        """A day in all its spellings; what is no day, or stands for none, is passed over."""
        with suppress(ValueError):
            day = date(year, month, number)
            if day not in _PLACEHOLDER_DATES:
                self.texts.update((Kind.DATE, spelling) for spelling in date_spellings(day))

    def add_raw(self, kind: Kind, raw: bytes) -> None:
        """Bytes as the source spelled them, where that is not plain ASCII."""
        for part in re.split(rb"[\^=\\\r\n]", raw):
            if len(part.strip(b"\0 ")) >= MIN_NAME_LETTERS and not part.isascii():
                self.raw.add((kind, part.strip(b"\0 ")))


def is_specific_number(text: str) -> bool:
    """True when a number is long enough that it is hardly met by chance."""
    if text.isdigit():
        return len(text) >= MIN_DIGITS
    has_digit = any(character.isdigit() for character in text)
    return len(text) >= (MIN_MIXED if has_digit else MIN_WORD) and not is_placeholder(text)


def is_placeholder(text: str) -> bool:
    """True for a word that stands where there is no person, "anonymous" in any form included."""
    word = text.casefold()
    return word in PLACEHOLDERS or word.startswith("anonym")


def _name_spellings(name: str) -> Iterator[str]:
    """A name that is specific enough, with and without the signs inside it: O'Brien, OBrien."""
    bare = _INNER_SIGNS.sub("", name)
    if name.isascii() and (len(bare) < MIN_NAME_LETTERS or not bare.isalpha() or is_placeholder(bare)):
        return
    if len(name) > 1:
        yield from {name, bare, name.replace("'", "’")}


def date_spellings(day: date) -> Iterator[str]:
    """A date as people and machines write it."""
    year, month, number = f"{day.year:04d}", f"{day.month:02d}", f"{day.day:02d}"
    yield year + month + number
    for between in "-/._ ":
        yield between.join((year, month, number))
    for between in "-/.":
        yield between.join((number, month, year))
        yield between.join((month, number, year))
    short, long = _MONTHS[day.month - 1][:3], _MONTHS[day.month - 1]
    for name in (short, long):
        yield from (f"{number}-{name}-{year}", f"{day.day} {name} {year}", f"{number} {name} {year}")
        yield from (f"{name} {day.day}, {year}", f"{number}{name}{year}")
    yield from (f"{year}年{day.month}月{day.day}日", f"{year}年{month}月{number}日")
