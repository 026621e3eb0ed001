"""What a liver dataset needs of a header, by maker: `liver_attributes.csv`, with a value as that maker writes it.

A value "private TAG CREATOR VR RAW => VALUE" lies in a private attribute and belongs into the standard one; one with
"=>" is cleaned to what follows.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from pipeline.core.pseudonyms import Pseudonyms
from pipeline.dicom.deid import value_rules as rule
from pipeline.dicom.deid.allowlist import ALLOWED, CODES
from pipeline.dicom.deid.annex_e import Row, table
from pipeline.dicom.deid.value_rules import Subject, joined, parts_of

ATTRIBUTES_TABLE = "liver_attributes.csv"
TCIA_OPTIONS = frozenset(
    {"safe_private", "device_identity", "patient_characteristics", "modified_dates", "clean_descriptors"}
)
"""Options of PS3.15 that The Cancer Imaging Archive applies, by their columns in Table E.1-1."""

_COLUMNS_BESIDE_MAKERS = ("attribute", "modality", "place")
_MOVED = (rule.moved_date, rule.moved_time, rule.moved_moment)


@dataclass(frozen=True, slots=True)
class LiverAttribute:
    """One attribute that a liver dataset needs.

    Attributes:
        keyword: DICOM keyword.
        modality: "CT", "MR" or both.
        place: sequences around it, outermost first; "" at the top.
        written: by maker, what it writes; only makers that write it.
    """

    keyword: str
    modality: str
    place: str
    written: Mapping[str, str]

    def outcome(self, maker: str) -> str:
        """What becomes of a maker's value: kept, cleaned, moved, rewritten, removed; "" where it writes none."""
        source, _, cleaned = self.written.get(maker, "").partition(" => ")
        if source.startswith("private"):
            return "rewritten"
        found = self._found(source)
        if not source or found is None:
            return "removed" if source else ""
        if self.keyword in ALLOWED and ALLOWED[self.keyword].clean in _MOVED:
            return "moved"
        return "cleaned" if cleaned or found != source else "kept"

    def _found(self, source: str) -> str | None:
        if self.keyword not in ALLOWED:
            return source if source in {value for _, value in CODES} else None
        clean = ALLOWED[self.keyword].clean
        subject = Subject(Pseudonyms(bytes(32)), frozenset(), "", "")
        found = clean(joined(source.split("\\")), subject) if clean and source else None
        if found is None:
            return None
        kept = parts_of(found)
        same = len(kept) == len(source.split("\\")) and all(map(_is_same, kept, source.split("\\")))
        return source if same else "\\".join(map(str, kept))


@cache
def liver_attributes() -> tuple[LiverAttribute, ...]:
    """All of them, in the order of the table."""
    text = files("pipeline.dicom.deid").joinpath(ATTRIBUTES_TABLE).read_text(encoding="utf-8")
    return tuple(_attribute(fields) for fields in csv.DictReader(text.splitlines()))


def makers() -> tuple[str, ...]:
    """The makers of scanners in the table."""
    return tuple(dict.fromkeys(maker for one in liver_attributes() for maker in one.written))


def liver_table() -> Iterator[tuple[str, ...]]:
    """A row an attribute: name, modality, the standard's basic action, options that keep it, TCIA, and each maker."""
    standard = {row.keyword: row for row in table() if row.keyword}
    for one in liver_attributes():
        row = standard.get(one.keyword)
        options = ", ".join(f"{name}: {action}" for name, action in sorted(row.options.items())) if row else ""
        name = f"{one.place}/{one.keyword}".removeprefix("/")
        outcomes = (one.outcome(maker) for maker in makers())
        yield (name, one.modality, row.basic if row else "", options, _at_tcia(row), *outcomes)


def _attribute(fields: Mapping[str, str]) -> LiverAttribute:
    keyword, modality, place = (fields[column] for column in _COLUMNS_BESIDE_MAKERS)
    written = {maker: text for maker, text in fields.items() if text and maker not in _COLUMNS_BESIDE_MAKERS}
    return LiverAttribute(keyword, modality, place, written)


def _at_tcia(row: Row | None) -> str:
    """What the archive does by its options; what the standard does not list, it keeps."""
    if row is None:
        return "kept"
    actions = {row.options.get(option) for option in TCIA_OPTIONS}
    return "kept" if "K" in actions else "cleaned" if "C" in actions else "removed"


def _is_same(kept: object, source: str) -> bool:
    try:
        return float(str(kept)) == float(source)
    except ValueError:
        return str(kept) == source
