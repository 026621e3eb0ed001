"""Every code in the source is registered, every registered code is used, and the page says what the registry says."""

from __future__ import annotations

import ast
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

from pipeline.cohort.rules import RULE_ORDER, SERIES_RULES
from pipeline.core.problems import STAGE_FAILED, Area, fix_of, kind_of, meaning_of, problem_list, problems
from pipeline.core.records import Problem, Severity
from pipeline.dicom.deid.admission import REFUSED_KINDS
from pipeline.dicom.group.series import SLICE_CHECKS
from pipeline.dicom.read.kinds import NO_SLICE_TYPES, NO_SLICES
from pipeline.review.verdicts import Verdict
from pipeline.stages import REPORT, SCAN, SCREEN
from pipeline.workspace import Workspace
from tests.places import ROOT

PAGE = ROOT / "docs" / "problems.md"
MARK = "<!-- generated: problem_list() -->\n\n"
CODE_PARAMETERS = ("code", "rule")
"""What a parameter or a field is called that takes a code."""

FAMILIES = {"-failed": STAGE_FAILED, "adjudicate-": "", "return-": ""}
"""Fixed parts of codes that are put together, and the code they stand for; the other two are tested below."""

OTHER_CODES = ("FlowStep", "Explanation")
"""Callables whose code is none of a problem."""

TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "pipeline").rglob("*.py"))}


@cache
def places_of_codes() -> Mapping[str, int]:
    """Callables that take a code, by name, and the place of that argument."""
    found = {}
    for tree in TREES.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                names = [argument.arg for argument in node.args.args if argument.arg not in ("self", "cls")]
            elif isinstance(node, ast.ClassDef):
                names = [item.target.id for item in node.body
                         if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)]  # fmt: skip
            else:
                continue
            places = [place for place, name in enumerate(names) if name in CODE_PARAMETERS]
            if places:
                found[node.name] = places[0]
    return found


def constants_of(tree: ast.Module) -> dict[str, ast.expr]:
    """What the names of a module stand for."""
    found = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            found[node.target.id] = node.value
    return found


def texts(node: ast.expr, constants: Mapping[str, ast.expr]) -> Iterator[str]:
    """The codes an expression may come to, as far as they stand in the module."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from texts(node.body, constants)
        yield from texts(node.orelse, constants)
    elif isinstance(node, ast.JoinedStr):
        fixed = "".join(part.value for part in node.values if isinstance(part, ast.Constant))
        yield FAMILIES[fixed]
    elif isinstance(node, ast.Name) and node.id in constants:
        yield from texts(constants[node.id], constants)
    elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id in constants:
        table = constants[node.value.id]
        assert isinstance(table, ast.Dict)
        for value in table.values:
            yield from texts(value, constants)


def codes_of(tree: ast.Module) -> Iterator[str]:
    """What is handed to a parameter, assigned to a variable, or the default of a field, that takes a code."""
    constants = constants_of(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in CODE_PARAMETERS:
            yield from texts(node.value, constants)
        if isinstance(node, ast.AnnAssign) and node.value and getattr(node.target, "id", "") in CODE_PARAMETERS:
            yield from texts(node.value, constants)
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        place = places_of_codes().get(name)
        if place is None or name in OTHER_CODES:
            continue
        given = [keyword.value for keyword in node.keywords if keyword.arg in CODE_PARAMETERS]
        given += node.args[place : place + 1] if not any(isinstance(arg, ast.Starred) for arg in node.args) else []
        for argument in given:
            yield from texts(argument, constants)


def codes_in_source() -> set[str]:
    called = {code for path, tree in TREES.items() if path.name != "problems.py" for code in codes_of(tree)}
    tables = {
        *SERIES_RULES,
        *RULE_ORDER,
        *REFUSED_KINDS.values(),
        *NO_SLICES.values(),
        *NO_SLICE_TYPES.values(),
        *SLICE_CHECKS,
    }
    return (called | tables | unused_verdicts()) - {""}


def unused_verdicts() -> set[str]:
    return {f"return-{verdict}" for verdict in Verdict if verdict not in (Verdict.ACCEPT, Verdict.ACCEPT_REPAIRED)}


def test_every_code_in_the_source_is_registered():
    assert not sorted(codes_in_source() - problems().keys()), "register them in pipeline/core/problems.py"


def test_every_registered_code_is_used():
    assert not sorted(problems().keys() - codes_in_source()), "take them out of pipeline/core/problems.py"


def test_no_code_is_registered_twice():
    assert len(problem_list().splitlines()) == len(problems()) + 2


@pytest.mark.parametrize("code", problems())
def test_meaning_and_fix_are_clauses_for_people(code: str):
    kind = problems()[code]
    assert kind.meaning
    assert kind.areas
    for text in filter(None, (kind.meaning, kind.fix)):
        assert not text.endswith(".")
        assert "|" not in text


@pytest.mark.parametrize("code", ["scan-failed", "label-failed", "verify-failed"])
def test_every_failed_stage_is_one_kind(code: str):
    assert kind_of(code) is problems()[STAGE_FAILED]


def test_an_open_vote_has_the_kind_of_its_reason():
    for code, kind in problems().items():
        if kind.areas == (Area.CONSENSUS,):
            assert kind_of(f"adjudicate-{code}") is kind


def test_problem_takes_its_fix_from_the_registry_unless_a_better_one_is_known():
    assert Problem("odd-slice", Severity.FLAG, "slice 3").fix == fix_of("odd-slice") == "export the series again"
    assert Problem("odd-slice", Severity.FLAG, "slice 3", "look at slice 3").fix == "look at slice 3"
    assert Problem("padding", Severity.NOTE, "12 voxels").fix == ""


def test_a_code_of_another_version_can_be_read_and_has_no_fix():
    assert Problem("from-the-future", Severity.NOTE, "x").fix == ""
    with pytest.raises(KeyError):
        meaning_of("from-the-future")


def test_page_holds_the_registry_as_the_program_writes_it():
    if os.environ.get("WRITE_PROBLEMS"):
        head = PAGE.read_text(encoding="utf-8").partition(MARK)[0]
        PAGE.write_text(head + MARK + problem_list(), encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8").partition(MARK)[2] == problem_list(), "run once with WRITE_PROBLEMS=1"


def test_page_on_review_names_every_code_of_a_returned_mask():
    told = set(re.findall(r"`([a-z-]+)`", (ROOT / "docs" / "review.md").read_text(encoding="utf-8")))
    of_masks = {code for code, kind in problems().items() if Area.REVIEW in kind.areas}
    assert of_masks - unused_verdicts() <= told


def test_stages_that_print_words_of_the_registry_depend_on_them(tmp_path: Path):
    (tmp_path / "dicom").mkdir()
    (tmp_path / "dataset.toml").write_text('[dataset]\nname = "x"\n', encoding="utf-8")
    ws = Workspace.open(tmp_path)
    for stage in (SCAN, SCREEN, REPORT):
        assert stage.inputs(ws, None)["problems"] == hashlib.sha256(problem_list().encode()).hexdigest()
