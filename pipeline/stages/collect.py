"""Take back what radiologists outlined: every mask checked, accepted ones kept, the rest reported with a fix."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.config import LEAD
from pipeline.core.errors import ReviewError
from pipeline.core.files import csv_text, digest, read_csv, write_text
from pipeline.core.records import Problem, Severity
from pipeline.core.words import counted
from pipeline.dataset.layout import ADJUDICATION, ROUND
from pipeline.review.assignment import item_id_of
from pipeline.stages.adjudicate import adjudications
from pipeline.stages.artefacts import (
    AcceptedMask,
    AcceptedMasks,
    AskedItem,
    CheckedParcel,
    CheckedReturns,
    LeadDecision,
    ReturnRow,
    VolumeKey,
)
from pipeline.stages.case import read_vote, require_vote, standing
from pipeline.stages.handed_out import assignments, hand_outs, was_replaced
from pipeline.stages.pack import scheme_of
from pipeline.stages.recall import handed_out
from pipeline.workspace import Stage, Waiting, Work, Workspace

if TYPE_CHECKING:
    from pipeline.review.assignment import AssignedItem
    from pipeline.review.returns import ReturnCheck, SentItem

RETURN_COLUMNS = tuple(field.name for field in fields(ReturnRow) if field.name != "used")


@dataclass(frozen=True, slots=True)
class ReaderStatus:
    """How far a rater or the lead radiologist has come in a round.

    Attributes:
        kind: "round" or "adjudication".
        round: its number.
        rater: code, or "lead".
        assigned: masks asked for.
        returned: masks that count.
        asked: item to what the reader must do about it.
    """

    kind: str
    round: int
    rater: str
    assigned: int
    returned: int
    asked: dict[str, str]


def returned(ws: Workspace) -> list[dict[str, str]]:
    """The verdict on every mask that came back, as `returns.csv` has it; none before the first check."""
    return read_csv(ws.layout.returns_table)


def review_status(ws: Workspace) -> list[ReaderStatus]:
    """How many masks each rater and the lead were asked for, how many are in, and what needs an answer."""
    rows, there = returned(ws), standing(ws)
    found = []
    for number, assignment in assignments(ws).items():
        for rater, listed in assignment.lists.items():
            items = [item for item in listed if item.volume in there and not _is_superseded(ws, number, item.volume)]
            back = sum(_rating(ws, item, rater).is_file() for item in items)
            asked = _asked_of(rows, ROUND, number, rater)
            open_items = {item.item_id: asked[item.item_id] for item in items if item.item_id in asked}
            found.append(ReaderStatus(ROUND, number, rater, len(items), back, open_items))
    for number, votes_asked in adjudications(ws).items():
        settled = [item for item in votes_asked if item.volume in there]
        votes = (read_vote(ws, item.case_id, item.phase) for item in settled)
        back = sum(vote is not None and vote.decision is not None for vote in votes)
        open_items = _asked_of(rows, ADJUDICATION, number, LEAD)
        found.append(ReaderStatus(ADJUDICATION, number, LEAD, len(settled), back, open_items))
    return found


def _is_superseded(ws: Workspace, number: int, volume: VolumeKey) -> bool:
    """True when a later round handed out another image of the volume."""
    return hand_outs(ws)[volume].round > number


def _asked_of(rows: list[dict[str, str]], kind: str, number: int, rater: str) -> dict[str, str]:
    """What a reader must still do, by item: the last verdict on each counts."""
    own = [row for row in rows if (row["kind"], row["round"], row["rater"]) == (kind, str(number), rater)]
    last = {row["item"]: row for row in own}
    return {item: row["fix"] for item, row in last.items() if not row["verdict"].startswith("accept")}


def accept_flagged(ws: Workspace, rater: str, item_id: str) -> None:
    """Use a flagged mask as it is from now on: a person looked at it. Another file of the same name is flagged anew.

    Raises:
        ReviewError: when there is no flagged mask of this item from this rater.
    """
    flagged = [row for row in returned(ws) if (row["rater"], row["item"], row["verdict"]) == (rater, item_id, "flag")]
    if not flagged:
        raise ReviewError(
            f"no flagged mask of {item_id} from {rater}; `liverset review status` lists the flagged masks"
        )
    others = [mask for mask in _accepted(ws) if (mask.rater, mask.item) != (rater, item_id)]
    masks = sorted([*others, *(AcceptedMask(rater, item_id, row["sha256"]) for row in flagged)])
    AcceptedMasks(masks=tuple(masks)).save(ws.layout.accepted)


def _accepted(ws: Workspace) -> tuple[AcceptedMask, ...]:
    return AcceptedMasks.load(ws.layout.accepted).masks if ws.layout.accepted.exists() else ()


def _rating(ws: Workspace, item: AssignedItem | SentItem, rater: str) -> Path:
    place = ws.layout.repeat_rating if item.is_repeat else ws.layout.rating
    return place(item.case_id, item.phase, rater)


def _rounds(ws: Workspace) -> list[tuple[str, int]]:
    return [(kind, number) for kind in (ROUND, ADJUDICATION) for number in ws.layout.numbers(kind)]


def _inputs(ws: Workspace, case_id: str | None) -> dict[str, str]:
    rounds = _rounds(ws)
    if not rounds:
        raise Waiting("no package was handed out yet; run `liverset review pack`")
    replaced = [f"{number} {item_id_of(*volume)}" for number in ws.layout.numbers() for volume in _replaced(ws, number)]
    sent = [ws.layout.assignment(number, kind) for kind, number in rounds]
    decided = [ws.layout.accepted] if ws.layout.accepted.exists() else []
    inboxes = [path for kind, number in rounds for path in ws.layout.inbox(number, kind).rglob("*")]
    files = ws.hashes([*sent, *decided, *(path for path in inboxes if path.is_file())], None)
    gone = _gone(ws)
    changes = {"gone": gone, "replaced images": replaced}
    return {**files, **{name: digest(found) for name, found in changes.items() if found}}


def _gone(ws: Workspace) -> list[str]:
    """Volumes that were handed out and are no longer part of the dataset."""
    return sorted(" ".join(volume) for volume in {sent.volume for sent in handed_out(ws)} - standing(ws))


def _replaced(ws: Workspace, number: int) -> list[VolumeKey]:
    """Volumes of a round of which another image has replaced the one that was handed out."""
    volumes = {item.volume for items in assignments(ws)[number].lists.values() for item in items}
    return [volume for volume in sorted(volumes) if was_replaced(ws, volume, number)]


def _collect(ws: Workspace, case_id: str | None) -> Work:
    accepted = _accepted(ws)
    parcels = [
        parcel for kind, number in _rounds(ws) for parcel in _Inbox(ws, kind, number, accepted).checked().values()
    ]
    rows = [row for parcel in parcels for row in parcel.rows]
    kept = {ws.root / name for parcel in parcels for name in parcel.kept}
    answered = {(row.kind, row.rater, row.item): row.round for row in rows if row.used}
    doubtful = [row for row in rows if not row.used and row.round >= answered.get((row.kind, row.rater, row.item), 0)]
    write_text(ws.layout.returns_table, csv_text(RETURN_COLUMNS, [asdict(row) for row in rows]))
    needs = "needs" if len(doubtful) == 1 else "need"
    note = f"{counted(sum(row.used for row in rows), 'mask')} accepted, {len(doubtful)} {needs} review"
    return Work((*kept, ws.layout.returns_table), tuple(_problem(row) for row in doubtful), note)


class _Inbox:
    """The returns of one round, checked against what was sent in it."""

    def __init__(self, ws: Workspace, kind: str, number: int, accepted: tuple[AcceptedMask, ...]) -> None:
        self.ws, self.kind, self.number, self.accepted = ws, kind, number, accepted
        self.asked = adjudications(ws)[number] if kind == ADJUDICATION else ()
        self.there, self.gone = standing(ws), _gone(ws)
        self.replaced = {other: _replaced(ws, other) for other in ws.layout.numbers()} if kind == ROUND else {}

    def checked(self) -> dict[str, CheckedParcel]:
        """Each return with its verdicts, older ones first, so that a corrected mask replaces the one before."""
        memory = self.ws.layout.checked(self.number, self.kind)
        known = CheckedReturns.load(memory).parcels if memory.exists() else {}
        found = [path for path in self.ws.layout.inbox(self.number, self.kind).glob("*") if path.name[0] != "."]
        parcels: dict[str, CheckedParcel] = {}
        for path in sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name)):
            fingerprint = self._fingerprint(path)
            before = known.get(fingerprint)
            is_whole = before is not None and all((self.ws.root / name).is_file() for name in before.kept)
            parcels[fingerprint] = before if before is not None and is_whole else self._check(path)
        CheckedReturns(parcels=parcels).save(memory)
        return parcels

    def _fingerprint(self, parcel: Path) -> str:
        """Changes with any byte of a return, with a mask that a person accepts, and when a volume goes or changes."""
        files = sorted(path for path in parcel.rglob("*") if path.is_file()) if parcel.is_dir() else [parcel]
        accepted = [[mask.rater, mask.item, mask.sha256] for mask in self.accepted]
        gone = [self.gone] if self.gone else []
        return digest([*self.ws.hashes(files, None).values(), accepted, *gone, *self.replaced.values()])

    def _check(self, parcel: Path) -> CheckedParcel:
        """The verdict on every mask of a return; those that count are kept, all are logged."""
        from pipeline.review.returns import check_each
        from pipeline.review.state import from_lines, to_lines, with_checks

        log = self.ws.layout.review_log(self.number, self.kind)
        entries = from_lines(log.read_text(encoding="utf-8")) if log.exists() else ()
        sent = self._sent_to_raters() if self.kind == ROUND else [self._sent_to_lead(item) for item in self.asked]
        rows: list[ReturnRow] = []
        kept: list[Path] = []
        for check in check_each(parcel, sent, scheme_of(self.ws)):
            row = self._row(check)
            kept += [*self._keep_earlier(check), *(self._keep(check) if row.used else [])]
            rows.append(row)
            entries = with_checks(entries, [check])
        write_text(log, to_lines(entries))
        return CheckedParcel(tuple(rows), tuple(path.relative_to(self.ws.root).as_posix() for path in kept))

    def _row(self, check: ReturnCheck) -> ReturnRow:
        item = check.item
        key = AcceptedMask(item.rater, item.item_id, check.sha256) if item else None
        return ReturnRow(
            kind=self.kind,
            round=self.number,
            rater=item.rater if item else None,
            item=item.item_id if item else None,
            verdict=str(check.verdict),
            message=check.sentence,
            fix=check.fix,
            repairs="; ".join(check.repairs),
            changed_voxels=check.changed_voxels,
            sha256=check.sha256,
            used=check.is_usable or (check.labels is not None and key in self.accepted),
        )

    def _keep(self, check: ReturnCheck) -> list[Path]:
        from pipeline.image.nifti import write_nifti

        item, labels = check.item, check.labels
        if item is None or labels is None:
            raise ReviewError("a mask was accepted that was never read; check the returns again")
        if self.kind == ROUND:
            path = _rating(self.ws, item, item.rater)
            write_nifti(path, labels)
            return [path]
        layout, volume = self.ws.layout, (item.case_id, item.phase)
        voted_sha256 = next(asked.voted_sha256 for asked in self.asked if (asked.case_id, asked.phase) == volume)
        write_nifti(layout.adjudicated(*volume), labels)
        decision = LeadDecision(by=item.rater, voted_sha256=voted_sha256, changed_voxels=check.changed_voxels)
        decision.save(layout.adjudication(*volume))
        return [layout.adjudicated(*volume), layout.adjudication(*volume)]

    def _keep_earlier(self, check: ReturnCheck) -> list[Path]:
        """A mask of an image that was replaced, on that image's own grid; of hidden repeats none is needed."""
        from pipeline.image.nifti import write_nifti

        item = check.item
        if item is None or check.earlier is None or item.is_repeat or self.kind != ROUND:
            return []
        number, labels = check.earlier
        path = self.ws.layout.earlier_rating(item.case_id, item.phase, number, item.rater)
        write_nifti(path, labels)
        return [path]

    def _sent_to_raters(self) -> list[SentItem]:
        from pipeline.review.returns import SentItem

        ws = self.ws
        return [
            SentItem(
                item_id=item.item_id,
                rater=rater,
                case_id=item.case_id,
                phase=item.phase,
                image=ws.layout.image(item.case_id, item.phase),
                coarse=self._coarse_of(rater, item),
                is_repeat=item.is_repeat,
                round=self.number,
                earlier=self._earlier_packages(rater, item),
                unit=ws.unit,
                package=self._package(self.number, rater),
                is_gone=item.volume not in self.there,
            )
            for rater, items in assignments(ws)[self.number].lists.items()
            for item in items
        ]

    def _coarse_of(self, rater: str, item: AssignedItem) -> Path:
        """The mask that was sent; of an image that was replaced, the network's label of the new one."""
        carried = self.ws.layout.carried_over(self.number, rater, item.item_id)
        is_carried = carried.is_file() and item.volume not in self.replaced[self.number]
        return carried if is_carried else self.ws.layout.coarse(item.case_id, item.phase)

    def _package(self, number: int, rater: str) -> Path:
        from pipeline.review.package import package_name
        from pipeline.review.pages import PackageFacts

        facts = PackageFacts(self.ws.config.dataset.name, number, rater)
        return self.ws.layout.outbox(number) / package_name(facts)

    def _earlier_packages(self, rater: str, item: AssignedItem) -> dict[int, Path]:
        """The package of every round that sent a rater an image of this volume that another one has replaced."""
        sent = {number: assignment.lists.get(rater, ()) for number, assignment in assignments(self.ws).items()}
        rounds = [number for number, volumes in self.replaced.items() if item.volume in volumes]
        return {number: self._package(number, rater) for number in rounds if item in sent[number]}

    def _sent_to_lead(self, asked: AskedItem) -> SentItem:
        from pipeline.review.adjudication import anonymous
        from pipeline.review.assignment import item_id_of
        from pipeline.review.returns import SentItem

        ws, case_id, phase = self.ws, asked.case_id, asked.phase
        is_gone = asked.volume not in self.there
        raters = () if is_gone else require_vote(ws, case_id, phase).explanation.raters
        ratings = {rater: ws.layout.rating(case_id, phase, rater) for rater in raters}
        item_id = item_id_of(case_id, phase)
        return SentItem(
            item_id=item_id,
            rater=LEAD,
            case_id=case_id,
            phase=phase,
            image=ws.layout.image(case_id, phase),
            coarse=ws.layout.consensus(case_id, phase),
            unit=ws.unit,
            readings=anonymous(ratings, dataset=ws.config.dataset.name, item_id=item_id),
            is_gone=is_gone,
        )


def _problem(row: ReturnRow) -> Problem:
    by = f" (rater {row.rater})" if row.rater else ""
    return Problem(f"return-{row.verdict}", Severity.FLAG, f"{row.message}{by}", row.fix)


COLLECT = Stage(
    name="collect",
    sections=lambda config: (config.labels, config.review),
    inputs=_inputs,
    work=_collect,
)
