from __future__ import annotations

import numpy as np
import pytest

from pipeline.core.geometry import Geometry
from pipeline.core.volume import LabelMap
from tests.places import SHARED

DATA = SHARED


@pytest.fixture
def mask():
    """Makes a label map out of an array, on an axial grid."""

    def make(voxels, spacing_mm=(1.0, 1.0, 1.0), directions=None):
        voxels = np.asarray(voxels, dtype=np.uint8)
        return LabelMap(voxels, Geometry.from_axes(voxels.shape, spacing_mm=spacing_mm, directions=directions))

    return make


@pytest.fixture
def three_annotators():
    folder = DATA / "three_annotators"
    if not folder.is_dir():
        pytest.skip("the folder of real files with three annotators is not here")
    return folder
