"""What was handed out or released and should no longer be is named; a withdrawn case leaves everything that is ours."""

from __future__ import annotations

import csv
import re
import shutil
import zipfile
from pathlib import Path

import pytest

from pipeline import stages
from pipeline.core.decisions import TextVerdict
from pipeline.core.errors import PrivacyError
from pipeline.stages.recall import Why
from pipeline.workspace import Status, Workspace
from tests.test_text_decisions import NUMBER, PHASE, answered, dataset, decide, search_of, suspect

VERSION = "1.0.0"
HOLDERS = ["release 1.0.0", "review round 1, rater R1", "review round 1, rater R2"]


@pytest.fixture(scope="module")
def released_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three cases, packed, answered and released; the first one's text was let pass."""
    ws = dataset(tmp_path_factory.mktemp("recall") / "texts", people=3)
    _, series = suspect(ws)
    decide(ws, series, TextVerdict.PUBLISH)
    built(ws)
    assert stages.PACK(ws).is_well
    answered(ws)
    assert stages.cut_release(ws, VERSION).is_well
    assert stages.REPORT(ws).problems == ()
    return ws.root


@pytest.fixture
def ws(released_once: Path, tmp_path: Path) -> Workspace:
    shutil.copytree(released_once, tmp_path / "texts")
    return Workspace.open(tmp_path / "texts")


def built(ws: Workspace) -> None:
    assert all(stage(ws).is_well for stage in stages.DATASET_STAGES)
    for case_id in stages.case_ids(ws):
        assert all(stage(ws, case_id).is_well for stage in stages.CASE_STAGES)


def named_case(ws: Workspace) -> str:
    """The case with letters in its image."""
    (found,) = (case_id for case_id in stages.case_ids(ws) if search_of(ws, case_id).found)
    return found


def series_of(ws: Workspace) -> str:
    with ws.layout.decisions.open(newline="") as file:
        (row,) = csv.DictReader(file)
    return row["series"]


def recalled(ws: Workspace) -> list[tuple[str, str, str]]:
    """The table as it is written."""
    stages.REPORT(ws)
    with ws.layout.recall_table.open(newline="") as file:
        return sorted((row["case"], row["held_by"], row["reason"]) for row in csv.DictReader(file))


def test_nothing_is_recalled_while_everything_stands(ws: Workspace):
    assert recalled(ws) == []


@pytest.mark.parametrize(("verdict", "why"), [("exclude", Why.GONE), ("mask", Why.MASKED)])
def test_packages_and_versions_are_named_when_a_decision_changes(ws: Workspace, verdict: str, why: Why):
    case_id = named_case(ws)
    decide(ws, series_of(ws), TextVerdict(verdict))
    built(ws)
    assert recalled(ws) == [(case_id, holder, str(why)) for holder in HOLDERS]
    problems = [problem for problem in stages.standing_problems(ws) if problem.code == "recall"]
    assert [problem.message for problem in problems] == [f"{holder} holds {case_id}: {why}" for holder in HOLDERS]
    assert stages.REPORT(ws).problems == tuple(problems)
    decide(ws, series_of(ws), TextVerdict.PUBLISH)
    built(ws)
    assert recalled(ws) == []


def test_what_goes_out_masked_is_not_recalled_and_is_once_its_mask_changes(ws: Workspace):
    decide(ws, series_of(ws), TextVerdict.MASK)
    built(ws)
    for case_id in stages.case_ids(ws):
        assert all(stage(ws, case_id).is_well for stage in stages.REVIEW_STAGES)
    assert stages.cut_release(ws, "1.0.1").is_well
    assert {holder for _, holder, _ in recalled(ws)} == set(HOLDERS)
    decide(ws, series_of(ws), TextVerdict.MASK, "rows 1-22 columns 1-80")
    built(ws)
    assert {holder for _, holder, _ in recalled(ws)} == {*HOLDERS, "release 1.0.1"}


def test_returned_masks_of_an_excluded_volume_are_set_aside_and_nobody_waits_for_them(ws: Workspace):
    case_id = named_case(ws)
    decide(ws, series_of(ws), TextVerdict.EXCLUDE)
    built(ws)
    codes = {problem.message.split(" (")[0] for problem in stages.COLLECT(ws).problems}
    assert codes == {f"the mask of {case_id}_{PHASE} is set aside: the volume is no longer part of the dataset"}
    assert {row.assigned for row in stages.review_status(ws)} == {2}
    decide(ws, series_of(ws), TextVerdict.PUBLISH)
    built(ws)
    assert stages.COLLECT(ws).problems == ()


RECORDS = (
    *("withdrawals.csv", "recall.csv", "problems.csv", "look-ups.log"),
    *("assignment.json", "checked.json", "state.jsonl", ".receipt.json", ".zip"),
)
"""What may name the number of a withdrawn case: tables of withdrawals and recalls, logs, and lists of packages."""


def texts_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_withdrawn_case_is_nowhere_and_never_comes_back(ws: Workspace):
    case_id = named_case(ws)
    patient_number = ws.crosswalk.patient_of(case_id)
    others = set(stages.case_ids(ws)) - {case_id}
    done = stages.withdraw(ws, case_id, reason="a letter", when="2026-05-03")
    assert [(one.held_by, one.reason) for one in done.recalls] == [(holder, Why.WITHDRAWN) for holder in HOLDERS]
    assert f"cases/{case_id}" in done.changed
    assert set(stages.case_ids(ws)) == others
    named = {name for name, content in texts_of(ws.root).items() if case_id.encode() in content or case_id in name}
    ours = {name for name in named if not name.startswith(("releases/", "dicom/"))}
    assert not {name for name in ours if not name.endswith(RECORDS)}
    ws = Workspace.open(ws.root)
    screened = stages.SCREEN(ws)
    assert [(problem.code, problem.message.split()[0]) for problem in screened.problems] == [("withdrawn", "1")]
    assert set(stages.case_ids(ws)) == others
    built(ws)
    with pytest.raises(PrivacyError, match="no such case"):
        ws.crosswalk.patient_of(case_id)
    with pytest.raises(PrivacyError, match="withdrawn"):
        ws.crosswalk.case_ids([f" {patient_number.lower()}"])
    assert ws.crosswalk.case_ids(["NEW"]) == {"NEW": "P0004"}
    shutil.rmtree(ws.root / "dicom" / patient_number[-1])
    assert stages.SCREEN(ws).problems == ()


def test_packages_and_returns_here_lose_the_case_alone(ws: Workspace):
    case_id = named_case(ws)
    before = {path: (path.stat().st_mtime_ns, zipfile.ZipFile(path).namelist()) for path in ws.root.rglob("*.zip")}
    (loose := ws.layout.inbox(1) / "R1" / f"{case_id}_{PHASE}_mask.nii.gz").parent.mkdir()
    loose.write_bytes(b"a mask")
    stages.withdraw(ws, case_id, reason="a letter", when="2026-05-03")
    assert not loose.exists()
    for path, (changed_ns, names) in before.items():
        assert path.stat().st_mtime_ns == changed_ns
        with zipfile.ZipFile(path) as package:
            gone = set(names) - set(package.namelist())
            assert gone == {name for name in names if case_id in name} | {"START_HERE.html"}
            assert case_id not in package.read("worklist.csv").decode()
            assert package.testzip() is None


def test_the_next_version_is_cut_without_a_withdrawn_case(ws: Workspace):
    case_id = named_case(ws)
    stages.withdraw(ws, case_id, reason="a letter", when="2026-05-03")
    ws = Workspace.open(ws.root)
    built(ws)
    codes = {re.sub(r" \(rater .*", "", problem.message) for problem in stages.COLLECT(ws).problems}
    assert codes <= {f"the mask of {case_id}_{PHASE} is set aside: the volume is no longer part of the dataset"}
    for other in stages.case_ids(ws):
        assert all(stage(ws, other).is_well for stage in stages.REVIEW_STAGES)
    assert stages.cut_release(ws, "2.0.0").is_well
    assert stages.verify_release(ws, "2.0.0").is_well
    told = {name for name, content in texts_of(ws.layout.release("2.0.0")).items() if case_id.encode() in content}
    assert told <= {"CHANGES.md"}
    assert {holder for _, holder, _ in recalled(ws)} == set(HOLDERS)


def test_a_return_that_comes_after_the_withdrawal_is_set_aside(ws: Workspace):
    case_id = named_case(ws)
    late = {path: path.read_bytes() for path in ws.layout.inbox(1).glob("*.zip")}
    stages.withdraw(ws, case_id, reason="a letter", when="2026-05-03")
    for path, content in late.items():
        path.write_bytes(content)
    ws = Workspace.open(ws.root)
    outcome = stages.COLLECT(ws)
    assert outcome.is_well
    assert len([problem for problem in outcome.problems if "is set aside" in problem.message]) == 2
    assert not ws.layout.case(case_id).exists()


@pytest.mark.parametrize("stop", ["withdrawals.csv", "screening.enc"])
def test_a_withdrawal_that_was_interrupted_is_completed(ws: Workspace, stop: str, monkeypatch: pytest.MonkeyPatch):
    case_id = named_case(ws)
    monkeypatch.setattr(Path, "replace", lambda path, target: renamed(path, target, stop=stop))
    with pytest.raises(KeyboardInterrupt):
        stages.withdraw(ws, case_id, reason="a letter", when="2026-05-03")
    monkeypatch.undo()
    ws = Workspace.open(ws.root)
    stages.withdraw(ws, case_id, reason="a letter", when="2026-05-03")
    assert case_id not in stages.case_ids(ws)
    assert not ws.layout.case(case_id).exists()
    assert ws.layout.withdrawals.read_text().count(case_id) == 1


def renamed(path: Path, target: Path, *, stop: str) -> None:
    """As if the power went when one file was to take its name."""
    if target.name == stop:
        raise KeyboardInterrupt
    path.rename(target)


@pytest.mark.parametrize(
    ("case_id", "reason"), [("P0099", "a letter"), (NUMBER + "0", "a letter"), ("P0001", f"letter of {NUMBER}0")]
)
def test_an_unknown_case_or_a_reason_with_an_identifier_is_refused(ws: Workspace, case_id: str, reason: str):
    before = texts_of(ws.root)
    with pytest.raises(PrivacyError) as caught:
        stages.withdraw(ws, case_id, reason=reason, when="2026-05-03")
    assert NUMBER not in str(caught.value)
    changed = {name for name, content in texts_of(ws.root).items() if before.get(name) != content}
    assert changed <= {"private/harvest.enc"}  # the files were copied, so all of them are read again


def test_withdrawing_twice_says_the_same(ws: Workspace):
    case_id = named_case(ws)
    first = stages.withdraw(ws, case_id, reason="a letter", when="2026-05-03")
    again = stages.withdraw(Workspace.open(ws.root), case_id, reason="another letter", when="2026-05-04")
    assert again.recalls == first.recalls
    assert ws.layout.withdrawals.read_text() == f"case,reason,when\n{case_id},another letter,2026-05-04\n"
    assert stages.SCREEN(Workspace.open(ws.root)).status is Status.DONE
