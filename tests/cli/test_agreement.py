from __future__ import annotations

import json
import re

import numpy as np
import pytest
from click.testing import CliRunner

from pipeline.cli.agreement import agree, consensus, lesions
from pipeline.core.errors import ConfigError, GeometryError
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


def test_a_mask_without_lesion_says_so(tmp_path):
    write_nifti(tmp_path / "mask.nii.gz", LabelMap(np.ones(GRID.shape, np.uint8), GRID))
    assert run(lesions, tmp_path / "mask.nii.gz").output == "no lesion found\n"


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
