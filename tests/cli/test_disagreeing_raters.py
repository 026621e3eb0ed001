"""The commands on raters who disagree, on cases made elsewhere with answers of their own."""

from __future__ import annotations

import json
import runpy
import sys

import pytest

from pipeline.cli.agreement import consensus
from pipeline.image.nifti import read_labels
from tests.cli.test_agreement import run
from tests.places import CASES

RECIPE = CASES / "agreement" / "make.py"


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """The folder of all cases, and what is right for each."""
    if not RECIPE.is_file():
        pytest.skip("the recipe of the cases is not here")
    folder = tmp_path_factory.mktemp("cases")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(RECIPE), str(folder)])
        runpy.run_path(str(RECIPE), run_name="__main__")
    return folder, json.loads((folder / "expected.json").read_text(encoding="utf-8"))


def masks_of(cases, name):
    return sorted((cases[0] / name).glob("R*"))


@pytest.mark.parametrize(
    ("case", "sentence"),
    [
        ("two_saw_no_overlap", "lesion 2: 2 of 3 raters marked 0.27 ml on slices 12-14; the vote keeps nothing"),
        (
            "three_saw_no_overlap",
            "lesion 2: 3 of 3 raters marked 0.45 ml on slices 12-16; the vote keeps nothing",
        ),
        ("satellite_touching", "beyond the border of lesion 1: 1 of 3 raters marked 0.081 ml on slices 12-14"),
        ("satellite_apart", "lesion 2: 1 of 3 raters marked 0.18 ml on slices 12-14; the vote keeps nothing"),
        ("border_wider", None),
    ],
)
def test_consensus_names_what_it_drops_and_no_mere_border(cases, tmp_path, case, sentence):
    found = run(consensus, *masks_of(cases, case), "-o", tmp_path / "vote.nii.gz")
    assert found.exit_code == int(cases[1][case]["needs_adjudication"])
    if sentence:
        assert sentence in found.output
        assert "Next: look at slices 12-14" in found.output or case == "three_saw_no_overlap"


@pytest.mark.parametrize("case", ["staple_nested", "staple_agreeing"])
def test_staple_beside_the_vote_and_in_its_place_is_simpleitks(cases, tmp_path, case):
    right = cases[1][case]["staple_lesion"]
    for method in ("nested-majority", "staple"):
        out = tmp_path / f"{method}.nii.gz"
        content = json.loads(run(consensus, *masks_of(cases, case), "-o", out, "--method", method, "--json").output)
        check = content["staple_check"]["lesion"]
        assert (check["voxels"], check["converged"]) == (right["voxels"], True)
        assert list(check["sensitivity"].values()) == pytest.approx(right["sensitivity"], abs=1e-4)
    assert (read_labels(out).voxels == 2).sum() == right["voxels"]
