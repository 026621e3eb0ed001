"""What a person decided where the rules could not: `decisions.csv`, one line a series.

The series is named as `reports/series.csv` names it, so that the table holds no source identifier and can be kept
beside `dataset.toml`.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import ConfigError
from pipeline.core.records import Phase

DECISION_COLUMNS = ("series", "phase", "by", "note")
NOT_TO_BE_USED = "none"


@dataclass(frozen=True, slots=True)
class Decision:
    """A person's word on one series.

    Attributes:
        phase: what it is, and that it is to be used; None: it must not be used.
        by: code of who decided.
    """

    phase: Phase | None
    by: str


def read_decisions(path: Path) -> dict[str, Decision]:
    """Decisions by the name of their series; none when there is no such table.

    Raises:
        ConfigError: when columns are missing, or lines cannot be understood or contradict one another; all of them are
            named.
    """
    if not path.exists():
        return {}
    reader = csv.DictReader(io.StringIO(_text(path), newline=""))
    if not set(DECISION_COLUMNS[:3]) <= set(reader.fieldnames or ()):
        raise ConfigError(f"{path.name} needs the columns {', '.join(DECISION_COLUMNS[:3])}")
    decisions: dict[str, Decision] = {}
    faults = []
    phases = {NOT_TO_BE_USED: None, **{str(phase): phase for phase in Phase}}
    for line, row in enumerate(reader, start=2):
        series, phase, by = ((row[name] or "").strip() for name in DECISION_COLUMNS[:3])
        if phase not in phases or not series or not by:
            faults.append(f"{path.name}, line {line}: expected a series, one of {', '.join(phases)}, and who decided")
        elif decisions.setdefault(series, Decision(phases[phase], by)).phase != phases[phase]:
            faults.append(f"{path.name}, line {line}: contradicts an earlier line about the same series; keep one")
    if faults:
        raise ConfigError("\n".join(faults))
    return decisions


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"{path.name} cannot be read; save it as UTF-8 CSV") from None
