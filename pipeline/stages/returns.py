"""Take back what radiologists drew: every mask checked, accepted ones kept, the rest told with a fix."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import ReviewError
from pipeline.core.files import digest, read_csv, read_json, write_json, write_text
from pipeline.core.records import Phase, Problem, Severity
from pipeline.dataset.layout import ADJUDICATION, ROUND
from pipeline.stages.handout import adjudications, assignments, scheme_of
from pipeline.workspace import Stage, Waiting, Work, Workspace

if TYPE_CHECKING:
    from pipeline.review.returns import ReturnCheck, SentItem

RETURN_COLUMNS = ("kind", "round", "rater", "item", "verdict", "message", "fix", "repairs", "changed_voxels", "sha256")


def returned(ws: Workspace) -> list[dict[str, str]]:
    """The verdict on every mask that came back, as `returns.csv` tells it; none before the first check."""
    return read_csv(ws.layout.returns_table)


def review_status(ws: Workspace) -> list[dict[str, Any]]:
    """How many masks each rater and the lead were asked for, how many are in, and what waits for an answer."""
    rows = []
    for number, assignment in assignments(ws).items():
        for rater, items in assignment.lists.items():
            back = sum(_rating(ws, i.case_id, i.phase, rater, is_repeat=i.is_repeat).is_file() for i in items)
            rows.append(_status_row(ws, ROUND, number, rater, len(items), back))
    for number, asked in adjudications(ws).items():
        back = sum(adjudicated_mask(ws, item["case_id"], Phase(item["phase"])) is not None for item in asked)
        rows.append(_status_row(ws, ADJUDICATION, number, "lead", len(asked), back))
    return rows


def _status_row(ws: Workspace, kind: str, number: int, rater: str, assigned: int, back: int) -> dict[str, Any]:
    own = [row for row in returned(ws) if (row["kind"], row["round"], row["rater"]) == (kind, str(number), rater)]
    last = {row["item"]: row for row in own}
    asked = {item: row["fix"] for item, row in last.items() if not row["verdict"].startswith("accept")}
    return {"kind": kind, "round": number, "rater": rater, "assigned": assigned, "returned": back, "asked": asked}


def accept_flagged(ws: Workspace, rater: str, item_id: str) -> None:
    """Use a flagged mask as it is from now on: a person looked at it. Another file of the same name is flagged anew.

    Raises:
        ReviewError: when there is no flagged mask of this item from this rater.
    """
    flagged = [row for row in returned(ws) if (row["rater"], row["item"], row["verdict"]) == (rater, item_id, "flag")]
    if not flagged:
        raise ReviewError(f"no flagged mask of {item_id} from {rater}; `liverset review check` lists what is flagged")
    others = [row for row in _accepted(ws) if row[:2] != [rater, item_id]]
    write_json(ws.layout.accepted, sorted([*others, *([rater, item_id, row["sha256"]] for row in flagged)]))


def adjudicated_mask(ws: Workspace, case_id: str, phase: Phase) -> tuple[Path, str] | None:
    """The lead's mask of a volume and the lead's code; None while there is none about the vote as it stands."""
    facts = ws.layout.adjudication(case_id, phase)
    if not facts.is_file():
        return None
    decision = read_json(facts)
    voted = read_json(ws.layout.consensus_explanation(case_id, phase))["labels_sha256"]
    return (ws.layout.adjudicated(case_id, phase), decision["by"]) if decision["voted_sha256"] == voted else None


def _accepted(ws: Workspace) -> list[list[str]]:
    """Rater, item and hash of each flagged mask that a person accepted."""
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
    from pipeline.dataset.manifest import csv_text

    parcels = [parcel for kind, number in _rounds(ws) for parcel in _checked_round(ws, kind, number)]
    rows = [row for parcel in parcels for row in parcel["rows"]]
    outputs = {ws.root / name for parcel in parcels for name in parcel["kept"]}
    open_rows = [row for row in rows if not row["used"]]
    write_text(ws.layout.returns_table, csv_text(RETURN_COLUMNS, rows))
    note = f"{len(rows) - len(open_rows)} masks in, {len(open_rows)} wait for a person"
    return Work((*outputs, ws.layout.returns_table), tuple(_problem(row) for row in open_rows), note)


def _checked_round(ws: Workspace, kind: str, number: int) -> list[dict[str, Any]]:
    """Each return of a round with its verdicts, older ones first, so that a corrected mask replaces the one before."""
    memory = ws.layout.checked(number, kind)
    known: dict[str, dict[str, Any]] = read_json(memory) if memory.exists() else {}
    found = [path for path in ws.layout.inbox(number, kind).glob("*") if not path.name.startswith(".")]
    parcels: dict[str, dict[str, Any]] = {}
    for parcel in sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name)):
        fingerprint = _fingerprint(ws, parcel)
        before = known.get(fingerprint)
        if before is None or not all((ws.root / name).is_file() for name in before["kept"]):
            before = _checked_parcel(ws, kind, number, parcel)
        parcels[fingerprint] = before
    write_json(memory, parcels)
    return list(parcels.values())


def _fingerprint(ws: Workspace, parcel: Path) -> str:
    """Changes with any byte of a return, and when a person accepts a flagged mask."""
    files = sorted(path for path in parcel.rglob("*") if path.is_file()) if parcel.is_dir() else [parcel]
    return digest([*ws.hashes(files, None).values(), _accepted(ws)])


def _checked_parcel(ws: Workspace, kind: str, number: int, parcel: Path) -> dict[str, Any]:
    """The verdict on every mask of a return; those that count are kept, all are logged."""
    from pipeline.review.returns import check_each
    from pipeline.review.state import from_lines, to_lines, with_checks

    log = ws.layout.review_log(number, kind)
    entries = from_lines(log.read_text(encoding="utf-8")) if log.exists() else ()
    sent = _sent(ws, number) if kind == ROUND else _asked(ws, number)
    accepted = _accepted(ws)
    rows, kept = [], []
    for check in check_each(parcel, sent, scheme_of(ws)):
        is_used = check.is_usable or (check.labels is not None and _key(check) in accepted)
        rows.append(_row(kind, number, check) | {"used": is_used})
        kept += _keep(ws, kind, number, check) if is_used else []
        entries = with_checks(entries, [check])
    write_text(log, to_lines(entries))
    return {"rows": rows, "kept": [path.relative_to(ws.root).as_posix() for path in kept]}


def _key(check: ReturnCheck) -> list[str]:
    """What a person accepts: this file, as this rater's mask of this item."""
    return [check.item.rater, check.item.item_id, check.sha256] if check.item else []


def _sent(ws: Workspace, number: int) -> list[SentItem]:
    """What went to the raters in a round."""
    from pipeline.review.package import package_name
    from pipeline.review.pages import PackageFacts
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
            package=ws.layout.outbox(number) / package_name(PackageFacts(ws.config.dataset.name, number, rater)),
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
        "fix": check.fix,
        "repairs": "; ".join(check.repairs),
        "changed_voxels": check.changed_voxels,
        "sha256": check.sha256,
    }


def _problem(row: dict[str, Any]) -> Problem:
    by = f" (rater {row['rater']})" if row["rater"] else ""
    return Problem(f"return-{row['verdict']}", Severity.FLAG, f"{row['message']}{by}", row["fix"])


COLLECT = Stage(
    name="collect",
    code=("core", "review", "image", "stages/returns.py"),
    packages=("numpy",),
    sections=lambda config: (config.labels, config.review),
    inputs=_inputs,
    work=_collect,
)
