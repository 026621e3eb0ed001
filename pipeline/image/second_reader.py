"""How ITK sees a file of ours: the reader behind ITK-SNAP, 3D Slicer, SimpleITK and nnU-Net.

A release that only our own reader understands would be worth nothing, so its check reads every volume twice.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from pipeline.core.errors import StorageError
from pipeline.core.geometry import Geometry


def read_with_itk(path: Path) -> tuple[NDArray[Any], Geometry]:
    """Voxels as (slice, row, column) and their grid, as ITK understands the file.

    ITK reads cut files without a word, so check the file's whole before (`nifti.read_nifti` does).

    Raises:
        StorageError: when ITK cannot read the file.
    """
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError:
        raise StorageError(f"{path.name} cannot be read by ITK, so not by ITK-SNAP or Slicer either") from None
    affine = np.eye(4)
    steps = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, :3] = steps[:, ::-1]
    affine[:3, 3] = image.GetOrigin()
    voxels = sitk.GetArrayFromImage(image)
    slices, rows, columns = voxels.shape
    return voxels, Geometry((slices, rows, columns), affine)
