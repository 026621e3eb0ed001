from __future__ import annotations

import pytest

from pipeline.synth.cohort import make_cohort


@pytest.fixture(scope="session")
def cohort(tmp_path_factory):
    """The folder and the truth of the demo cohort, written once."""
    folder = tmp_path_factory.mktemp("cohort")
    return folder, make_cohort(folder)
