"""The pictures of docs/agreement.md show what the rules decide today."""

from __future__ import annotations

import os
import re
import xml.etree.ElementTree as ET

import pytest

from tests.agreement.figures import FIGURES
from tests.places import ROOT

FOLDER = ROOT / "docs" / "figures"
LARGEST_BYTES = 20_000


@pytest.mark.parametrize("name", FIGURES)
def test_picture_is_what_the_rules_decide(name: str):
    path, text = FOLDER / f"{name}.svg", FIGURES[name]().svg()
    if os.environ.get("WRITE_FIGURES"):
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text, "write it anew with WRITE_FIGURES=1"
    assert len(text) < LARGEST_BYTES
    assert ET.fromstring(text).find("{http://www.w3.org/2000/svg}title") is not None


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("losses", ["lost-lesion", "dropped-piece", "nothing is named", "liver-hole"]),
        ("kinds", ["vote HCC", "nothing is left open", "vote HCC", "unsettled-kind", "vote no kind", "unsettled-kind"]),
        ("follow-up", ["lesion 1: overlap", "lesion 2: unmatched", "lesion 3: centre"]),
        ("detection", ["IoU 0.67: matched", "IoU 0.25: not matched", "IoU 0.00: not matched"]),
    ],
)
def test_picture_shows_each_case_that_its_words_name(name: str, said: list[str]):
    texts = [part.text for part in ET.fromstring(FIGURES[name]().svg()).iter("{http://www.w3.org/2000/svg}text")]
    assert [text for text in texts if text in said] == said


def test_every_picture_stands_on_the_page_with_words_for_those_who_do_not_see_it():
    page = (ROOT / "docs" / "agreement.md").read_text(encoding="utf-8")
    shown = dict(re.findall(r"!\[([^\]]*)\]\(figures/([^)]+)\.svg\)", page))
    assert sorted(shown.values()) == sorted(FIGURES) == sorted(path.stem for path in FOLDER.iterdir())
    assert all(len(words) > 60 for words in shown)
