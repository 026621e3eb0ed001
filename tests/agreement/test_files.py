from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.agreement.files import agree_files, consensus_files, load_ratings, rater_names
from pipeline.core.config import ConsensusConfig
from pipeline.core.errors import GeometryError, LabelError, StorageError
from pipeline.core.files import read_json
from pipeline.core.geometry import Geometry
from pipeline.core.labels import LabelScheme
from pipeline.core.volume import LabelMap
from pipeline.image.masks import StoredMask
from pipeline.image.nifti import read_labels, read_nifti, write_nifti
from pipeline.image.nrrd import Segment
from pipeline.image.orientation import reoriented

TURNED = np.array([[0.1, 0.2, 1.0], [0.0, 1.0, -0.2], [1.0, -0.02, -0.1]])
OBLIQUE = np.linalg.qr(TURNED.T)[0].T * np.sign(np.diag(np.linalg.qr(TURNED.T)[1]))[:, np.newaxis]


def some_mask(seed=1, directions=None):
    rng = np.random.default_rng(seed)
    voxels = np.zeros((5, 8, 9), np.uint8)
    voxels[1:4, 1:7, 1:8] = rng.integers(1, 3, (3, 6, 7))
    grid = Geometry.from_axes(voxels.shape, spacing_mm=(5, 0.8, 0.7), origin_lps_mm=(-90, 12, 7), directions=directions)
    return LabelMap(voxels, grid)


def write_with_itk(path, labels):
    image = sitk.GetImageFromArray(labels.voxels)
    image.SetSpacing(labels.geometry.spacing_mm[::-1])
    image.SetOrigin(labels.geometry.origin_lps_mm)
    image.SetDirection(labels.geometry.directions[::-1].T.ravel().tolist())
    sitk.WriteImage(image, str(path))


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("orientation", ["SPL", "LPS", "IAR", "PSR"])
@pytest.mark.parametrize("directions", [None, OBLIQUE], ids=["straight", "oblique"])
def test_every_format_and_orientation_of_one_grid_is_the_same_mask(tmp_path, ending, orientation, directions):
    labels = some_mask(directions=directions)
    write_nifti(tmp_path / "a.nii.gz", labels)
    write_with_itk(tmp_path / f"b{ending}", reoriented(labels, orientation))
    found = load_ratings([tmp_path / "a.nii.gz", tmp_path / f"b{ending}"]).ratings
    assert np.array_equal(found["a"].voxels, labels.voxels)
    assert np.array_equal(found["b"].voxels, labels.voxels)
    agreement = agree_files([tmp_path / "a.nii.gz", tmp_path / f"b{ending}"])
    assert {pair["dice"] for pair in agreement["pairs"]} == {1.0}


def test_slices_are_axial_whatever_the_orientation_of_the_first_file(tmp_path):
    labels, other = some_mask(1), some_mask(1)
    voxels = other.voxels.copy()
    voxels[3, 4, 4] = 0
    write_with_itk(tmp_path / "a.nrrd", reoriented(labels, "LPS"))
    write_with_itk(tmp_path / "b.nrrd", reoriented(LabelMap(voxels, other.geometry), "AIR"))
    found = agree_files([tmp_path / "a.nrrd", tmp_path / "b.nrrd"])
    assert {here["slice"] for here in found["slices"]} == {3}
    assert found["repairs"]["b"] == ("turned to the image's axis order",)


def test_a_mask_that_slicer_cropped_is_filled_up(tmp_path):
    labels = some_mask()
    cropped = LabelMap(labels.voxels[1:4, 1:7, 1:8].copy(), labels.geometry.cropped((1, 1, 1), (3, 6, 7)))
    write_with_itk(tmp_path / "cropped.nrrd", cropped)
    write_nifti(tmp_path / "whole.nii.gz", labels)
    found = load_ratings([tmp_path / "cropped.nrrd", tmp_path / "whole.nii.gz"])
    assert np.array_equal(found.ratings["cropped"].voxels, labels.voxels)
    assert found.repairs["cropped"] == ("filled up to the image's extent",)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32 - 1), st.sampled_from(["SPL", "LPS", "IAR"]))
def test_masks_cropped_to_their_own_boxes_meet_on_the_box_of_all(tmp_path, seed, orientation):
    rng = np.random.default_rng(seed)
    grid, paths, boxes = some_mask().geometry, [], []
    whole = {}
    for name in ("a", "b", "c"):
        start = rng.integers(0, np.array(grid.shape))
        stop = rng.integers(start + 1, np.array(grid.shape) + 1)
        voxels = np.zeros(grid.shape, np.uint8)
        box = tuple(slice(*ends) for ends in zip(start, stop, strict=True))
        voxels[box] = rng.integers(1, 3, voxels[box].shape)
        whole[name] = voxels
        boxes.append((start, stop))
        paths.append(tmp_path / f"{name}.nrrd")
        cropped = LabelMap(voxels[box].copy(), grid.cropped(tuple(start), tuple(stop - start)))
        write_with_itk(paths[-1], reoriented(cropped, orientation if name == "b" else "SPL"))
    found = load_ratings(paths)
    low, high = np.min([box[0] for box in boxes], axis=0), np.max([box[1] for box in boxes], axis=0)
    extent = tuple(slice(*ends) for ends in zip(low, high, strict=True))
    for name, labels in found.ratings.items():
        assert labels.geometry.same_space(grid.cropped(tuple(low), tuple(high - low)))
        assert np.array_equal(labels.voxels, whole[name][extent])


def test_the_empty_voxel_that_slicer_saves_of_nothing_is_a_rater_who_saw_nothing(tmp_path):
    labels = some_mask()
    write_nifti(tmp_path / "R1.nii.gz", labels)
    nothing = Geometry.from_axes((1, 1, 1), spacing_mm=(1, 1, 1))
    write_nifti(tmp_path / "R2.nii.gz", LabelMap(np.zeros((1, 1, 1), np.uint8), nothing))
    found = load_ratings([tmp_path / "R1.nii.gz", tmp_path / "R2.nii.gz"])
    assert not found.ratings["R2"].voxels.any()
    assert found.ratings["R2"].geometry.same_space(labels.geometry)
    assert len(found.warnings) == 1


def test_masks_of_different_patients_do_not_fill_the_memory(tmp_path):
    labels = some_mask()
    affine = labels.geometry.affine.copy()
    affine[:3, 3] += labels.geometry.affine[:3, 0] * 1000
    write_nifti(tmp_path / "a.nii.gz", labels)
    write_nifti(tmp_path / "far.nii.gz", LabelMap(labels.voxels, Geometry(labels.geometry.shape, affine)))
    with pytest.raises(GeometryError, match="more than 3 m apart"):
        agree_files([tmp_path / "a.nii.gz", tmp_path / "far.nii.gz"])


def test_another_grid_is_refused_with_the_reason(tmp_path):
    labels = some_mask()
    affine = labels.geometry.affine.copy()
    affine[:3, 3] += [0.35, 0, 0]
    write_nifti(tmp_path / "a.nii.gz", labels)
    write_nifti(tmp_path / "half.nii.gz", LabelMap(labels.voxels, Geometry(labels.geometry.shape, affine)))
    with pytest.raises(GeometryError, match=r"half is shifted by 0\.50 voxels against"):
        agree_files([tmp_path / "a.nii.gz", tmp_path / "half.nii.gz"])
    coarser = Geometry.from_axes(labels.geometry.shape, spacing_mm=(4, 0.8, 0.7), origin_lps_mm=(-90, 12, 7))
    write_nifti(tmp_path / "coarser.nii.gz", LabelMap(labels.voxels, coarser))
    with pytest.raises(GeometryError, match=r"spacing 4\.000"):
        agree_files([tmp_path / "a.nii.gz", tmp_path / "coarser.nii.gz"])


def test_unknown_labels_and_damaged_files_are_refused(tmp_path):
    labels = some_mask()
    write_nifti(
        tmp_path / "seven.nii.gz", LabelMap(np.where(labels.voxels == 2, 7, 0).astype(np.uint8), labels.geometry)
    )
    with pytest.raises(LabelError, match=r"seven\.nii\.gz has the values"):
        agree_files([tmp_path / "seven.nii.gz"])
    write_nifti(tmp_path / "cut.nii.gz", labels)
    content = (tmp_path / "cut.nii.gz").read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(content[: len(content) // 2])
    with pytest.raises(StorageError, match=r"cut\.nii\.gz"):
        agree_files([tmp_path / "cut.nii.gz"])


def test_names_come_from_files_else_from_folders_else_from_numbers(tmp_path):
    assert rater_names([tmp_path / "R1.nii.gz", tmp_path / "R2.seg.nrrd"]) == ["R1", "R2"]
    assert rater_names([tmp_path / "R1" / "mask.nii.gz", tmp_path / "R2" / "mask.nii.gz"]) == ["R1", "R2"]
    same = [tmp_path / "mask.nii.gz", tmp_path / "mask.nii.gz"]
    assert rater_names(same) == ["mask-1", "mask-2"]


@pytest.mark.parametrize("method", ["nested-majority", "instance-majority", "plurality", "staple"])
def test_consensus_writes_mask_ties_entropy_and_explanation_beside_it(tmp_path, method):
    paths = [tmp_path / f"R{n}.nii.gz" for n in range(4)]
    for seed, path in enumerate(paths):
        write_nifti(path, some_mask(seed // 2))
    explanation = consensus_files(paths, tmp_path / "out.nii.gz", config=ConsensusConfig(method=method))
    written = read_labels(tmp_path / "out.nii.gz")
    assert written.geometry.same_space(some_mask().geometry)
    assert read_labels(tmp_path / "out_ties.nii.gz").voxels.sum() == explanation["tied_voxels"]
    votes = read_labels(tmp_path / "out_votes_lesion.nii.gz").voxels
    assert votes.max() == 4
    assert np.array_equal(votes == 4, (some_mask(0).voxels == 2) & (some_mask(1).voxels == 2))
    entropy, _ = read_nifti(tmp_path / "out_entropy.nii.gz")
    assert np.array_equal(entropy > 0, some_mask(0).voxels != some_mask(1).voxels)
    assert read_json(tmp_path / "out.json") == json.loads(json.dumps(explanation))


def test_consensus_of_the_same_files_is_the_same_bytes(tmp_path):
    paths = [tmp_path / f"R{n}.nii.gz" for n in range(3)]
    for seed, path in enumerate(paths):
        write_nifti(path, some_mask(seed))
    consensus_files(paths, tmp_path / "one.nii.gz")
    consensus_files(paths[::-1], tmp_path / "two.nii.gz")
    for ending in (".nii.gz", "_ties.nii.gz", "_entropy.nii.gz", ".json"):
        assert (tmp_path / f"one{ending}").read_bytes() == (tmp_path / f"two{ending}").read_bytes()


def test_no_file_is_refused():
    with pytest.raises(LabelError, match="no rating"):
        agree_files([])


def segmentation_of(labels, kinds):
    """What a reader gives of a file whose segments are a liver and one lesion a kind."""

    def read(path):
        layers = np.zeros((1, *labels.voxels.shape), np.uint8)
        layers[0] = labels.voxels > 0
        segments = [Segment("liver", 1, 0)]
        for value, kind in enumerate(kinds[path.name], start=2):
            layers[0, value - 1, 2:5, 2:5] = value
            segments.append(Segment(kind, value, 0))
        return StoredMask(layers, labels.geometry, tuple(segments))

    return read


def test_lesion_kinds_are_structures_of_their_own(tmp_path):
    named = {"R1": ("HCC", "cyst"), "R2": ("hcc", "HCC")}
    found = agree_files(
        [tmp_path / "R1", tmp_path / "R2"],
        scheme=LabelScheme(("HCC", "cyst")),
        read=segmentation_of(LabelMap(np.ones((5, 8, 9), np.uint8), some_mask().geometry), named),
    )
    dice = {pair["structure"]: (pair["dice"], pair["empty"]) for pair in found["pairs"]}
    assert dice == {
        "whole_liver": (1.0, "none"),
        "parenchyma": (1.0, "none"),
        "lesion": (1.0, "none"),
        "HCC": (pytest.approx(2 * 9 / 27), "none"),
        "cyst": (0.0, "one"),
    }
    assert [lesion["pattern"] for lesion in found["lesions"]] == ["11"]
