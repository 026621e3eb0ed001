"""ITK sees each voxel where we put it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import StorageError
from pipeline.core.geometry import Geometry
from pipeline.core.volume import LabelMap
from pipeline.image.nifti import write_nifti
from pipeline.image.second_reader import read_with_itk


def test_oblique_volume_is_the_same_to_both_readers(tmp_path: Path):
    directions, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))
    geometry = Geometry.from_axes((3, 4, 5), spacing_mm=(4, 0.7, 0.8), origin_lps_mm=(9, -8, 7), directions=directions)
    voxels = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    write_nifti(tmp_path / "mask.nii.gz", LabelMap(voxels, geometry))
    seen, grid = read_with_itk(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(seen, voxels)
    assert grid.same_space(geometry)


def test_what_itk_cannot_read_is_told(tmp_path: Path):
    path = tmp_path / "mask.nii.gz"
    path.write_bytes(b"nothing")
    with pytest.raises(StorageError, match=r"mask\.nii\.gz cannot be read by ITK"):
        read_with_itk(path)
