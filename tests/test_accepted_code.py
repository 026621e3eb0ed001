"""A person takes what stages made as if the program of today had made it: only where nothing else changed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.core.files import read_json, write_json
from pipeline.core.receipts import read_receipt
from pipeline.dataset.layout import Layout
from pipeline.stages import COLLECT, CONVERT, SCAN, SCREEN, STAGES, case_ids
from pipeline.stages.acceptance import Acceptance, accept_code_changes
from pipeline.workspace import Workspace, accepted_changes
from tests.dicom.scanner import Scan, body, expose
from tests.places import ROOT
from tests.test_screening import SETTINGS, patient

BEFORE = "0" * 64
"""Digest of a program that was not this one."""


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    """Two patients scanned, screened and converted."""
    (tmp_path / "dataset.toml").write_text(SETTINGS)
    for number in ("1", "2"):
        expose(tmp_path / "dicom" / number, Scan(body(seed=int(number))), patient(PatientID=number))
    workspace = Workspace.open(tmp_path)
    assert all(stage(workspace).is_well for stage in (SCAN, SCREEN))
    assert all(CONVERT(workspace, case_id).is_well for case_id in case_ids(workspace))
    return workspace


def edit(receipt: Path, **recipe: object) -> None:
    content = read_json(receipt)
    write_json(receipt, {**content, "recipe": {**content["recipe"], **recipe}})


def made_before(ws: Workspace) -> tuple[Path, Path]:
    """The receipts of CONVERT, as if an earlier program had left them."""
    first, second = (CONVERT.receipt(ws, case_id) for case_id in case_ids(ws))
    edit(first, code=BEFORE)
    edit(second, code=BEFORE)
    return first, second


def test_receipts_of_which_only_the_code_changed_are_accepted_and_say_so(ws: Workspace):
    receipts = made_before(ws)
    outputs = [ws.root / name for receipt in receipts for name in read_json(receipt)["outputs"]]
    times = [output.stat().st_mtime_ns for output in outputs]
    assert [CONVERT.why(ws, case_id) for case_id in case_ids(ws)] == ["the program changed"] * 2
    assert accept_code_changes(ws, ["convert"]) == (Acceptance("convert", 2, 0, {}),)
    assert [CONVERT.why(ws, case_id) for case_id in case_ids(ws)] == [None, None]
    assert [read_json(receipt)["accepted"] for receipt in receipts] == [[BEFORE]] * 2
    assert [output.stat().st_mtime_ns for output in outputs] == times
    assert accept_code_changes(ws, ["convert"]) == (Acceptance("convert", 0, 2, {}),)


def test_what_was_accepted_before_is_not_forgotten_until_the_stage_runs(ws: Workspace):
    first, _ = made_before(ws)
    accept_code_changes(ws, ["convert"])
    edit(first, code="1" * 64)
    accept_code_changes(ws, ["convert"])
    assert read_json(first)["accepted"] == [BEFORE, "1" * 64]
    first.unlink()
    CONVERT(ws, case_ids(ws)[0])
    assert read_json(first)["accepted"] == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"inputs": {}}, "input changed"),
        ({"config": "x"}, "settings of this stage changed"),
        ({"packages": {"numpy": "0.1"}}, "another version is installed: numpy"),
    ],
)
def test_nothing_is_accepted_when_something_else_changed_too(ws: Workspace, change: dict[str, object], reason: str):
    first, _ = made_before(ws)
    edit(first, **change)
    content = first.read_bytes()
    (found,) = accept_code_changes(ws, ["convert"])
    assert (found.accepted, found.current) == (1, 0)
    ((why, count),) = found.left.items()
    assert reason in why
    assert count == 1
    assert first.read_bytes() == content


def test_outputs_that_are_not_as_they_were_left_are_not_accepted(ws: Workspace):
    first, second = made_before(ws)
    gone, edited = (ws.root / next(iter(read_json(receipt)["outputs"])) for receipt in (first, second))
    gone.unlink()
    edited.write_bytes(b"other")
    (found,) = accept_code_changes(ws, ["convert"])
    assert found == Acceptance(
        "convert", 0, 0, {f"output is missing: {gone.name}": 1, f"output was changed: {edited.name}": 1}
    )


def test_a_change_that_keeps_size_and_time_is_found_when_all_is_hashed(ws: Workspace):
    first, _ = made_before(ws)
    output = ws.root / next(iter(read_json(first)["outputs"]))
    status, content = output.stat(), bytearray(output.read_bytes())
    content[-1] ^= 1
    output.write_bytes(content)
    os.utime(output, ns=(status.st_atime_ns, status.st_mtime_ns))
    (found,) = accept_code_changes(ws, ["convert"], verify=True)
    assert (found.accepted, found.left) == (1, {f"output was changed: {output.name}": 1})


def test_receipts_that_tell_too_little_are_not_accepted(ws: Workspace):
    first, second = made_before(ws)
    write_json(first, {**read_json(first), "schema": 1})
    write_json(second, {**read_json(second), "finished": False})
    (found,) = accept_code_changes(ws, ["convert"])
    assert found == Acceptance("convert", 0, 0, {"made by an earlier version": 1, "failed last time": 1})
    (never,) = accept_code_changes(ws, [COLLECT.name])
    assert (never.accepted, sum(never.left.values())) == (0, 1)


def test_the_reason_names_what_changed_in_the_program(ws: Workspace):
    made_before(ws)
    known = dict(CONVERT.own_code.definitions)
    name = "pipeline.text.find.find_text"
    write_json(ws.layout.code(BEFORE), {**known, name: "another"})
    assert CONVERT.why(ws, case_ids(ws)[0]) == f"the program changed: {name}"


def test_what_the_code_is_made_of_is_kept_once_for_all_cases(ws: Workspace):
    digests = {read_json(CONVERT.receipt(ws, case_id))["recipe"]["code"] for case_id in case_ids(ws)}
    assert digests == {CONVERT.own_code.digest}
    assert read_json(ws.layout.code(CONVERT.own_code.digest)) == CONVERT.own_code.definitions
    assert len(list((ws.root / "reports" / "code").iterdir())) == 3


def test_provenance_counts_cases_and_a_stage_of_the_whole_dataset_for_all(ws: Workspace):
    cases = case_ids(ws)
    assert accepted_changes(ws, STAGES, cases) == {}
    edit(CONVERT.receipt(ws, cases[0]), code=BEFORE)
    edit(SCAN.receipt(ws), code=BEFORE)
    accept_code_changes(ws, ["scan", "convert"])
    assert accepted_changes(ws, STAGES, cases) == {"accepted_code_changes": {"scan": 2, "convert": 1}}
    assert accepted_changes(ws, STAGES, cases[1:]) == {"accepted_code_changes": {"scan": 1}}
    receipt = read_receipt(SCAN.receipt(ws))
    assert receipt is not None
    assert receipt.accepted == (BEFORE,)


def test_an_unknown_stage_is_refused_with_the_list_of_all(tmp_path: Path):
    (tmp_path / "dataset.toml").write_text(SETTINGS)
    result = CliRunner().invoke(main, ["build", str(tmp_path), "--accept-code-change", "lable"])
    assert result.exit_code == 2
    assert all(f"'{stage.name}'" in result.output for stage in STAGES)
    assert not (tmp_path / ".prefect").exists()


def liverset(program: Path, *words: str) -> str:
    """A command of a copy of the program; what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(program), "XDG_CACHE_HOME": str(program)}
    command = [sys.executable, "-m", "pipeline.cli", *words]
    done = subprocess.run(
        command, cwd=program, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_an_edited_program_says_what_changed_and_runs_nothing_once_it_is_accepted(
    ws: Workspace, tmp_path_factory: pytest.TempPathFactory
):
    program = tmp_path_factory.mktemp("program")
    for package in ("pipeline", "flows"):
        shutil.copytree(ROOT / package, program / package)
    module = program / "pipeline" / "stages" / "intake.py"
    module.write_text(module.read_text().replace('} series"', '} series found"'))
    folder = str(ws.root)
    liverset(program, "build", folder)  # labels, which takes long, and the report
    assert liverset(program, "plan", folder).startswith("nothing to build: everything is current\n")
    module.write_text(module.read_text().replace('} series found"', '} series seen"'))
    assert "scan dataset: the program changed: pipeline.stages.intake._scan\n" in liverset(program, "plan", folder)
    before = Layout(ws.root).files_table.stat().st_mtime_ns
    said = liverset(program, "build", folder, "--accept-code-change", "scan", "--accept-code-change", "convert")
    assert "scan: 1 accepted as made by this version\n" in said
    assert "convert: 0 accepted as made by this version, 2 were current already\n" in said
    assert liverset(program, "plan", folder).startswith("nothing to build: everything is current\n")
    assert Layout(ws.root).files_table.stat().st_mtime_ns == before
