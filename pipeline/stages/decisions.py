"""What people decided about series, as the stages ask it: each depends on no more of it than it uses."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from pipeline.core.decisions import NO_DECISIONS, Decisions, TextDecision, read_decisions
from pipeline.core.files import digest, identity_of, sha256_of
from pipeline.core.records import Series
from pipeline.workspace import Workspace


def series_name(ws: Workspace, key: str) -> str:
    """What tables and decisions call a series: a keyed name."""
    return ws.crosswalk.pseudonyms.token("series", key)


def decided(ws: Workspace) -> Decisions:
    """Everything that `decisions.csv` says; nothing where it is not there.

    Raises:
        ConfigError: when it cannot be understood.
    """
    path = ws.layout.decisions
    return _read(path, identity_of(path)) if path.exists() else NO_DECISIONS


def was_looked_at(ws: Workspace, series: Series) -> bool:
    """True when a person decided that this series is to be used, and as which phase."""
    decision = decided(ws).use.get(series_name(ws, series.key))
    return decision is not None and decision.phase is not None


def text_decision(ws: Workspace, series_key: str) -> TextDecision | None:
    """What a person who looked decided about text in a series; None while nobody has."""
    return decided(ws).text.get(series_name(ws, series_key))


def use_inputs(ws: Workspace) -> dict[str, str]:
    """Digest of which series are to be used, and as what, for stages that ask; empty while nobody decided."""
    use = {series: [decision.phase, decision.by] for series, decision in decided(ws).use.items()}
    return {"decisions": digest(use)} if use else {}


def text_inputs(ws: Workspace, series_keys: Iterable[str]) -> dict[str, str]:
    """Digest of what was decided about text in some series; empty while nobody decided."""
    found = {series_name(ws, key): text_decision(ws, key) for key in series_keys}
    text = {series: [str(decision), decision.by] for series, decision in found.items() if decision}
    return {"decisions": digest(text)} if text else {}


def withdrawal_inputs(ws: Workspace) -> dict[str, str]:
    """Hash of whose consent was withdrawn; empty while nobody's was."""
    return {"withdrawals": sha256_of(ws.layout.withdrawals)} if ws.layout.withdrawals.exists() else {}


@lru_cache(maxsize=1)
def _read(path: Path, identity: tuple[int, int, int]) -> Decisions:
    """Read once as long as the file stays the same: every stage of every case asks for it."""
    return read_decisions(path)
