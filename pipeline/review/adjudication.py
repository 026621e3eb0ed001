"""What the vote cannot settle: one reader sees the others' outlines without their names, and decides.

The blinded second look of LIDC-IDRI (Armato et al. 2011, Med Phys 38:915), with the vote as the mask to edit. The
decision comes back like any other mask: an edited file, or a word in the worklist: `agree` for the vote, or a letter
for that reader's outline. Nothing that was drawn is ever changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pipeline.core.config import LEAD
from pipeline.core.errors import ReviewError
from pipeline.core.labels import LabelScheme
from pipeline.core.records import Phase
from pipeline.core.volume import Unit
from pipeline.review.package import PackageItem, build_package
from pipeline.review.pages import READER_COLORS


class Worded(Protocol):
    """A reason to adjudicate that is put into words where it is shown."""

    def sentence(self, names: Mapping[str, str]) -> str:
        """The reason in words, with these names for the raters."""


@dataclass(frozen=True, slots=True)
class AdjudicationItem:
    """One volume that needs a decision.

    Attributes:
        item_id: "P0001_C1".
        case_id: "P0001"...
        phase: of the case.
        image: the volume.
        voted: the mask of the vote, to edit.
        ratings: raters to their masks; letters take the raters' place in the package.
        reasons: why the vote does not settle it.
        slices_to_look_at: indices along axis 0, from 0; the pictures show the most disputed ones.
    """

    item_id: str
    case_id: str
    phase: Phase
    image: Path
    voted: Path
    ratings: Mapping[str, Path]
    reasons: tuple[Worded, ...] = ()
    slices_to_look_at: tuple[int, ...] = ()


def build_adjudication_package(
    path: Path,
    items: Sequence[AdjudicationItem],
    scheme: LabelScheme,
    *,
    round_number: int,
    dataset: str,
    unit: Unit = Unit.HU,
) -> Path:
    """The zip written for the lead radiologist, `adjudication_<dataset>_round-<n>.zip` in a folder.

    Args:
        path: the folder to write into.
        items: in reading order.
        scheme: the labels.
        round_number: from 1.
        dataset: name of the dataset; letters are dealt by it and the item's name.
        unit: what the images' numbers mean.

    Raises:
        ReviewError: when two items have the same name, or one has more readers than letters.
        GeometryError: when a mask does not lie on its image's grid.
        StorageError: when a file cannot be read, or the disk is full.
    """
    shown = [
        PackageItem(
            item_id=item.item_id,
            case_id=item.case_id,
            phase=item.phase,
            image=item.image,
            coarse=item.voted,
            priority=float(len(item.reasons)),
            reason=_without_names(item, dataset),
            slices_to_look_at=item.slices_to_look_at,
            readings=anonymous(item.ratings, dataset=dataset, item_id=item.item_id),
        )
        for item in items
    ]
    return build_package(
        path, LEAD, shown, scheme, round_number=round_number, dataset=dataset, unit=unit, is_adjudication=True
    )


def anonymous(ratings: Mapping[str, Path], *, dataset: str, item_id: str) -> dict[str, Path]:
    """Letters to the readers' masks, dealt anew for each volume, so that nobody can learn who is A.

    The same call tells at home what a letter in the worklist means: hand it to `SentItem.readings`.

    Args:
        ratings: raters to their masks.
        dataset: name of the dataset.
        item_id: name of the volume.

    Raises:
        ReviewError: when there are more readers than letters.
    """
    return {letter: ratings[rater] for letter, rater in _dealt(ratings, dataset, item_id).items()}


def _dealt(raters: Iterable[str], dataset: str, item_id: str) -> dict[str, str]:
    """Letters to raters, in an order that hangs on all three."""
    drawn = sorted(raters, key=lambda rater: hashlib.sha256(f"{dataset}/{item_id}/{rater}".encode()).hexdigest())
    if len(drawn) > len(READER_COLORS):
        raise ReviewError(f"{item_id} has {len(drawn)} readings; at most {len(READER_COLORS)} can be adjudicated")
    return dict(zip(READER_COLORS, drawn, strict=False))


def _without_names(item: AdjudicationItem, dataset: str) -> str:
    """The reasons as one text, with letters for the raters."""
    letters = {rater: f"reader {letter}" for letter, rater in _dealt(item.ratings, dataset, item.item_id).items()}
    text = "; ".join(reason.sentence(letters) for reason in item.reasons)
    return text[:1].upper() + text[1:]
