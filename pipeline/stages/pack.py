"""One zip per rater with every labelled volume that was not handed out before, in rounds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.files import identity_of
from pipeline.core.labels import LabelScheme
from pipeline.core.records import Phase, Problem, Severity
from pipeline.core.series_file import load_series
from pipeline.core.words import counted
from pipeline.dataset.layout import ADJUDICATION, ROUND
from pipeline.stages.artefacts import CoarseLabel, RoundAssignment, VolumeKey
from pipeline.stages.case import volumes
from pipeline.stages.decisions import use_inputs, was_looked_at
from pipeline.stages.privacy import require_clean, require_searched_for_text
from pipeline.stages.recall import images_sent
from pipeline.workspace import Stage, Waiting, Work, Workspace

if TYPE_CHECKING:
    from pipeline.review.assignment import Assignment
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


def assignments(ws: Workspace) -> dict[int, Assignment]:
    """Who reads what, by round."""
    return {number: RoundAssignment.load(ws.layout.assignment(number)).assignment for number in ws.layout.numbers()}


def assigned_raters(ws: Workspace, case_id: str, phase: Phase) -> tuple[str, ...]:
    """Who was asked to outline a volume; nobody before it was handed out."""
    files = tuple(ws.layout.assignment(number) for number in ws.layout.numbers())
    return _raters_by_volume(files, tuple(map(identity_of, files))).get((case_id, phase), ())


@lru_cache(maxsize=1)
def _raters_by_volume(
    files: tuple[Path, ...], identities: tuple[tuple[int, int, int], ...]
) -> Mapping[VolumeKey, tuple[str, ...]]:
    """Read once as long as the files stay the same: every volume asks for them."""
    raters: dict[VolumeKey, tuple[str, ...]] = {}
    for stored in map(RoundAssignment.load, files):
        for rater, items in stored.assignment.lists.items():
            for item in items:
                if not item.is_repeat:
                    raters[item.volume] = (*raters.get(item.volume, ()), rater)
    return raters


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
    coarse = ((volume[0], ws.layout.coarse(*volume)) for volume in labelled)
    return {**use_inputs(ws), **hashes_of_volumes(ws, coarse)}


def _pack(ws: Workspace, case_id: str | None) -> Work:
    from pipeline.review.assignment import assign

    new, problems = _new_and_held_back(ws)
    if not new:
        return Work((), problems, note="no new volume to hand out")
    require_searched_for_text(ws, new)
    number = max(ws.layout.numbers(), default=0) + 1
    queue = _queue(new)
    priority = {volume: ranked.priority for volume, ranked in queue.items()}
    assignment = assign(list(new), ws.config.review, priority=priority)
    zips = [_rater_package(ws, number, rater, assignment, queue) for rater in ws.config.review.raters]
    require_clean(ws, zips, what="the review packages")
    RoundAssignment(assignment=assignment, images=images_sent(ws, new)).save(ws.layout.assignment(number))
    note = f"round {number}: {counted(len(new), 'volume')} in {counted(len(zips), 'package')}"
    return Work((*zips, ws.layout.assignment(number)), problems, note)


def to_pack(ws: Workspace) -> tuple[VolumeKey, ...]:
    """Labelled volumes that the next round would hand out; those held back are not among them."""
    return tuple(_new_and_held_back(ws)[0])


def _new_and_held_back(ws: Workspace) -> tuple[dict[VolumeKey, CoarseLabel], tuple[Problem, ...]]:
    """Labelled volumes that no round handed out and that may go, and why cases are held back."""
    handed_out = {item.volume for a in assignments(ws).values() for items in a.lists.values() for item in items}
    waiting = [volume for volume in _labelled(ws) if volume not in handed_out]
    labels = {volume: CoarseLabel.load(ws.layout.coarse_provenance(*volume)) for volume in waiting}
    problems = _livers_cut_off(ws, labels) if ws.config.inclusion.whole_liver else {}
    held_back = {case_id for case_id, _ in problems}
    return {volume: label for volume, label in labels.items() if volume[0] not in held_back}, tuple(problems.values())


def _livers_cut_off(ws: Workspace, labels: Mapping[VolumeKey, CoarseLabel]) -> dict[VolumeKey, Problem]:
    """A flag on each volume whose label touches the first or last slice; not on those a person let pass."""
    found = {}
    for (case_id, phase), label in labels.items():
        ends = [end for end in label.liver_cut if end in SCAN_ENDS]
        if ends and not was_looked_at(ws, load_series(ws.layout.series_record(case_id, phase))):
            message = f"{case_id} is held back: in {phase} the liver reaches the {' and the '.join(ends)}"
            found[case_id, phase] = Problem("liver-cut", Severity.FLAG, message, CUT_FIX)
    return found


def _queue(new: Mapping[VolumeKey, CoarseLabel]) -> dict[VolumeKey, Ranked[VolumeKey]]:
    """How doubtful each volume is, and why, most doubtful first."""
    from pipeline.segment.priority import rank

    apart = {volume: label.phase_disagreement for volume, label in new.items() if label.phase_disagreement}
    facts = {volume: label.facts for volume, label in new.items()}
    return {ranked.key: ranked for ranked in rank(facts, phase_disagreement=apart)}


def _rater_package(
    ws: Workspace, number: int, rater: str, assignment: Assignment, queue: Mapping[VolumeKey, Ranked[VolumeKey]]
) -> Path:
    from pipeline.review.package import PackageItem, build_package

    items = [
        PackageItem(
            item_id=item.item_id,
            case_id=item.case_id,
            phase=item.phase,
            image=ws.layout.image(item.case_id, item.phase),
            coarse=ws.layout.coarse(item.case_id, item.phase),
            priority=queue[item.volume].priority,
            reason=queue[item.volume].reason,
        )
        for item in assignment.lists[rater]
    ]
    name, outbox = ws.config.dataset.name, ws.layout.outbox(number)
    return build_package(outbox, rater, items, scheme_of(ws), round_number=number, dataset=name, unit=ws.unit)


PACK = Stage(
    name="pack",
    sections=lambda config: (config.review, config.labels, config.dataset, config.inclusion),
    inputs=_pack_inputs,
    work=_pack,
)
