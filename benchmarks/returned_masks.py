"""What becomes of returned masks, right and wrong, beside the checks that people write by hand: one run, counts.

    python benchmarks/returned_masks.py

The masks are those of tests/review/variants.py: one answer of a rater as ITK-SNAP, Slicer, nibabel and SimpleITK leave
it, and the ways to go wrong. The peers are a shape check on nibabel's array, SimpleITK's overlap filter (which refuses
another grid), and SimpleITK's resampling to the image by nearest neighbour.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.review.returns import check_return
from tests.review.rounds import SCHEME, Round, make_round
from tests.review.variants import ACCEPTED, REFUSED, drawn, write_variant

Reader = Callable[[Path, Round], "NDArray[np.generic] | None"]
"""The mask a way of reading would use, as (slice, row, column); None where it refuses the file."""


def main() -> None:
    """Read every mask in every way, then print one row a way."""
    warnings.simplefilter("ignore")
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    print(f"{'':44}{len(ACCEPTED)} right masks {'':17}{len(REFUSED)} wrong masks")
    print(f"{'':44}{'used':>6}{'used, but wrong':>17}{'refused':>9}{'used':>8}{'held back':>11}")
    for name, read in READERS.items():
        right = Counter(fate(read, *variant) for variant in ACCEPTED.values())
        wrong = Counter(fate(read, *variant[:2]) != "held" for variant in REFUSED.values())
        print(f"{name:44}{right['used']:6}{right['wrong']:17}{right['held']:9}{wrong[True]:8}{wrong[False]:11}")


def fate(read: Reader, name: str, write: Callable[..., None]) -> str:
    """What becomes of one mask: "used", "wrong" where its voxels are not the rater's, or "held"."""
    with tempfile.TemporaryDirectory() as folder:
        review_round = make_round(Path(folder))
        path = write_variant(review_round, name, write)
        try:
            voxels = read(path, review_round)
        except Exception:  # noqa: BLE001  a peer may raise anything; that is a refusal
            voxels = None
        if voxels is None:
            return "held"
        return "used" if np.array_equal(voxels, drawn(review_round).voxels) else "wrong"


def by_liverset(path: Path, review_round: Round) -> NDArray[np.generic] | None:
    """Used without a person only when accepted or repaired."""
    (check,) = check_return(path.parent, review_round.sent, SCHEME, rater="R1")
    return check.labels.voxels if check.labels is not None and check.is_usable else None


def by_shape(path: Path, review_round: Round) -> NDArray[np.generic] | None:
    """Nibabel's array, when it has the image's shape."""
    voxels = np.asanyarray(nibabel.load(path).dataobj)
    expected = nibabel.load(review_round.items[0].image).shape
    return voxels.transpose(2, 1, 0) if voxels.shape == expected else None


def by_overlap_filter(path: Path, review_round: Round) -> NDArray[np.generic]:
    """SimpleITK's array, when its overlap filter takes both masks."""
    sent, found = (sitk.ReadImage(str(file)) for file in (review_round.items[0].coarse, path))
    sitk.LabelOverlapMeasuresImageFilter().Execute(sitk.Cast(sent, sitk.sitkInt16), sitk.Cast(found, sitk.sitkInt16))
    return sitk.GetArrayFromImage(found)


def by_resampling(path: Path, review_round: Round) -> NDArray[np.generic]:
    """SimpleITK's array after resampling to the image's grid."""
    image, found = (sitk.ReadImage(str(file)) for file in (review_round.items[0].image, path))
    return sitk.GetArrayFromImage(sitk.Resample(found, image, sitk.Transform(), sitk.sitkNearestNeighbor, 0))


READERS: dict[str, Reader] = {
    "liverset": by_liverset,
    "nibabel, same shape": by_shape,
    "SimpleITK, overlap filter takes it": by_overlap_filter,
    "SimpleITK, resampled to the image": by_resampling,
}


if __name__ == "__main__":
    main()
