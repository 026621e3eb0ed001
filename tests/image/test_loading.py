from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from pipeline.core.errors import GeometryError, StorageError
from pipeline.core.geometry import Geometry
from pipeline.core.volume import LabelMap
from pipeline.image.loading import placed_exactly, read_image

GRID = Geometry.from_axes((4, 5, 6), spacing_mm=(5, 0.8, 0.7))


def test_images_keep_their_numbers(tmp_path):
    for dtype, expected in ((np.int16, np.int16), (np.float32, np.float32), (np.uint8, np.int16)):
        voxels = (np.arange(24).reshape(2, 3, 4) + (0.5 if dtype is np.float32 else 0)).astype(dtype)
        sitk.WriteImage(sitk.GetImageFromArray(voxels), str(tmp_path / "image.mha"))
        found = read_image(tmp_path / "image.mha")
        assert found.voxels.dtype == expected
        assert np.array_equal(found.voxels, voxels)


def test_a_missing_image_is_refused(tmp_path):
    with pytest.raises(StorageError, match=r"no\.nii\.gz"):
        read_image(tmp_path / "no.nii.gz")


def test_a_mask_that_would_lose_voxels_is_refused():
    labels = LabelMap(np.ones(GRID.shape, np.uint8), GRID)
    with pytest.raises(GeometryError, match="30 labelled voxels outside"):
        placed_exactly(labels, GRID.cropped((0, 0, 0), (3, 5, 6)), what="the mask")


def test_a_mask_between_the_voxels_is_refused():
    affine = GRID.affine.copy()
    affine[:3, 3] += [0.35, 0, 0]
    labels = LabelMap(np.ones(GRID.shape, np.uint8), GRID)
    with pytest.raises(GeometryError, match=r"is shifted by 0\.50 voxels against"):
        placed_exactly(labels, Geometry(GRID.shape, affine), what="the mask")
