"""What a person decided where the rules could not: `decisions.csv`, one line a series.

The series is named as `reports/series.csv` names it, so that the table holds no source identifier and can be kept
beside `dataset.toml`.

    series,phase,text,boxes,by,note
    1f0c33a09be2,C1,,,R9,arterial by its timing
    77a0d21c55ef,,mask,slices 3-5 rows 1-12 columns 4-60,R9,a name in the corner

`phase` says what the series is, and that it is to be used; `none`, that it is not. `text` says what becomes of what
looks like burned-in text, and is the word of somebody who looked at it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from pipeline.core.boxes import Box, boxes_text, parse_boxes
from pipeline.core.errors import ConfigError
from pipeline.core.files import csv_text, separator_of, write_text
from pipeline.core.records import Phase

DECISION_COLUMNS = ("series", "phase", "text", "boxes", "by", "note")
NOT_TO_BE_USED = "none"
_SURPLUS = "cells beyond the columns"
CONTRADICTION = "contradicts an earlier line about the same series; keep one"
_PHASES = {NOT_TO_BE_USED: None, **{str(phase): phase for phase in Phase}}


class TextVerdict(StrEnum):
    """What becomes of a series that looks as if it held text."""

    PUBLISH = "publish"
    MASK = "mask"
    MASK_AND_PUBLISH = "mask-and-publish"
    EXCLUDE = "exclude"


@dataclass(frozen=True, slots=True)
class Decision:
    """A person's word on one series.

    Attributes:
        phase: what it is, and that it is to be used; None: it must not be used.
        by: code of who decided.
    """

    phase: Phase | None
    by: str


@dataclass(frozen=True, slots=True)
class TextDecision:
    """The word of a person who looked at what seems to be text in one series.

    Attributes:
        verdict: what becomes of it.
        by: code of who decided.
        boxes: what to mask; empty for all that the search finds.
    """

    verdict: TextVerdict
    by: str
    boxes: tuple[Box, ...] = ()

    def __str__(self) -> str:
        return f"{self.verdict} {boxes_text(self.boxes)}".rstrip()

    @property
    def masks(self) -> bool:
        """True when boxes are to be set to the background value."""
        return self.verdict in (TextVerdict.MASK, TextVerdict.MASK_AND_PUBLISH)

    @property
    def publishes(self) -> bool:
        """True when what still looks like text, once boxes are masked, is none or does no harm."""
        return self.verdict in (TextVerdict.PUBLISH, TextVerdict.MASK_AND_PUBLISH)


@dataclass(frozen=True, slots=True)
class Decisions:
    """Everything decided, by the name of the series.

    Attributes:
        use: which series are to be used, as which phase, and which are not.
        text: what becomes of what looks like text.
    """

    use: Mapping[str, Decision] = field(default_factory=dict)
    text: Mapping[str, TextDecision] = field(default_factory=dict)


_Word = TypeVar("_Word", Decision, TextDecision)


NO_DECISIONS = Decisions()


def ways_to_decide(folder: str, series: str, found: Sequence[Box], masked: Sequence[Box] = ()) -> str:
    """The commands by which a person decides about what looks like text, for a message.

    Args:
        folder: as the command takes it; "" for the current one.
        series: its keyed name.
        found: where text seems to stand.
        masked: boxes that are masked already; they stay masked.
    """
    command = " ".join(word for word in ("liverset decide", folder, series) if word)
    if not masked:
        return f"`{command} mask --by CODE`, or the same with `publish` if it is no text, or with `exclude`"
    return (
        f'`{command} mask --boxes "{boxes_text((*masked, *found))}" --by CODE`, '
        f'or `{command} mask-and-publish --boxes "{boxes_text(masked)}" --by CODE` if what is left is no text, '
        f"or `{command} exclude --by CODE`"
    )


def read_decisions(path: Path) -> Decisions:
    """Every decision of a table; none when there is no such table.

    Raises:
        ConfigError: when columns are missing, or lines cannot be understood or contradict one another; all of them are
            named.
    """
    return _understood(_rows(_text(path), path.name), path.name)


def decide_on_text(path: Path, series: str, decision: TextDecision, note: str = "") -> None:
    """Write a decision about text into the table, in place of an earlier one about the same series.

    Raises:
        ConfigError: when the table cannot be understood, or says of the series what contradicts the decision.
    """
    words = (series, "", str(decision.verdict), boxes_text(decision.boxes), decision.by, note)
    content = _text(path)
    earlier = _rows(content, path.name)
    others = {line: {**row, "text": "", "boxes": ""} if row["series"] == series else row for line, row in earlier}
    rows = {line: row for line, row in others.items() if row["phase"] or row["text"]}
    rows[max(others, default=1) + 1] = dict(zip(DECISION_COLUMNS, words, strict=True))
    _understood(rows.items(), path.name)
    columns = dict.fromkeys((*DECISION_COLUMNS, *(name for row in rows.values() for name in row)))
    write_text(path, csv_text(tuple(columns), rows.values(), separator=separator_of(content)))


def _understood(rows: Iterable[tuple[int, Mapping[str, str]]], name: str) -> Decisions:
    use: dict[str, Decision] = {}
    text: dict[str, TextDecision] = {}
    faults = []
    for line, row in rows:
        try:
            _add(row, use, text)
        except ConfigError as error:
            faults.append(f"{name}, line {line}: {error}")
    if faults:
        raise ConfigError("\n".join(faults))
    return Decisions(use, text)


def _add(row: Mapping[str, str], use: dict[str, Decision], text: dict[str, TextDecision]) -> None:
    """Take a row into what was decided before it."""
    series, by, looked = row["series"], row["by"], _text_decision(row)
    if row["phase"] not in ("", *_PHASES) or not series or not (row["phase"] or looked):
        phases, verdicts = ", ".join(_PHASES), ", ".join(TextVerdict)
        raise ConfigError(f"expected a series, and one of {phases} or a text of {verdicts}")
    if not by:
        raise ConfigError("does not say who decided; give a code in the column by")
    if row["phase"]:
        _settle(use, series, Decision(_PHASES[row["phase"]], by))
    if looked:
        _settle(text, series, looked)
        if looked.verdict is TextVerdict.EXCLUDE:
            _settle(use, series, Decision(None, by))
    if series in use and use[series].phase is None and series in text and text[series].verdict != TextVerdict.EXCLUDE:
        raise ConfigError(CONTRADICTION)


def _settle(known: dict[str, _Word], series: str, word: _Word) -> None:
    if replace(known.setdefault(series, word), by=word.by) != word:
        raise ConfigError(CONTRADICTION)


def _text_decision(row: Mapping[str, str]) -> TextDecision | None:
    if row["text"] not in ("", *TextVerdict):
        raise ConfigError(f"expected a text of {', '.join(TextVerdict)}")
    decision = TextDecision(TextVerdict(row["text"]), row["by"], parse_boxes(row["boxes"])) if row["text"] else None
    if row["boxes"] and not (decision and decision.masks):
        raise ConfigError(f"only {TextVerdict.MASK} and {TextVerdict.MASK_AND_PUBLISH} have boxes")
    if row["boxes"] and " " in row["by"]:
        raise ConfigError("by is a code without blanks; put quotes around boxes that hold the table's separator")
    return decision


def _rows(content: str, name: str) -> list[tuple[int, dict[str, str]]]:
    """Line and cells of each row that says anything, without outer blanks; a column that is not there is empty."""
    reader = csv.DictReader(io.StringIO(content, newline=""), restkey=_SURPLUS, delimiter=separator_of(content))
    found = set(reader.fieldnames or ())
    if not {"series", "by"} <= found or not {"phase", "text"} & found:
        raise ConfigError(f"{name} needs the columns series, phase or text, and by")
    blank, rows = dict.fromkeys(DECISION_COLUMNS, ""), []
    for row in reader:
        if any(row.pop(_SURPLUS, ())):
            raise ConfigError(f"{name}, line {reader.line_num}: more cells than columns; put quotes around each text")
        cells = {column: (cell or "").strip() for column, cell in row.items() if column}
        rows += [(reader.line_num, blank | cells)] if any(cells.values()) else []
    return rows


def _text(path: Path) -> str:
    """The content of a table; its header where there is no such table."""
    try:
        return path.read_text(encoding="utf-8-sig") if path.exists() else ",".join(DECISION_COLUMNS)
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"{path.name} cannot be read; save it as UTF-8 CSV") from None
