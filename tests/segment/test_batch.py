"""A night's work: bad cases are set aside, good ones are finished, and nothing is done twice."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.config import CoarseConfig
from pipeline.core.errors import ConfigError, ModelError
from pipeline.core.geometry import Geometry
from pipeline.core.volume import Volume
from pipeline.image.nifti import read_labels, read_volume, write_nifti
from pipeline.segment.batch import Outcome, label_files, segment_files
from pipeline.segment.models import Model, find_model
from pipeline.segment.nnunet import NnunetSegmenter
from pipeline.segment.postprocess import postprocess
from pipeline.synth.phantom import make_phantom
from tests.places import ROOT, SHARED


def write_images(folder: Path, count: int) -> list[Path]:
    paths = [folder / f"case{index}.nii.gz" for index in range(count)]
    for index, path in enumerate(paths):
        phantom = make_phantom(np.random.default_rng(index), shape=(30, 60, 60), spacing_mm=(6.5, 6.0, 6.0))
        write_nifti(path, phantom.volume)
    return paths


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    return write_images(tmp_path / "in", 3)


def test_each_image_gets_the_label_it_would_get_alone(
    tmp_path: Path, images: list[Path], demo_model: Model, segmenter: NnunetSegmenter
):
    report = segment_files(images, tmp_path / "out", demo_model, "cpu")
    assert [row.name for row in report.images] == ["case0", "case1", "case2"]
    for path in images:
        alone = postprocess(segmenter.segment(read_volume(path)).labels, CoarseConfig()).labels
        found = read_labels(tmp_path / "out" / path.name)
        assert np.array_equal(found.voxels, alone.voxels)
        assert found.geometry.same_space(alone.geometry)


def test_bad_images_are_set_aside_with_their_reason_and_the_rest_goes_on(
    tmp_path: Path, images: list[Path], demo_model: Model
):
    folder = images[0].parent
    corrupt, nan, thin, thick = (folder / f"{name}.nii.gz" for name in ("corrupt", "nan", "thin", "thick"))
    corrupt.write_bytes(images[0].read_bytes()[:1000])
    grid = Geometry.from_axes((4, 5, 6), spacing_mm=(5, 1, 1))
    write_nifti(nan, Volume(np.full((4, 5, 6), np.nan, dtype=np.float32), grid))
    whole = read_volume(images[1])
    write_nifti(thin, Volume(whole.voxels[15:16], whole.geometry.cropped((15, 0, 0), (1, 60, 60))))
    write_nifti(thick, make_phantom(np.random.default_rng(9), shape=(40, 200, 200), spacing_mm=(5, 1.8, 1.8)).volume)
    missing = folder / "missing.nii.gz"
    report = segment_files([corrupt, images[0], nan, missing, thin, thick], tmp_path / "out", demo_model, "cpu")
    outcomes = {row.name: row.outcome for row in report.images}
    assert [name for name, outcome in outcomes.items() if outcome is Outcome.FAILED] == ["corrupt", "nan", "missing"]
    reasons = {row.name: row.reason for row in report.failed}
    assert "gzip" in reasons["corrupt"]
    assert "NaN" in reasons["nan"]
    assert "missing" in reasons["missing"]
    assert sorted(path.name for path in (tmp_path / "out").glob("*.nii.gz")) == [
        "case0.nii.gz",
        "thick.nii.gz",
        "thin.nii.gz",
    ]


def test_second_run_keeps_everything_and_touches_nothing(tmp_path: Path, images: list[Path], demo_model: Model):
    out = tmp_path / "out"
    first = segment_files(images, out, demo_model, "cpu")
    times = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    second = segment_files(images, out, demo_model, "cpu")
    assert {row.outcome for row in second.images} == {Outcome.KEPT}
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == times
    assert [row.facts for row in second.images] == [row.facts for row in first.images]


def test_a_truncated_label_another_image_or_other_settings_are_done_again(
    tmp_path: Path, images: list[Path], demo_model: Model
):
    out = tmp_path / "out"
    segment_files(images, out, demo_model, "cpu")
    label = out / images[0].name
    whole = label.read_bytes()
    label.write_bytes(whole[:-20])
    images[1].write_bytes(images[2].read_bytes())
    again = segment_files(images, out, demo_model, "cpu")
    assert [row.outcome for row in again.images] == [Outcome.DONE, Outcome.DONE, Outcome.KEPT]
    assert label.read_bytes() == whole
    other = segment_files(images, out, demo_model, "cpu", config=CoarseConfig(min_lesion_mm3=1e6))
    assert {row.outcome for row in other.images} == {Outcome.DONE}


def test_labels_are_the_same_bytes_in_any_run(tmp_path: Path, images: list[Path], demo_model: Model):
    for name in ("first", "second"):
        segment_files(images, tmp_path / name, demo_model, "cpu")
    for path in images:
        assert (tmp_path / "first" / path.name).read_bytes() == (tmp_path / "second" / path.name).read_bytes()


def test_full_disk_leaves_no_half_label_and_says_so(
    tmp_path: Path, images: list[Path], demo_model: Model, monkeypatch: pytest.MonkeyPatch
):
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        report = segment_files(images, tmp_path / "out", demo_model, "cpu")
    assert len(report.failed) == 3
    assert all("disk full" in row.reason for row in report.failed)
    assert not list((tmp_path / "out").iterdir())
    assert not segment_files(images, tmp_path / "out", demo_model, "cpu").failed


@pytest.mark.slow
def test_kill_in_mid_batch_loses_at_most_the_images_in_flight(tmp_path: Path, demo_model: Model):
    images = write_images(tmp_path / "in", 6)
    code = (
        "import sys; from pathlib import Path; from pipeline.core.config import CoarseConfig\n"
        "from pipeline.segment.batch import segment_files; from pipeline.segment.models import find_model\n"
        "import torch; torch.set_num_threads(1)\n"
        "model = find_model(CoarseConfig(), Path())\n"
        "images = sorted(Path(sys.argv[1]).iterdir())\n"
        "segment_files(images, Path(sys.argv[2]), model, 'cpu', on_image=lambda row: print(row.name, flush=True))\n"
    )
    out = tmp_path / "out"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "in"), str(out)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as killed:
        assert killed.stdout is not None
        finished = [killed.stdout.readline().strip() for _ in range(2)]
        os.kill(killed.pid, signal.SIGKILL)
    report = segment_files(images, out, demo_model, "cpu")
    kept = [row.name for row in report.images if row.outcome is Outcome.KEPT]
    assert set(finished) <= set(kept)
    assert not report.failed
    for path in images:
        assert read_labels(out / path.name).voxels.any()


def test_slow_image_is_set_aside(tmp_path: Path, images: list[Path], demo_model: Model):
    report = segment_files(images[:1], tmp_path / "out", demo_model, "cpu", config=CoarseConfig(timeout_s=1e-6))
    assert len(report.failed) == 1
    assert "timeout_s" in report.failed[0].reason


def test_two_images_of_one_name_are_refused_before_work_begins(tmp_path: Path, demo_model: Model):
    with pytest.raises(ConfigError, match="several images are called a"):
        segment_files([tmp_path / "x" / "a.nii.gz", tmp_path / "y" / "a.nii"], tmp_path / "out", demo_model)
    assert not (tmp_path / "out").exists()


def test_labels_never_overwrite_images(tmp_path: Path, images: list[Path], demo_model: Model):
    with pytest.raises(ConfigError, match="overwrite"):
        segment_files(images, images[0].parent, demo_model)


def test_model_that_cannot_be_loaded_stops_the_batch(tmp_path: Path, images: list[Path], demo_model: Model):
    folder = tmp_path / "model" / "fold_all"
    folder.mkdir(parents=True)
    for name in ("plans.json", "dataset.json"):
        (tmp_path / "model" / name).write_bytes((demo_model.folder / name).read_bytes())
    (folder / "checkpoint_final.pth").write_bytes(b"nothing")
    broken = find_model(CoarseConfig(model="model"), tmp_path, allow_unpinned=True)
    with pytest.raises(ModelError, match="was not loaded"):
        segment_files(images, tmp_path / "out", broken, "cpu")


def test_report_and_facts_are_plain_json_without_a_path(tmp_path: Path, images: list[Path], demo_model: Model):
    report = segment_files(images[:1], tmp_path / "out", demo_model, "cpu")
    text = json.dumps(report.to_json())
    assert str(tmp_path) not in text
    facts = json.loads((tmp_path / "out" / "case0.json").read_text())
    assert facts["origin"] == "coarse"
    assert set(facts["seconds"]) == {"read", "preprocess", "network", "doubt", "resample", "write"}
    assert str(tmp_path) not in json.dumps(facts)


def test_several_workers_share_the_images_and_the_report_keeps_their_order(
    tmp_path: Path, images: list[Path], demo_model: Model
):
    told: list[str] = []
    workers = [NnunetSegmenter(demo_model, "cpu") for _ in range(2)]
    report = label_files(images, tmp_path / "two", workers, on_image=lambda row: told.append(row.name))
    segment_files(images, tmp_path / "one", demo_model, "cpu")
    assert [row.name for row in report.images] == ["case0", "case1", "case2"]
    assert sorted(told) == ["case0", "case1", "case2"]
    for path in images:
        assert (tmp_path / "two" / path.name).read_bytes() == (tmp_path / "one" / path.name).read_bytes()


def test_nothing_to_do_is_no_error(tmp_path: Path, demo_model: Model):
    assert segment_files([], tmp_path / "out", demo_model).images == ()


@pytest.mark.parametrize("name", ["body_ct/example_ct.nii.gz", "body_ct/example_ct_sm.nii.gz"])
def test_real_scan_goes_through_without_a_special_case(tmp_path: Path, demo_model: Model, name: str):
    path = SHARED / name
    if not path.is_file():
        pytest.skip("the real scans are not on this machine")
    report = segment_files([path], tmp_path / "out", demo_model, "cpu")
    assert not report.failed
    assert read_labels(tmp_path / "out" / path.name).geometry.same_space(read_volume(path).geometry)
