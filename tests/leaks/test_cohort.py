"""On the synthetic cohort: every planted secret is harvested and found, and none is in the clean copy of its images."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.core.config import DeidentificationConfig
from pipeline.core.pseudonyms import Pseudonyms
from pipeline.dicom.deid.clean_tree import deidentify_tree
from pipeline.leaks.search import Identifiers, harvest, search
from pipeline.synth.cohort import make_cohort
from pipeline.synth.truth import CohortTruth

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> tuple[Path, CohortTruth, Identifiers]:
    folder = tmp_path_factory.mktemp("cohort")
    truth = make_cohort(folder)
    return folder, truth, harvest([folder])


def test_every_secret_is_found_in_a_file_of_its_own(cohort, tmp_path):
    _, truth, identifiers = cohort
    for number, secret in enumerate(truth.secrets):
        (tmp_path / f"{number:04d}.txt").write_text(f"about {secret}; and more", encoding="utf-8")
    found = {int(leak.where[:4]) for leak in search(identifiers, [tmp_path])}
    assert len(truth.secrets) - len(found) == 0


def test_clean_copy_of_the_cohort_holds_none(cohort, tmp_path):
    folder, truth, identifiers = cohort
    report = deidentify_tree([folder / "dicom"], tmp_path / "out", Pseudonyms(bytes(32)), DeidentificationConfig())
    counts = report.counts()
    assert counts["written"] > 2_000
    assert "text-suspected" not in counts
    assert search(identifiers, [tmp_path / "out"]) == ()
    names = " ".join(str(path.relative_to(tmp_path)) for path in (tmp_path / "out").rglob("*"))
    assert not any(secret in names for secret in truth.secrets)
