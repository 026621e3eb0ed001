"""One zip per rater with every labelled volume that was not handed out before, in rounds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.files import link_or_copy
from pipeline.core.labels import LabelScheme
from pipeline.core.records import Problem, Severity
from pipeline.core.words import counted
from pipeline.dataset.layout import ADJUDICATION, ROUND
from pipeline.review.assignment import item_id_of
from pipeline.stages.artefacts import CoarseLabel, RoundAssignment, VolumeKey
from pipeline.stages.case import volumes
from pipeline.stages.decisions import use_inputs, was_looked_at
from pipeline.stages.handed_out import HandOut, hand_outs, was_replaced
from pipeline.stages.kept import kept_series
from pipeline.stages.privacy import require_clean, require_searched_for_text
from pipeline.stages.recall import images_sent
from pipeline.workspace import Stage, Waiting, Work, Workspace

if TYPE_CHECKING:
    from pipeline.review.assignment import AssignedItem, Assignment
    from pipeline.review.pages import PackageItem
    from pipeline.segment.priority import Ranked

SCAN_ENDS = frozenset({"first slice", "last slice"})
CUT_FIX = "add its series to decisions.csv with its phase, or with `none` to exclude it"


def scheme_of(ws: Workspace) -> LabelScheme:
    """The labels of this dataset."""
    return ws.config.labels.scheme


def packages(ws: Workspace) -> tuple[Path, ...]:
    """Every package that lies ready to be handed out: rounds first, then adjudications."""
    folders = [ws.layout.outbox(number, kind) for kind in (ROUND, ADJUDICATION) for number in ws.layout.numbers(kind)]
    return tuple(path for folder in folders for path in sorted(folder.glob("*.zip")))


def hashes_of_volumes(ws: Workspace, files: Iterable[tuple[str, Path]]) -> dict[str, str]:
    """Hashes of files of several cases, given with the case each belongs to."""
    by_case: dict[str, list[Path]] = {}
    for case_id, file in files:
        by_case.setdefault(case_id, []).append(file)
    return {name: sha256 for case_id, own in by_case.items() for name, sha256 in ws.hashes(own, case_id).items()}


def _labelled(ws: Workspace) -> list[VolumeKey]:
    return [volume for volume in volumes(ws) if ws.layout.coarse_provenance(*volume).is_file()]


def _pack_inputs(ws: Workspace, case_id: str | None) -> dict[str, str]:
    labelled = _labelled(ws)
    if not labelled:
        raise Waiting("no volume is labelled yet; run `liverset build`")
    places = (ws.layout.coarse, ws.layout.coarse_provenance)
    labels = ((volume[0], place(*volume)) for volume in labelled for place in places)
    return {**use_inputs(ws), **hashes_of_volumes(ws, labels)}


def _pack(ws: Workspace, case_id: str | None) -> Work:
    ready, problems = _ready_and_held_back(ws)
    if not ready:
        return Work((), problems, note="no new volume to hand out")
    require_searched_for_text(ws, ready)
    number = max(ws.layout.numbers(), default=0) + 1
    queue = _queue(ready)
    before = {volume: last for volume, last in hand_outs(ws).items() if volume in ready}
    assignment = _assignment(ws, queue, before)
    sent = {
        rater: [_package_item(ws, number, rater, item, queue, before) for item in items]
        for rater, items in assignment.lists.items()
        if items
    }
    zips = [_rater_package(ws, number, rater, items) for rater, items in sent.items()]
    require_clean(ws, zips, what="the review packages")
    for volume, last in before.items():
        _set_apart(ws, volume, last)
    RoundAssignment(assignment=assignment, images=images_sent(ws, ready)).save(ws.layout.assignment(number))
    note = f"round {number}: {counted(len(ready), 'volume')} in {counted(len(zips), 'package')}"
    again = f", {len(before)} again because the image was replaced" if before else ""
    masks = [item.coarse for items in sent.values() for item in items]
    carried = [mask for mask in masks if mask.is_relative_to(ws.layout.review)]
    return Work((*zips, *carried, ws.layout.assignment(number)), problems, note + again)


def _assignment(
    ws: Workspace, queue: Mapping[VolumeKey, Ranked[VolumeKey]], before: Mapping[VolumeKey, HandOut]
) -> Assignment:
    """New volumes by the rules; a volume whose image was replaced, first, to those who had it."""
    from pipeline.review.assignment import AssignedItem, Assignment, assign

    new = [volume for volume in queue if volume not in before]
    lists = assign(new, ws.config.review, priority={volume: ranked.priority for volume, ranked in queue.items()}).lists
    raters = sorted({*lists, *(rater for last in before.values() for rater in last.raters)})
    again = {
        rater: [
            AssignedItem(item_id_of(*volume), *volume) for volume in sorted(before) if rater in before[volume].raters
        ]
        for rater in raters
    }
    return Assignment({rater: (*again[rater], *lists.get(rater, ())) for rater in raters})


def to_pack(ws: Workspace) -> tuple[VolumeKey, ...]:
    """Labelled volumes that the next round would hand out; those held back are not among them."""
    return tuple(_ready_and_held_back(ws)[0])


def _ready_and_held_back(ws: Workspace) -> tuple[dict[VolumeKey, CoarseLabel], tuple[Problem, ...]]:
    """Labelled volumes that may go and of which no round handed out this image, and why cases are held back."""
    before = hand_outs(ws)
    waiting = [volume for volume in _labelled(ws) if volume not in before or was_replaced(ws, volume)]
    labels = {volume: CoarseLabel.load(ws.layout.coarse_provenance(*volume)) for volume in waiting}
    problems = _livers_cut_off(ws, labels) if ws.config.inclusion.whole_liver else {}
    held_back = {case_id for case_id, _ in problems}
    return {volume: label for volume, label in labels.items() if volume[0] not in held_back}, tuple(problems.values())


def _livers_cut_off(ws: Workspace, labels: Mapping[VolumeKey, CoarseLabel]) -> dict[VolumeKey, Problem]:
    """A flag on each volume whose label touches the first or last slice; not on those a person let pass."""
    found = {}
    for (case_id, phase), label in labels.items():
        ends = [end for end in label.liver_cut if end in SCAN_ENDS]
        if ends and not was_looked_at(ws, kept_series(ws, case_id, phase)):
            message = f"{case_id} is held back: in {phase} the liver reaches the {' and the '.join(ends)}"
            found[case_id, phase] = Problem("liver-cut", Severity.FLAG, message, CUT_FIX)
    return found


def _queue(new: Mapping[VolumeKey, CoarseLabel]) -> dict[VolumeKey, Ranked[VolumeKey]]:
    """How doubtful each volume is, and why, most doubtful first."""
    from pipeline.segment.priority import rank

    apart = {volume: label.phase_disagreement for volume, label in new.items() if label.phase_disagreement}
    facts = {volume: label.facts for volume, label in new.items()}
    return {ranked.key: ranked for ranked in rank(facts, phase_disagreement=apart)}


def _package_item(
    ws: Workspace,
    number: int,
    rater: str,
    item: AssignedItem,
    queue: Mapping[VolumeKey, Ranked[VolumeKey]],
    before: Mapping[VolumeKey, HandOut],
) -> PackageItem:
    from pipeline.review.pages import PackageItem

    fresh = PackageItem(
        item_id=item.item_id,
        case_id=item.case_id,
        phase=item.phase,
        image=ws.layout.image(item.case_id, item.phase),
        coarse=ws.layout.coarse(item.case_id, item.phase),
        priority=queue[item.volume].priority,
        reason=queue[item.volume].reason,
    )
    last = before.get(item.volume)
    return _with_earlier_work(ws, fresh, last, ws.layout.carried_over(number, rater, item.item_id)) if last else fresh


def _with_earlier_work(ws: Workspace, item: PackageItem, last: HandOut, target: Path) -> PackageItem:
    """The item with what its rater outlined on the earlier image, as far as that lies on the new one."""
    from pipeline.image.nifti import read_labels, write_nifti
    from pipeline.review.carry import NOT_CARRIED, carried_over

    notice = f"The image was replaced after round {last.round}: use this one and check every slice."
    earlier = _earlier_mask(ws, (item.case_id, item.phase), target.parent.name)
    if earlier is None:
        return replace(item, reason=notice)
    carried = carried_over(read_labels(earlier), read_labels(item.coarse))
    if carried is None:
        return replace(item, reason=f"{notice} Your earlier mask is kept: {NOT_CARRIED}.")
    write_nifti(target, carried.labels)
    reason = f"{notice} Your earlier mask is kept: {carried.in_words}."
    return replace(item, coarse=target, reason=reason, slices_to_look_at=carried.uncovered_slices)


def _earlier_mask(ws: Workspace, volume: VolumeKey, rater: str) -> Path | None:
    """The last mask that a rater sent of any image of a volume."""
    rounds = sorted(ws.layout.numbers(), reverse=True)
    places = [ws.layout.rating(*volume, rater), *(ws.layout.earlier_rating(*volume, n, rater) for n in rounds)]
    return next((path for path in places if path.is_file()), None)


def _set_apart(ws: Workspace, volume: VolumeKey, last: HandOut) -> None:
    """Keep what rests on an earlier image beside it, so that nothing takes it for work on the new one."""
    for path in ws.layout.made_of_ratings(*volume):
        place = path.relative_to(ws.layout.image(*volume).parent)
        link_or_copy(path, ws.layout.earlier(*volume, last.round) / place)
        path.unlink()


def _rater_package(ws: Workspace, number: int, rater: str, items: Sequence[PackageItem]) -> Path:
    from pipeline.review.package import build_package

    name, outbox = ws.config.dataset.name, ws.layout.outbox(number)
    return build_package(outbox, rater, items, scheme_of(ws), round_number=number, dataset=name, unit=ws.unit)


PACK = Stage(
    name="pack",
    sections=lambda config: (config.review, config.labels, config.dataset, config.inclusion),
    inputs=_pack_inputs,
    work=_pack,
)
