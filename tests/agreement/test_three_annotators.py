"""Real masks of three annotators and the vote their authors published (KiTS23, CC BY-NC-SA 4.0)."""

from __future__ import annotations

import re
from collections import defaultdict
from itertools import combinations

import numpy as np
import pytest

from pipeline.agreement.agree import agree
from pipeline.agreement.instances import RatedInstance, vote_instances
from pipeline.core.errors import GeometryError, LabelError
from pipeline.image.nifti import read_labels

LABELS = {"kidney": 1, "tumor": 2, "cyst": 3}
CASES = ["case_00038", "case_00061", "case_00148", "case_00267"]


def rated_instances(folder):
    masks = defaultdict(dict)
    for path in sorted(folder.glob("instances/*.nii.gz")):
        kind, number, rater = re.fullmatch(r"(\w+)_instance-(\d)_annotation-(\d)\.nii\.gz", path.name).groups()
        masks[kind, number][f"A{rater}"] = read_labels(path)
    return [RatedInstance(LABELS[kind], raters) for (kind, _), raters in masks.items()]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_the_published_mask_is_reproduced_voxel_by_voxel(three_annotators, case):
    found = vote_instances(rated_instances(three_annotators / case), raters=3)
    published = read_labels(three_annotators / case / "segmentation.nii.gz")
    assert np.array_equal(found.voxels, published.voxels)


@pytest.mark.parametrize(
    ("case", "kind", "expected"),
    [
        ("case_00038", "kidney", (0.9784, 0.9779, 0.9815)),
        ("case_00061", "tumor", (0.9765, 0.9788, 0.9808)),
        ("case_00267", "tumor", (0.9388, 0.9222, 0.9386)),
    ],
)
def test_pairwise_dice_of_the_annotators_is_as_known(three_annotators, case, kind, expected):
    raters = {
        f"A{rater}": read_labels(three_annotators / case / "instances" / f"{kind}_instance-1_annotation-{rater}.nii.gz")
        for rater in (1, 2, 3)
    }
    found = agree(raters, structures={kind: (1,)})
    assert [pair.raters for pair in found.pairs] == list(combinations(("A1", "A2", "A3"), 2))
    assert [pair.overlap.dice for pair in found.pairs] == pytest.approx(expected, abs=5e-5)


def test_an_instance_that_one_of_three_drew_is_not_painted(mask):
    drawn = mask(np.ones((2, 2, 2)))
    found = vote_instances([RatedInstance(2, {"R1": drawn}), RatedInstance(1, {"R1": drawn, "R2": drawn})], raters=3)
    assert (found.voxels == 1).all()


def test_instances_on_different_grids_or_none_at_all_are_refused(mask):
    near, far = mask(np.ones((2, 2, 2))), mask(np.ones((2, 2, 3)))
    with pytest.raises(GeometryError, match="outlined by R2"):
        vote_instances([RatedInstance(1, {"R1": near, "R2": far})], raters=2)
    with pytest.raises(LabelError, match="no instance"):
        vote_instances([], raters=3)
