"""Three people who outlined the same kidneys and tumours in CT: real edits pass, and no flip of them does.

Kidneys are the hard case: mirrored left to right, one lies where the other was.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.records import Phase
from pipeline.core.volume import LabelMap, Volume
from pipeline.image.nifti import read_nifti, write_nifti
from pipeline.review.returns import SentItem, Verdict, check_return
from tests.places import SHARED

CASE = SHARED / "three_annotators" / "case_00061"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CASE.is_dir(), reason="the masks of three annotators are not beside this repository"),
]


def outlined_by(annotator: int) -> LabelMap:
    """Kidneys as 1, tumours and cysts inside them as 2."""
    voxels, geometry = None, None
    for path in sorted(CASE.glob(f"instances/*annotation-{annotator}.nii.gz")):
        instance, geometry = read_nifti(path)
        voxels = np.zeros(instance.shape, np.uint8) if voxels is None else voxels
        voxels = np.maximum(voxels, (instance > 0) * np.uint8(1 if path.name.startswith("kidney") else 2))
    assert voxels is not None
    assert geometry is not None
    return LabelMap(voxels, geometry)


@pytest.fixture(scope="module")
def sent(tmp_path_factory) -> SentItem:
    folder = tmp_path_factory.mktemp("case")
    labels = outlined_by(1)
    write_nifti(folder / "coarse.nii.gz", labels)
    write_nifti(folder / "image.nii.gz", Volume(np.full(labels.geometry.shape, 40, np.int16), labels.geometry))
    return SentItem("P0001_C1", "R1", "P0001", Phase.ARTERIAL, folder / "image.nii.gz", folder / "coarse.nii.gz")


def verdict_on(sent: SentItem, labels: LabelMap, folder: Path):
    path = folder / "P0001_C1_mask.nii.gz"
    write_nifti(path, labels)
    (check,) = check_return(path, [sent])
    return check


@pytest.mark.parametrize("annotator", [2, 3])
def test_another_persons_outline_of_the_same_organs_is_accepted(sent, annotator, tmp_path):
    check = verdict_on(sent, outlined_by(annotator), tmp_path)
    assert check.verdict is Verdict.ACCEPT
    assert 0.97 < check.dice_to_sent < 0.99
    assert check.changed_voxels > 1000


def test_no_flip_of_it_is(sent, tmp_path):
    labels = outlined_by(2)
    for axes in product((False, True), repeat=3):
        if any(axes):
            flipped = LabelMap(np.flip(labels.voxels, np.flatnonzero(axes)), labels.geometry)
            check = verdict_on(sent, flipped, tmp_path)
            assert (check.verdict, check.problems[0].code) == (Verdict.REJECT, "mirrored"), axes
