"""Receipts: every change that matters makes a stage stale, and nothing else does."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from pipeline.core.receipts import Recipe, read_receipt, why_stale, write_receipt
from pipeline.core.records import Problem, Severity

RECIPE = Recipe("convert", {"series": "aa"}, "cc", "dd", {"pydicom": "3.0.2"})


@pytest.fixture
def finished(tmp_path: Path) -> tuple[Path, Path]:
    output = tmp_path / "cases" / "P0001" / "image.nii.gz"
    output.parent.mkdir(parents=True)
    output.write_bytes(b"voxels")
    receipt = tmp_path / "convert.receipt.json"
    write_receipt(receipt, RECIPE, [output], root=tmp_path)
    return receipt, output


def test_untouched_stage_is_current(finished, tmp_path: Path):
    assert why_stale(finished[0], RECIPE, root=tmp_path) is None
    assert why_stale(finished[0], RECIPE, root=tmp_path, verify=True) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"inputs": {"series": "bb"}}, "input changed: series"),
        ({"inputs": {"series": "aa", "clinical": "ee"}}, "input changed: clinical"),
        ({"config": "xx"}, "settings of this stage changed in dataset.toml"),
        ({"code": "xx"}, "the program changed"),
        ({"packages": {"pydicom": "3.0.3"}}, "another version is installed: pydicom"),
    ],
)
def test_each_change_of_the_recipe_is_named(finished, tmp_path: Path, change, reason):
    stale = why_stale(finished[0], dataclasses.replace(RECIPE, **change), root=tmp_path)
    assert stale is not None
    assert reason in stale


def test_deleted_output_is_noticed(finished, tmp_path: Path):
    finished[1].unlink()
    assert why_stale(finished[0], RECIPE, root=tmp_path) == "output is missing: image.nii.gz"


def test_changed_output_is_noticed_but_a_mere_touch_is_not(finished, tmp_path: Path):
    os.utime(finished[1], ns=(1, 1))
    assert why_stale(finished[0], RECIPE, root=tmp_path) is None
    finished[1].write_bytes(b"voxelz")
    assert why_stale(finished[0], RECIPE, root=tmp_path) == "output was changed: image.nii.gz"


def test_change_that_keeps_size_and_time_is_found_when_verifying(finished, tmp_path: Path):
    times = finished[1].stat()
    finished[1].write_bytes(b"voxelz")
    os.utime(finished[1], ns=(times.st_atime_ns, times.st_mtime_ns))
    assert why_stale(finished[0], RECIPE, root=tmp_path, verify=True) == "output was changed: image.nii.gz"


def test_unfinished_and_damaged_receipts_count_as_not_done(tmp_path: Path):
    receipt = tmp_path / "label.receipt.json"
    assert why_stale(receipt, RECIPE, root=tmp_path) == "never done"
    problem = Problem("label-failed", Severity.REFUSE, "P0001 C1: no liver found", "look at it")
    write_receipt(receipt, RECIPE, [], root=tmp_path, problems=(problem,), finished=False)
    assert why_stale(receipt, RECIPE, root=tmp_path) == "failed last time"
    read = read_receipt(receipt)
    assert read is not None
    assert read.problems == (problem,)
    receipt.write_text("{}", encoding="utf-8")
    assert read_receipt(receipt) is None
