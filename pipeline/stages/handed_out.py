"""What was handed out, to whom, and of which image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pipeline.core.files import identity_of
from pipeline.core.records import Phase
from pipeline.core.volume import LabelMap
from pipeline.review.assignment import Assignment, item_id_of
from pipeline.stages.artefacts import CoarseLabel, ConvertedVolume, RoundAssignment, VolumeKey
from pipeline.workspace import Workspace


@dataclass(frozen=True, slots=True)
class HandOut:
    """The last round in which a volume was handed out.

    Attributes:
        round: its number.
        raters: who was asked to outline it.
    """

    round: int
    raters: tuple[str, ...]


def assignments(ws: Workspace) -> dict[int, Assignment]:
    """Who reads what, by round."""
    return {number: stored.assignment for number, stored in rounds(ws).items()}


def hand_outs(ws: Workspace) -> Mapping[VolumeKey, HandOut]:
    """The last round of each volume that was handed out."""
    files = {number: ws.layout.assignment(number) for number in ws.layout.numbers()}
    return _hand_outs(tuple(files.items()), tuple(map(identity_of, files.values())))


def assigned_raters(ws: Workspace, case_id: str, phase: Phase) -> tuple[str, ...]:
    """Who was asked to outline a volume; nobody before it was handed out."""
    last = hand_outs(ws).get((case_id, phase))
    return last.raters if last else ()


def was_replaced(ws: Workspace, volume: VolumeKey, number: int | None = None) -> bool:
    """True when the image of a volume is another one now than a round handed out, by default the last.

    The same scan with other text masked in it is no other image. A round of an earlier version did not note its images;
    they count as the same.
    """
    last = hand_outs(ws).get(volume)
    label = ws.layout.coarse_provenance(*volume)
    if last is None or not label.is_file():
        return False
    images = rounds(ws)[last.round if number is None else number].images
    sent = next((image for image in images if image.volume == volume and image.content_sha256), None)
    if sent is None or sent.content_sha256 == CoarseLabel.load(label).image_sha256:
        return False
    now = ConvertedVolume.load(ws.layout.header(*volume))
    return now.text_mask == sent.text_mask or now.scan_sha256 != sent.scan_sha256


def coarse_as_sent(ws: Workspace, case_id: str, phase: Phase) -> LabelMap:
    """The network's label that raters were last sent: out of a package that still lies there, else as it was last made.

    A package that holds a rater's own earlier work in its place says nothing of the network.
    """
    from pipeline.image.nifti import read_labels
    from pipeline.review.package import package_name, sent_mask
    from pipeline.review.pages import PackageFacts

    last, item_id = hand_outs(ws).get((case_id, phase), HandOut(0, ())), item_id_of(case_id, phase)
    for rater in last.raters:
        facts = PackageFacts(ws.config.dataset.name, last.round, rater)
        package = ws.layout.outbox(last.round) / package_name(facts)
        if package.is_file() and not ws.layout.carried_over(last.round, rater, item_id).is_file():
            return sent_mask(package, item_id)
    return read_labels(ws.layout.coarse(case_id, phase))


def rounds(ws: Workspace) -> Mapping[int, RoundAssignment]:
    """What was kept of each round of review, by its number."""
    files = {number: ws.layout.assignment(number) for number in ws.layout.numbers()}
    return _read(tuple(files.items()), tuple(map(identity_of, files.values())))


@lru_cache(maxsize=1)
def _read(
    files: tuple[tuple[int, Path], ...], identities: tuple[tuple[int, int, int], ...]
) -> Mapping[int, RoundAssignment]:
    """Read once as long as the files stay the same: every volume asks for them."""
    return {number: RoundAssignment.load(path) for number, path in files}


@lru_cache(maxsize=1)
def _hand_outs(
    files: tuple[tuple[int, Path], ...], identities: tuple[tuple[int, int, int], ...]
) -> Mapping[VolumeKey, HandOut]:
    raters: dict[VolumeKey, dict[int, tuple[str, ...]]] = {}
    for number, stored in _read(files, identities).items():
        for rater, items in stored.assignment.lists.items():
            for item in items:
                if not item.is_repeat:
                    of_rounds = raters.setdefault(item.volume, {})
                    of_rounds[number] = (*of_rounds.get(number, ()), rater)
    return {volume: HandOut(max(rounds), rounds[max(rounds)]) for volume, rounds in raters.items()}
