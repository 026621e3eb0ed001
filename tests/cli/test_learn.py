"""`train` and `evaluate` say what stands in their way before any work begins."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli import main


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "ds"
    assert CliRunner().invoke(main, ["init", str(folder)]).exit_code == 0
    return folder


@pytest.mark.parametrize("words", [["train", "-o", "model"], ["evaluate"]])
def test_a_version_that_was_never_cut_is_named(dataset: Path, words: list[str], tmp_path: Path):
    words = [str(tmp_path / word) if word == "model" else word for word in words]
    result = CliRunner().invoke(main, [words[0], str(dataset), "--version", "1.0.0", *words[1:]])
    assert result.exit_code == 1
    assert "version 1.0.0 does not exist; cut it with `liverset release cut`" in result.stderr
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("option", [["--pretrained", "demo"], ["--with-coarse"]])
def test_full_plans_start_from_settled_masks_alone(dataset: Path, option: list[str], tmp_path: Path):
    words = ["train", str(dataset), "--version", "1.0.0", "-o", str(tmp_path / "model"), "--full", *option]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 1
    assert "--full trains from settled masks alone" in result.stderr
