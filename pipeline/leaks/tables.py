"""Identifiers in a table of patients: every cell of every column, whatever its heading, judged by its content.

A heading may say "Nachname", "姓名" or nothing that we know, so that no column is trusted to hold no name. A table that
lies in an export and has no column of patient numbers may be about anything: names are taken from its columns of names.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from itertools import zip_longest

from pipeline.leaks.identifiers import Basket, Kind

CELL_SEPARATORS = ",;\t|"
MOST_WORDS_OF_A_NAME = 4
"""Longer texts are remarks: sought whole, and for the names that follow a title."""

_OLD_CHARSETS = ("gb18030", "cp1252", "big5")
"""What a table that is neither UTF-8 nor UTF-16 may be in; each can read the others' bytes, so that all are sought."""

_PATIENT_HEAD_WORDS = "patient patientid id mrn pid number no nr 病人编号 患者编号 病历号 住院号"
_PATIENT_HEADS = frozenset(_PATIENT_HEAD_WORDS.split())
_NAME_HEAD_WORDS = "name surname patient s full first last family given firstname lastname nachname vorname 姓名"
_NAME_HEADS = frozenset(_NAME_HEAD_WORDS.split())
_COMMON_CELLS = "male female other unknown none yes no true false positive negative left right"
_COMMON = frozenset(_COMMON_CELLS.split())
"""Cells that say the same of many: no one is recognised by them."""

_NAME_LIKE = re.compile(r"[^\W\d_]+(?:[\s'’`.,-]+[^\W\d_]+)*[.,]?")
_TITLED = re.compile(r"\b(?:Dr|Prof|Mr|Mrs|Ms|Herrn?|Frau|Hr|Fr)\b\.?(?:\s?\w{1,5}\.)*\s+([^\W\d_]+(?:-[^\W\d_]+)?)")
_DECIMAL = re.compile(r"[+-]?\d*[.,]\d+|[+-]?\d+[.,]\d*")
_ISO_DAY = re.compile(r"(?<!\d)(\d{4})[-/. ]?(\d{2})[-/. ]?(\d{2})(?!\d)")
_LOCAL_DAY = re.compile(r"(?<!\d)(\d{1,2})[./-](\d{1,2})[./-](\d{4})(?!\d)")
_HAN_DAY = re.compile(r"(\d{4})年(\d{1,2})月(\d{1,2})日")


def harvest_table(content: bytes, basket: Basket, *, is_of_patients: bool) -> None:
    """Identifiers of a table with one header line, in any usual character set and with any usual separator.

    Args:
        content: the file's bytes.
        basket: where they go.
        is_of_patients: every row is known to be about a patient, whatever the headings.
    """
    for text in _readings(content):
        separator = max(CELL_SEPARATORS, key=text.partition("\n")[0].count)
        heads: list[set[str]] = []
        for row in csv.reader(io.StringIO(text.replace("\0", "")), delimiter=separator):
            if not heads:
                heads = [set(re.split(r"[\W_]+", head.casefold())) - {""} for head in row]
                has_names = is_of_patients or any(head and head <= _PATIENT_HEADS for head in heads)
                if not any(map(str.isdigit, "".join(row))):
                    continue
            for head, cell in zip_longest(heads, row, fillvalue=""):
                _harvest_cell(str(cell).strip(), set(head), basket, has_names=has_names)


def _readings(content: bytes) -> Iterator[str]:
    """The text of a table; several where its character set cannot be known."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        yield content.decode("utf-16", errors="replace")
        return
    if content[1:200:2].count(0) > len(content[1:200:2]) // 2:
        yield content.decode("utf-16-le", errors="replace")
        return
    try:
        yield content.decode("utf-8-sig")
    except UnicodeDecodeError:
        yield from (content.decode(charset, errors="replace") for charset in _OLD_CHARSETS)


def _harvest_cell(cell: str, head: set[str], basket: Basket, *, has_names: bool) -> None:
    if not cell or cell.casefold() in _COMMON:
        return
    _harvest_days(cell, basket)
    has_names = has_names or bool(head and head <= _NAME_HEADS)
    if _NAME_LIKE.fullmatch(cell) and len(cell.split()) <= MOST_WORDS_OF_A_NAME:
        if has_names:
            basket.add_name(cell)
        return
    if head & _PATIENT_HEADS or (any(map(str.isdigit, cell)) and not _DECIMAL.fullmatch(cell) and " " not in cell):
        basket.add_number(Kind.NUMBER, cell)
    if not has_names:
        return
    basket.add_free_text(cell)
    for name in _TITLED.findall(cell):
        basket.add_name(name)


def _harvest_days(cell: str, basket: Basket) -> None:
    for year, month, day in (*_ISO_DAY.findall(cell), *_HAN_DAY.findall(cell)):
        basket.add_day(int(year), int(month), int(day))
    for first, second, year in _LOCAL_DAY.findall(cell):
        basket.add_day(int(year), int(first), int(second))
        basket.add_day(int(year), int(second), int(first))
