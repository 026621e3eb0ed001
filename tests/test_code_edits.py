"""Edits of the program, and which stages each makes run again: never too few, and as few as can be."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.code import Code, Program
from pipeline.stages import STAGES
from pipeline.workspace import LIMITS
from tests.places import ROOT

ALL = {stage.name for stage in STAGES}
NAMES_CASES = ALL - {"scan"}
"""Stages that ask which cases there are, SCREEN for those of a patient who waits, COLLECT for those who withdrew."""
ASKS_FOR_CONSENSUS = {"vote", "collect", "measure", "prepare", "adjudicate", "report"}
"""VOTE asks for `[consensus]`, the others for the file of that name: the price of going by names."""


def codes(root: Path) -> dict[str, Code]:
    """What each stage's result hangs on, in the program below a folder."""
    program = Program(root, LIMITS)
    return {stage.name: program.code_of(*stage.roots) for stage in STAGES}


def digests(root: Path) -> dict[str, str]:
    return {name: code.digest for name, code in codes(root).items()}


@pytest.fixture(scope="session")
def before() -> dict[str, Code]:
    return codes(ROOT)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("program")
    for package in ("pipeline", "flows"):
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    return root


@pytest.fixture
def copy(program: Path) -> Iterator[Path]:
    """A copy of the program to edit; put right again afterwards."""
    yield program
    for package in ("pipeline", "flows"):
        shutil.copytree(
            ROOT / package, program / package, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
        )
        for path in [
            path for path in (program / package).rglob("*") if not (ROOT / path.relative_to(program)).exists()
        ]:
            path.unlink()


EDITS = {
    "a word of the registry of problems, which is an input of the stages that print it": (
        "core/problems.py",
        '"the mask holds no liver"',
        '"the mask has no liver"',
        set(),
    ),
    "the writer of SCAN's table, in SCAN's own module": (
        "stages/intake.py",
        'counts["used", "", ""]',
        'counts["kept", "", ""]',
        {"scan"},
    ),
    "the columns of SCAN's table": (
        "stages/intake.py",
        '"status", "code", "reason"',
        '"status", "reason", "code"',
        {"scan"},
    ),
    "a code in SCREEN's table": ("stages/screen.py", '"needs-person"', '"needs-people"', {"screen"}),
    "how cases are read": (
        "stages/case.py",
        "identity_of(path), ws.crosswalk.pseudonyms) if path",
        "identity_of(path), pseudonyms=ws.crosswalk.pseudonyms) if path",
        NAMES_CASES,
    ),
    "a decorator": (
        "stages/case.py",
        "@lru_cache(maxsize=1)\ndef _read_screening",
        "def _read_screening",
        NAMES_CASES,
    ),
    "outlines of the quality page": ("pictures/outlines.py", 'class="outlines"', 'class="lines"', {"report"}),
    "outlines drawn into pictures": (
        "pictures/outlines.py",
        "def drawn_on(",
        "@staticmethod\ndef drawn_on(",
        {"pack", "adjudicate"},
    ),
    "the CSV writer": (
        "core/files.py",
        "def csv_text(",
        "@staticmethod\ndef csv_text(",
        {"scan", "screen", "collect", "report"},
    ),
    "a word in the docstring of errors": ("core/errors.py", "What stops an item", "What halts an item", set()),
    "the exit code of an error": ("core/errors.py", "    exit_code = 1", "    exit_code = 3", ALL),
    "the search for leaks": ("leaks/needles.py", "return ", "return 0 or ", {"pack", "adjudicate"}),
    "the harvest of identifiers": ("leaks/harvest.py", "return ", "return 0 or ", {"screen", "pack", "adjudicate"}),
    "how the network is trained": ("segment/training.py", "return ", "return 0 or ", set()),
    "what the network is trained on": ("segment/trainset.py", "return ", "return 0 or ", set()),
    "a comment in training": ("segment/training.py", "\n\n\ndef ", "\n\n\n# a comment\ndef ", set()),
    "a comment in the training set": ("segment/trainset.py", "\n\n\ndef ", "\n\n\n# a comment\ndef ", set()),
    "a comment in NRRD": ("image/nrrd.py", "\n\n\ndef ", "\n\n\n# a comment\ndef ", set()),
    "how NRRD is read": ("image/nrrd.py", "return ", "return 0 or ", {"collect"}),
    "the type of an argument": ("image/nifti.py", "def read_volume(path: Path", "def read_volume(path: str", set()),
    "the type of a result": ("stages/settle.py", "-> Work:", "-> object:", set()),
    "how voxels are windowed": ("image/window.py", "return ", "return 0 or ", {"prepare"}),
    "a template of the packages": ("review/templates/RETURN.md.j2", "", "A line more.\n", {"pack", "adjudicate"}),
    "the style of the quality page": ("report/templates/qc.css", "", "b {}\n", {"report"}),
    "the profile, which only the conformance statement quotes": ("dicom/deid/annex_e.csv", "", "x\n", set()),
    "the demo network": ("segment/demo_model/fold_all/checkpoint_final.pth", "", "x", {"label"}),
    "the readme of the demo network": ("segment/demo_model/README.md", "", "A line more.\n", set()),
    "what VOTE imports late": ("agreement/consensus.py", "return ", "return 0 or ", {"vote"}),
    "what MEASURE imports late": ("lesions/measure.py", "return ", "return 0 or ", {"measure"}),
    "how labels are cleaned": ("segment/postprocess.py", "return ", "return 0 or ", {"label"}),
    "the search for text": ("text/find.py", "return ", "return 0 or ", {"convert"}),
    "the queue of the raters": ("segment/priority.py", "return ", "return 0 or ", {"pack"}),
    "the checks of returned masks": ("review/returns.py", "return ", "return 0 or ", {"collect"}),
    "the vote's settings": (
        "core/config.py",
        "min_dice: Annotated[float, Field(ge=0, le=1)] = 0.8",
        "min_dice: float = 0.7",
        ASKS_FOR_CONSENSUS,
    ),
    "how settings are read": ("core/config.py", "def _all_faults(", "@staticmethod\ndef _all_faults(", set()),
    "where one file lies": (
        "dataset/layout.py",
        '"prepared" / "ct.nii.gz"',
        '"prepared" / "image.nii.gz"',
        {"prepare"},
    ),
    "where a new file lies": (
        "dataset/layout.py",
        "    @property\n    def logs",
        "    def _lies(self) -> Path:\n        return self.root\n\n    @property\n    def logs",
        set(),
    ),
    "a new function": (
        "image/nifti.py",
        "\n\n\ndef read_volume",
        "\n\n\ndef extra() -> int:\n    return 1\n\n\ndef read_volume",
        set(),
    ),
    "what a release writes": ("dataset/release.py", "return ", "return 0 or ", set()),
    "how receipts are accepted": ("core/receipts.py", "def accept_code(", "@staticmethod\ndef accept_code(", set()),
    "how a stage is run": ("workspace.py", "started = time.monotonic()", "started = 0.0", set()),
    "which tables VOTE asks for": (
        "stages/settle.py",
        "(config.consensus, config.labels)",
        "(config.consensus,)",
        {"report"},
    ),
    "the command line": ("cli/dataset.py", "return ", "return 0 or ", set()),
    "the invented patients": ("synth/phantom.py", "return ", "return 0 or ", set()),
}


@pytest.mark.parametrize(("file", "old", "new", "expected"), EDITS.values(), ids=EDITS)
def test_an_edit_reruns_what_it_can_change(
    file: str, old: str, new: str, expected: set[str], copy: Path, before: dict[str, Code]
):
    path = copy / "pipeline" / file
    content = path.read_bytes()
    assert old.encode() in content
    path.write_bytes(content.replace(old.encode(), new.encode()) if old else content + new.encode())
    after = digests(copy)
    found = {name for name, code in before.items() if code.digest != after[name]}
    assert found == expected


def test_every_file_written_anew_without_comments_changes_nothing(copy: Path, before: dict[str, Code]):
    for path in copy.rglob("*.py"):
        path.write_text(ast.unparse(ast.parse(path.read_text())), encoding="utf-8")
    assert codes(copy) == before


def test_line_ends_of_windows_change_nothing(copy: Path, before: dict[str, Code]):
    for path in [path for path in copy.rglob("*") if path.is_file()]:
        content = path.read_bytes()
        if b"\0" not in content:
            path.write_bytes(content.replace(b"\n", b"\r\n"))
    assert codes(copy) == before


def test_no_docstring_or_annotation_of_a_function_changes_anything(copy: Path, before: dict[str, Code]):
    for path in copy.rglob("*.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            _strip(node)
        path.write_text(ast.unparse(tree), encoding="utf-8")
    assert codes(copy) == before


def _strip(node: ast.AST) -> None:
    """Take out what is there for readers and type checkers; a decorator may act on annotations."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
        node.body = [*node.body[1:]] or [ast.Pass()]
    if isinstance(node, ast.FunctionDef) and not node.decorator_list:
        node.returns = None
        for argument in (*node.args.args, *node.args.kwonlyargs):
            argument.annotation = None


def test_a_private_name_changed_throughout_reruns_no_more_than_its_users(copy: Path, before: dict[str, Code]):
    path = copy / "pipeline/stages/screen.py"
    path.write_text(path.read_text().replace("_write_exclusions", "_write_refusals"), encoding="utf-8")
    after = digests(copy)
    assert {name for name, code in before.items() if code.digest != after[name]} <= {"screen"}


MODULES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "pipeline").rglob("*.py"))


@settings(max_examples=25)
@given(data=st.data())
def test_words_and_room_at_random_places_change_nothing(
    data: st.DataObject, copy_of_all: Path, before: dict[str, Code]
):
    """Comments, empty lines and docstrings before any statement of any module."""
    path = copy_of_all / data.draw(st.sampled_from(MODULES))
    text = path.read_text()
    statements = [
        node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.stmt) and _begins_its_line(node, text)
    ]
    chosen = data.draw(st.lists(st.sampled_from(statements), max_size=5)) if statements else []
    lines = text.splitlines(keepends=True)
    for node in sorted(chosen, key=lambda node: -node.lineno):
        words = data.draw(st.sampled_from(["# words\n", "\n", '"""Words."""\n', "pass\n"]))
        lines.insert(node.lineno - 1, " " * node.col_offset + words)
    path.write_text("".join(lines), encoding="utf-8")
    try:
        assert codes(copy_of_all) == before
    finally:
        path.write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def copy_of_all(program: Path) -> Path:
    """For properties, which put right what they edit."""
    return program


def _begins_its_line(node: ast.stmt, text: str) -> bool:
    """False too for what a decorator or `from __future__` must come before."""
    if isinstance(node, ast.ImportFrom) and node.module == "__future__":
        return False
    if getattr(node, "decorator_list", None):
        return False
    return not text.splitlines()[node.lineno - 1][: node.col_offset].strip()


@settings(max_examples=25)
@given(data=st.data())
def test_a_number_or_text_of_what_a_stage_reaches_is_seen(
    data: st.DataObject, copy_of_all: Path, before: dict[str, Code]
):
    """Any constant in a function that is reached, found by Python's own parser."""
    stage = data.draw(st.sampled_from(STAGES))
    name = data.draw(st.sampled_from([name for name in before[stage.name].definitions if _constants(name)]))
    path, constants = _constants(name)
    constant = constants[data.draw(st.integers(0, len(constants) - 1))]
    text = (ROOT / path).read_bytes()
    lines = text.splitlines(keepends=True)
    line = lines[constant.lineno - 1]
    lines[constant.lineno - 1] = line[: constant.col_offset] + b"'other'" + line[constant.end_col_offset :]
    (copy_of_all / path).write_bytes(b"".join(lines))
    try:
        code = Program(copy_of_all, LIMITS).code_of(*stage.roots)
        assert code.digest != before[stage.name].digest
    finally:
        (copy_of_all / path).write_bytes(text)


@cache
def _constants(name: str) -> tuple[str, list[ast.Constant]] | None:
    """Constants on one line in the body of a function at the top of a module, which are no docstring."""
    module, _, last = name.rpartition(".")
    path = f"{module.replace('.', '/')}.py"
    if not (ROOT / path).is_file():
        return None
    tree = ast.parse((ROOT / path).read_bytes())
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == last]
    inside = [
        one
        for node in found
        for statement in node.body
        if not isinstance(statement, ast.Expr)
        for one in ast.walk(statement)
    ]
    in_texts = {id(part) for node in inside if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    constants = [
        node
        for node in inside
        if isinstance(node, ast.Constant) and node.lineno == node.end_lineno and id(node) not in in_texts
    ]
    return (path, constants) if constants else None


BLIND_SPOTS = (
    "__import__",
    "eval",
    "exec",
    "globals",
    "import_module",
    "get_type_hints",
    "signature",
    "__doc__",
    "__annotations__",
)
"""Ways to a definition that no name in the text tells; the walk does not follow them."""


@pytest.mark.parametrize("module", MODULES)
def test_the_program_goes_no_way_that_the_walk_cannot_see(module: str):
    tree = ast.parse((ROOT / module).read_bytes())
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr != "eval"}
    assert not names & set(BLIND_SPOTS)


@pytest.mark.parametrize("module", MODULES)
def test_no_attribute_is_asked_for_by_a_name_that_is_put_together(module: str):
    tree = ast.parse((ROOT / module).read_bytes())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    asked = [node.args[1] for node in calls if node.func.id in ("getattr", "setattr", "hasattr") and len(node.args) > 1]
    assert all(isinstance(word, ast.Constant | ast.Name) for word in asked)


def test_the_limits_name_what_there_is():
    whole = {name for stage in STAGES for name in Program(ROOT).code_of(*stage.roots).definitions}
    assert LIMITS.ends | LIMITS.by_field | LIMITS.declared <= whole


def test_no_stage_runs_another(before: dict[str, Code]):
    """What `declared` takes for given: the work of the others is no part of any stage."""
    for stage in STAGES:
        others = {other.roots[0] for other in STAGES} - {stage.roots[0]}
        assert not others & before[stage.name].definitions.keys()
