"""What people decided about series, as the stages ask it."""

from __future__ import annotations

from pipeline.core.files import sha256_of
from pipeline.core.records import Series
from pipeline.workspace import Workspace


def series_name(ws: Workspace, key: str) -> str:
    """What tables and decisions call a series: a keyed name."""
    return ws.crosswalk.pseudonyms.token("series", key)


def was_looked_at(ws: Workspace, series: Series) -> bool:
    """True when a person decided in `decisions.csv` that this series is to be used."""
    from pipeline.cohort.decisions import read_decisions

    decision = read_decisions(ws.layout.decisions).get(series_name(ws, series.key))
    return decision is not None and decision.phase is not None


def decision_inputs(ws: Workspace) -> dict[str, str]:
    """Hash of what people decided, for stages that ask; empty while nobody has."""
    return {"decisions": sha256_of(ws.layout.decisions)} if ws.layout.decisions.exists() else {}
