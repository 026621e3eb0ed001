"""The check of masks that come back: every file gets a verdict, one plain sentence and, where needed, a fix.

In this order: its name is an item's; the file is whole; it has a place in space; it holds whole numbers; they are
labels; it lies on that item's image, voxel for voxel; and it shows what it should (`findings`). The first that fails
ends the check of that file, never that of the others.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

from pipeline.core.errors import GeometryError, LabelError, ReviewError, StorageError
from pipeline.core.file_names import STATUS_AGREE, package_mask
from pipeline.core.geometry import Geometry
from pipeline.core.labels import LabelScheme
from pipeline.core.records import Problem, Severity
from pipeline.core.volume import LabelMap
from pipeline.image.masks import StoredMask, decode_mask, mask_suffix, place, read_labels_of
from pipeline.image.nifti import content_sha256, read_labels, read_volume
from pipeline.review.carry import NOT_CARRIED, carried_over
from pipeline.review.findings import findings
from pipeline.review.package import sent_mask
from pipeline.review.parcels import Parcel, Remark, ReturnedFile, open_parcel
from pipeline.review.verdicts import ReturnCheck, SentItem, Verdict, judged, refused

__all__ = ["ReturnCheck", "SentItem", "Verdict", "check_each", "check_return"]


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

    Raises:
        StorageError: when an image or mask that was sent cannot be read at home.
    """
    try:
        parcel = open_parcel(path, {item.rater for item in sent})
    except ReviewError as error:
        yield refused("unreadable-return", str(error))
        return
    reader = rater or parcel.rater or _only_rater(sent)
    if reader is None:
        yield refused("unknown-rater", "nothing says whose return this is")
        return
    checks = _Desk(reader, sent, scheme or LabelScheme()).check(parcel)
    first = next(checks, None)
    yield first or refused("no-mask", "the return holds no mask")
    yield from checks


def _only_rater(sent: Sequence[SentItem]) -> str | None:
    raters = {item.rater for item in sent}
    return raters.pop() if len(raters) == 1 else None


class _Desk:
    """Where one rater's parcel is checked: knows what was sent to whom."""

    def __init__(self, rater: str, sent: Sequence[SentItem], scheme: LabelScheme) -> None:
        own = {item.item_id: item for item in sent if item.rater == rater}
        self.items = {name: item for name, item in own.items() if not item.is_gone}
        self.gone = {name: item for name, item in own.items() if item.is_gone}
        self.names = sorted({item.item_id for item in sent})
        self.scheme = scheme
        self.grid = cache(_grid_of)
        self.round_number: int | None = None

    def check(self, parcel: Parcel) -> Iterator[ReturnCheck]:
        """Files matched to items, each item judged once."""
        self.round_number = parcel.round_number
        matched: dict[str, list[ReturnedFile]] = {}
        for number, file in enumerate(parcel.masks, start=1):
            named = _items_named(file, self.names)
            if len(named) == 1 and named[0] in self.items:
                matched.setdefault(named[0], []).append(file)
            elif len(named) == 1 and named[0] in self.gone:
                sentence = f"the mask of {named[0]} is set aside: the volume is no longer part of the dataset"
                yield refused("set-aside", sentence, self.gone[named[0]])
            else:
                yield _unmatched(number, named)
        for item_id, item in sorted(self.items.items()):
            remark = parcel.remarks.get(item_id, Remark())
            check = self._decide(item, matched.get(item_id, []), remark)
            if check is not None:
                yield replace(check, comment=remark.comment)

    def _decide(self, item: SentItem, files: Sequence[ReturnedFile], remark: Remark) -> ReturnCheck | None:
        """The verdict on one item by its files and by the word in the worklist; None when neither says anything."""
        word = remark.status
        by_word = _by_word(item, word, self.round_number)
        if not files:
            return by_word
        check = _one_of([self._check_file(file, item, agreed=word == STATUS_AGREE) for file in files])
        if by_word is None or word == STATUS_AGREE:
            return check
        was_edited = check.labels is None or check.changed_voxels > 0
        return _two_decisions(item, word) if was_edited else by_word

    def _check_file(self, file: ReturnedFile, item: SentItem, *, agreed: bool) -> ReturnCheck:
        try:
            content = file.read()
        except ReviewError as error:
            return refused("damaged", f"the mask of {item.item_id} cannot be read; {error}", item)
        name = package_mask(item.item_id, mask_suffix(file.path.name) or file.path.suffix.lower())
        try:
            check = self._check_mask(decode_mask(content, name), item, agreed=agreed)
        except (StorageError, GeometryError) as error:
            check = refused(_CODE_OF_ERROR[type(error)], str(error), item)
        return replace(check, sha256=hashlib.sha256(content).hexdigest())

    def _check_mask(self, mask: StoredMask, item: SentItem, *, agreed: bool) -> ReturnCheck:
        number = self._earlier_round(item, mask.geometry)
        if number is not None:
            return self._check_earlier(mask, item, number)
        sent, what = _as_sent(item), f"the mask of {item.item_id}"
        try:
            reading = read_labels_of(mask, self.scheme, what=what)
            placement = place(reading.labels, sent.geometry, what=what)
        except (GeometryError, LabelError) as error:
            owner = self._owner(mask.geometry, item) if isinstance(error, GeometryError) else None
            return _belongs_to(item, owner) if owner else refused(_CODE_OF_ERROR[type(error)], str(error), item)
        problems = _misplaced(item, mask.geometry, sent.geometry, placement.shift_voxels, placement.lost_voxels)
        owner = self._owner(mask.geometry, item) if problems else None
        if owner:
            return _belongs_to(item, owner)
        image = read_volume(item.image, item.unit)
        if not image.geometry.same_space(sent.geometry):
            return _kept(item, (item.round, placement.labels), NOT_LABELLED, PACK_NEW)
        others = partial(self._masks_on, sent.geometry, item)
        problems += findings(
            item.item_id, placement.labels, sent, image, others, agreed=agreed, kinds=self.scheme.kind_names
        )
        return judged(item, placement.labels, sent, problems, (*reading.repairs, *placement.repairs))

    def _earlier_round(self, item: SentItem, geometry: Geometry) -> int | None:
        """The round whose image a mask is about, where another one replaced that; None for the image of today."""
        own = item.round if item.is_replaced else None
        if not item.earlier:
            return None
        if self.round_number is not None:
            return self.round_number if self.round_number in item.earlier else None
        grids = {n: sent_mask(path, item.item_id).geometry for n, path in item.earlier.items() if path.is_file()}
        fitting = [number for number, grid in grids.items() if grid.same_space(geometry)]
        if self.grid(item.coarse).same_space(geometry):
            return own if own in fitting else None
        return max(fitting, default=own)

    def _check_earlier(self, mask: StoredMask, item: SentItem, number: int) -> ReturnCheck:
        """A mask of an image that was replaced; on the whole grid that was sent, where the package still shows it."""
        what, package = f"the mask of {item.item_id}", item.earlier[number]
        try:
            labels = read_labels_of(mask, self.scheme, what=what).labels
            if package.is_file():
                labels = place(labels, sent_mask(package, item.item_id).geometry, what=what).labels
        except (GeometryError, LabelError) as error:
            return refused(_CODE_OF_ERROR[type(error)], str(error), item)
        return _of_earlier_image(item, labels, number)

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


_REPLACED = "the image of {} was replaced after this mask was sent; the mask is kept"
NOT_LABELLED = "the new image is not labelled yet"
PACK_NEW = "run `liverset build` and `liverset review pack`; the new package holds this mask where it fits"
OUTLINE_NEW = "outline the image of the newest package"

_CODE_OF_ERROR: Mapping[type, str] = {
    StorageError: "damaged",
    GeometryError: "wrong-grid",
    LabelError: "wrong-labels",
}


def _as_sent(item: SentItem) -> LabelMap:
    """What the mask was edited from; what came from a newer package than the item's own is judged by the new label."""
    if item.package is not None and item.package.is_file() and not item.is_replaced:
        return sent_mask(item.package, item.item_id)
    return read_labels(item.coarse)


def _grid_of(path: Path) -> Geometry:
    return read_labels(path).geometry


def _items_named(file: ReturnedFile, names: Sequence[str]) -> list[str]:
    """Items in a file's own name, or else in that of its folder; both where the two contradict each other."""
    own = _names_in(file.path.name, names)
    around = _names_in(file.path.parent.name, names)
    return sorted({*own, *around}) if own and around and own != around else own or around


def _names_in(text: str, names: Sequence[str]) -> list[str]:
    """Item names that stand alone in a text."""
    return [
        name for name in names if re.search(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", text, re.IGNORECASE)
    ]


def _unmatched(number: int, named: Sequence[str]) -> ReturnCheck:
    """A rejection of a file that is no item's; its own name is not repeated."""
    file = f"mask file {number} of the return"
    if len(named) > 1:
        return refused("wrong-case", f"{file} is named for {' and '.join(named)}; save it under one item's name")
    if named:
        return refused("not-assigned", f"{file} is named for {named[0]}, which this rater was not sent")
    return refused("unknown-item", f"{file} is named for none of the cases sent")


def _by_word(item: SentItem, word: str, round_number: int | None) -> ReturnCheck | None:
    """The verdict that a word in the worklist gives: the mask as sent, or one reader's; None for any other word."""
    chosen = {letter.casefold(): path for letter, path in item.readings.items()}
    if word not in (*chosen, STATUS_AGREE):
        return None
    number = item.round if round_number is None else round_number
    if number in item.earlier:
        return _agreed_earlier(item, number)
    sent = _as_sent(item)
    labels = sent if word == STATUS_AGREE else read_labels(chosen[word])
    return replace(judged(item, labels, sent, (), ()), sha256=content_sha256(labels))


def _agreed_earlier(item: SentItem, number: int) -> ReturnCheck | None:
    """The mask that was sent with an image that was replaced; None where its package is gone."""
    package = item.earlier[number]
    if not package.is_file():
        return None
    labels = sent_mask(package, item.item_id)
    return replace(_of_earlier_image(item, labels, number), sha256=content_sha256(labels))


def _of_earlier_image(item: SentItem, labels: LabelMap, number: int) -> ReturnCheck:
    """A mask of an image that was replaced after it was sent: kept, and carried over for a person to accept."""
    label = read_labels(item.coarse)
    carried = carried_over(labels, label)
    if carried is None:
        return _kept(item, (number, labels), NOT_CARRIED, OUTLINE_NEW)
    problem = Problem("earlier-image", Severity.FLAG, f"{_REPLACED.format(item.item_id)}: {carried.in_words}")
    return replace(judged(item, carried.labels, label, (problem,), ()), earlier=(number, labels))


def _kept(item: SentItem, earlier: tuple[int, LabelMap], why: str, fix: str) -> ReturnCheck:
    """A flag on a mask that is kept and cannot be used on the image of today."""
    problem = Problem("earlier-image", Severity.FLAG, f"{_REPLACED.format(item.item_id)}: {why}", fix)
    return ReturnCheck(Verdict.FLAG, problem.message, fix, item, problems=(problem,), earlier=earlier)


def _two_decisions(item: SentItem, word: str) -> ReturnCheck:
    sentence = f"for {item.item_id} the worklist chooses reader {word.upper()}, and an edited mask came too"
    return refused("two-decisions", sentence, item)


def _one_of(checks: list[ReturnCheck]) -> ReturnCheck:
    """One verdict for an item of which several files came: the one edited mask counts, two are a question."""
    edited = [check for check in checks if check.changed_voxels or check.labels is None]
    distinct = {check.labels.voxels.tobytes() if check.labels else check.sha256: check for check in edited}
    if len(checks) == 1 or not distinct:
        return checks[0]
    if len(distinct) == 1:
        return next(iter(distinct.values()))
    name = checks[0].item.item_id if checks[0].item else "an item"
    sentence = f"two different masks came for {name}; keep the right one in its folder and send it"
    return refused("two-masks", sentence, checks[0].item)


def _belongs_to(item: SentItem, owner: str) -> ReturnCheck:
    sentence = f"the file named {item.item_id} lies on the image of {owner}; open {item.item_id} and save its own mask"
    return refused("wrong-case", sentence, item)


def _misplaced(
    item: SentItem, found: Geometry, wanted: Geometry, shift_voxels: float, lost_voxels: int
) -> tuple[Problem, ...]:
    """A mask between the voxels, or one that reaches out of its image."""
    what = f"the mask of {item.item_id}"
    fix = f"open the folder of {item.item_id} as it was sent and save the mask from there"
    if shift_voxels > 0:
        near = found.distance_mm(wanted) <= max(wanted.spacing_mm)
        severity = Severity.FLAG if near else Severity.REFUSE
        return (
            Problem(
                "between-voxels", severity, f"{what} lies {shift_voxels:.2f} voxels off the grid of its image", fix
            ),
        )
    if lost_voxels > 0:
        return (
            Problem("outside-image", Severity.FLAG, f"{what} has {lost_voxels} labelled voxels outside its image", fix),
        )
    return ()
