"""`liverset decide` and `liverset withdraw`: what a person types is what becomes of a series and of a case."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipeline import stages
from pipeline.cli import main
from pipeline.core.boxes import Box
from pipeline.core.decisions import TextDecision, TextVerdict, read_decisions
from tests.test_text_decisions import NUMBER, answered, dataset, suspect


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def test_a_dataset_is_decided_about_packed_and_loses_a_case(tmp_path: Path):
    ws = dataset(tmp_path / "texts", people=2)
    case_id, series = suspect(ws)
    said = run("decide", ws.root, series, "mask", "--by", "R9", "--boxes", "rows 1-20 columns 1-80", "--note", "a name")
    assert said.exit_code == 0
    assert f"Next: `liverset build {ws.root}`" in said.output
    boxes = (Box((0, 20), (0, 80)),)
    assert read_decisions(ws.layout.decisions).text == {series: TextDecision(TextVerdict.MASK, "R9", boxes)}
    for case in stages.case_ids(ws):
        assert all(stage(ws, case).is_well for stage in stages.CASE_STAGES)
    assert stages.PACK(ws).is_well
    assert "Next: put returned masks into the inbox folders" in run("review", "status", ws.root).output
    answered(ws)
    said = run("withdraw", ws.root, case_id, "--reason", " ")
    assert said.exit_code == 2
    assert ws.layout.case(case_id).is_dir()
    said = run("withdraw", ws.root, case_id, "--reason", "a letter")
    assert said.exit_code == 0
    assert f"taken out of cases/{case_id}" in said.output
    assert f"review round 1, rater R1 holds {case_id}: consent was withdrawn" in said.output
    assert NUMBER not in said.output
    assert f"rater R2 holds {case_id}" in run("status", ws.root).output


@pytest.mark.parametrize(
    ("series", "verdict", "boxes", "said"),
    [
        ("000000000000", "mask", "", "no series 000000000000 here"),
        ("SERIES", "blank", "", "blank is no decision; expected one of publish, mask, mask-and-publish, exclude"),
        ("SERIES", "mask", "rows 5-3", "expected boxes such as"),
        ("SERIES", "publish", "rows 1-2 columns 1-2", "only mask and mask-and-publish have boxes"),
    ],
)
def test_what_cannot_be_decided_is_wrong_use_and_writes_nothing(
    tmp_path: Path, series: str, verdict: str, boxes: str, said: str
):
    ws = dataset(tmp_path / "texts")
    _, there = suspect(ws)
    result = run("decide", ws.root, series.replace("SERIES", there), verdict, "--by", "R9", "--boxes", boxes)
    assert result.exit_code == 2
    assert said in result.output
    assert not ws.layout.decisions.exists()


def test_a_folder_without_series_to_decide_about_is_named(tmp_path: Path):
    said = run("decide", tmp_path / "nowhere", "77a0d21c55ef", "mask", "--by", "R9")
    assert said.exit_code == 2
    assert f"{tmp_path / 'nowhere'} holds no series to decide about" in said.output


def test_a_false_alarm_of_deidentify_is_released(tmp_path: Path):
    ws = dataset(tmp_path / "texts")
    source, out = ws.root / "dicom", tmp_path / "clean"
    first = run("deidentify", source, out)
    assert first.exit_code == 1
    series = first.output.split("series ")[1].split()[0]
    assert f"run `liverset decide {out}-private {series} mask --by CODE`" in first.output
    for verdict, code in (("publish", "written"), ("exclude", "rejected"), ("mask", "text-masked")):
        assert run("decide", f"{out}-private", series, verdict, "--by", "R9").exit_code == 0
        again = run("deidentify", source, out)
        assert again.exit_code == 0
        assert again.output.splitlines()[0] == f"36 {code}"
        assert len(list(out.rglob("*.dcm"))) == (0 if verdict == "exclude" else 36)
        assert ("no image was written" in again.output) == (verdict == "exclude")
    assert (
        run("decide", f"{out}-private", series, "mask", "--by", "R9", "--boxes", "rows 1-2 columns 1-2").exit_code == 0
    )
    left = run("deidentify", source, out)
    assert "still seems to have text" in left.output
    assert f'{series} mask --boxes "rows 1-2 columns 1-2; ' in left.output
    assert f'{series} mask-and-publish --boxes "rows 1-2 columns 1-2" --by CODE`' in left.output
    (tmp_path / "clean-private" / "decisions.csv").unlink()
    assert run("deidentify", source, out).exit_code == 1
    assert not list(out.rglob("*.dcm"))
