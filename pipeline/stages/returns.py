"""Take back what radiologists drew: every mask checked, accepted ones kept, the rest told with a cure."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import ReviewError
from pipeline.core.files import read_json, write_json, write_text
from pipeline.core.records import Phase, Problem, Severity
from pipeline.dataset.layout import ADJUDICATION, ROUND
from pipeline.stages.handout import adjudications, assignments, scheme_of
from pipeline.workspace import Stage, Waiting, Work, Workspace

if TYPE_CHECKING:
    from pipeline.review.returns import ReturnCheck, SentItem

RETURN_COLUMNS = ("kind", "round", "rater", "item", "verdict", "message", "cure", "repairs", "changed_voxels", "sha256")

Check = tuple[str, int, "ReturnCheck"]
"""Kind of review, its round, and the verdict on one mask."""


def returned(ws: Workspace) -> list[dict[str, str]]:
    """The verdict on every mask that came back, as `returns.csv` tells it; none before the first check."""
    if not ws.layout.returns_table.exists():
        return []
    with ws.layout.returns_table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def review_status(ws: Workspace) -> list[dict[str, Any]]:
    """How many masks each rater and the lead were asked for, and how many are in."""
    rows = []
    for number, assignment in assignments(ws).items():
        for rater, items in assignment.lists.items():
            back = sum(_rating(ws, i.case_id, i.phase, rater, is_repeat=i.is_repeat).is_file() for i in items)
            rows.append({"kind": ROUND, "round": number, "rater": rater, "assigned": len(items), "returned": back})
    for number, asked in adjudications(ws).items():
        back = sum(adjudicated_mask(ws, item["case_id"], Phase(item["phase"])) is not None for item in asked)
        rows.append({"kind": ADJUDICATION, "round": number, "rater": "lead", "assigned": len(asked), "returned": back})
    return rows


def accept_flagged(ws: Workspace, rater: str, item_id: str) -> None:
    """Use a flagged mask as it is from now on: a person looked at it. Another file of the same name is flagged anew.

    Raises:
        ReviewError: when there is no flagged mask of this item from this rater.
    """
    flagged = [row for row in returned(ws) if (row["rater"], row["item"], row["verdict"]) == (rater, item_id, "flag")]
    if not flagged:
        raise ReviewError(f"no flagged mask of {item_id} from {rater}; `liverset review check` lists what is flagged")
    write_json(ws.layout.accepted, sorted({*_accepted(ws), *(row["sha256"] for row in flagged)}))


def adjudicated_mask(ws: Workspace, case_id: str, phase: Phase) -> tuple[Path, str] | None:
    """The lead's mask of a volume and the lead's code; None while there is none about the vote as it stands."""
    facts = ws.layout.adjudication(case_id, phase)
    if not facts.is_file():
        return None
    decision = read_json(facts)
    voted = read_json(ws.layout.consensus_explanation(case_id, phase))["labels_sha256"]
    return (ws.layout.adjudicated(case_id, phase), decision["by"]) if decision["voted_sha256"] == voted else None


def _accepted(ws: Workspace) -> list[str]:
    return list(read_json(ws.layout.accepted)) if ws.layout.accepted.exists() else []


def _rating(ws: Workspace, case_id: str, phase: Phase, rater: str, *, is_repeat: bool) -> Path:
    layout = ws.layout
    return layout.repeat_rating(case_id, phase, rater) if is_repeat else layout.rating(case_id, phase, rater)


def _rounds(ws: Workspace) -> list[tuple[str, int]]:
    return [(kind, number) for kind in (ROUND, ADJUDICATION) for number in ws.layout.numbers(kind)]


def _inputs(ws: Workspace, case_id: str | None) -> dict[str, str]:
    if not _rounds(ws):
        raise Waiting("nothing was handed out yet; run `liverset review pack`")
    home = [ws.layout.assignment(number, kind) for kind, number in _rounds(ws)]
    decided = [ws.layout.accepted] if ws.layout.accepted.exists() else []
    inboxes = [path for kind, number in _rounds(ws) for path in ws.layout.inbox(number, kind).rglob("*")]
    return ws.hashes([*home, *decided, *(path for path in inboxes if path.is_file())], None)


def _collect(ws: Workspace, case_id: str | None) -> Work:
    outputs: dict[Path, None] = {}
    rows: list[dict[str, Any]] = []
    problems: list[Problem] = []
    accepted = set(_accepted(ws))
    for kind, number, check in _checks(ws):
        rows.append(_row(kind, number, check))
        if check.is_usable or (check.labels is not None and check.sha256 in accepted):
            outputs.update(dict.fromkeys(_keep(ws, kind, number, check)))
        else:
            problems.append(_problem(check))
    _write_table(ws, rows)
    note = f"{len(rows) - len(problems)} masks in, {len(problems)} wait for a person"
    return Work((*outputs, ws.layout.returns_table), tuple(problems), note)


def _checks(ws: Workspace) -> Iterator[Check]:
    """Every verdict, older returns first, so that a corrected mask replaces the one before."""
    from pipeline.review.returns import check_each

    for kind, number in _rounds(ws):
        sent = _sent(ws, number) if kind == ROUND else _asked(ws, number)
        parcels = [path for path in ws.layout.inbox(number, kind).glob("*") if not path.name.startswith(".")]
        for parcel in sorted(parcels, key=lambda path: (path.stat().st_mtime_ns, path.name)):
            yield from ((kind, number, check) for check in check_each(parcel, sent, scheme_of(ws)))


def _sent(ws: Workspace, number: int) -> list[SentItem]:
    """What went to the raters in a round."""
    from pipeline.review.returns import SentItem

    return [
        SentItem(
            item_id=item.item_id,
            rater=rater,
            case_id=item.case_id,
            phase=item.phase,
            image=ws.layout.image(item.case_id, item.phase),
            coarse=ws.layout.coarse(item.case_id, item.phase),
            is_repeat=item.is_repeat,
            unit=ws.unit,
        )
        for rater, items in assignments(ws)[number].lists.items()
        for item in items
    ]


def _asked(ws: Workspace, number: int) -> list[SentItem]:
    """What went to the lead in an adjudication."""
    return [_asked_item(ws, item["case_id"], Phase(item["phase"])) for item in adjudications(ws)[number]]


def _asked_item(ws: Workspace, case_id: str, phase: Phase) -> SentItem:
    from pipeline.review.adjudication import ADJUDICATOR, anonymous
    from pipeline.review.assignment import item_id_of
    from pipeline.review.returns import SentItem

    raters = read_json(ws.layout.consensus_explanation(case_id, phase))["raters"]
    ratings = {rater: ws.layout.rating(case_id, phase, rater) for rater in raters}
    item_id = item_id_of(case_id, phase)
    return SentItem(
        item_id=item_id,
        rater=ADJUDICATOR,
        case_id=case_id,
        phase=phase,
        image=ws.layout.image(case_id, phase),
        coarse=ws.layout.consensus(case_id, phase),
        unit=ws.unit,
        readings=anonymous(ratings, dataset=ws.config.dataset.name, item_id=item_id),
    )


def _keep(ws: Workspace, kind: str, number: int, check: ReturnCheck) -> list[Path]:
    from pipeline.image.nifti import write_nifti

    item, labels = check.item, check.labels
    if item is None or labels is None:
        raise ReviewError("a mask was accepted that was never read")
    if kind == ADJUDICATION:
        path, facts = ws.layout.adjudicated(item.case_id, item.phase), ws.layout.adjudication(item.case_id, item.phase)
        write_nifti(path, labels)
        write_json(facts, _decision(ws, number, item) | {"changed_voxels": check.changed_voxels})
        return [path, facts]
    path = _rating(ws, item.case_id, item.phase, item.rater, is_repeat=item.is_repeat)
    write_nifti(path, labels)
    return [path]


def _decision(ws: Workspace, number: int, item: SentItem) -> dict[str, Any]:
    asked = next(a for a in adjudications(ws)[number] if (a["case_id"], a["phase"]) == (item.case_id, item.phase))
    return {"by": item.rater, "voted_sha256": asked["voted_sha256"]}


def _row(kind: str, number: int, check: ReturnCheck) -> dict[str, Any]:
    item = check.item
    return {
        "kind": kind,
        "round": number,
        "rater": item.rater if item else None,
        "item": item.item_id if item else None,
        "verdict": str(check.verdict),
        "message": check.sentence,
        "cure": check.cure,
        "repairs": "; ".join(check.repairs),
        "changed_voxels": check.changed_voxels,
        "sha256": check.sha256,
    }


def _problem(check: ReturnCheck) -> Problem:
    by = f" (rater {check.item.rater})" if check.item else ""
    return Problem(f"return-{check.verdict}", Severity.FLAG, f"{check.sentence}{by}", check.cure)


def _write_table(ws: Workspace, rows: list[dict[str, Any]]) -> None:
    from pipeline.dataset.manifest import csv_text

    write_text(ws.layout.returns_table, csv_text(RETURN_COLUMNS, rows))


COLLECT = Stage(
    name="collect",
    code=("core", "review", "image", "stages/returns.py"),
    packages=("numpy",),
    sections=lambda config: (config.labels, config.review),
    inputs=_inputs,
    work=_collect,
)
