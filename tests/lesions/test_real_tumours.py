"""Diameters and volumes of real tumours beside SimpleITK (KiTS23, CC BY-NC-SA 4.0)."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from pipeline.core.volume import LabelMap
from pipeline.image.nifti import read_labels
from pipeline.lesions.measure import measure_lesions
from tests.places import SHARED

DATA = SHARED / "three_annotators"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the folder of real files with three annotators is not here")


@pytest.mark.parametrize("case", ["case_00061", "case_00267"])
def test_a_tumour_measures_the_same_as_with_simpleitk(case):
    drawn = read_labels(DATA / case / "instances" / "tumor_instance-1_annotation-1.nii.gz")
    found = measure_lesions(LabelMap(drawn.voxels * np.uint8(2), drawn.geometry))
    image = sitk.GetImageFromArray(drawn.voxels)
    image.SetSpacing(drawn.geometry.spacing_mm[::-1])
    peer = sitk.LabelShapeStatisticsImageFilter()
    peer.ComputeFeretDiameterOn()
    peer.Execute(sitk.ConnectedComponent(image, True))
    expected = {
        (peer.GetNumberOfPixels(n), round(peer.GetFeretDiameter(n), 4), round(peer.GetPhysicalSize(n) / 1000, 4))
        for n in peer.GetLabels()
    }
    measured = {(one.voxels, round(one.max_diameter_mm, 4), round(one.volume_ml, 4)) for one in found}
    assert measured == expected
