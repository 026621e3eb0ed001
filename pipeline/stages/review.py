"""Hand volumes to radiologists in rounds, and take their masks back."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import ReviewError
from pipeline.core.files import read_json, write_json, write_text
from pipeline.core.labels import LabelScheme
from pipeline.core.records import Phase, Problem, Severity
from pipeline.stages.intake import case_ids, case_of
from pipeline.stages.privacy import require_clean
from pipeline.workspace import Stage, Waiting, Work, Workspace

if TYPE_CHECKING:
    from pipeline.review.assignment import Assignment
    from pipeline.review.package import PackageItem
    from pipeline.review.returns import ReturnCheck, SentItem

RETURN_COLUMNS = ("round", "rater", "item", "verdict", "message", "cure", "repairs", "changed_voxels", "sha256")

Volume = tuple[str, Phase]


def scheme_of(ws: Workspace) -> LabelScheme:
    """The labels of this dataset."""
    return LabelScheme(ws.config.labels.lesion_kinds)


def packages(ws: Workspace) -> tuple[Path, ...]:
    """Every package that lies ready to be handed out, in order of round and rater."""
    return tuple(path for number in rounds(ws) for path in sorted(ws.layout.outbox(number).glob("*.zip")))


def returned(ws: Workspace) -> list[dict[str, str]]:
    """The verdict on every mask that came back, as `returns.csv` tells it; none before the first check."""
    if not ws.layout.returns_table.exists():
        return []
    with ws.layout.returns_table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def review_status(ws: Workspace) -> list[dict[str, Any]]:
    """How many masks each rater was asked for and how many are in; none before anything was handed out."""
    rows = []
    for number, assignment in _assignments(ws).items():
        for rater, items in assignment.lists.items():
            back = sum(
                _rating_of(ws, item.case_id, item.phase, rater, is_repeat=item.is_repeat).is_file() for item in items
            )
            rows.append({"round": number, "rater": rater, "assigned": len(items), "returned": back})
    return rows


def rounds(ws: Workspace) -> list[int]:
    """Numbers of the rounds that were packed."""
    found = (path.parent.name.removeprefix("round-") for path in ws.layout.review.glob("round-*/assignment.json"))
    return sorted(int(number) for number in found if number.isdigit())


def assigned_raters(ws: Workspace, case_id: str, phase: Phase) -> tuple[str, ...]:
    """Who was asked to draw a volume; nobody before it was handed out."""
    return tuple(
        rater
        for assignment in _assignments(ws).values()
        for rater, items in assignment.lists.items()
        if any((item.case_id, item.phase, item.is_repeat) == (case_id, phase, False) for item in items)
    )


def accept_flagged(ws: Workspace, rater: str, item_id: str) -> None:
    """Use a flagged mask as it is from now on: a person looked at it. Another file of the same name is flagged anew.

    Raises:
        ReviewError: when there is no flagged mask of this item from this rater.
    """
    flagged = [row for row in returned(ws) if (row["rater"], row["item"], row["verdict"]) == (rater, item_id, "flag")]
    if not flagged:
        raise ReviewError(f"no flagged mask of {item_id} from {rater}; `liverset review check` lists what is flagged")
    write_json(ws.layout.accepted, sorted({*_accepted(ws), *(row["sha256"] for row in flagged)}))


def _accepted(ws: Workspace) -> list[str]:
    return list(read_json(ws.layout.accepted)) if ws.layout.accepted.exists() else []


def _assignments(ws: Workspace) -> dict[int, Assignment]:
    from pipeline.review.assignment import Assignment

    return {number: Assignment.from_json(read_json(ws.layout.assignment(number))) for number in rounds(ws)}


def _labelled(ws: Workspace) -> list[Volume]:
    """Volumes whose coarse label is there."""
    every = ((case_id, phase) for case_id in case_ids(ws) for phase in case_of(ws, case_id).series)
    return [(case, phase) for case, phase in every if ws.layout.coarse_provenance(case, phase).is_file()]


def _pack_inputs(ws: Workspace, case_id: str | None) -> dict[str, str]:
    volumes = _labelled(ws)
    if not volumes:
        raise Waiting("no volume is labelled yet; run `liverset build`")
    return {
        name: sha256
        for case in sorted({case for case, _ in volumes})
        for name, sha256 in ws.hashes([ws.layout.coarse(c, phase) for c, phase in volumes if c == case], case).items()
    }


def _pack(ws: Workspace, case_id: str | None) -> Work:
    from pipeline.review.assignment import assign

    handed_out = {item.volume for a in _assignments(ws).values() for items in a.lists.values() for item in items}
    new = [volume for volume in _labelled(ws) if volume not in handed_out]
    if not new:
        return Work((), note="nothing new to hand out")
    number = max(rounds(ws), default=0) + 1
    priority = {volume: float(_doubt(ws, volume)["entropy"] or 0.0) for volume in new}
    assignment = assign(new, ws.config.review, priority=priority)
    zips = [_package(ws, number, rater, assignment, priority) for rater in ws.config.review.raters]
    require_clean(ws, zips, what="the review packages")
    write_json(ws.layout.assignment(number), assignment.to_json())
    note = f"round {number}: {len(new)} volumes, {len(zips)} packages"
    return Work((*zips, ws.layout.assignment(number)), note=note)


def _doubt(ws: Workspace, volume: Volume) -> dict[str, Any]:
    content: dict[str, Any] = read_json(ws.layout.coarse_provenance(*volume))
    return content


def _package(ws: Workspace, number: int, rater: str, assignment: Assignment, priority: Mapping[Volume, float]) -> Path:
    from pipeline.review.package import PackageItem, build_package

    items: list[PackageItem] = [
        PackageItem(
            item_id=item.item_id,
            case_id=item.case_id,
            phase=item.phase,
            image=ws.layout.image(item.case_id, item.phase),
            coarse=ws.layout.coarse(item.case_id, item.phase),
            priority=priority[item.volume],
        )
        for item in assignment.lists[rater]
    ]
    return build_package(
        ws.layout.outbox(number),
        rater,
        items,
        scheme_of(ws),
        round_number=number,
        dataset=ws.config.dataset.name,
        unit=ws.unit,
    )


def _inbox_files(ws: Workspace) -> Iterator[Path]:
    for number in rounds(ws):
        yield from (path for path in sorted(ws.layout.inbox(number).rglob("*")) if path.is_file())


def _collect_inputs(ws: Workspace, case_id: str | None) -> dict[str, str]:
    if not rounds(ws):
        raise Waiting("nothing was handed out yet; run `liverset review pack`")
    home = [ws.layout.assignment(number) for number in rounds(ws)]
    decided = [ws.layout.accepted] if ws.layout.accepted.exists() else []
    return ws.hashes([*home, *decided, *_inbox_files(ws)], None)


def _collect(ws: Workspace, case_id: str | None) -> Work:
    outputs: dict[Path, None] = {}
    rows: list[dict[str, Any]] = []
    problems: list[Problem] = []
    accepted = set(_accepted(ws))
    for number, check in _checks(ws):
        rows.append(_return_row(number, check))
        if check.is_usable or (check.labels is not None and check.sha256 in accepted):
            outputs[_keep(ws, check)] = None
        else:
            problems.append(_return_problem(check))
    _write_returns(ws, rows)
    note = f"{len(outputs)} masks in, {len(problems)} wait for a person"
    return Work((*outputs, ws.layout.returns_table), tuple(problems), note)


def _checks(ws: Workspace) -> Iterator[tuple[int, ReturnCheck]]:
    """Every verdict, older returns first, so that a corrected mask replaces the one before."""
    from pipeline.review.returns import check_return

    for number, assignment in _assignments(ws).items():
        sent = _sent(ws, assignment)
        parcels = [path for path in ws.layout.inbox(number).glob("*") if not path.name.startswith(".")]
        for parcel in sorted(parcels, key=lambda path: (path.stat().st_mtime_ns, path.name)):
            yield from ((number, check) for check in check_return(parcel, sent, scheme_of(ws)))


def _sent(ws: Workspace, assignment: Assignment) -> list[SentItem]:
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
        for rater, items in assignment.lists.items()
        for item in items
    ]


def _keep(ws: Workspace, check: ReturnCheck) -> Path:
    from pipeline.image.nifti import write_nifti

    item, labels = check.item, check.labels
    if item is None or labels is None:
        raise ReviewError("a mask was accepted that was never read")
    path = _rating_of(ws, item.case_id, item.phase, item.rater, is_repeat=item.is_repeat)
    write_nifti(path, labels)
    return path


def _rating_of(ws: Workspace, case_id: str, phase: Phase, rater: str, *, is_repeat: bool) -> Path:
    layout = ws.layout
    return layout.repeat_rating(case_id, phase, rater) if is_repeat else layout.rating(case_id, phase, rater)


def _return_row(number: int, check: ReturnCheck) -> dict[str, Any]:
    item = check.item
    return {
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


def _return_problem(check: ReturnCheck) -> Problem:
    by = f" (rater {check.item.rater})" if check.item else ""
    return Problem(f"return-{check.verdict}", Severity.FLAG, f"{check.sentence}{by}", check.cure)


def _write_returns(ws: Workspace, rows: Sequence[Mapping[str, Any]]) -> None:
    from pipeline.dataset.manifest import csv_text

    write_text(ws.layout.returns_table, csv_text(RETURN_COLUMNS, rows))


PACK = Stage(
    name="pack",
    code=("core", "review", "image", "stages/review.py"),
    packages=("numpy", "jinja2", "pillow"),
    sections=lambda config: (config.review, config.labels, config.dataset),
    inputs=_pack_inputs,
    work=_pack,
)

COLLECT = Stage(
    name="collect",
    code=("core", "review", "image", "stages/review.py"),
    packages=("numpy",),
    sections=lambda config: (config.labels,),
    inputs=_collect_inputs,
    work=_collect,
)
