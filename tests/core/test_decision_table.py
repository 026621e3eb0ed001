"""What a person decided about series: read from a table, written into it, and never in contradiction."""

from __future__ import annotations

import csv
from itertools import permutations
from pathlib import Path

import pytest

from pipeline.core.boxes import Box
from pipeline.core.decisions import (
    Decision,
    Decisions,
    TextDecision,
    TextVerdict,
    decide_on_text,
    read_decisions,
)
from pipeline.core.errors import ConfigError
from pipeline.core.records import Phase

CORNER = Box(rows=(0, 12), columns=(3, 60), slices=(2, 5))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "decisions.csv"


def test_no_table_means_no_decisions(table: Path):
    assert read_decisions(table) == Decisions()


def test_each_line_is_a_decision(table: Path):
    table.write_text("series,phase,by,note\nab12,C1,R9,first of two\ncd34,none,R9,\n")
    assert read_decisions(table).use == {"ab12": Decision(Phase.ARTERIAL, "R9"), "cd34": Decision(None, "R9")}


def test_a_phase_says_nothing_about_text_and_text_nothing_about_use(table: Path):
    table.write_text("series,phase,text,by\nab12,C1,,R9\ncd34,,publish,R9\n")
    found = read_decisions(table)
    assert set(found.use) == {"ab12"}
    assert found.text == {"cd34": TextDecision(TextVerdict.PUBLISH, "R9")}


def test_excluding_for_its_text_is_excluding(table: Path):
    table.write_text("series,text,by\nab12,exclude,R9\n")
    assert read_decisions(table).use == {"ab12": Decision(None, "R9")}


def test_boxes_are_read_as_people_count(table: Path):
    table.write_text("series,text,boxes,by\nab12,mask,slices 3-5 rows 1-12 columns 4-60; row 7 column 9,R9\n")
    assert read_decisions(table).text["ab12"].boxes == (CORNER, Box((6, 7), (8, 9)))


def test_all_faulty_lines_are_named(table: Path):
    table.write_text("series,phase,by\nab12,C1,R9\nab12,C2,R9\n,C1,R9\nef56,arterial,R9\ngh78,C1,\nij90,,R9\n")
    with pytest.raises(ConfigError) as caught:
        read_decisions(table)
    assert [f"line {n}" in str(caught.value) for n in range(2, 8)] == [False, True, True, True, True, True]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_table_is_read_as_spreadsheets_save_it_and_written_with_its_own_separator(
    table: Path, separator: str, end: str, mark: str
):
    cells = (
        ("series", "phase", "text", "boxes", "by", "note", ""),
        ("ab12", "", "mask", '"slices 3-5 rows 1-12 columns 4-60; row 7 column 9"', "R9", "Höhe", ""),
        ("", "", "", "", "", "", ""),
        ("cd34", "none", "", "", "R8", "", ""),
    )
    table.write_bytes((mark + end.join(map(separator.join, cells)) + end).encode())
    known = Decisions(
        {"cd34": Decision(None, "R8")},
        {"ab12": TextDecision(TextVerdict.MASK, "R9", (CORNER, Box((6, 7), (8, 9))))},
    )
    assert read_decisions(table) == known
    decide_on_text(table, "ef56", TextDecision(TextVerdict.PUBLISH, "R1"))
    found = read_decisions(table)
    assert (found.use, found.text) == (known.use, {**known.text, "ef56": TextDecision(TextVerdict.PUBLISH, "R1")})
    with table.open(newline="", encoding="utf-8") as file:
        assert [row[0] for row in csv.reader(file, delimiter=separator)] == ["series", "ab12", "cd34", "ef56"]


@pytest.mark.parametrize(
    "line",
    [
        "ab12;;mask;rows 1-2 columns 1-9; rows 5-6 columns 1-9;R9",
        "ab12;;mask;rows 1-2 columns 1-9; rows 5-6 columns 1-9; rows 8 columns 2;R9;two",
    ],
)
def test_boxes_that_a_separator_cuts_are_refused_rather_than_lost(table: Path, line: str):
    table.write_text(f"series;phase;text;boxes;by;note\n{line}\n")
    with pytest.raises(ConfigError, match=r"line 2: .*quotes"):
        read_decisions(table)


def test_a_fault_is_named_by_its_line_in_the_file(table: Path):
    table.write_text("series,phase,by\n\nab12,C1,R9\n,,\ncd34,C1,\n")
    with pytest.raises(ConfigError, match="line 5: does not say who decided"):
        read_decisions(table)


@pytest.mark.parametrize("text", ["", "series,by\n", "series,phase\n", "text,by\n"])
def test_a_table_without_its_columns_is_refused(table: Path, text: str):
    table.write_text(text)
    with pytest.raises(ConfigError, match="needs the columns"):
        read_decisions(table)


ROWS = {
    "phase": "ab12,C1,,,R9",
    "other phase": "ab12,C2,,,R9",
    "not used": "ab12,none,,,R9",
    "publish": "ab12,,publish,,R8",
    "mask": "ab12,,mask,,R8",
    "exclude": "ab12,,exclude,,R8",
}
AGREEING = [{use, text} for use in ("phase", "other phase") for text in ("publish", "mask")] + [{"not used", "exclude"}]


@pytest.mark.parametrize("pair", list(permutations(ROWS, 2)), ids=" then ".join)
def test_two_lines_about_one_series_agree_or_are_refused_in_either_order(table: Path, pair: tuple[str, str]):
    table.write_text("\n".join(["series,phase,text,boxes,by", *(ROWS[name] for name in pair)]) + "\n")
    if set(pair) in AGREEING:
        assert set(read_decisions(table).use) == {"ab12"}
    else:
        with pytest.raises(ConfigError, match="line 3: contradicts"):
            read_decisions(table)


@pytest.mark.parametrize("boxes", ["rows 1-12", "rows 0-3 columns 1-2", "rows 5-3 columns 1-2", "1 2 3 4", "slices 1"])
def test_boxes_that_are_none_are_refused(table: Path, boxes: str):
    table.write_text(f"series,text,boxes,by\nab12,mask,{boxes},R9\n")
    with pytest.raises(ConfigError, match="line 2: expected boxes such as"):
        read_decisions(table)


@pytest.mark.parametrize("verdict", ["publish", "exclude"])
def test_boxes_belong_to_masks_alone(table: Path, verdict: str):
    table.write_text(f"series,text,boxes,by\nab12,{verdict},rows 1-2 columns 1-2,R9\n")
    with pytest.raises(ConfigError, match="line 2: only mask"):
        read_decisions(table)


@pytest.mark.parametrize("verdict", [verdict for verdict in TextVerdict if verdict is not TextVerdict.EXCLUDE])
def test_what_is_written_is_read_again_and_nothing_else_is_lost(table: Path, verdict: TextVerdict):
    table.write_text("series,phase,text,by,note,seen\nab12,C1,publish,R9,arterial,yes\ncd34,none,,R8,,\n")
    boxes = (CORNER,) if verdict is not TextVerdict.PUBLISH else ()
    decide_on_text(table, "ab12", TextDecision(verdict, "R1", boxes), "looked twice")
    found = read_decisions(table)
    assert found.text == {"ab12": TextDecision(verdict, "R1", boxes)}
    assert found.use == {"ab12": Decision(Phase.ARTERIAL, "R9"), "cd34": Decision(None, "R8")}
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["series"], row["note"], row["seen"]) for row in rows] == [
        ("ab12", "arterial", "yes"),
        ("cd34", "", ""),
        ("ab12", "looked twice", ""),
    ]


def test_a_contradiction_is_not_written(table: Path):
    table.write_text("series,phase,by\nab12,C1,R9\n")
    before = table.read_text()
    with pytest.raises(ConfigError, match="contradicts"):
        decide_on_text(table, "ab12", TextDecision(TextVerdict.EXCLUDE, "R1"))
    assert table.read_text() == before
