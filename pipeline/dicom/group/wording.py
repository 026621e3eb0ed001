"""What the words of a description mean: forms of `vocabulary.toml` that stand in a text, and times named there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache

from pipeline.vocabulary import folded, forms_by_section, forms_of

_READ_SECTIONS = ("phase", "exam", "derived", "not_a_scan", "mr", "mr_names", "reading")

STEM_LETTERS = 6
"""A form of a European language with so many letters may be continued by others: words are inflected and joined."""

NAMED_SECONDS = (15.0, 300.0)
"""Shorter times in a name are rotations and echoes; longer ones are named in minutes."""

_LETTER = r"[^\W\d_\u1100-\uffff]"
"""A letter of a script that puts blanks between its words."""

_AS_BREAK = re.compile(r"[,;:()\[\]{}|]+")
_AS_BLANK = re.compile(r"[\s_./\\<>=&'\"]+")
_LOOSE_HYPHENS = re.compile(r"(?<!\bc)-|-(?=\w)")
_SECOND, _MINUTE = "s|sec|secs|sek|seg|sn|сек|秒|초", "min|mins|minute|minutes|minuten|мин|dk|分|분"
_NAMED_TIME = re.compile(rf"(?<![\d.])(\d{{1,3}}) ?(?:(?<!{_LETTER}\d\d)({_SECOND})|({_MINUTE}))(?!{_LETTER})")
"""A number with its unit; a letter before two digits and an s names a kernel, such as "H31s"."""
_SEVERAL = re.compile(r"(?<!\d)[2-5] ?(?:phas|fas|faz|期|相|시기)")


@dataclass(frozen=True, slots=True)
class Mention:
    """A form that stands in a text.

    Attributes:
        section: of the vocabulary, such as "phase.arterial".
        form: folded.
        start: where it begins in the normalised text.
        end: behind its last letter.
    """

    section: str
    form: str
    start: int
    end: int

    @property
    def is_ambiguous(self) -> bool:
        """True for an abbreviation or word that also means other things."""
        return self.form in _ambiguous()


def normalised(text: str) -> str:
    """A text as forms are looked for: folded, separators as blanks; + and the hyphen of "c-" stay.

    What commas, brackets and the like part is parted by a bar, and makes no form together.
    """
    parted = _AS_BREAK.sub(" | ", folded(text))
    return " ".join(_LOOSE_HYPHENS.sub(" ", _AS_BLANK.sub(" ", parted)).split()).strip("| ")


@lru_cache(maxsize=4096)
def mentions(text: str) -> tuple[Mention, ...]:
    """The forms in a text, from left to right, none within another.

    What follows "after" is left out, and a word for contrast behind a negation means none: "dopo portale" names another
    scan, "ohne i.v. KM" a plain one. Settings of the scan, such as "delay 35s", are left out too.
    """
    looked_at = normalised(text)
    return tuple(_as_meant(looked_at, list(_found(looked_at))))


def names_several_phases(text: str) -> bool:
    """True for words about the whole exam, such as "3 phase liver" or "dynamic"."""
    found = {mention.section for mention in mentions(text)}
    return "exam.several" in found or _SEVERAL.search(normalised(text)) is not None


def named_delays_s(text: str) -> frozenset[float]:
    """Times after the injection that stand in a text in seconds or minutes, without those of settings."""
    looked_at = normalised(text)
    found = ((match, _seconds(match)) for match in _NAMED_TIME.finditer(looked_at))
    return frozenset(seconds for match, seconds in found if seconds and not _is_setting(looked_at, match))


def _seconds(match: re.Match[str]) -> float | None:
    number = float(match[1])
    if match[3]:
        return number * 60
    return number if NAMED_SECONDS[0] <= number <= NAMED_SECONDS[1] else None


def _is_setting(text: str, match: re.Match[str]) -> bool:
    """True behind a word of a setting; minutes behind "delay" are the phase itself."""
    before = text[: match.start()].split(" ")[-2:]
    return bool(match[2]) and any(word in _settings() for word in before)


def _as_meant(text: str, found: list[Mention]) -> Iterator[Mention]:
    """Mentions as the words before and behind them turn them."""
    is_after, negated_to = False, -1
    for mention in found:
        if mention.section == "reading.after":
            is_after = True
        elif mention.section == "reading.negation":
            negated_to = mention.end
        elif mention.section.startswith("phase."):
            if not is_after and not _is_delay_setting(text, mention):
                yield _turned(text, mention, negated_to)
            is_after = False
        elif not mention.section.startswith("reading."):
            yield mention


def _turned(text: str, mention: Mention, negated_to: int) -> Mention:
    between = text[negated_to : mention.start].replace(" ", "") if negated_to >= 0 else "none"
    is_negated = mention.section == "phase.contrast" and between in ("", "iv", "any", "le", "el", "o")
    return Mention("phase.plain", mention.form, mention.start, mention.end) if is_negated else mention


def _is_delay_setting(text: str, mention: Mention) -> bool:
    """True for the pause before a scan: "delay 35s", "DELAY 20%"."""
    match = re.match(r" ?(\d{1,3}) ?(%|s|sec)(?![a-z])", text[mention.end :]) if mention.form in _settings() else None
    return match is not None and (match[2] == "%" or float(match[1]) < 100)


def _found(text: str) -> Iterator[Mention]:
    """Forms that stand in a text: of those that overlap the one that begins first, and of these the longest."""
    unspaced = text.replace(" ", "")
    hits = [
        Mention(section, form, match.start(), match.end())
        for form, section in _lexicon().items()
        if form.replace(" ", "") in unspaced
        for match in _expression(form).finditer(text)
    ]
    end = 0
    for hit in sorted(hits, key=lambda hit: (hit.start, -hit.end, hit.form)):
        if hit.start >= end:
            yield hit
            end = hit.end


@cache
def _lexicon() -> dict[str, str]:
    """Form to section; of a form that stands in several sections, the section that `_READ_SECTIONS` names first."""
    return {
        normalised(form): section
        for top in reversed(_READ_SECTIONS)
        for section, form in forms_by_section(top)
        if section not in ("reading.ambiguous", "reading.setting")
    }


@cache
def _expression(form: str) -> re.Pattern[str]:
    body = re.escape(form).replace(r"\ ", " ?")
    first, last = form[0], form[-1]
    before = rf"(?<!{_LETTER})" if re.match(_LETTER, first) else r"(?<!\d)" if first.isdigit() else ""
    is_stem = len(form) >= STEM_LETTERS and form not in _ambiguous()
    after = r"(?!\d)" if last.isdigit() else "" if is_stem or not re.match(_LETTER, last) else rf"(?!{_LETTER})"
    return re.compile(before + body + after)


@cache
def _ambiguous() -> frozenset[str]:
    return frozenset(map(normalised, forms_of("reading", "ambiguous")))


@cache
def _settings() -> frozenset[str]:
    return frozenset(map(normalised, forms_of("reading", "setting")))


@lru_cache(maxsize=4096)
def stands_in(text: str, *path: str) -> bool:
    """True where a form of a section stands in a text."""
    looked_at = normalised(text)
    return any(_expression(normalised(form)).search(looked_at) for form in forms_of(*path))
