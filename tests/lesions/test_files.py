from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk

from pipeline.core.errors import GeometryError
from pipeline.core.geometry import Geometry
from pipeline.core.volume import LabelMap, Volume
from pipeline.image.nifti import write_nifti
from pipeline.image.orientation import reoriented
from pipeline.lesions.files import lesions_files

GRID = Geometry.from_axes((6, 12, 14), spacing_mm=(5, 0.8, 0.7), origin_lps_mm=(-90, 12, 7))


def a_case():
    labels, hu = np.ones(GRID.shape, np.uint8), np.full(GRID.shape, 100, np.int16)
    labels[1:4, 3:7, 3:8], labels[5, 10, 10] = 2, 2
    hu[labels == 2] = 40
    return LabelMap(labels, GRID), Volume(hu, GRID)


def write_with_itk(path, image):
    written = sitk.GetImageFromArray(image.voxels)
    written.SetSpacing(image.geometry.spacing_mm[::-1])
    written.SetOrigin(image.geometry.origin_lps_mm)
    written.SetDirection(image.geometry.directions[::-1].T.ravel().tolist())
    sitk.WriteImage(written, str(path))


@pytest.mark.parametrize("orientation", ["SPL", "LPS", "IAR"])
def test_lesions_of_files_do_not_depend_on_their_orientation(tmp_path, orientation):
    labels, image = a_case()
    write_nifti(tmp_path / "image.nii.gz", image)
    write_nifti(tmp_path / "mask.nii.gz", labels)
    write_with_itk(tmp_path / "turned_mask.nrrd", reoriented(labels, orientation))
    write_with_itk(tmp_path / "turned.nrrd", reoriented(image, "PSR"))
    expected = lesions_files([tmp_path / "image.nii.gz"], tmp_path / "mask.nii.gz")["lesions"]
    found = lesions_files([tmp_path / "turned.nrrd"], tmp_path / "turned_mask.nrrd")["lesions"]
    assert [lesion["voxels"] for lesion in found] == [60, 1]
    for straight, turned in zip(expected, found, strict=True):
        (look,), (turned_look,) = straight.pop("appearance").values(), turned.pop("appearance").values()
        assert turned_look == look
        for name, value in straight.items():
            if name != "box":
                assert turned[name] == pytest.approx(value), name
        assert look["contrast"] == -60


def test_each_image_has_its_own_appearance(tmp_path):
    labels, image = a_case()
    write_nifti(tmp_path / "mask.nii.gz", labels)
    write_nifti(tmp_path / "P.nii.gz", image)
    write_nifti(tmp_path / "C1.nii.gz", Volume((image.voxels * 2).astype(np.int16), GRID))
    found = lesions_files([tmp_path / "P.nii.gz", tmp_path / "C1.nii.gz"], tmp_path / "mask.nii.gz")
    looks = json.loads(json.dumps(found, allow_nan=False))["lesions"][0]["appearance"]
    assert {name: look["contrast"] for name, look in looks.items()} == {"P.nii.gz": -60, "C1.nii.gz": -120}


def test_an_image_with_more_slices_than_the_first_is_measured_at_the_same_place(tmp_path):
    labels, image = a_case()
    taller = Geometry.from_axes((8, 12, 14), spacing_mm=(5, 0.8, 0.7), origin_lps_mm=(-90, 12, -3))
    hu = np.zeros(taller.shape, np.int16)
    hu[2:] = image.voxels
    write_nifti(tmp_path / "mask.nii.gz", labels)
    write_nifti(tmp_path / "P.nii.gz", image)
    write_nifti(tmp_path / "C1.nii.gz", Volume(hu, taller))
    found = lesions_files([tmp_path / "P.nii.gz", tmp_path / "C1.nii.gz"], tmp_path / "mask.nii.gz")
    looks = found["lesions"][0]["appearance"]
    assert looks["C1.nii.gz"] == looks["P.nii.gz"]


def test_a_mask_alone_gives_sizes(tmp_path):
    write_nifti(tmp_path / "mask.nii.gz", a_case()[0])
    found = lesions_files([], tmp_path / "mask.nii.gz")
    assert [lesion["voxels"] for lesion in found["lesions"]] == [60, 1]
    assert found["lesions"][0]["appearance"] == {}


def test_a_mask_beside_its_image_is_refused(tmp_path):
    labels, image = a_case()
    affine = GRID.affine.copy()
    affine[:3, 3] += [0.35, 0, 0]
    write_nifti(tmp_path / "image.nii.gz", Volume(image.voxels, Geometry(GRID.shape, affine)))
    write_nifti(tmp_path / "mask.nii.gz", labels)
    with pytest.raises(GeometryError, match=r"is shifted by 0\.50 voxels against"):
        lesions_files([tmp_path / "image.nii.gz"], tmp_path / "mask.nii.gz")
