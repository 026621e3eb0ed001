"""What a returned mask shows beside the one that was sent: empty, unchanged, mirrored, misplaced, torn.

Each check is one function that gives a `Problem` or None. Only what the rater brought in counts: a gap that was already
in the mask as sent is not held against the rater.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import product
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from pipeline.core.file_names import STATUS_AGREE, WORKLIST
from pipeline.core.kinds import FIRST_KIND, kind_name
from pipeline.core.labels import Label, Structure, structure_mask
from pipeline.core.records import Problem, Severity
from pipeline.core.volume import LabelMap, Unit, Volume
from pipeline.core.words import slice_number, slice_ranges
from pipeline.image.components import component_count, holes, label_components

Mask = NDArray[np.bool_]

NO_KINDS: Mapping[int, str] = MappingProxyType({})
"""Names of lesion kinds where there are none."""

FAMILIAR_DICE = 0.8
"""From here on a mask is plainly an edited form of the one sent, and neither mirrored nor another volume's."""

CLEAR_MARGIN = 0.1
"""How much better another explanation must fit before it is raised."""

STRANGE_DICE = 0.3
"""Below this the mask hardly shares anything with the one sent."""

OUTSIDE_BODY_HU = -300.0
"""Lung and air lie below, every part of a liver above, fat included."""

MOST_AIR = 0.1
"""Share of the mask that may lie in air: partial volume at the dome of the liver stays well below."""


def findings(
    item_id: str,
    returned: LabelMap,
    sent: LabelMap,
    image: Volume,
    others: Callable[[], Mapping[str, LabelMap]],
    *,
    agreed: bool,
    kinds: Mapping[int, str] = NO_KINDS,
) -> tuple[Problem, ...]:
    """Everything noticed; nothing for a mask that is plainly good.

    Args:
        item_id: names the volume in messages.
        returned: the rater's mask on the image's grid.
        sent: the mask as it went out.
        image: the volume.
        others: fetches the masks sent for other volumes on the same grid, by item; called only where needed.
        agreed: the rater wrote that the mask was right as sent.
        kinds: value to name of each lesion kind.
    """
    whole = returned.voxels != Label.BACKGROUND
    if not whole.any():
        return (_empty(item_id),)
    found = [
        _unchanged(item_id, returned, sent, agreed=agreed),
        _unfamiliar(item_id, whole, sent.voxels != Label.BACKGROUND, others),
        _lesion_without_liver(item_id, returned),
        _mixed_kinds(item_id, returned, sent, kinds),
        _in_air(item_id, whole, image),
        _gap(item_id, whole, sent.voxels != Label.BACKGROUND),
        *_loose_ends(item_id, whole, sent.voxels != Label.BACKGROUND),
    ]
    return tuple(problem for problem in found if problem)


def dice(one: Mask, other: Mask) -> float:
    """Twice the shared voxels over all of both; 1.0 for two empty masks."""
    total = int(np.count_nonzero(one)) + int(np.count_nonzero(other))
    return 2.0 * int(np.count_nonzero(one & other)) / total if total else 1.0


def _empty(item_id: str) -> Problem:
    return Problem(
        "empty",
        Severity.REFUSE,
        f"the mask of {item_id} is empty, but every volume shows a liver",
        f"open {item_id} again, check that the mask is loaded, and save it under its own name",
    )


def _unchanged(item_id: str, returned: LabelMap, sent: LabelMap, *, agreed: bool) -> Problem | None:
    if agreed or not np.array_equal(returned.voxels, sent.voxels):
        return None
    return Problem(
        "unchanged",
        Severity.FLAG,
        f"the mask of {item_id} is exactly the one that was sent: an edit may not have been saved",
        f"save {item_id} again; if it was right as sent, write `{STATUS_AGREE}` into its status in {WORKLIST}",
    )


def _unfamiliar(item_id: str, whole: Mask, sent: Mask, others: Callable[[], Mapping[str, LabelMap]]) -> Problem | None:
    """Mirrored, another volume's, or like nothing we know; asked only where the mask is far from the one sent."""
    own = dice(whole, sent)
    if own >= FAMILIAR_DICE or not sent.any():
        return None
    mirrored = _best_mirror(whole, sent)
    fits = {name: dice(whole, other.voxels != Label.BACKGROUND) for name, other in sorted(others().items())}
    other = max(fits, key=lambda name: fits[name], default="")
    if max(mirrored, fits.get(other, 0.0)) < own + CLEAR_MARGIN:
        return _strange(item_id) if own < STRANGE_DICE else None
    if mirrored > fits.get(other, 0.0):
        return _mirrored(item_id, is_sure=mirrored >= FAMILIAR_DICE)
    return _anothers(item_id, other, is_sure=fits[other] == 1.0)


def _best_mirror(whole: Mask, sent: Mask) -> float:
    """Dice of the best of the seven ways to flip axes."""
    turns = [axes for axes in product((False, True), repeat=3) if any(axes)]
    return max(dice(np.flip(whole, tuple(np.flatnonzero(axes))), sent) for axes in turns)


def _mirrored(item_id: str, *, is_sure: bool) -> Problem:
    return Problem(
        "mirrored",
        Severity.REFUSE if is_sure else Severity.FLAG,
        f"the mask of {item_id} fits the liver only when mirrored: its voxels were flipped without their header",
        f"open the folder of {item_id} as it was sent, not the DICOM images, and save the mask from there",
    )


def _anothers(item_id: str, owner: str, *, is_sure: bool) -> Problem:
    return Problem(
        "wrong-case",
        Severity.REFUSE if is_sure else Severity.FLAG,
        f"the file named {item_id} shows the liver of {owner}",
        f"open {item_id}, check its mask and save it again under the name it was sent with",
    )


def _strange(item_id: str) -> Problem:
    return Problem(
        "unfamiliar",
        Severity.FLAG,
        f"the mask of {item_id} hardly overlaps the one that was sent",
        f"open {item_id} and check that image and mask belong together",
    )


def _lesion_without_liver(item_id: str, returned: LabelMap) -> Problem | None:
    """A part of the mask that is lesion only, though a lesion lies inside the liver."""
    numbered, count = label_components(returned.voxels != Label.BACKGROUND)
    with_liver = np.unique(numbered[returned.voxels == Label.LIVER])
    alone = count - np.count_nonzero(with_liver)
    if alone == 0:
        return None
    all_alone = alone == count
    return Problem(
        "lesion-outside-liver",
        Severity.FLAG,
        f"the mask of {item_id} has lesions but no liver"
        if all_alone
        else f"the mask of {item_id} has lesions that touch no liver, {alone} in total",
        f"save all segments of {item_id} together"
        if all_alone
        else f"remove the stray strokes in {item_id}, or outline the liver around them",
    )


def _mixed_kinds(item_id: str, returned: LabelMap, sent: LabelMap, kinds: Mapping[int, str]) -> Problem | None:
    """Lesions marked as several kinds, more of them than there were in the mask as sent."""
    mixed = _several_kinds(returned)
    if len(mixed) <= len(_several_kinds(sent)):
        return None
    values, slices = mixed[0]
    named = " and ".join(kind_name(value, kinds) for value in values)
    return Problem(
        "mixed-kinds",
        Severity.FLAG,
        f"the mask of {item_id} marks one lesion as {named} (slices {slice_ranges(slices)})",
        f"give the lesion of {item_id} one kind; where two lesions touch, accept the mask",
    )


def _several_kinds(labels: LabelMap) -> list[tuple[tuple[int, ...], range]]:
    """The kinds and the slices of each lesion that is marked as more than one."""
    marked = (labels.voxels >= FIRST_KIND) & structure_mask(labels.voxels, Structure.LESION)
    if not marked.any():
        return []
    numbered = label_components(structure_mask(labels.voxels, Structure.LESION))[0]
    pairs = np.unique(np.stack([numbered[marked], labels.voxels[marked]]), axis=1)
    numbers, counts = np.unique(pairs[0], return_counts=True)
    found = []
    for number in numbers[counts > 1].tolist():
        shown = np.flatnonzero((numbered == number).any(axis=(1, 2))).tolist()
        found.append((tuple(pairs[1][pairs[0] == number].tolist()), range(shown[0], shown[-1] + 1)))
    return found


def _in_air(item_id: str, whole: Mask, image: Volume) -> Problem | None:
    if image.unit is not Unit.HU:
        return None
    share = float((image.voxels[whole] < OUTSIDE_BODY_HU).mean())
    if share <= MOST_AIR:
        return None
    return Problem(
        "outside-body",
        Severity.FLAG,
        f"{share:.0%} of the mask of {item_id} lies in air or lung",
        f"open {item_id} and check that image and mask belong together",
    )


def _gap(item_id: str, whole: Mask, sent: Mask) -> Problem | None:
    gaps = _empty_between(whole) - _empty_between(sent)
    if not gaps:
        return None
    shown = ", ".join(str(slice_number(index)) for index in sorted(gaps)[:5])
    return Problem(
        "missing-slices",
        Severity.FLAG,
        f"the mask of {item_id} has no liver on slice {shown}, though there is liver above and below",
        f"outline the liver of {item_id} there, or write in the comment that the gap is intended",
    )


def _empty_between(whole: Mask) -> set[int]:
    """Slices without a label between slices with one."""
    filled = np.flatnonzero(whole.any(axis=(1, 2)))
    return set(range(int(filled[0]), int(filled[-1]))) - set(filled.tolist()) if filled.size else set()


def _loose_ends(item_id: str, whole: Mask, sent: Mask) -> Iterator[Problem]:
    """Separate parts and holes that the mask as sent did not have; often meant, so only noted."""
    parts, parts_sent = component_count(whole), component_count(sent)
    if parts > max(parts_sent, 1):
        yield Problem("separate-parts", Severity.NOTE, f"the liver of {item_id} has {parts} separate parts")
    hollow, hollow_sent = int(np.count_nonzero(holes(whole))), int(np.count_nonzero(holes(sent)))
    if hollow > hollow_sent:
        yield Problem("holes", Severity.NOTE, f"the liver of {item_id} has holes, {hollow} voxels in total")
