"""Masks as other programs leave them: every variant gets its verdict, and what is accepted is right to the voxel."""

from __future__ import annotations

import re

import numpy as np
import pytest

from pipeline.image.nifti import nifti_bytes
from pipeline.review.returns import Verdict, check_return
from tests.places import ROOT
from tests.review.rounds import SCHEME, Round
from tests.review.variants import ACCEPTED, REFUSED, Variant, drawn, ras, save, write_variant


def returned(review_round: Round, name: str, write: Variant):
    path = write_variant(review_round, name, write)
    (check,) = check_return(path.parent, review_round.sent, SCHEME, rater="R1")
    return drawn(review_round), check


@pytest.mark.parametrize("variant", ACCEPTED)
def test_what_is_right_is_accepted_and_equal_voxel_for_voxel(review_round, variant):
    labels, check = returned(review_round, *ACCEPTED[variant])
    assert check.is_usable, check.sentence
    np.testing.assert_array_equal(np.minimum(check.labels.voxels, 2), labels.voxels)
    assert check.labels.geometry.same_space(labels.geometry)
    assert (check.verdict is Verdict.ACCEPT_REPAIRED) == bool(check.repairs)
    assert check.fix == ""


@pytest.mark.parametrize("variant", REFUSED)
def test_what_is_wrong_is_told_with_its_cure(review_round, variant):
    name, write, verdict, code = REFUSED[variant]
    _, check = returned(review_round, name, write)
    assert (check.verdict, check.problems[0].code) == (verdict, code), check.sentence
    assert "P0001_C1" in check.sentence
    assert check.fix
    assert "\n" not in check.sentence + check.fix
    assert (check.labels is None) == (verdict is Verdict.REJECT)


def test_our_own_file_is_what_nibabel_writes(review_round):
    """The variants start from a file equal to ours, so that what differs is the variant."""
    labels = drawn(review_round)
    path = review_round.folder / "m.nii"
    save(path, labels.voxels.transpose(2, 1, 0), ras(labels.geometry))
    assert path.read_bytes()[352:] == nifti_bytes(labels)[352:]


def test_every_finding_is_explained_in_the_docs():
    root = ROOT
    sources = [root / "pipeline" / "review" / f"{module}.py" for module in ("findings", "returns", "verdicts")]
    text = "".join(path.read_text() for path in sources)
    codes = set(re.findall(r'(?:Problem|refused)\(\s*"([a-z-]+)"', text)) | set(re.findall(r'Error: "([a-z-]+)"', text))
    codes |= {code for _, _, _, code in REFUSED.values()}
    assert len(codes) > 15
    told = set(re.findall(r"`([a-z-]+)`", (root / "docs" / "review.md").read_text()))
    assert codes <= told, codes - told
