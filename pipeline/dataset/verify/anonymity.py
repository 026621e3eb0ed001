"""Whether as many patients look alike as a release promises, in all of its files together.

Every table, JSON document and page is read again. What any of them says of a patient is put together, and k is counted
over the whole: a value that one table leaves out must not stand in another. What a table says of a group, such as a
maker, must be true of as many patients.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.core.records import Problem
from pipeline.dataset.anonymity import QUASI_IDENTIFIERS, told_of_patients
from pipeline.dataset.layout import ReleaseLayout
from pipeline.dataset.manifest import ManifestRow
from pipeline.dataset.splits import OUT_OF_DISTRIBUTION
from pipeline.dataset.sums import files_of
from pipeline.dataset.verify.volumes import refused

OTHER_NAMES = {
    "sex": "gender",
    "patientsex": "gender",
    "patientage": "age",
    "hospital": "site",
    "institution": "site",
    "vendor": "manufacturer",
    "maker": "manufacturer",
    "scanner": "model",
    "manufacturersmodelname": "model",
    "manufacturermodelname": "model",
    "convolutionkernel": "kernel",
    "kv": "kvp",
    "tubevoltage": "kvp",
    "slicethickness": "slice_thickness_mm",
    "thickness": "slice_thickness_mm",
    "days": "days_from_first_study",
}
"""How pages, DICOM and other programs call the columns, without blanks and in lower case."""

_HEADINGS = {name.replace("_", ""): name for name in QUASI_IDENTIFIERS} | OTHER_NAMES
_TELLS_NOTHING = frozenset({"", "-", "\N{EN DASH}", "unknown", "n/a", "none", "null", "nan"})
_PSEUDONYM = re.compile(r"(?<![A-Za-z0-9])P\d{4,}(?![A-Za-z0-9])")


@dataclass(frozen=True, slots=True)
class Statement:
    """What one place of a file says together: column to value, of one patient or of a group."""

    file: str
    patient: str | None
    values: Mapping[str, str]


def check_anonymity(layout: ReleaseLayout, rows: Sequence[ManifestRow], promised: int) -> Iterator[Problem]:
    """Every value by which fewer patients than promised look alike, with its file and column."""
    told = _told(rows)
    statements = list(_statements(layout))
    extra: dict[str, dict[tuple[str, str], list[str]]] = defaultdict(dict)
    for statement in statements:
        for column, value in statement.values.items():
            if statement.patient in told and value not in told[statement.patient][column]:
                extra[statement.patient].setdefault((column, value), []).append(statement.file)
    yield from _too_few_alike(layout, rows, extra, promised)
    yield from _too_small_groups(statements, told.values(), promised)


def _too_few_alike(
    layout: ReleaseLayout,
    rows: Sequence[ManifestRow],
    extra: Mapping[str, Mapping[tuple[str, str], Sequence[str]]],
    promised: int,
) -> Iterator[Problem]:
    """Patients whom all files together tell apart."""
    held_out = {row.patient_id for row in rows if row.split == OUT_OF_DISTRIBUTION[0]}
    volumes = [row.model_dump(mode="json") for row in rows]
    union = {
        patient: (tuple(own.values()), patient in held_out, tuple(sorted(extra.get(patient, {}))))
        for patient, own in told_of_patients(volumes, QUASI_IDENTIFIERS).items()
    }
    sizes, in_manifest = Counter(union.values()), Counter((values, held) for values, held, _ in union.values())
    for patient, (values, held, more) in union.items():
        size = sizes[values, held, more] if more else in_manifest[values, held]
        if size >= promised or not (any(values) or more or held_out):
            continue
        known = [column for column, value in zip(QUASI_IDENTIFIERS, values, strict=True) if value] or ["split"]
        places = [f"{column} in {', '.join(sorted(set(extra[patient][column, value])))}" for column, value in more]
        where = "; ".join(places) or f"{', '.join(known)} in {layout.manifest.name}"
        alike = f"{size} of the promised {promised} patients look alike"
        yield refused("not-anonymous", f"{patient}: {alike}, by {where}")


def _too_small_groups(
    statements: Iterable[Statement], told: Iterable[Mapping[str, frozenset[str]]], promised: int
) -> Iterator[Problem]:
    """Groups of a table, such as a maker's volumes, in which too few patients are known to be."""
    people = list(told)
    small = {
        (statement.file, tuple(statement.values))
        for statement in statements
        if statement.patient is None
        and sum(all(value in own[column] for column, value in statement.values.items()) for own in people) < promised
    }
    for file, columns in sorted(small):
        yield refused(
            "not-anonymous", f"{file}: a group by {', '.join(columns)} has fewer than the promised {promised} patients"
        )


def _told(rows: Iterable[ManifestRow]) -> dict[str, dict[str, frozenset[str]]]:
    """Each patient's values in the manifest, column by column, those of all phases."""
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: {column: set() for column in QUASI_IDENTIFIERS})
    for row in rows:
        for column in QUASI_IDENTIFIERS:
            value = _value(getattr(row, column))
            found[row.patient_id][column] |= {value} if value else set()
    return {patient: {column: frozenset(values) for column, values in own.items()} for patient, own in found.items()}


def _statements(layout: ReleaseLayout) -> Iterator[Statement]:
    """What every table, JSON document and page of a release says of patients and of groups."""
    for path in files_of(layout.root):
        name = path.relative_to(layout.root).as_posix()
        if path.suffix == ".parquet":
            yield from _of_table(name, _frame_rows(path))
        elif path.suffix in (".csv", ".tsv"):
            separator = "\t" if path.suffix == ".tsv" else ","
            yield from _of_table(name, csv.DictReader(io.StringIO(_text(path), newline=""), delimiter=separator))
        elif path.suffix in (".json", ".jsonl"):
            yield from _of_json(name, _documents(path), None)
        elif path.suffix in (".html", ".htm", ".svg", ".xml"):
            yield from _of_page(name, _text(path))
        elif path.suffix == ".md":
            yield from _of_markdown(name, _text(path))


def _of_table(file: str, rows: Iterable[Mapping[str, Any]]) -> Iterator[Statement]:
    for row in rows:
        cells = {str(column): _value(cell) for column, cell in row.items()}
        patient = next((found[0] for cell in cells.values() if cell and (found := _PSEUDONYM.search(cell))), None)
        named = {_column(column): cell for column, cell in cells.items()}
        named |= {_column(cells.get("group") or ""): cells.get("value")}
        values = {column: cell for column, cell in named.items() if column and cell}
        if values:
            yield Statement(file, patient, values)


def _of_json(file: str, content: Any, patient: str | None) -> Iterator[Statement]:
    """Facts below a patient's id, or beside it; settings of the dataset are of nobody."""
    if isinstance(content, list):
        for part in content:
            yield from _of_json(file, part, patient)
    if not isinstance(content, dict):
        return
    leaves = {key: value for key, value in content.items() if not isinstance(value, dict | list)}
    texts = (leaf for leaf in leaves.values() if isinstance(leaf, str))
    beside = next((found[0] for text in texts if (found := _PSEUDONYM.search(text))), patient)
    values = {column: known for key, leaf in leaves.items() if (column := _column(key)) and (known := _value(leaf))}
    if values and beside:
        yield Statement(file, beside, values)
    for key, value in content.items():
        found = _PSEUDONYM.fullmatch(key)
        yield from _of_json(file, value, found[0] if found else beside)


def _of_page(file: str, text: str) -> Iterator[Statement]:
    page = _Page()
    page.feed(text)
    for patient, name, value in page.facts:
        if (column := _column(name)) and (known := _value(value)):
            yield Statement(file, patient, {column: known})
    for table in page.tables:
        yield from _of_table(file, (dict(zip(table[0], row, strict=False)) for row in table[1:]))


def _of_markdown(file: str, text: str) -> Iterator[Statement]:
    """Tables of a page in Markdown."""
    table: list[list[str]] = []
    for line in (*text.splitlines(), ""):
        if line.startswith("|"):
            table.append([cell.strip() for cell in line.strip("|").split("|")])
        elif table:
            yield from _of_table(file, (dict(zip(table[0], row, strict=False)) for row in table[2:]))
            table = []


class _Page(HTMLParser):
    """Names and values of every list of facts, with the patient whose part of the page it is in, and every table."""

    def __init__(self) -> None:
        super().__init__()
        self.facts: list[tuple[str | None, str, str]] = []
        self.tables: list[list[list[str]]] = []
        self._patient: str | None = None
        self._cell: str | None = None
        self._name = ""
        self._text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Of an element that begins."""
        named = [found[0] for _, value in attrs if value and (found := _PSEUDONYM.search(value))]
        if named or tag in ("article", "section"):
            self._patient = named[0] if named else None
        if tag == "table":
            self.tables.append([])
        elif tag == "tr" and self.tables:
            self.tables[-1].append([])
        elif tag in ("dt", "dd", "td", "th"):
            self._cell, self._text = tag, []

    def handle_data(self, data: str) -> None:
        """Of text."""
        self._text.append(data)

    def handle_endtag(self, tag: str) -> None:
        """Of an element that ends."""
        if tag != self._cell:
            return
        text, self._cell = "".join(self._text).strip(), None
        if tag == "dt":
            self._name = text
        elif tag == "dd":
            self.facts.append((self._patient, self._name, text))
        elif self.tables and self.tables[-1]:
            self.tables[-1][-1].append(text)


@cache
def _column(name: str) -> str | None:
    """The quasi-identifier that a heading names; None for any other."""
    return _HEADINGS.get(re.sub(r"[^a-z]", "", name.casefold().removesuffix(" mm").removesuffix(" kv")))


def _value(cell: Any) -> str | None:
    """A cell as all files spell it; None where it tells nothing."""
    if cell is None or cell != cell:
        return None
    text = str(cell).strip().removesuffix(" mm").removesuffix(" kV")
    if text.casefold() in _TELLS_NOTHING:
        return None
    try:
        return f"{float(text):g}"
    except ValueError:
        return text


def _frame_rows(path: Path) -> Iterable[Mapping[str, Any]]:
    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError):
        return ()
    return ({str(name): cell for name, cell in row.items()} for row in frame.to_dict("records"))


def _documents(path: Path) -> Any:
    text = _text(path)
    try:
        return [json.loads(line) for line in text.splitlines() if line] if path.suffix == ".jsonl" else json.loads(text)
    except ValueError:
        return None


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")
