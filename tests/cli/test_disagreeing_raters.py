"""The commands on raters who disagree, on cases made elsewhere with answers of their own."""

from __future__ import annotations

import json
import runpy
import sys

import pytest

from pipeline.cli.agreement import agree, consensus, lesions
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


def test_a_pair_of_lesions_above_half_is_found_whatever_touches_besides(cases):
    (found,) = json.loads(run(agree, *masks_of(cases, "iou50"), "--json").output)["detections"]
    assert (found["well_matched"], found["f1_iou50"]) == (1, 0.5)


@pytest.mark.parametrize("case", ["cropped_lattice", "same_uncropped", "seg_frames_left_out"])
def test_masks_cropped_to_what_they_hold_are_compared_on_the_grid_of_all(cases, tmp_path, case):
    content = json.loads(run(agree, *masks_of(cases, case), "--json").output)
    for pair in content["pairs"]:
        right = cases[1][case]["dice"][" ".join(pair["raters"])]
        assert pair["dice"] == pytest.approx(right.get(pair["structure"], pair["dice"]), abs=1e-12)
    image = masks_of(cases, "same_uncropped")[0]
    found = json.loads(run(agree, *masks_of(cases, case), "--image", image, "--json").output)
    whole = json.loads(run(agree, *masks_of(cases, "same_uncropped"), "--json").output)
    assert [found[part] for part in ("pairs", "slices")] == [whole[part] for part in ("pairs", "slices")]
    lesion = [(one["pattern"], one["first_slice"], one["last_slice"]) for one in found["lesions"]]
    assert lesion == [(one["pattern"], one["first_slice"], one["last_slice"]) for one in whole["lesions"]]
    run(consensus, *masks_of(cases, case), "--image", image, "-o", tmp_path / "vote.nii.gz")
    run(consensus, *masks_of(cases, "same_uncropped"), "-o", tmp_path / "whole.nii.gz")
    voted, expected = (read_labels(tmp_path / f"{name}.nii.gz") for name in ("vote", "whole"))
    assert (voted.voxels == expected.voxels).all()


def test_binary_masks_are_lesions_when_asked_for_and_warned_of_otherwise(cases):
    right, masks = cases[1]["binary_lesions"], masks_of(cases, "binary_lesions")
    (pair,) = json.loads(run(agree, *masks, "--as", "lesion", "--json").output)["pairs"]
    assert (pair["structure"], pair["dice"]) == ("lesion", pytest.approx(right["lesion_dice"]))
    (lesion,) = json.loads(run(lesions, masks[0], "--as", "lesion", "--json").output)["lesions"]
    assert lesion["volume_ml"] == pytest.approx(right["volume_ml"])
    assert "--as lesion" in run(lesions, masks[0]).stderr
    assert "no lesion label (2) in R1, R2" in run(agree, *masks).stderr
