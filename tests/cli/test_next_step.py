"""What a command proposes next has work to do now."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.cli.next_step import next_lines
from pipeline.workspace import Outcome, Status, Workspace

DATASET = Path("ds")


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    assert CliRunner().invoke(main, ["init", str(tmp_path / "ds")]).exit_code == 0
    return Workspace.open(tmp_path / "ds")


def test_a_new_dataset_is_built_first(ws: Workspace):
    assert next_lines(ws, DATASET) == ["Next: `liverset build ds`"]


@pytest.mark.parametrize("command", ["build", "review check"])
def test_what_failed_runs_again_once_its_problems_are_fixed(ws: Workspace, command: str):
    outcomes = [Outcome("scan", None, Status.DONE), Outcome("convert", "P0001", Status.FAILED)]
    lines = next_lines(ws, DATASET, outcomes=outcomes, command=command)
    assert lines == [f"Next: fix the problems above, then `liverset {command} ds`"]


def test_a_stage_that_waits_is_no_failure(ws: Workspace):
    outcomes = [Outcome("convert", "P0001", Status.WAITING)]
    assert next_lines(ws, DATASET, outcomes=outcomes) == ["Next: `liverset build ds`"]


def test_each_command_before_the_first_build_proposes_it(ws: Workspace):
    for words in (["status"], ["review", "status"], ["review", "pack"], ["review", "adjudicate"]):
        result = CliRunner().invoke(main, [*words, str(ws.root)])
        assert f"Next: `liverset build {ws.root}`" in result.stdout, words
        assert result.stdout.count("Next:") == 1, words
