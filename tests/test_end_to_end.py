"""The whole way once, as a user goes it: DICOM in, verified release out; then everything that must hold afterwards."""

from __future__ import annotations

import base64
import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from liverset import open_dataset, open_release
from pipeline import stages
from pipeline.cli.next_step import next_lines
from pipeline.core.words import counted
from pipeline.dataset.layout import ADJUDICATION, Layout
from pipeline.plan import plan_build
from pipeline.stages.case import volumes
from pipeline.synth.cohort import make_cohort
from pipeline.synth.raters import answer_packages
from pipeline.synth.truth import CohortTruth
from pipeline.workspace import Outcome, Status, Workspace
from tests.places import ROOT

pytestmark = pytest.mark.slow


def liverset(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline.cli", *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(cwd)}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=900)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def run(home: Path) -> subprocess.CompletedProcess[str]:
    return liverset("demo", home / "demo", "--expect", ROOT / "data_manifest.csv", cwd=home)


@pytest.fixture(scope="module")
def demo(run: subprocess.CompletedProcess[str], home: Path) -> Path:
    assert run.returncode == 0, run.stdout + run.stderr
    return home / "demo"


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> CohortTruth:
    return make_cohort(tmp_path_factory.mktemp("truth"))


@pytest.fixture
def copy(demo: Path, tmp_path: Path) -> Path:
    """A dataset to break: the demo as it stands, times kept."""
    shutil.copytree(demo, tmp_path / "demo", ignore=shutil.ignore_patterns(".prefect"))
    return tmp_path / "demo"


def test_demo_meets_the_planted_truth_and_the_manifest_of_this_repository(run):
    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search(r"in total, of which Prefect took [\d.]+ s$", run.stdout, re.M)
    assert re.search(r"^Next: open .*qc\.html in a browser; the release is in .*1\.0\.0$", run.stdout, re.M)


def test_python_sees_the_same_masks_in_the_dataset_and_in_its_release(demo):
    dataset, release = open_dataset(demo), open_release(demo / "releases" / "1.0.0")
    assert (dataset.cases.set_index("case_id")["vote"] == "done").all()
    assert set(release.patients["patient_id"]) == set(dataset.cases["case_id"])
    for row in release.volumes.itertuples():
        kept = slice(row.first_slice, row.first_slice + row.slices)
        whole = dataset.labels(row.patient_id, row.phase).voxels[kept]
        np.testing.assert_array_equal(release.labels(row.patient_id, row.phase).voxels, whole)
        assert set(dataset.ratings(row.patient_id, row.phase)) == {"R1", "R2", "R3"}


def test_network_is_better_after_one_round_of_review_on_patients_it_never_saw(run):
    learned = re.findall(r"^(\w+): Dice ([\d.]+) with the first network, ([\d.]+) after one round$", run.stdout, re.M)
    assert {structure for structure, _, _ in learned} == {"whole_liver", "parenchyma", "lesion"}
    assert all(float(after) > float(before) for _, before, after in learned)


def test_demo_is_quiet_about_what_is_not_the_users_business(run, demo: Path, truth: CohortTruth):
    noise = run.stdout + run.stderr
    assert not [secret for secret in truth.secrets if secret in noise]
    assert "Traceback" not in noise
    assert "Warning" not in noise
    assert not (demo.parent / ".prefect").exists(), "Prefect's home lies inside the dataset"


def test_second_build_does_nothing_and_says_so(demo: Path, home: Path):
    result = liverset("build", demo, cwd=home)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "nothing to build: everything is current" in result.stdout


PICTURE = re.compile(rb"data:image/[a-z]+;base64,([A-Za-z0-9+/=]+)")


def without_pictures(page: bytes) -> list[bytes]:
    """A page's text, and each picture in it decoded: letters of base64 spell any short name by chance."""
    return [PICTURE.sub(b"", page), *(base64.b64decode(found) for found in PICTURE.findall(page))]


def contents(path: Path) -> Iterator[bytes]:
    """A file's bytes as they lie, and those inside gzip streams and zip members."""
    raw = path.read_bytes()
    yield from without_pictures(raw) if path.suffix == ".html" else [raw]
    if path.suffix == ".gz":
        yield gzip.decompress(raw)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as package:
            for name in package.namelist():
                member = package.read(name)
                yield name.encode()
                yield from [gzip.decompress(member)] if name.endswith(".gz") else without_pictures(member)


def test_no_planted_identifier_is_in_anything_written(demo: Path, truth: CohortTruth):
    private = {"dicom", "private"}
    own = {"clinical.csv", "dataset.toml"}
    spelled = [secret.encode(codec) for secret in truth.secrets for codec in ("utf-8", "gb18030", "utf-16-le")]
    assert len(truth.secrets) > 100
    searched = 0
    seen: set[bytes] = set()
    for path in sorted(demo.rglob("*")):
        place = path.relative_to(demo)
        if path.is_dir() or place.parts[0] in private or place.name in own:
            continue
        searched += 1
        for content in (str(place).encode(), *contents(path)):
            name = hashlib.sha256(content).digest()
            if name not in seen:
                assert not any(secret in content for secret in spelled), place
            seen.add(name)
    assert searched > 500


def test_only_what_a_deleted_output_needs_is_done_again(copy: Path):
    ws = Workspace.open(copy)
    case_id = stages.case_ids(ws)[3]
    from pipeline.core.records import Phase

    image = ws.layout.image(case_id, Phase.ARTERIAL)
    before = image.read_bytes()
    image.unlink()
    steps = [(step.stage, step.case_id, step.reason) for step in plan_build(ws)]
    assert steps[0] == ("convert", case_id, "output is missing: image.nii.gz")
    assert {step[1] for step in steps} <= {case_id, None}
    assert stages.CONVERT(ws, case_id).status is Status.DONE
    assert image.read_bytes() == before


def test_changed_settings_touch_only_the_stages_they_decide(copy: Path):
    settings = copy / "dataset.toml"
    settings.write_text(
        settings.read_text(encoding="utf-8") + "\n[image]\nwindow = { level_hu = 40, width_hu = 300 }\n"
    )
    ws = Workspace.open(copy)
    case_id = stages.case_ids(ws)[0]
    assert {step.stage for step in plan_build(ws)} <= {"report"}
    assert stages.MEASURE.why(ws, case_id) is None
    assert stages.PREPARE.why(ws, case_id) == "settings of this stage changed in dataset.toml"


def test_wrong_and_damaged_returns_are_refused_and_cost_no_other_mask(copy: Path, truth: CohortTruth):
    ws = Workspace.open(copy)
    planted = answer_packages(ws.layout.outbox(1), ws.layout.inbox(1), truth, plant_faults=True)
    assert len(planted) >= 2
    outcome = stages.COLLECT(ws)
    rows = stages.returned(ws)
    refused = {row["item"] for row in rows if row["verdict"] in ("reject", "flag")}
    assert {fault.item for fault in planted} <= refused
    assert outcome.status is Status.DONE
    assert len([row for row in rows if row["verdict"].startswith("accept")]) >= 140
    assert all(row["fix"] for row in rows if row["verdict"] == "reject")


def test_a_changed_byte_in_a_release_is_found(copy: Path):
    image = next((Layout(copy).release("1.0.0") / "ct_files").glob("*.nii.gz"))
    image.chmod(0o644)
    raw = bytearray(image.read_bytes())
    raw[len(raw) // 2] ^= 1
    image.write_bytes(bytes(raw))
    outcome = stages.verify_release(Workspace.open(copy), "1.0.0")
    assert outcome.status is Status.FAILED
    assert any(image.name in problem.message for problem in outcome.problems)


def test_cutting_the_same_version_again_changes_nothing(copy: Path):
    ws = Workspace.open(copy)
    sums = ws.layout.release("1.0.0") / "SHA256SUMS"
    before = sums.read_bytes()
    assert stages.cut_release(ws, "1.0.0").status is Status.DONE
    assert sums.read_bytes() == before


def test_what_comes_next_has_work_to_do(copy: Path, truth: CohortTruth):
    ws, folder = Workspace.open(copy), Path("demo")
    released = "Next: `liverset release cut demo --version 1.0.1`, if anything changed since 1.0.0"
    assert next_lines(ws, folder) == [released]
    failed = [Outcome("measure", "P0001", Status.FAILED)]
    again = "Next: fix the problems above, then `liverset review check demo`"
    assert next_lines(ws, folder, outcomes=failed, command="review check") == [again]
    shutil.rmtree(ws.layout.releases)
    assert next_lines(ws, folder) == ["Next: `liverset release cut demo --version 1.0.0`"]
    settled, asked = ws.layout.adjudication, stages.to_adjudicate(ws)
    assert not asked
    decided = [settled(case, phase) for case, phase in volumes(ws) if settled(case, phase).exists()]
    for path in decided:
        path.unlink()
    missing = f"{counted(len(decided), 'mask')} missing or not accepted"
    shutil.rmtree(ws.layout.inbox(1, ADJUDICATION))
    assert next_lines(ws, folder) == ["Next: `liverset review check demo`"]
    stages.COLLECT(ws)
    put_back = "Next: put returned masks into the inbox folders below review/, then `liverset review check demo`"
    assert next_lines(ws, folder) == [f"{put_back}; {missing}"]
    shutil.rmtree(ws.layout.inbox(1, ADJUDICATION).parent)
    stages.COLLECT(ws)
    assert next_lines(ws, folder) == ["Next: `liverset review adjudicate demo`"]
    shutil.rmtree(ws.layout.review)
    assert next_lines(ws, folder) == ["Next: `liverset review pack demo`"]
