from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from pipeline.cli.agreement import agree, consensus, lesions
from pipeline.core.errors import ConfigError, GeometryError, LabelError
from pipeline.core.geometry import Geometry
from pipeline.core.volume import LabelMap, Volume
from pipeline.image.nifti import read_labels, write_nifti
from tests.places import SHARED

GRID = Geometry.from_axes((6, 12, 14), spacing_mm=(5, 0.8, 0.7))


@pytest.fixture
def masks(tmp_path):
    """Three raters; the third drew the lesion two columns wider."""
    paths = []
    for rater, width in (("R1", 4), ("R2", 4), ("R3", 6)):
        voxels = np.ones(GRID.shape, np.uint8)
        voxels[2:4, 3:7, 3 : 3 + width] = 2
        paths.append(tmp_path / f"{rater}.nii.gz")
        write_nifti(paths[-1], LabelMap(voxels, GRID))
    return [str(path) for path in paths]


def run(command, *words):
    found = CliRunner().invoke(command, list(map(str, words)))
    if found.exception and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found


def test_agree_prints_a_table_for_people(masks):
    found = run(agree, *masks)
    assert found.exit_code == 0
    assert "lesion" in found.output
    line = r"^lesion 1: \d+(\.\d+)? ml, slices 3-4, marked by R1, R2, R3$"
    assert re.search(line, found.output, re.M)
    assert "2 slices with differences" in found.output


def test_agree_prints_and_writes_the_same_json(masks, tmp_path):
    found = run(agree, *masks, "--json", "--nsd-mm", "1", "-o", tmp_path / "out.json")
    content = json.loads(found.output)
    assert content == json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert content["tolerance_mm"] == 1.0
    lesion = [pair["dice"] for pair in content["pairs"] if pair["structure"] == "lesion"]
    assert lesion == pytest.approx([1.0, 0.8, 0.8])


def test_consensus_writes_the_vote_and_says_what_it_does_not_settle(masks, tmp_path):
    found = run(consensus, *masks, "-o", tmp_path / "vote.nii.gz")
    assert found.exit_code == 0
    assert (read_labels(tmp_path / "vote.nii.gz").voxels == 2).sum() == 2 * 4 * 4
    two = run(consensus, *masks[1:], "-o", tmp_path / "two.nii.gz")
    assert two.exit_code == 1
    assert "two-raters" in two.output
    assert "Next: look at slices 3-4" in two.output


def test_lesions_are_measured_on_each_image(masks, tmp_path):
    write_nifti(tmp_path / "C1.nii.gz", Volume(np.full(GRID.shape, 60, np.int16), GRID))
    found = run(lesions, tmp_path / "C1.nii.gz", masks[0])
    assert "C1.nii.gz" in found.output
    content = json.loads(run(lesions, tmp_path / "C1.nii.gz", masks[0], "--json").output)
    assert content["lesions"][0]["appearance"]["C1.nii.gz"]["level"] == 60


def test_a_mask_without_lesion_is_never_passed_over_in_silence(tmp_path, masks):
    write_nifti(tmp_path / "mask.nii.gz", LabelMap(np.ones(GRID.shape, np.uint8), GRID))
    warning = "Warning: no lesion label (2) in mask{}; if 1 means lesion in a binary mask, read it with --as lesion\n"
    alone = run(lesions, tmp_path / "mask.nii.gz")
    assert (alone.stdout, alone.stderr) == ("no lesion found\n", warning.format(".nii.gz"))
    assert run(agree, *masks, tmp_path / "mask.nii.gz").stderr == warning.format("")
    assert run(consensus, *masks, tmp_path / "mask.nii.gz", "-o", tmp_path / "o.nii.gz").stderr == warning.format("")
    assert run(agree, *masks).stderr == ""
    content = json.loads(run(lesions, tmp_path / "mask.nii.gz", "--json").output)
    assert warning == f"Warning: {content['warnings'][0]}\n".replace("mask.nii.gz", "mask{}")


@pytest.fixture
def binary(masks, tmp_path):
    """The lesions of the three raters as masks of 0 and 1, of 0 and 255, and of 0 and 2."""
    paths = []
    for path, value in zip(masks, (1, 255, 2), strict=True):
        paths.append(tmp_path / f"{path[-9:-7]}_lesion.nii.gz")
        write_nifti(paths[-1], LabelMap(np.where(read_labels(Path(path)).voxels == 2, value, 0).astype(np.uint8), GRID))
    return paths


def test_binary_masks_read_as_lesion_give_the_numbers_of_labelled_ones(masks, binary, tmp_path):
    labelled, found = (
        json.loads(run(agree, *paths, "--json", *more).output)
        for paths, more in ((masks, ()), (binary, ("--as", "lesion")))
    )
    lesion = [pair for pair in labelled["pairs"] if pair["structure"] == "lesion"]
    assert [{**pair, "raters": 0} for pair in found["pairs"]] == [{**pair, "raters": 0} for pair in lesion]
    assert found["warnings"] == []
    voted = run(consensus, *binary, "--as", "lesion", "-o", tmp_path / "vote.nii.gz")
    assert voted.exit_code == 0
    assert np.unique(read_labels(tmp_path / "vote.nii.gz").voxels).tolist() == [0, 2]
    (own,) = json.loads(run(lesions, binary[0], "--as", "lesion", "--json").output)["lesions"]
    (other,) = json.loads(run(lesions, masks[0], "--json").output)["lesions"]
    assert own == other | {"distance_to_surface_mm": None}


def test_a_mask_of_liver_and_lesion_is_no_binary_mask(masks):
    with pytest.raises(LabelError, match=r"holds the values \[1, 2\], expected one beside 0"):
        run(agree, *masks, "--as", "lesion")


def test_the_image_names_the_grid_and_its_slices_are_counted(masks, tmp_path):
    """The masks cropped to slices 3 and 4, on the image of six."""
    cropped = []
    for path in masks:
        labels = read_labels(Path(path))
        cropped.append(tmp_path / f"{path[-9:-7]}_cropped.nii.gz")
        write_nifti(cropped[-1], LabelMap(labels.voxels[2:4], GRID.cropped((2, 0, 0), (2, *GRID.shape[1:]))))
    write_nifti(tmp_path / "ct.nii.gz", Volume(np.full(GRID.shape, 60, np.int16), GRID))
    image = ("--image", tmp_path / "ct.nii.gz")
    assert "slices 1-2" in run(agree, *cropped).output
    assert "slices 3-4" in run(agree, *cropped, *image).output
    assert "3-4" in run(lesions, cropped[0], *image).output
    run(consensus, *cropped, *image, "-o", tmp_path / "vote.nii.gz")
    assert read_labels(tmp_path / "vote.nii.gz").geometry.same_space(GRID)
    small = Volume(np.zeros((1, *GRID.shape[1:]), np.int16), GRID.cropped((2, 0, 0), (1, *GRID.shape[1:])))
    write_nifti(tmp_path / "small.nii.gz", small)
    with pytest.raises(GeometryError, match="labelled voxels outside the image"):
        run(agree, *cropped, "--image", tmp_path / "small.nii.gz")


@pytest.mark.parametrize(("tie", "kept_ml"), [("down", 0.0), ("adjudicator", 0.0), ("undecided", 0.0), ("up", 0.0896)])
def test_what_the_vote_keeps_follows_the_tie_policy(masks, tmp_path, tie, kept_ml):
    """Two of four marked 2 x 4 x 4 voxels of 2.8 mm3."""
    empty = tmp_path / "none.nii.gz"
    write_nifti(empty, LabelMap(np.ones(GRID.shape, np.uint8), GRID))
    (tmp_path / "more").mkdir()
    twin = tmp_path / "more" / "none2.nii.gz"
    twin.write_bytes(empty.read_bytes())
    out = tmp_path / "vote.nii.gz"
    (lesion,) = json.loads(run(consensus, *masks[:2], empty, twin, "-o", out, "--tie", tie, "--json").output)["lesions"]
    assert lesion["kept_ml"] == pytest.approx(kept_ml)
    assert (read_labels(out).voxels == 2).sum() * 0.0028 == pytest.approx(kept_ml)


def test_different_grids_and_missing_configuration_stop_with_their_reason(masks, tmp_path):
    other = Geometry.from_axes(GRID.shape, spacing_mm=(4, 0.8, 0.7))
    write_nifti(tmp_path / "other.nii.gz", LabelMap(np.ones(GRID.shape, np.uint8), other))
    with pytest.raises(GeometryError, match="other"):
        run(agree, masks[0], tmp_path / "other.nii.gz")
    with pytest.raises(ConfigError):
        run(agree, *masks, "--labels", tmp_path / "none.toml")


def test_dicom_seg_is_read_like_any_other_mask():
    folder = SHARED / "liver_ct_dicomseg"
    if not folder.is_dir():
        pytest.skip("the folder of real DICOM SEG files is not here")
    content = json.loads(run(agree, folder / "liver.dcm", folder / "liver.dcm", "--json").output)
    whole_liver = content["pairs"][0]
    assert (whole_liver["structure"], whole_liver["dice"]) == ("whole_liver", 1.0)
    assert whole_liver["volumes_ml"][0] > 0
