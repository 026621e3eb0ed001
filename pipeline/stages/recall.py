"""What was handed out or released and is no longer part of the dataset, or was masked since: to be recalled.

Asked of what packages and versions record of themselves, whether or not their files still lie here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from pipeline.core.files import read_csv
from pipeline.core.records import Phase, Problem, Severity
from pipeline.dataset.layout import ADJUDICATION, ReleaseLayout
from pipeline.stages.artefacts import AskedOfLead, ConvertedVolume, SentImage, VolumeKey
from pipeline.stages.case import volumes
from pipeline.stages.handed_out import rounds
from pipeline.workspace import Workspace

RECALL_COLUMNS = ("case", "phase", "held_by", "reason")


class Why(StrEnum):
    """Why something is recalled."""

    WITHDRAWN = "consent was withdrawn"
    GONE = "no longer part of the dataset"
    REPLACED = "another series took its place"
    MASKED = "text was masked since"


@dataclass(frozen=True, slots=True, order=True)
class Recall:
    """One volume in one package or version that should no longer hold it.

    Attributes:
        case_id: "P0001"...
        phase: of the case.
        held_by: the package or version, such as "review round 1, rater R2" or "release 1.0.0".
        reason: why.
    """

    case_id: str
    phase: Phase
    held_by: str
    reason: Why

    def row(self) -> dict[str, str]:
        """As a row of `recall.csv`."""
        return dict(zip(RECALL_COLUMNS, (self.case_id, self.phase, self.held_by, self.reason), strict=True))


@dataclass(frozen=True, slots=True)
class Held:
    """One volume as a package or a version holds it.

    Attributes:
        volume: case and phase.
        by: the package or version, in words.
        series: pseudonym of its SeriesInstanceUID; empty where an earlier version of the program did not record it.
        text_mask: the boxes that were masked in it; empty for none.
    """

    volume: VolumeKey
    by: str
    series: str = ""
    text_mask: str = ""


def recalls(ws: Workspace) -> tuple[Recall, ...]:
    """Every volume to be recalled, and from whom, in order of cases."""
    there, withdrawn = frozenset(volumes(ws)), withdrawn_cases(ws)
    holders: dict[VolumeKey, set[Held]] = defaultdict(set)
    for one in (*handed_out(ws), *_released(ws)):
        holders[one.volume].add(one)
    found = set()
    for volume, own in holders.items():
        header = ws.layout.header(*volume)
        now = ConvertedVolume.load(header) if volume in there and header.is_file() else None
        gone = Why.WITHDRAWN if volume[0] in withdrawn else Why.GONE if volume not in there else None
        found |= {Recall(*volume, held.by, why) for held in own if (why := gone or _why_changed(held, now))}
    return tuple(sorted(found))


def recall_problems(found: Iterable[Recall]) -> tuple[Problem, ...]:
    """One note for each package and version, with the cases to be recalled from it."""
    cases: dict[tuple[str, Why], set[str]] = {}
    for one in found:
        cases.setdefault((one.held_by, one.reason), set()).add(one.case_id)
    return tuple(
        Problem("recall", Severity.NOTE, f"{held_by} holds {', '.join(sorted(own))}: {reason}")
        for (held_by, reason), own in sorted(cases.items())
    )


def withdrawn_cases(ws: Workspace) -> frozenset[str]:
    """Cases whose patients withdrew consent."""
    return frozenset(row["case"] for row in read_csv(ws.layout.withdrawals))


def images_sent(ws: Workspace, sent: Iterable[VolumeKey]) -> tuple[SentImage, ...]:
    """What is kept with a package of the images in it."""
    return tuple(
        SentImage(
            case_id,
            phase,
            header.text("series_uid") or "",
            header.text_mask,
            header.content_sha256,
            header.scan_sha256,
        )
        for case_id, phase in sorted(set(sent))
        for header in (ConvertedVolume.load(ws.layout.header(case_id, phase)),)
    )


def handed_out(ws: Workspace) -> Iterator[Held]:
    """Every volume in every review package."""
    for number, stored in rounds(ws).items():
        images = {image.volume: image for image in stored.images}
        for rater, items in stored.assignment.lists.items():
            for item in items:
                yield _held(item.volume, f"review round {number}, rater {rater}", images)
    for number in ws.layout.numbers(ADJUDICATION):
        asked = AskedOfLead.load(ws.layout.assignment(number, ADJUDICATION))
        images = {image.volume: image for image in asked.images}
        for one in asked.items:
            yield _held(one.volume, f"adjudication {number}", images)


def _held(volume: VolumeKey, by: str, images: Mapping[VolumeKey, SentImage]) -> Held:
    image = images.get(volume)
    return Held(volume, by, image.series, image.text_mask) if image else Held(volume, by)


def _released(ws: Workspace) -> Iterator[Held]:
    """Every volume in every version."""
    for folder in sorted(ws.layout.releases.glob("[0-9]*")):
        for row in read_csv(ReleaseLayout(folder).manifest):
            volume = row["patient_id"], Phase(row["phase"])
            yield Held(volume, f"release {folder.name}", row["series"], row.get("text_mask") or "")


def _why_changed(held: Held, now: ConvertedVolume | None) -> Why | None:
    """Why a volume that is still there is recalled; None where it need not be."""
    if now is None:
        return None
    if held.series and held.series != now.text("series_uid"):
        return Why.REPLACED
    return Why.MASKED if now.text_mask and now.text_mask != held.text_mask else None
