from __future__ import annotations

import numpy as np
import pytest

from pipeline.synth.anatomy import LesionKind
from pipeline.synth.cohort import make_cohort
from pipeline.synth.phantom import make_phantom


@pytest.fixture(scope="session")
def cohort(tmp_path_factory):
    """The folder and the truth of the demo cohort, written once."""
    folder = tmp_path_factory.mktemp("cohort")
    return folder, make_cohort(folder)


@pytest.fixture(scope="session")
def phantom():
    """One volume with three lesions."""
    return make_phantom(np.random.default_rng(3), kinds=(LesionKind.HCC, LesionKind.CYST, LesionKind.ICC))
