"""Where a round stands: one line for each verdict, in the order they came, so that nothing is told twice.

The log only grows. The same file again adds no line, so a return that is checked twice changes nothing; a corrected
mask adds one, and an accepted mask stays in use until a better one is accepted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields

from pipeline.core.errors import ReviewError
from pipeline.review.verdicts import ReturnCheck, Verdict


@dataclass(frozen=True, slots=True)
class Entry:
    """One verdict on one file.

    Attributes:
        rater: code.
        item_id: as the rater knows it.
        sha256: of the file, or of the mask that a word in the worklist chose.
        verdict: what became of it.
        sentence: what was found.
        fix: what the rater can do.
    """

    rater: str
    item_id: str
    sha256: str
    verdict: Verdict
    sentence: str
    fix: str = ""


def with_checks(log: Sequence[Entry], checks: Iterable[ReturnCheck]) -> tuple[Entry, ...]:
    """The log and a new line for each verdict it does not hold yet; files that match no item leave no line."""
    grown = list(log)
    known = set(log)
    for check in checks:
        if check.item is None:
            continue
        entry = Entry(check.item.rater, check.item.item_id, check.sha256, check.verdict, check.sentence, check.fix)
        if entry not in known:
            known.add(entry)
            grown.append(entry)
    return tuple(grown)


def to_lines(log: Iterable[Entry]) -> str:
    """The log as JSON lines; a longer log begins with the same bytes."""
    return "".join(json.dumps(asdict(entry), sort_keys=True, ensure_ascii=False) + "\n" for entry in log)


def from_lines(text: str) -> tuple[Entry, ...]:
    """The log that `to_lines` told; a last line that was cut short is left out.

    Raises:
        ReviewError: when any other line cannot be understood.
    """
    lines = text.split("\n")
    try:
        return tuple(_entry(line) for line in lines[:-1])
    except (ValueError, TypeError, KeyError):
        raise ReviewError("the log of returns cannot be read; delete it and check the returns again") from None


def _entry(line: str) -> Entry:
    content = json.loads(line)
    values = {field.name: content[field.name] for field in fields(Entry)}
    return Entry(**{**values, "verdict": Verdict(values["verdict"])})
