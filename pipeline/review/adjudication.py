"""What the vote cannot settle: one reader sees the others' outlines without their names, and decides.

The blinded second look of LIDC-IDRI (Armato et al. 2011, Med Phys 38:915), with the vote as the mask to edit. The
decision comes back like any other mask: an edited file, or a word in the worklist: `agree` for the vote, or a letter
for that reader's outline. Nothing that was drawn is ever changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from pipeline.core.errors import ReviewError
from pipeline.review.pages import READER_COLORS


def letters(raters: Iterable[str], *, key: str) -> dict[str, str]:
    """Letters to raters, dealt anew for each volume, so that nobody can learn who is A.

    Args:
        raters: who read the volume.
        key: seed and name of the volume; the same key gives the same letters.

    Raises:
        ReviewError: when there are more readers than letters.
    """
    dealt = sorted(set(raters), key=lambda rater: hashlib.sha256(f"{key}/{rater}".encode()).hexdigest())
    if len(dealt) > len(READER_COLORS):
        raise ReviewError(f"{len(dealt)} readings of one volume; at most {len(READER_COLORS)} can be adjudicated")
    return dict(zip(READER_COLORS, dealt, strict=False))
