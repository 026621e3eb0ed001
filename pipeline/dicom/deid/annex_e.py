"""Table E.1-1 of PS3.15, and what becomes of each of its rows here.

`annex_e.csv` states tag, name and action by option as facts, with the edition each row was read in; "private" stands
for every attribute of an odd group, "x" for any digit. Rows of edition 2026c carry the basic action only, which is
the strictest.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Set
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from pydicom.datadict import keyword_for_tag

from pipeline.core.config import DeidentificationOption as Option
from pipeline.dicom.deid import value_rules as rule
from pipeline.dicom.deid import vocabulary
from pipeline.dicom.deid.allowlist import ALLOWED, EMPTIED, Attribute

TABLE = "annex_e.csv"
_OWN_COLUMNS = ("tag", "name", "edition", "basic")


class Disposition(StrEnum):
    """What becomes of an attribute."""

    REMOVED = "removed"
    EMPTIED = "emptied"
    REPLACED = "replaced"
    CLEANED = "cleaned"
    KEPT = "kept"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table.

    Attributes:
        tag: eight hexadecimal digits, "x" for any; or "private".
        name: attribute name.
        edition: edition of the standard it was read in.
        basic: action of the Basic Profile: X remove, Z empty, D dummy, U new UID, or several by type.
        options: action by option's column, K keep or C clean; only options that say something.
    """

    tag: str
    name: str
    edition: str
    basic: str
    options: Mapping[str, str]

    @property
    def keyword(self) -> str:
        """DICOM keyword; "" where the tag is a pattern or pydicom does not know it."""
        return keyword_for_tag(int(self.tag, 16)) if _is_plain(self.tag) else ""

    def allows(self, disposition: Disposition, options: Set[Option]) -> bool:
        """True when the standard permits a disposition under some options; removing is always permitted.

        Removing instead of emptying or replacing is stricter; what a released image must hold is never removed.
        """
        actions = {self.options.get(option.value) for option in options}
        permitted = {
            Disposition.REMOVED: True,
            Disposition.EMPTIED: "Z" in self.basic,
            Disposition.REPLACED: any(letter in self.basic for letter in "DZU"),
            Disposition.CLEANED: bool(actions & {"C", "K"}) or "U*" in self.basic,
            Disposition.KEPT: "K" in actions,
        }
        return permitted[disposition]


@cache
def table() -> tuple[Row, ...]:
    """All rows, by tag."""
    text = files("pipeline.dicom.deid").joinpath(TABLE).read_text(encoding="utf-8")
    return tuple(_row(fields) for fields in csv.DictReader(text.splitlines()))


def disposition(keyword: str, options: Set[Option]) -> Disposition:
    """What becomes of an attribute, by keyword, under some options; "" and unknown ones are removed."""
    attribute = ALLOWED.get(keyword)
    if attribute is None or (attribute.needs is not None and attribute.needs not in options):
        return Disposition.EMPTIED if keyword in EMPTIED else Disposition.REMOVED
    return _handling(attribute)


def _handling(attribute: Attribute) -> Disposition:
    if attribute.clean in (rule.uid, rule.patient_name, rule.dummy):
        return Disposition.REPLACED
    cleaning = (rule.moved_date, rule.moved_time, rule.moved_moment, vocabulary.description, vocabulary.contrast_agent)
    if attribute.clean is None or attribute.clean in cleaning:
        return Disposition.CLEANED
    return Disposition.KEPT


def _row(fields: Mapping[str, str]) -> Row:
    options = {name: action for name, action in fields.items() if action and name not in _OWN_COLUMNS}
    tag, name, edition, basic = (fields[column] for column in _OWN_COLUMNS)
    return Row(tag, name, edition, basic, MappingProxyType(options))


def _is_plain(tag: str) -> bool:
    return len(tag) == 8 and "x" not in tag
