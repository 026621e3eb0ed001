"""Every column of a table of patients is harvested, in every form that spreadsheets save."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.leaks.harvest import gather, harvest
from pipeline.leaks.search import Kind, search

ROWS = (
    ("patient_id", "Nachname", "姓名", "X7", "remark", "born", "age"),
    (
        "770121",
        "Müller-Huber",
        "欧阳娜娜",
        "Brandstaetter",
        "seen by Dr. Oberhuber on 3.4.2019",
        "17.04.1962",
        "60",
        "HCC",
    ),
)
SOUGHT = ("770121", "Müller-Huber", "欧阳娜娜", "Brandstaetter", "Oberhuber", "2019-04-03", "19620417")


def written(path: Path, separator: str, charset: str) -> Path:
    lines = [separator.join(row) for row in ROWS]
    path.write_bytes("\n".join(lines).encode(charset, errors="replace"))
    return path


@pytest.mark.parametrize("charset", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "gb18030"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("name", ["clinical.csv", "patients.txt", "export.dat"])
def test_every_column_of_the_clinical_table_is_sought(tmp_path: Path, separator: str, charset: str, name: str):
    identifiers = harvest([written(tmp_path / name, separator, charset)])
    for number, text in enumerate(SOUGHT):
        (tmp_path / f"{number}.md").write_text(f"about {text}, today", encoding="utf-8")
    found = {leak.where for leak in search(identifiers, sorted(tmp_path.glob("*.md")))}
    assert found == {f"{number}.md: content" for number in range(len(SOUGHT))}


@pytest.mark.parametrize("charset", ["cp1252", "big5", "gb18030"])
def test_old_character_sets_are_sought_too(tmp_path: Path, charset: str):
    name = {"cp1252": "Müller", "big5": "歐陽娜娜", "gb18030": "欧阳娜娜"}[charset]
    (tmp_path / "clinical.csv").write_bytes(f"patient_id,who\n1,{name}\n".encode(charset))
    assert (Kind.NAME, name) in harvest([tmp_path / "clinical.csv"]).texts


def test_a_table_beside_the_images_that_is_not_about_patients_gives_no_names(tmp_path: Path):
    (tmp_path / "scanner.csv").write_text("kernel,use\nB30f,Soft tissue\n")
    (tmp_path / "people.csv").write_text("Patient ID,ward\n551,Steinbacher\n")
    (tmp_path / "names.csv").write_text("last name,ward\nHinterhuber,North\n")
    names = {text for kind, text in harvest([tmp_path]).texts if kind is Kind.NAME}
    assert {"Steinbacher", "Hinterhuber"} <= names
    assert not names & {"Soft", "tissue"}


@given(
    cells=st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=12), min_size=1, max_size=8
    )
)
def test_any_table_can_be_read_and_is_read_once(tmp_path_factory: pytest.TempPathFactory, cells: list[str]):
    path = tmp_path_factory.mktemp("any") / "clinical.csv"
    path.write_text("patient_id;a\n" + ";".join(cells), encoding="utf-8")
    first = gather([path])
    assert gather([path], first) == first
    assert type(first).from_bytes(first.to_bytes()) == first
