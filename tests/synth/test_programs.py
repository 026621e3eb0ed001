"""Masks as other programs save them are the same mask for our reader and for ITK's."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from pipeline.core.geometry import Geometry
from pipeline.core.labels import LabelScheme
from pipeline.core.volume import LabelMap
from pipeline.image.masks import place, read_labels_of, read_mask
from pipeline.image.nifti import write_nifti
from pipeline.synth.programs import as_itksnap_saves, as_resaved_canonical, as_slicer_saves


@pytest.mark.parametrize("save", [as_itksnap_saves, as_resaved_canonical, as_slicer_saves])
def test_what_a_program_saves_is_the_mask_for_our_reader(phantom, tmp_path, save):
    suffix, content = save(phantom.labels)
    path = tmp_path / f"mask{suffix}"
    path.write_bytes(content)
    labels = read_labels_of(read_mask(path), LabelScheme(), what="mask").labels
    placement = place(labels, phantom.labels.geometry, what="mask")
    assert (placement.labels.voxels == phantom.labels.voxels).all()


@pytest.mark.parametrize(
    ("save", "meaning"),
    [(as_itksnap_saves, [0, 1, 2]), (as_resaved_canonical, [0, 1, 2]), (as_slicer_saves, [0, 2, 1])],
)
def test_what_a_program_saves_is_the_mask_for_simpleitk(phantom, tmp_path, save, meaning):
    """ITK reads the file on its own grid and lays it on the image's by position."""
    suffix, content = save(phantom.labels)
    path, reference = tmp_path / f"mask{suffix}", tmp_path / "reference.nii.gz"
    path.write_bytes(content)
    write_nifti(reference, phantom.labels)
    laid = sitk.Resample(
        sitk.ReadImage(str(path)), sitk.ReadImage(str(reference)), sitk.Transform(), sitk.sitkNearestNeighbor
    )
    assert (np.array(meaning)[sitk.GetArrayFromImage(laid)] == phantom.labels.voxels).all()


def test_itk_snap_saves_sixteen_bits_and_slicer_a_cropped_extent(phantom, tmp_path):
    for save, name in ((as_itksnap_saves, "a.nii.gz"), (as_slicer_saves, "b.seg.nrrd")):
        (tmp_path / name).write_bytes(save(phantom.labels)[1])
    assert sitk.ReadImage(str(tmp_path / "a.nii.gz")).GetPixelID() == sitk.sitkInt16
    cropped = sitk.ReadImage(str(tmp_path / "b.seg.nrrd"))
    assert np.prod(cropped.GetSize()) < phantom.labels.voxels.size / 2
    assert cropped.GetMetaData("Segment0_Name") == "lesion"


def test_an_empty_mask_can_be_saved_by_every_program(tmp_path):
    empty = LabelMap(np.zeros((4, 5, 6), dtype=np.uint8), Geometry.from_axes((4, 5, 6), spacing_mm=(5, 2, 2)))
    for save in (as_itksnap_saves, as_resaved_canonical, as_slicer_saves):
        suffix, content = save(empty)
        (tmp_path / f"empty{suffix}").write_bytes(content)
        labels = read_labels_of(read_mask(tmp_path / f"empty{suffix}"), LabelScheme(), what="mask").labels
        assert not place(labels, empty.geometry, what="mask").labels.voxels.any()
