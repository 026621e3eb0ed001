"""The public names are a promise: `import liverset` gives these and no other, documented, typed and light."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import partial
from importlib import import_module

import pytest

import liverset
from tests.places import ROOT

PROMISED = (
    *("Dataset", "Geometry", "LabelMap", "PipelineError", "Release", "Unit", "Volume"),
    *("agree", "convert", "deidentify", "find_leaks", "measure_lesions", "open_dataset", "open_release"),
    *("read_labels", "read_volume", "segment", "vote", "window", "write"),
)
"""A change here is a change of the version's first or second number, with a line in the changelog."""

HEAVY = (
    "SimpleITK",
    "cc3d",
    "nnunetv2",
    "numpy",
    "pandas",
    "prefect",
    "pydantic",
    "pydicom",
    "scipy",
    "skimage",
    "torch",
)
PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
SOURCE = (ROOT / "liverset" / "__init__.py").read_text(encoding="utf-8")


def test_public_names_are_those_promised():
    assert tuple(liverset.__all__) == PROMISED
    assert set(dir(liverset)) == {*PROMISED, "__version__"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", liverset.__version__)


@pytest.mark.parametrize("name", PROMISED)
def test_name_is_documented_in_code_and_page(name: str):
    assert (getattr(liverset, name).__doc__ or "").strip()
    assert f"| `{name}` |" in PAGE


@pytest.mark.parametrize("opened", [liverset.Dataset, liverset.Release])
def test_everything_of_an_opened_folder_stands_on_the_page(opened: type):
    public = [name for name in dir(opened) if not name.startswith("_")]
    assert public
    assert [name for name in public if not re.search(rf"^\| `{name}[(`]", PAGE, re.M)] == []


def test_type_checkers_see_the_same_objects_as_python():
    block = next(node for node in ast.parse(SOURCE).body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    assert set(seen) == set(PROMISED)
    assert all(getattr(liverset, name) is getattr(import_module(home), name) for name, home in seen.items())
    assert (ROOT / "liverset" / "py.typed").is_file()


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'colour'"):
        _ = liverset.colour


def test_import_is_quick_and_brings_no_library():
    code = (
        "import sys, time; start = time.perf_counter(); import liverset; "
        f"print(time.perf_counter() - start, *(name for name in {HEAVY} if name in sys.modules))"
    )
    run = partial(subprocess.run, [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    printed = [run().stdout.split() for _ in range(3)]
    assert all(len(words) == 1 for words in printed), printed
    assert min(float(words[0]) for words in printed) < 0.05
