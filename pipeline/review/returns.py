"""The check of masks that come back: every file gets a verdict, one plain sentence and, where needed, a cure.

In this order: its name is an item's; the file is whole; it has a place in space; it holds whole numbers; they are
labels; it lies on that item's image, voxel for voxel; and it shows what it should (`findings`). The first that fails
ends the check of that file, never that of the others.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import GeometryError, LabelError, PipelineError, ReviewError, StorageError
from pipeline.core.geometry import Geometry
from pipeline.core.labels import Label, LabelScheme
from pipeline.core.records import Phase, Problem, Severity
from pipeline.core.volume import LabelMap, Unit
from pipeline.image.masks import StoredMask, decode_mask, mask_suffix, place, read_labels_of
from pipeline.image.nifti import read_labels, read_volume
from pipeline.review.findings import dice, findings
from pipeline.review.package import STATUS_AGREE
from pipeline.review.parcels import Parcel, ReturnedFile, open_parcel


class Verdict(StrEnum):
    """What becomes of a returned mask: used, used after a listed repair, waits for a person, or is sent for again."""

    ACCEPT = "accept"
    ACCEPT_REPAIRED = "accept_repaired"
    FLAG = "flag"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class SentItem:
    """One volume as it went to one rater.

    Attributes:
        item_id: as the rater knows it.
        rater: code.
        case_id: "P0001"...
        phase: of the case.
        image: the volume that was sent.
        coarse: the mask that was sent.
        is_repeat: a hidden repeat: compared with the rater's first reading, never voted.
        unit: what the image's numbers mean.
    """

    item_id: str
    rater: str
    case_id: str
    phase: Phase
    image: Path
    coarse: Path
    is_repeat: bool = False
    unit: Unit = Unit.HU


@dataclass(frozen=True, slots=True, eq=False)
class ReturnCheck:
    """The verdict on one returned item.

    Attributes:
        verdict: what becomes of it.
        sentence: what was found, in one plain sentence without patient data.
        cure: what the rater can do; empty where nothing is needed.
        item: which volume and rater; None where the file could not be matched.
        repairs: what was done to the mask to use it.
        problems: everything noticed, worst first.
        labels: the mask on the image's grid; None when rejected.
        sha256: of the file as it came; the same return again has the same.
        changed_voxels: voxels that differ from the mask as sent.
        changed_slices: slices with such voxels, indices from 0.
        dice_to_sent: of the whole liver; None where no mask was read.
    """

    verdict: Verdict
    sentence: str
    cure: str = ""
    item: SentItem | None = None
    repairs: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    labels: LabelMap | None = None
    sha256: str = ""
    changed_voxels: int = 0
    changed_slices: tuple[int, ...] = ()
    dice_to_sent: float | None = None

    @property
    def is_usable(self) -> bool:
        """True when the mask may be voted on as it is."""
        return self.verdict in (Verdict.ACCEPT, Verdict.ACCEPT_REPAIRED)

    def to_json(self) -> dict[str, Any]:
        """Everything but the mask, as JSON-able values."""
        item = self.item
        return {
            "item": item.item_id if item else None,
            "rater": item.rater if item else None,
            "case_id": item.case_id if item else None,
            "phase": str(item.phase) if item else None,
            "is_repeat": item.is_repeat if item else False,
            "verdict": str(self.verdict),
            "sentence": self.sentence,
            "cure": self.cure,
            "repairs": list(self.repairs),
            "problems": [
                {"code": p.code, "severity": str(p.severity), "message": p.message, "cure": p.cure}
                for p in self.problems
            ],
            "sha256": self.sha256,
            "changed_voxels": self.changed_voxels,
            "changed_slices": list(self.changed_slices),
            "dice_to_sent": None if self.dice_to_sent is None else round(self.dice_to_sent, 6),
        }


def check_return(
    path: Path, sent: Sequence[SentItem], scheme: LabelScheme | None = None, *, rater: str | None = None
) -> tuple[ReturnCheck, ...]:
    """A verdict on every mask of a return; never empty. `check_each` gives them one at a time, for large returns."""
    return tuple(check_each(path, sent, scheme, rater=rater))


def check_each(
    path: Path, sent: Sequence[SentItem], scheme: LabelScheme | None = None, *, rater: str | None = None
) -> Iterator[ReturnCheck]:
    """The verdicts of `check_return` one after the other, so that one mask is in memory at a time.

    Files that match no item come first, then the items in order.

    Args:
        path: a zip, a folder or a single file.
        sent: everything that was sent in this round, to all raters.
        scheme: the labels that may occur.
        rater: whose return this is, where its names do not tell.
    """
    try:
        parcel = open_parcel(path, {item.rater for item in sent})
    except ReviewError as error:
        yield _refused("unreadable-return", str(error))
        return
    reader = rater or parcel.rater or _only_rater(sent)
    if not parcel.masks:
        yield _refused("no-mask", "the return holds no mask; send the files named <item>_mask.nii.gz")
    elif reader is None:
        yield _refused("unknown-rater", "nothing tells whose return this is; send package.json with the masks")
    else:
        yield from _Desk(reader, sent, scheme or LabelScheme()).check(parcel)


def _only_rater(sent: Sequence[SentItem]) -> str | None:
    raters = {item.rater for item in sent}
    return raters.pop() if len(raters) == 1 else None


def _refused(code: str, sentence: str, item: SentItem | None = None, *, sha256: str = "") -> ReturnCheck:
    """A rejection whose sentence ends in its cure, after a semicolon."""
    found, _, cure = sentence.partition("; ")
    problem = Problem(code, Severity.REFUSE, found, cure)
    return ReturnCheck(Verdict.REJECT, found, cure, item, problems=(problem,), sha256=sha256)


class _Desk:
    """Where one rater's parcel is checked: knows what was sent to whom."""

    def __init__(self, rater: str, sent: Sequence[SentItem], scheme: LabelScheme) -> None:
        self.items = {item.item_id: item for item in sent if item.rater == rater}
        self.names = sorted({item.item_id for item in sent}, key=len, reverse=True)
        self.scheme = scheme
        self.grid = cache(_grid_of)

    def check(self, parcel: Parcel) -> Iterator[ReturnCheck]:
        """Files matched to items, each item judged once."""
        matched: dict[str, list[ReturnedFile]] = {}
        for number, file in enumerate(parcel.masks, start=1):
            named = self._items_named(file)
            if len(named) == 1 and named[0] in self.items:
                matched.setdefault(named[0], []).append(file)
            else:
                yield _unmatched(number, named)
        for item_id, files in sorted(matched.items()):
            agreed = parcel.statuses.get(item_id) == STATUS_AGREE
            yield _judged([self._check_file(file, self.items[item_id], agreed) for file in files])

    def _items_named(self, file: ReturnedFile) -> list[str]:
        """Items in a file's own name and in that of its folder; only the own name counts where it names one."""
        own = _names_in(file.path.name, self.names)
        around = _names_in(file.path.parent.name, self.names)
        return sorted(set(own) | set(around)) if own and around and own != around else own or around

    def _check_file(self, file: ReturnedFile, item: SentItem, agreed: bool) -> ReturnCheck:
        try:
            content = file.read()
        except (ReviewError, OSError) as error:
            reason = str(error) if isinstance(error, ReviewError) else "the file cannot be read; send it again"
            return _refused("unreadable-file", f"the mask of {item.item_id}: {reason}", item)
        sha256 = hashlib.sha256(content).hexdigest()
        name = f"{item.item_id}_mask{mask_suffix(file.path.name) or file.path.suffix.lower()}"
        try:
            return replace(self._check_mask(decode_mask(content, name), item, agreed), sha256=sha256)
        except PipelineError as error:
            return _refused(_CODES.get(type(error), "unusable"), str(error), item, sha256=sha256)

    def _check_mask(self, mask: StoredMask, item: SentItem, agreed: bool) -> ReturnCheck:
        sent, what = read_labels(item.coarse), f"the mask of {item.item_id}"
        try:
            reading = read_labels_of(mask, self.scheme, what=what)
            placement = place(reading.labels, sent.geometry, what=what)
        except GeometryError as error:
            owner = self._owner(mask.geometry, item)
            return _belongs_to(item, owner) if owner else _refused(_CODES[GeometryError], str(error), item)
        misplaced = placement.shift_voxels > 0 or placement.lost_voxels > 0
        owner = self._owner(mask.geometry, item) if misplaced else None
        if owner:
            return _belongs_to(item, owner)
        problems = _placement_problems(
            item, mask.geometry, sent.geometry, placement.shift_voxels, placement.lost_voxels
        )
        image = read_volume(item.image, item.unit)
        others = partial(self._masks_on, sent.geometry, item)
        problems += findings(item.item_id, placement.labels, sent, image, others, agreed=agreed)
        return _verdict(item, placement.labels, sent, problems, (*reading.repairs, *placement.repairs))

    def _owner(self, geometry: Geometry, item: SentItem) -> str | None:
        """Another item whose grid is exactly the file's."""
        return next((other.item_id for other in self._other_volumes(item) if self._is_on(other, geometry)), None)

    def _masks_on(self, geometry: Geometry, item: SentItem) -> dict[str, LabelMap]:
        """Masks sent for other volumes that lie on the same grid."""
        return {
            other.item_id: read_labels(other.coarse)
            for other in self._other_volumes(item)
            if self._is_on(other, geometry)
        }

    def _is_on(self, other: SentItem, geometry: Geometry) -> bool:
        return self.grid(other.coarse).same_space(geometry)

    def _other_volumes(self, item: SentItem) -> list[SentItem]:
        mine = item.case_id, item.phase
        return [other for other in self.items.values() if (other.case_id, other.phase) != mine and not other.is_repeat]


_CODES: Mapping[type, str] = {
    StorageError: "damaged",
    GeometryError: "wrong-grid",
    LabelError: "wrong-labels",
}


def _grid_of(path: Path) -> Geometry:
    return read_labels(path).geometry


def _names_in(text: str, names: Sequence[str]) -> list[str]:
    """Item names that stand alone in a text."""
    return sorted(
        name for name in names if re.search(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", text, re.IGNORECASE)
    )


def _unmatched(number: int, named: Sequence[str]) -> ReturnCheck:
    """A rejection of a file that is no item's; its own name is not repeated."""
    file = f"mask file {number} of the return"
    if len(named) > 1:
        return _refused("wrong-case", f"{file} is named for {' and '.join(named)}; save it under one item's name")
    if named:
        return _refused("not-assigned", f"{file} is of {named[0]}, which this rater was not sent; check the package")
    return _refused("unknown-item", f"{file} has a name that is none of the items; save it as <item>_mask.nii.gz")


def _judged(checks: list[ReturnCheck]) -> ReturnCheck:
    """One verdict for an item of which several files came: the one edited mask counts, two are a question."""
    if len(checks) == 1:
        return checks[0]
    edited = [check for check in checks if check.changed_voxels or check.labels is None]
    distinct = {check.labels.voxels.tobytes() if check.labels else check.sha256: check for check in edited}
    if not distinct:
        return checks[0]
    if len(distinct) == 1:
        return next(iter(distinct.values()))
    item = checks[0].item
    name = item.item_id if item else "an item"
    return _refused(
        "two-masks", f"two different masks came for {name}; keep the right one in its folder and send it", item
    )


def _belongs_to(item: SentItem, owner: str) -> ReturnCheck:
    sentence = f"the file named {item.item_id} lies on the image of {owner}; open {item.item_id} and save its own mask"
    return _refused("wrong-case", sentence, item)


def _placement_problems(
    item: SentItem, found: Geometry, wanted: Geometry, shift_voxels: float, lost_voxels: int
) -> tuple[Problem, ...]:
    what = f"the mask of {item.item_id}"
    cure = f"open the folder of {item.item_id} as it was sent and save the mask from there"
    if shift_voxels > 0:
        near = found.distance_mm(wanted) <= max(wanted.spacing_mm)
        severity = Severity.FLAG if near else Severity.REFUSE
        return (Problem("between-voxels", severity, f"{what} lies {shift_voxels:.2f} voxels off its image", cure),)
    if lost_voxels > 0:
        return (Problem("outside-image", Severity.FLAG, f"{what} reaches {lost_voxels} voxels out of its image", cure),)
    return ()


def _verdict(
    item: SentItem, labels: LabelMap, sent: LabelMap, problems: tuple[Problem, ...], repairs: tuple[str, ...]
) -> ReturnCheck:
    differs = labels.voxels != sent.voxels
    slices = tuple(np.flatnonzero(differs.any(axis=(1, 2))).tolist())
    changed = int(np.count_nonzero(differs))
    severities = {problem.severity for problem in problems}
    verdict = Verdict.ACCEPT_REPAIRED if repairs else Verdict.ACCEPT
    sentence, cure = _good_news(item, changed, len(slices), repairs), ""
    for severity, worse in ((Severity.FLAG, Verdict.FLAG), (Severity.REFUSE, Verdict.REJECT)):
        if severity in severities:
            worst = next(problem for problem in problems if problem.severity is severity)
            verdict, sentence, cure = worse, worst.message, worst.cure
    kept = None if verdict is Verdict.REJECT else labels
    return ReturnCheck(
        verdict,
        sentence,
        cure,
        item,
        repairs,
        problems,
        kept,
        changed_voxels=changed,
        changed_slices=slices,
        dice_to_sent=_whole_dice(labels, sent),
    )


def _good_news(item: SentItem, changed: int, slices: int, repairs: tuple[str, ...]) -> str:
    edit = f"{changed} voxels changed on {slices} slices" if changed else "the rater agrees with it as sent"
    return f"the mask of {item.item_id} is good: {'; '.join((edit, *repairs))}"


def _whole_dice(one: LabelMap, other: LabelMap) -> float:
    return dice(one.voxels != Label.BACKGROUND, other.voxels != Label.BACKGROUND)
