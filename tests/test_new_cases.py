"""A dataset grows: new patients cost only their own work, are handed out on their own, and make the next version."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline import stages
from pipeline.cli.demo import DEMO_SECRET
from pipeline.core.files import PRIVATE_FILE_MODE, make_private_folder, read_json, write_json, write_text
from pipeline.dataset.difference import diff
from pipeline.dataset.layout import ADJUDICATION, ReleaseLayout
from pipeline.stages.acceptance import accept_code_changes
from pipeline.synth.cohort import make_cohort
from pipeline.synth.demo import demo_config
from pipeline.synth.raters import answer_adjudication, answer_packages
from pipeline.synth.truth import CohortTruth
from pipeline.workspace import Status, Workspace

pytestmark = pytest.mark.slow

Done = list[tuple[str, str | None]]


def build(ws: Workspace) -> Done:
    """Stage and case of everything that had to be done."""
    outcomes = [stage(ws) for stage in stages.DATASET_STAGES]
    outcomes += [stage(ws, case_id) for case_id in stages.case_ids(ws) for stage in stages.CASE_STAGES]
    assert all(outcome.is_well for outcome in outcomes)
    return [(outcome.stage, outcome.case_id) for outcome in outcomes if outcome.status is Status.DONE]


def settle(ws: Workspace) -> Done:
    assert stages.COLLECT(ws).is_well
    outcomes = [stage(ws, case_id) for case_id in stages.case_ids(ws) for stage in stages.REVIEW_STAGES]
    assert all(outcome.is_well for outcome in outcomes)
    return [(outcome.stage, outcome.case_id) for outcome in outcomes if outcome.status is Status.DONE]


def review(ws: Workspace, number: int, truth: CohortTruth) -> Done:
    assert stages.PACK(ws).is_well
    answer_packages(ws.layout.outbox(number), ws.layout.inbox(number), truth)
    done = settle(ws)
    assert stages.ADJUDICATE(ws).is_well
    for asked in ws.layout.numbers(ADJUDICATION):
        answer_adjudication(ws.layout.outbox(asked, ADJUDICATION), ws.layout.inbox(asked, ADJUDICATION), truth)
    settle(ws)
    return done


def test_new_patients_cost_only_their_own_work_and_make_the_next_version(tmp_path: Path):
    root = tmp_path / "dataset"
    truth = make_cohort(root)
    write_text(root / "dataset.toml", demo_config())
    make_private_folder(root / "private")
    write_text(root / "private" / "project.key", DEMO_SECRET + "\n", mode=PRIVATE_FILE_MODE)
    held_back = sorted((root / "dicom" / "site-b").iterdir())[:2]  # one patient to keep, one to refuse
    for folder in held_back:
        shutil.move(folder, tmp_path / folder.name)

    ws = Workspace.open(root)
    build(ws)
    first = stages.case_ids(ws)
    review(ws, 1, truth)
    receipt = stages.LABEL.receipt(ws, first[0])
    earlier = read_json(receipt)
    write_json(receipt, {**earlier, "recipe": {**earlier["recipe"], "code": "0" * 64}})
    assert accept_code_changes(ws, ["label"])[0].accepted == 1
    assert stages.cut_release(ws, "1.0.0").status is Status.DONE
    provenance = read_json(ReleaseLayout(ws.layout.release("1.0.0")).provenance)
    assert provenance["accepted_code_changes"] == {"label": 1}

    for folder in held_back:
        shutil.move(tmp_path / folder.name, folder)
    ws = Workspace.open(root)
    done = build(ws)
    new = sorted(set(stages.case_ids(ws)) - set(first))
    assert len(new) == 1, "old cases keep their numbers, the new one takes the next"
    assert done == [("scan", None), ("screen", None), ("convert", new[0]), ("label", new[0])]
    assert {case_id for _, case_id in review(ws, 2, truth)} == set(new)
    assert stages.cut_release(ws, "1.1.0").status is Status.DONE

    difference = diff(ws.layout.release("1.0.0"), ws.layout.release("1.1.0"))
    assert len(difference.added) == 4
    assert not difference.removed
    old, now = (ws.layout.release(version) / "ct_files" / f"{first[0]}_ct_P.nii.gz" for version in ("1.0.0", "1.1.0"))
    assert old.stat().st_ino == now.stat().st_ino, "an unchanged file is stored once"
