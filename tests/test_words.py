"""Texts for people keep to the words of `docs/glossary.md`: strings in code, help, templates and documents."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.places import ROOT

GLOSSARY = ROOT / "docs" / "glossary.md"
AVOIDED_PART = "## Words that are avoided"

WORD_LISTS = {
    "pipeline/leaks/harvest.py": "names and everyday words that sources may hold",
    "pipeline/dicom/deid/vocabulary.py": "words that may stay in descriptions",
    "pipeline/dicom/group/phase.py": "patterns of what hospitals write",
    "pipeline/review/viewers.py": "file formats and scripts of ITK-SNAP and 3D Slicer",
}
"""Files whose strings are data in other people's words."""

TEMPLATES = sorted((ROOT / "pipeline").rglob("*.j2"))
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
SOURCES = [
    path
    for package in ("pipeline", "flows")
    for path in sorted((ROOT / package).rglob("*.py"))
    if path.relative_to(ROOT).as_posix() not in WORD_LISTS
]


def avoided() -> list[str]:
    rows = GLOSSARY.read_text(encoding="utf-8").split(AVOIDED_PART)[1].splitlines()
    cells = [row.split("|")[1].strip() for row in rows if row.startswith("| ")][2:]
    return [word.strip() for cell in cells for word in cell.split(",")]


AVOIDED = re.compile(rf"\b({'|'.join(map(re.escape, avoided()))})\b", re.IGNORECASE)


def found_in(text: str) -> list[str]:
    return [match[0] for match in AVOIDED.finditer(" ".join(text.split()))]


def is_docstring_of(node: ast.AST) -> Iterator[ast.expr]:
    """The strings in a body that stand alone: documentation for developers."""
    body = getattr(node, "body", None)
    for statement in body if isinstance(body, list) else []:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            yield statement.value


def is_command(node: ast.AST) -> bool:
    """A function whose docstring is a help text."""
    return isinstance(node, ast.FunctionDef) and any(
        re.search(r"\.(command|group)\b", ast.unparse(decorator)) for decorator in node.decorator_list
    )


def texts_of(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of each string with more than one word; of docstrings only those that are help."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    silent = {id(one) for node in ast.walk(tree) if not is_command(node) for one in is_docstring_of(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in silent:
            yield node.lineno, node.value


def prose_of(path: Path) -> str:
    """A page without code, its addresses, and the list of avoided words."""
    text = path.read_text(encoding="utf-8").split(AVOIDED_PART)[0]
    text = re.sub(r"^```.*?^```$", "", text, flags=re.S | re.M)
    return re.sub(r"`[^`\n]*`|\]\([^)]*\)", "", text)


def test_the_list_names_what_it_should():
    assert found_in("Mend what is told above; the slices are\nstacked aslant.") == ["Mend", "told", "aslant"]
    assert found_in("Three rows of the manifest are listed; the fattest colour.") == []
    assert len(avoided()) > 40


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_strings_keep_to_the_glossary(path: Path):
    assert not [(line, text, words) for line, text in texts_of(path) if " " in text and (words := found_in(text))]


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_templates_keep_to_the_glossary(path: Path):
    text = re.sub(
        r"<style>.*?</style>|<script>.*?</script>|\{[{%#].*?[}%#]\}|<[^>]*>", " ", path.read_text("utf-8"), flags=re.S
    )
    assert not found_in(text)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_documents_keep_to_the_glossary(path: Path):
    assert not found_in(prose_of(path))


def test_the_word_lists_are_there():
    assert all((ROOT / name).is_file() for name in WORD_LISTS)
