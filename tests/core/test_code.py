"""What a definition reaches: everything an edit of which could change its result, and little else."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from pipeline.core.code import Code, Limits, Program, changes, name_of
from tests.places import ROOT

MAIN = "pipeline/main.py"
HELP = "pipeline/help.py"


def write(root: Path, **texts: str) -> None:
    """A package `pipeline` of modules, each given by its name."""
    (root / "pipeline").mkdir(exist_ok=True)
    (root / "pipeline" / "__init__.py").touch()
    for name, text in texts.items():
        (root / "pipeline" / f"{name}.py").write_text(text, encoding="utf-8")


def code(root: Path) -> Code:
    return Program(root).code_of("pipeline.main.work")


MATTERS = {
    "its own body": ("def work():\n    return 1", "", "return 1", "return 2"),
    "a function it calls": (
        "from pipeline.help import f\ndef work():\n    return f()",
        "def f():\n    return 1",
        "1",
        "2",
    ),
    "an import inside it": (
        "def work():\n    from pipeline.help import f\n    return f()",
        "def f(): return 1",
        "1",
        "2",
    ),
    "a module by its name": ("import pipeline.help as h\ndef work():\n    return h.f()", "def f(): return 1", "1", "2"),
    "a module by its path": (
        "import pipeline.help\ndef work():\n    return pipeline.help.f()",
        "def f(): return 1",
        "1",
        "2",
    ),
    "a module from its package": (
        "from pipeline import help\ndef work():\n    return help.f()",
        "def f(): return 1",
        "1",
        "2",
    ),
    "a module handed on": (
        "from pipeline import help\ndef work():\n    return run(help)",
        "def f(): return 1",
        "1",
        "2",
    ),
    "everything by a star": ("from pipeline.help import *\ndef work():\n    return f()", "def f(): return 1", "1", "2"),
    "a constant": ("from pipeline.help import A\ndef work():\n    return A", "A = 1", "1", "2"),
    "a constant of a constant": ("from pipeline.help import A\ndef work():\n    return A", "B = 1\nA = B", "1", "2"),
    "a constant bound twice": ("from pipeline.help import A\ndef work():\n    return A", "A = 1\nA += 7", "7", "8"),
    "a constant among others": ("from pipeline.help import A\ndef work():\n    return A", "A, B = 1, 2", "1", "3"),
    "a default": ("from pipeline.help import A\ndef work(a=A):\n    return a", "A = 1", "1", "2"),
    "a decorator": (
        "from pipeline.help import d\n@d\ndef work():\n    return 1",
        "def d(f): return f",
        "return f",
        "return 1",
    ),
    "a base": (
        "from pipeline.help import B\nclass C(B): ...\ndef work():\n    return C().m()",
        "class B:\n    def m(self): return 1",
        "1",
        "2",
    ),
    "a method": (
        "from pipeline.help import C\ndef work():\n    return C().m()",
        "class C:\n    def m(self): return 1",
        "1",
        "2",
    ),
    "a property": (
        "from pipeline.help import C\ndef work():\n    return C().m",
        "class C:\n    @property\n    def m(self): return 1",
        "1",
        "2",
    ),
    "a method asked for by a constant": (
        "from pipeline.help import C\ndef work():\n    return getattr(C(), 'm')()",
        "class C:\n    def m(self): return 1",
        "1",
        "2",
    ),
    "a method asked for by a word": (
        "from pipeline.help import C\nASKED = ('m',)\ndef work():\n    return [getattr(C(), a)() for a in ASKED]",
        "class C:\n    def m(self): return 1",
        "1",
        "2",
    ),
    "a method asked for by a written list": (
        "from pipeline.help import C\ndef work():\n    for a in ('m', 'n'):\n        getattr(C(), a)()",
        "class C:\n    def n(self): return 1",
        "1",
        "2",
    ),
    "a method asked for by a name bound anew": (
        "from pipeline.help import C\nA = 'm'\ndef work():\n    for a in ('n',):\n"
        "        a = A\n        getattr(C(), a)()",
        "class C:\n    def m(self): return 1",
        "1",
        "2",
    ),
    "a method asked for after a written list": (
        "from pipeline.help import C\nA = 'm'\ndef work(a):\n    for a in ('n',): ...\n    getattr(C(), A)()\n"
        "    getattr(C(), a)()",
        "class C:\n    def m(self): return 1",
        "1",
        "2",
    ),
    "a method bound in the class": (
        "from pipeline.help import C\ndef work():\n    return C().p",
        "class C:\n    def _m(self): return 1\n    p = property(_m)",
        "1",
        "2",
    ),
    "a method of a class of nobody knows what": (
        "from pipeline.help import C\ndef work():\n    return C()",
        "from pipeline.mid import make\nB = make()\nclass C(B):\n    def m(self): return 1",
        "1",
        "2",
    ),
    "a method Python calls": (
        "from pipeline.help import C\ndef work():\n    return C() + 1",
        "class C:\n    def __add__(self, o): return 1",
        "return 1",
        "return 2",
    ),
    "a method an outside base calls": (
        "from pipeline.help import C\ndef work():\n    return C().start()",
        "import threading\nclass C(threading.Thread):\n    def run(self): return 1",
        "1",
        "2",
    ),
    "a method a decorator keeps": (
        "from pipeline.help import C\ndef work():\n    return C()",
        "from pydantic import model_validator\nclass C:\n    @model_validator(mode='after')\n    def m(self): return 1",
        "1",
        "2",
    ),
    "a field": ("from pipeline.help import C\ndef work():\n    return C()", "class C:\n    a: int = 1", "1", "2"),
    "the type of a field": (
        "from pipeline.help import C\ndef work():\n    return C()",
        "class C:\n    a: int",
        "int",
        "str",
    ),
    "the model of a field": (
        "from pipeline.help import C\ndef work():\n    return C()",
        "class D:\n    b: int = 1\nclass C:\n    a: D",
        "1",
        "2",
    ),
    "the type of a field of a dataclass": (
        "from pipeline.help import C\ndef work():\n    return load(C)",
        "from dataclasses import dataclass\nclass D:\n    b: int = 1\n@dataclass\nclass C:\n    a: list[D]",
        "1",
        "2",
    ),
    "the model of a field in quotes": (
        "from pipeline.help import C\ndef work():\n    return C()",
        "class C:\n    a: 'D'\nclass D:\n    b: int = 1",
        "1",
        "2",
    ),
    "a name handed on": ("from pipeline.mid import f\ndef work():\n    return f()", "def f(): return 1", "1", "2"),
    "what an import does": ("import pipeline.help\ndef work():\n    return 1", "print(1)", "1", "2"),
    "what an import does to a list": (
        "from pipeline.help import A\ndef work():\n    return A",
        "A = []\nA.append(1)",
        "1",
        "2",
    ),
    "what fills a list": (
        "from pipeline.help import A\ndef work():\n    return A",
        "A = []\ndef note(f):\n    A.append(f)\n    return f\n@note\ndef g(): return 1",
        "return 1",
        "return 2",
    ),
    "what a call fills": (
        "from pipeline.help import A\ndef work():\n    return A",
        "A = []\ndef note(x): A.append(x)\nB = note(1)",
        "note(1)",
        "note(2)",
    ),
    "what an object fills": (
        "from pipeline.help import A\ndef work():\n    return A",
        "A = []\nclass N:\n    def __init__(self, x): A.append(x)\nB = N(1)",
        "N(1)",
        "N(2)",
    ),
    "what a descendant fills": (
        "from pipeline.help import A\ndef work():\n    return A",
        "A = []\nclass N:\n    def __init_subclass__(cls): A.append(cls)\nclass M(N):\n    b = 1",
        "1",
        "2",
    ),
    "what stands under a condition": (
        "from pipeline.help import f\ndef work():\n    return f()",
        "try:\n    import fast as f\nexcept ImportError:\n    def f(): return 1",
        "1",
        "2",
    ),
    "where an import leads": (
        "from pipeline.help import f\ndef work():\n    return f()",
        "from os.path import join as f",
        "join",
        "split",
    ),
    "which package an import leads to": ("import numpy as x\ndef work():\n    return x.a()", "", "numpy", "scipy"),
    "a name in a nested function": (
        "from pipeline.help import f\ndef work():\n    def g():\n        return f()\n    return g()",
        "def f(): return 1",
        "1",
        "2",
    ),
    "a global it binds": (
        "from pipeline.help import f\nA = 1\ndef work():\n    global A\n    A += f()",
        "def f(): return 1",
        "1",
        "2",
    ),
    "a name a class binds too": (
        "from pipeline.help import f\nclass C:\n    f = 1\n    def m(self): return f()\ndef work(): return C().m()",
        "def f(): return 1",
        "1",
        "2",
    ),
    "a module named in a text": ("def work():\n    return load('pipeline.help')", "def f(): return 1", "1", "2"),
    "a name that only running tells": (
        "from pipeline.help import f\ndef work():\n    return f()",
        "def __getattr__(name): return 1",
        "1",
        "2",
    ),
    "the order of statements": (
        "def work():\n    a = 1\n    b = 2\n    return a",
        "",
        "a = 1\n    b = 2",
        "b = 2\n    a = 1",
    ),
    "a text": ("def work():\n    return f'{1} of 2'", "", "of", "from"),
    "a form": ("def work():\n    return f'{1:2d}'", "", "2d", "3d"),
    "a keyword without a default": ("def work(*, a=..., b):\n    return a", "", "b)", "b=...)"),
    "an attribute in a pattern": (
        "from pipeline.help import C\ndef work(x):\n    match x:\n        case C(m=1): return 1",
        "class C:\n    @property\n    def m(self): return 2",
        "2",
        "3",
    ),
}


@pytest.mark.parametrize(("main", "helper", "old", "new"), MATTERS.values(), ids=MATTERS)
def test_an_edit_that_can_matter_is_seen(main: str, helper: str, old: str, new: str, tmp_path: Path):
    write(tmp_path, main=main, help=helper, mid="from pipeline.help import f")
    before = code(tmp_path).digest
    file = tmp_path / (HELP if helper else MAIN)
    text = file.read_text()
    assert text.count(old) >= 1
    file.write_text(text.replace(old, new))
    assert code(tmp_path).digest != before


USE = "from pipeline.help import f\ndef work():\n    return f()"
IDLE = {
    "a comment": ("def f():\n    return 1", "def f():  # one\n    return 1"),
    "layout": ("def f(): return [1, 2]", "def f():\n\n    return [\n        1,\n        2,\n    ]"),
    "line ends": ("def f():\n    return '''a\nb'''", "def f():\r\n    return '''a\r\nb'''"),
    "quotes": ("def f(): return 'a' 'b'", 'def f(): return "ab"'),
    "a docstring": ("def f():\n    '''one'''\n    return 1", "def f():\n    '''two'''\n    return 1"),
    "a new docstring": ("def f(): return 1", "'''m'''\ndef f():\n    '''two'''\n    return 1"),
    "a text below a constant": ("A = 1\n'''one'''\ndef f(): return A", "A = 1\n'''two'''\ndef f(): return A"),
    "annotations": ("def f(a=1): return a", "def f(a: int = 1) -> int: return a"),
    "the type of a local": ("def f():\n    a = 1\n    return a", "def f():\n    a: int = 1\n    return a"),
    "the type of a constant": ("A = 1\ndef f(): return A", "A: int = 1\ndef f(): return A"),
    "imports for type checkers": (
        "def f(): return 1",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pipeline.other import g\ndef f(): return 1",
    ),
    "a new function": ("def f(): return 1", "def f(): return 1\ndef g(): return 2"),
    "another function": ("def f(): return 1\ndef g(): return 2", "def f(): return 1\ndef g(): return 3"),
    "a new constant": ("def f(): return 1", "B = 2\ndef f(): return 1"),
    "a new class": ("def f(): return 1", "class C:\n    a: int = 1\ndef f(): return 1"),
    "the order of definitions": ("def g(): return 2\ndef f(): return g()", "def f(): return g()\ndef g(): return 2"),
    "an import nobody uses": ("def f(): return 1", "import os\ndef f(): return 1"),
    "a method nobody names": (
        "class C:\n    def m(self): return 1\ndef f(): return C()",
        "class C:\n    def m(self): return 2\ndef f(): return C()",
    ),
    "a local of the same name": (
        "def g(): return 1\ndef f():\n    g = 2\n    return g",
        "def g(): return 3\ndef f():\n    g = 2\n    return g",
    ),
    "an argument of the same name": (
        "def g(): return 1\ndef f(g=2): return g",
        "def g(): return 3\ndef f(g=2): return g",
    ),
    "an attribute of a package": (
        "import os\nclass C:\n    def sep(self): return 1\ndef f(): return C(), os.sep",
        "import os\nclass C:\n    def sep(self): return 2\ndef f(): return C(), os.sep",
    ),
}


@pytest.mark.parametrize(("before", "after"), IDLE.values(), ids=IDLE)
def test_an_edit_that_decides_nothing_is_not_seen(before: str, after: str, tmp_path: Path):
    write(tmp_path, main=USE, help=before)
    digest = code(tmp_path).digest
    (tmp_path / HELP).write_bytes(after.encode())
    assert code(tmp_path).digest == digest


OPENING = {
    "by name": "from pathlib import Path\nA = Path(__file__).with_name('a.csv')\ndef work():\n    return A.read_text()",
    "by folder": "from pathlib import Path\nA = Path(__file__).parent / 'data'\ndef work():\n    return A",
    "by package": "from importlib.resources import files\ndef work():\n    return files('pipeline') / 'a.csv'",
    "by package of templates": "from jinja2 import PackageLoader as P\ndef work():\n    return P('pipeline', 'data')",
    "by a computed name": "from pathlib import Path\ndef work(name):\n    return Path(__file__).parent / name",
}


@pytest.mark.parametrize("main", OPENING.values(), ids=OPENING)
def test_a_file_that_is_opened_counts(main: str, tmp_path: Path):
    write(tmp_path, main=main)
    (tmp_path / "pipeline" / "data").mkdir()
    files = [tmp_path / "pipeline" / "a.csv", tmp_path / "pipeline" / "data" / "t.j2"]
    for file in files:
        file.write_bytes(b"a\r\nb\0" if file.suffix == ".j2" else b"a\nb")
    opened = {"a.csv" in main or "name)" in main: files[0], "'data'" in main or "name)" in main: files[1]}
    for is_opened, file in opened.items():
        before, content = code(tmp_path).digest, file.read_bytes()
        file.write_bytes(content + b"c")
        assert (code(tmp_path).digest != before) == is_opened
        file.write_bytes(content)


def test_line_ends_of_texts_do_not_count_and_bytes_do(tmp_path: Path):
    write(tmp_path, main=OPENING["by name"])
    file = tmp_path / "pipeline" / "a.csv"
    digests = []
    for content in (b"a\nb", b"a\r\nb", b"a\nb\0", b"a\r\nb\0"):
        file.write_bytes(content)
        digests.append(code(tmp_path).digest)
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_a_file_more_in_a_folder_of_templates_counts(tmp_path: Path):
    write(tmp_path, main=OPENING["by folder"])
    (tmp_path / "pipeline" / "data").mkdir()
    before = code(tmp_path).digest
    (tmp_path / "pipeline" / "data" / "new.j2").touch()
    assert code(tmp_path).digest != before


def test_an_attribute_that_a_template_asks_for_counts(tmp_path: Path):
    helper = "class C:\n    @property\n    def m(self): return 1\n    def n(self): return 2"
    write(tmp_path, main=f"from pipeline.help import C\n{OPENING['by folder']}, C()", help=helper)
    (tmp_path / "pipeline" / "data").mkdir()
    (tmp_path / "pipeline" / "data" / "t.html.j2").write_text("n {% for c in all %}{{ c.m }}{% endfor %}")
    definitions = code(tmp_path).definitions
    assert "pipeline.help.C.m" in definitions
    assert "pipeline.help.C.n" not in definitions


def test_what_is_taken_for_given_is_not_followed(tmp_path: Path):
    write(
        tmp_path,
        main="from pipeline.help import A, C, end\ndef work(c):\n    return end(A.name, c.one)",
        help="def end(*a): return 1\nclass S:\n    def __call__(self): return other()\ndef other(): return 1\n"
        "A = S('a', other)\nclass C:\n    one: 'One'\n    two: 'Two'\nclass One:\n    x = 1\nclass Two:\n    y = 1",
    )
    limits = Limits(
        ends=frozenset({"pipeline.help.end"}),
        by_field=frozenset({"pipeline.help.C"}),
        declared=frozenset({"pipeline.help.S"}),
    )
    found = {
        name.removeprefix("pipeline.help.")
        for name in Program(tmp_path, limits).code_of("pipeline.main.C", "pipeline.main.work").definitions
    }
    assert {"A", "S", "C", "C.one", "One"} <= found
    assert not found & {"end", "other", "S.__call__", "C.two", "Two"}


def test_changes_are_named_the_first_few(tmp_path: Path):
    before = {"a.f": "1", "a.g": "1", "a (imports)": "1", "b": "1"}
    assert changes(before, {**before, "a.g": "2", "a (imports)": "2"}) == "a.g, a (imports)"
    assert changes(before, {"b": "1", "c": "1"}) == "c, a.f, a.g and 1 more"
    assert changes(before, before) == ""


def test_a_definition_is_named_as_it_lies_in_the_program():
    assert name_of(Program) == "pipeline.core.code.Program"
    assert name_of(Program.code_of) == "pipeline.core.code.Program"


def test_every_package_of_the_program_is_found_among_those_installed():
    """The names by which `importlib.metadata` knows what was imported; it takes too long to ask each time."""
    installed = packages_distributions()
    used = Program().code_of("pipeline.stages.STAGES", *(f"{module}.*" for module in modules())).packages
    known = {name.lower().replace("_", "-").replace(".", "-") for names in installed.values() for name in names}
    assert set(used) <= known, set(used) - known
    assert {"numpy", "pillow", "scikit-image", "simpleitk", "connected-components-3d", "torch"} <= set(used)


def modules() -> list[str]:
    """Every module of the program, by its dotted name."""
    paths = sorted((ROOT / "pipeline").rglob("*.py"))
    return [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in paths]


DIGESTS = """
import sys
from pathlib import Path
root = Path(sys.argv[1])
sys.path.insert(0, str(root))
from pipeline.core.code import Program
print(Program(root).code_of(*sys.argv[2:]).digest)
"""


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_every_python_finds_the_same(version: str):
    """The module needs nothing but Python, so that any other one at hand can be asked."""
    roots = [f"{module}.*" for module in modules()]
    beside = sorted(Path(sys.base_prefix).parent.glob(f"{version}.*/bin/python"))
    python = beside[0] if beside else shutil.which(f"python{version}")
    if python is None:
        pytest.skip(f"Python {version} is not at hand")
    command = [python, "-c", DIGESTS, ROOT, *roots]
    found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert found.stdout.strip() == Program().code_of(*roots).digest


def test_the_walk_ends_where_modules_import_each_other(tmp_path: Path):
    write(
        tmp_path,
        main="from pipeline.help import f\ndef work():\n    return f()",
        help="import pipeline.main\ndef f(): return pipeline.main.work",
    )
    assert "pipeline.help.f" in code(tmp_path).definitions
