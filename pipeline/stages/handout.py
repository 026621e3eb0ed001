"""Hand volumes to radiologists: in rounds to the raters, then to the lead what their vote does not settle."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.files import identity_of, read_json, write_json
from pipeline.core.labels import LabelScheme
from pipeline.core.records import Phase, Problem, Reason, Severity
from pipeline.core.series_file import load_series
from pipeline.dataset.layout import ADJUDICATION, ROUND
from pipeline.stages.intake import decision_inputs, every_case, was_looked_at
from pipeline.stages.privacy import require_clean
from pipeline.workspace import Stage, Waiting, Work, Workspace

if TYPE_CHECKING:
    from pipeline.review.adjudication import AdjudicationItem
    from pipeline.review.assignment import Assignment
    from pipeline.segment.priority import Ranked

Volume = tuple[str, Phase]

SCAN_ENDS = frozenset({"first slice", "last slice"})
CUT_FIX = "write its series with its phase, or `none`, into decisions.csv"


def scheme_of(ws: Workspace) -> LabelScheme:
    """The labels of this dataset."""
    return LabelScheme(ws.config.labels.lesion_kinds)


def packages(ws: Workspace) -> tuple[Path, ...]:
    """Every package that lies ready to be handed out: rounds first, then adjudications."""
    folders = [ws.layout.outbox(number, kind) for kind in (ROUND, ADJUDICATION) for number in ws.layout.numbers(kind)]
    return tuple(path for folder in folders for path in sorted(folder.glob("*.zip")))


def assignments(ws: Workspace) -> dict[int, Assignment]:
    """Who reads what, by round."""
    from pipeline.review.assignment import Assignment

    return {number: Assignment.from_json(read_json(ws.layout.assignment(number))) for number in ws.layout.numbers()}


def adjudications(ws: Workspace) -> dict[int, list[dict[str, Any]]]:
    """What the lead was asked to settle, by round: case_id, phase, and voted_sha256 of the vote it is about."""
    numbers = ws.layout.numbers(ADJUDICATION)
    return {number: read_json(ws.layout.assignment(number, ADJUDICATION))["items"] for number in numbers}


def assigned_raters(ws: Workspace, case_id: str, phase: Phase) -> tuple[str, ...]:
    """Who was asked to draw a volume; nobody before it was handed out."""
    files = tuple(ws.layout.assignment(number) for number in ws.layout.numbers())
    return _raters_by_volume(files, tuple(map(identity_of, files))).get((case_id, phase), ())


@lru_cache(maxsize=1)
def _raters_by_volume(
    files: tuple[Path, ...], identities: tuple[tuple[int, int, int], ...]
) -> Mapping[Volume, tuple[str, ...]]:
    """Read once as long as the files stay the same: every volume asks for them."""
    from pipeline.review.assignment import Assignment

    raters: dict[Volume, tuple[str, ...]] = {}
    for assignment in (Assignment.from_json(read_json(file)) for file in files):
        for rater, items in assignment.lists.items():
            for item in items:
                if not item.is_repeat:
                    volume = item.case_id, item.phase
                    raters[volume] = (*raters.get(volume, ()), rater)
    return raters


def volumes(ws: Workspace) -> list[Volume]:
    """Every volume of every case, in order."""
    return [(case.case_id, phase) for case in every_case(ws) for phase in case.series]


def _hashes(ws: Workspace, files: Iterable[tuple[str, Path]]) -> dict[str, str]:
    """Hashes of files of several cases, given with the case each belongs to."""
    by_case: dict[str, list[Path]] = {}
    for case_id, file in files:
        by_case.setdefault(case_id, []).append(file)
    return {name: sha256 for case_id, own in by_case.items() for name, sha256 in ws.hashes(own, case_id).items()}


def _labelled(ws: Workspace) -> list[Volume]:
    return [volume for volume in volumes(ws) if ws.layout.coarse_provenance(*volume).is_file()]


def _pack_inputs(ws: Workspace, case_id: str | None) -> dict[str, str]:
    labelled = _labelled(ws)
    if not labelled:
        raise Waiting("no volume is labelled yet; run `liverset build`")
    return {**decision_inputs(ws), **_hashes(ws, ((volume[0], ws.layout.coarse(*volume)) for volume in labelled))}


def _pack(ws: Workspace, case_id: str | None) -> Work:
    from pipeline.review.assignment import assign

    handed_out = {item.volume for a in assignments(ws).values() for items in a.lists.values() for item in items}
    waiting = [volume for volume in _labelled(ws) if volume not in handed_out]
    cut = _livers_cut_off(ws, waiting) if ws.config.inclusion.whole_liver else ()
    held_back = {case_id for (case_id, _), _ in cut}
    new = [volume for volume in waiting if volume[0] not in held_back]
    problems = tuple(
        Problem("liver-cut", Severity.FLAG, f"{case_id} is held back: in {phase} the liver ends at the {end}", CUT_FIX)
        for (case_id, phase), end in cut
    )
    if not new:
        return Work((), problems, note="nothing new to hand out")
    number = max(ws.layout.numbers(), default=0) + 1
    queue = _queue(ws, new)
    assignment = assign(new, ws.config.review, priority={volume: ranked.priority for volume, ranked in queue.items()})
    zips = [_rater_package(ws, number, rater, assignment, queue) for rater in ws.config.review.raters]
    require_clean(ws, zips, what="the review packages")
    write_json(ws.layout.assignment(number), assignment.to_json())
    note = f"round {number}: {len(new)} volumes, {len(zips)} packages"
    return Work((*zips, ws.layout.assignment(number)), problems, note)


def _livers_cut_off(ws: Workspace, waiting: Iterable[Volume]) -> list[tuple[Volume, str]]:
    """Volumes whose label touches the first or last slice, with the end it touches; not those a person let pass."""
    return [
        (volume, end)
        for volume in waiting
        for end in read_json(ws.layout.coarse_provenance(*volume))["liver_cut"]
        if end in SCAN_ENDS and not was_looked_at(ws, load_series(ws.layout.series_record(*volume)))
    ]


def _queue(ws: Workspace, new: Iterable[Volume]) -> dict[Volume, Ranked[Volume]]:
    """How doubtful each volume is, and why, most doubtful first."""
    from pipeline.segment.priority import rank

    facts = {volume: read_json(ws.layout.coarse_provenance(*volume)) for volume in new}
    apart = {volume: found["phase_disagreement"] for volume, found in facts.items() if found["phase_disagreement"]}
    return {ranked.key: ranked for ranked in rank(facts, phase_disagreement=apart)}


def _rater_package(
    ws: Workspace, number: int, rater: str, assignment: Assignment, queue: Mapping[Volume, Ranked[Volume]]
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


def _voted(ws: Workspace) -> list[Volume]:
    return [volume for volume in volumes(ws) if ws.layout.consensus_explanation(*volume).is_file()]


def _adjudicate_inputs(ws: Workspace, case_id: str | None) -> dict[str, str]:
    voted = _voted(ws)
    if not voted:
        raise Waiting("nothing is voted yet; run `liverset review check`")
    return _hashes(ws, ((volume[0], ws.layout.consensus_explanation(*volume)) for volume in voted))


def _adjudicate(ws: Workspace, case_id: str | None) -> Work:
    """One package for the lead with every vote that is open and was not asked about before."""
    from pipeline.review.adjudication import build_adjudication_package

    asked = {item["voted_sha256"] for items in adjudications(ws).values() for item in items}
    explained = {volume: read_json(ws.layout.consensus_explanation(*volume)) for volume in _voted(ws)}
    new = {
        volume: found
        for volume, found in explained.items()
        if found["needs_adjudication"] and found["labels_sha256"] not in asked
    }
    if not new:
        return Work((), note="the votes leave nothing new to settle")
    number = max(ws.layout.numbers(ADJUDICATION), default=0) + 1
    package = build_adjudication_package(
        ws.layout.outbox(number, ADJUDICATION),
        [_open_item(ws, volume, found) for volume, found in new.items()],
        scheme_of(ws),
        round_number=number,
        dataset=ws.config.dataset.name,
        unit=ws.unit,
    )
    require_clean(ws, [package], what="the adjudication package")
    items = [{"case_id": c, "phase": phase, "voted_sha256": new[c, phase]["labels_sha256"]} for c, phase in new]
    assignment = ws.layout.assignment(number, ADJUDICATION)
    write_json(assignment, {"items": items})
    return Work((package, assignment), note=f"adjudication {number}: {len(new)} volumes for the lead radiologist")


def _open_item(ws: Workspace, volume: Volume, found: Mapping[str, Any]) -> AdjudicationItem:
    from pipeline.review.adjudication import AdjudicationItem
    from pipeline.review.assignment import item_id_of

    case_id, phase = volume
    return AdjudicationItem(
        item_id=item_id_of(case_id, phase),
        case_id=case_id,
        phase=phase,
        image=ws.layout.image(case_id, phase),
        voted=ws.layout.consensus(case_id, phase),
        ratings={rater: ws.layout.rating(case_id, phase, rater) for rater in found["raters"]},
        reasons=tuple(Reason(**reason) for reason in found["needs_adjudication"]),
        slices_to_look_at=tuple(found["slices_to_look_at"]),
    )


PACK = Stage(
    name="pack",
    code=("core", "review", "image", "segment/priority.py", "stages/handout.py"),
    packages=("numpy", "jinja2", "pillow"),
    sections=lambda config: (config.review, config.labels, config.dataset, config.inclusion),
    inputs=_pack_inputs,
    work=_pack,
)

ADJUDICATE = Stage(
    name="adjudicate",
    code=("core", "review", "image", "stages/handout.py"),
    packages=("numpy", "jinja2", "pillow"),
    sections=lambda config: (config.review, config.labels, config.dataset),
    inputs=_adjudicate_inputs,
    work=_adjudicate,
)
