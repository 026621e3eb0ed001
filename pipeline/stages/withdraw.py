"""Consent withdrawn: a case leaves everything that is ours, and what recognises its patient stays.

The tombstone is written first, so that the case is not taken up again when a withdrawal is interrupted; to run it
once more completes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import PrivacyError
from pipeline.core.files import csv_text, read_csv, remove, write_text
from pipeline.dataset.layout import CARRIED_OVER
from pipeline.stages.adjudicate import adjudications
from pipeline.stages.case import screened_cases
from pipeline.stages.handed_out import assignments
from pipeline.stages.kept import keep_screened
from pipeline.stages.privacy import remember_sources
from pipeline.stages.recall import Recall, recalls
from pipeline.stages.report import REPORT
from pipeline.workspace import Workspace

WITHDRAWAL_COLUMNS = ("case", "reason", "when")


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """What a withdrawal did.

    Attributes:
        changed: what was removed, or lost what it held of the case, by its path in the dataset.
        recalls: packages and versions that hold the case, for people to recall.
    """

    changed: tuple[str, ...]
    recalls: tuple[Recall, ...]


def withdraw(ws: Workspace, case_id: str, *, reason: str, when: str) -> Withdrawal:
    """Take a case out of everything that is ours, for good.

    Args:
        ws: the dataset; no run may be at work in it.
        case_id: the case, also one that is excluded at the moment.
        reason: in words that name nobody.
        when: the day.

    Raises:
        PrivacyError: when no such case was ever given, or the reason holds an identifier.
    """
    from pipeline.leaks.search import search_text

    if search_text(remember_sources(ws).identifiers, reason, "the reason"):
        raise PrivacyError("the reason must not hold an identifier of the sources; use other words")
    _bury(ws, case_id, reason, when)
    changed = [*_own_files(ws, case_id), *_parcels(ws, case_id), *_tables(ws, case_id)]
    REPORT(ws)
    names = (path.relative_to(ws.root).as_posix() for path in changed)
    return Withdrawal(tuple(names), tuple(one for one in recalls(ws) if one.case_id == case_id))


def _bury(ws: Workspace, case_id: str, reason: str, when: str) -> None:
    """The tombstone, and no way to the case from now on."""
    ws.crosswalk.withdraw(case_id)
    ws.crosswalk.save()
    rows = [row for row in read_csv(ws.layout.withdrawals) if row["case"] != case_id]
    words = dict(zip(WITHDRAWAL_COLUMNS, (case_id, reason, when), strict=True))
    write_text(ws.layout.withdrawals, csv_text(WITHDRAWAL_COLUMNS, [*rows, words]))
    cases = screened_cases(ws)
    if case_id in cases:
        left = {name: case for name, case in cases.items() if name != case_id}
        keep_screened(ws, left)


def _own_files(ws: Workspace, case_id: str) -> Iterator[Path]:
    """What stages made of the case, removed; index of headers and quality page as a whole, since they are made anew."""
    layout = ws.layout
    private = (path for folder in ("series", "montages") for path in (layout.private / folder).glob(f"{case_id}_*"))
    carried = layout.review.glob(f"*/{CARRIED_OVER}/*/{case_id}_*")
    for path in (layout.case(case_id), *sorted(private), *sorted(carried), layout.dicom_index, layout.qc_page):
        if path.exists():
            remove(path)
            yield path


def _parcels(ws: Workspace, case_id: str) -> Iterator[Path]:
    """Packages and returns that lie here, without what they held of the case."""
    from pipeline.review.assignment import item_id_of
    from pipeline.review.withdrawn import take_out

    lists = [items for assignment in assignments(ws).values() for items in assignment.lists.values()]
    items = {item.item_id for own in lists for item in own if item.case_id == case_id}
    asked = [item for own in adjudications(ws).values() for item in own if item.case_id == case_id]
    items |= {item_id_of(*item.volume) for item in asked}
    boxes = (path for name in ("outbox", "inbox") for path in ws.layout.review.glob(f"*/{name}/*"))
    for path in sorted(boxes) if items else ():
        if take_out(path, items):
            yield path


def _tables(ws: Workspace, case_id: str) -> Iterator[Path]:
    """Tables about cases, without the rows that name the case."""
    layout = ws.layout
    named = re.compile(rf"(?<![A-Za-z0-9]){case_id}(?![A-Za-z0-9])")
    for path in (layout.series_table, layout.exclusions_table, layout.returns_table, layout.manifest):
        rows = read_csv(path)
        kept = [row for row in rows if not any(named.search(cell or "") for cell in row.values())]
        if len(kept) < len(rows):
            write_text(path, csv_text(tuple(rows[0]), kept))
            yield path
