"""The verdict on a returned mask, and how it is worded: what was found, and what the rater can do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.labels import Label
from pipeline.core.records import Phase, Problem, Severity
from pipeline.core.volume import LabelMap, Unit
from pipeline.review.findings import dice


class Verdict(StrEnum):
    """What becomes of a returned mask: used, used after a listed repair, needs review, or is asked for again."""

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
        readings: for adjudication, letters to the masks of the readers.
        package: the zip that went out; where it is still there, the mask inside is what was sent, even when `coarse`
            was made anew since.
        is_gone: its volume is no longer part of the dataset: what comes back is set aside, and no file of it is read.
        round: in which it was sent.
        earlier: rounds that sent this rater an image that another one has replaced since, and their packages; `image`
            and `coarse` are the new ones.
    """

    item_id: str
    rater: str
    case_id: str
    phase: Phase
    image: Path
    coarse: Path
    is_repeat: bool = False
    unit: Unit = Unit.HU
    readings: Mapping[str, Path] = field(default_factory=dict)
    package: Path | None = None
    is_gone: bool = False
    round: int = 0
    earlier: Mapping[int, Path] = field(default_factory=dict)

    @property
    def is_replaced(self) -> bool:
        """True when another image has replaced the one that this round sent."""
        return self.round in self.earlier


@dataclass(frozen=True, slots=True, eq=False)
class ReturnCheck:
    """The verdict on one returned item.

    Attributes:
        verdict: what becomes of it.
        sentence: what was found, in one plain sentence without patient data.
        fix: what the rater can do; empty where nothing is needed.
        item: which volume and rater; None where the file could not be matched.
        repairs: what was done to the mask to use it.
        problems: everything noticed, worst first.
        labels: the mask on the image's grid; None when rejected.
        sha256: of the file as it came; the same return again has the same.
        changed_voxels: voxels that differ from the mask as sent.
        changed_slices: slices with such voxels, indices from 0.
        dice_to_sent: of the whole liver; None where no mask was read.
        comment: what the rater wrote beside the item. Private: nobody checked it for names.
        earlier: the round, and the mask on its image, where another one replaced that; `labels` are then carried over.
    """

    verdict: Verdict
    sentence: str
    fix: str = ""
    item: SentItem | None = None
    repairs: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    labels: LabelMap | None = None
    sha256: str = ""
    changed_voxels: int = 0
    changed_slices: tuple[int, ...] = ()
    dice_to_sent: float | None = None
    comment: str = ""
    earlier: tuple[int, LabelMap] | None = None

    @property
    def is_usable(self) -> bool:
        """True when the mask may be voted on as it is."""
        return self.verdict in (Verdict.ACCEPT, Verdict.ACCEPT_REPAIRED)

    def to_json(self) -> dict[str, Any]:
        """Everything but the mask and the comment, as JSON-able values."""
        item = self.item
        return {
            "item": item.item_id if item else None,
            "rater": item.rater if item else None,
            "case_id": item.case_id if item else None,
            "phase": str(item.phase) if item else None,
            "is_repeat": item.is_repeat if item else False,
            "verdict": str(self.verdict),
            "sentence": self.sentence,
            "fix": self.fix,
            "repairs": list(self.repairs),
            "problems": [problem.to_json() for problem in self.problems],
            "sha256": self.sha256,
            "changed_voxels": self.changed_voxels,
            "changed_slices": list(self.changed_slices),
            "dice_to_sent": None if self.dice_to_sent is None else round(self.dice_to_sent, 6),
        }


def refused(code: str, sentence: str, item: SentItem | None = None) -> ReturnCheck:
    """A rejection; what follows a semicolon in its sentence is the fix, else it is the code's own."""
    found, _, fix = sentence.partition("; ")
    problem = Problem(code, Severity.REFUSE, found, fix)
    return ReturnCheck(Verdict.REJECT, found, problem.fix, item, problems=(problem,))


def judged(
    item: SentItem, labels: LabelMap, sent: LabelMap, problems: tuple[Problem, ...], repairs: tuple[str, ...]
) -> ReturnCheck:
    """The verdict that follows from everything that was noticed on a mask.

    Args:
        item: which volume and rater.
        labels: the mask on the image's grid.
        sent: the mask as it went out.
        problems: everything noticed, in any order; the worst decides.
        repairs: what was done to use the mask.
    """
    differs = labels.voxels != sent.voxels
    slices = tuple(np.flatnonzero(differs.any(axis=(1, 2))).tolist())
    changed = int(np.count_nonzero(differs))
    order = (Severity.REFUSE, Severity.FLAG, Severity.NOTE)
    ranked = tuple(sorted(problems, key=lambda problem: order.index(problem.severity)))
    verdict = _verdict(ranked, repairs)
    is_good = verdict in (Verdict.ACCEPT, Verdict.ACCEPT_REPAIRED)
    return ReturnCheck(
        verdict,
        _good_news(item, changed, len(slices), repairs) if is_good else ranked[0].message,
        "" if is_good else ranked[0].fix,
        item,
        repairs,
        ranked,
        None if verdict is Verdict.REJECT else labels,
        changed_voxels=changed,
        changed_slices=slices,
        dice_to_sent=dice(labels.voxels != Label.BACKGROUND, sent.voxels != Label.BACKGROUND),
    )


def _verdict(ranked: tuple[Problem, ...], repairs: tuple[str, ...]) -> Verdict:
    worst = ranked[0].severity if ranked else Severity.NOTE
    if worst is Severity.REFUSE:
        return Verdict.REJECT
    if worst is Severity.FLAG:
        return Verdict.FLAG
    return Verdict.ACCEPT_REPAIRED if repairs else Verdict.ACCEPT


def _good_news(item: SentItem, changed: int, slices: int, repairs: tuple[str, ...]) -> str:
    edit = f"{changed} voxels changed on {slices} slices" if changed else "accepted as sent"
    return f"the mask of {item.item_id} is good: {'; '.join((edit, *repairs))}"
