"""One home a fact: constants, UIDs of the standard and names of files are written once."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from tests.places import ROOT

TREES = {
    path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted((ROOT / "pipeline").rglob("*.py"))
}

OF_EACH_MODULE = {"COMMANDS"}
"""What each module of the command line hands to its group."""

UID_HOMES = {"pipeline/dicom/read/syntaxes.py", "pipeline/dicom/read/kinds.py"}

FILE_NAME = re.compile(
    r"[\w.-]*\w\.(csv|json|jsonl|toml|tsv|md|html|txt|label|ctbl|key|enc|sqlite|pth|zip|nii\.gz|parquet|lock|log|bat|sh)"
)


def constants(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Names in capitals at the top of a module, without leading underscores, and what they stand for."""
    for node in tree.body:
        if isinstance(node, ast.Assign):
            target, value = node.targets[0], node.value
        elif isinstance(node, ast.AnnAssign) and node.value:
            target, value = node.target, node.value
        else:
            continue
        if isinstance(target, ast.Name) and target.id.strip("_").isupper():
            yield target.id.lstrip("_"), ast.unparse(value)


def strings(tree: ast.Module) -> Iterator[str]:
    """Every text of a module but its docstrings."""
    docstrings = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in docstrings and isinstance(node.value, str | bytes):
            yield node.value if isinstance(node.value, str) else node.value.decode("latin-1")


def test_no_two_constants_share_a_name_and_differ():
    values: dict[str, dict[str, str]] = defaultdict(dict)
    for place, tree in TREES.items():
        for name, value in constants(tree):
            values[name][value] = place
    twice = {name: sorted(found.values()) for name, found in values.items() if len(found) > 1}
    assert not {name: twice[name] for name in twice.keys() - OF_EACH_MODULE}


def test_transfer_syntaxes_and_storage_classes_are_spelled_in_their_homes_only():
    uid = re.compile(r"1\.2\.840\.(10008|113619)\.\d")
    assert not {place for place, tree in TREES.items() if any(map(uid.match, strings(tree)))} - UID_HOMES


def test_each_file_name_is_spelled_in_one_module():
    homes: dict[str, set[str]] = defaultdict(set)
    for place, tree in TREES.items():
        for text in strings(tree):
            if FILE_NAME.fullmatch(text):
                homes[text].add(place)
    assert not {name: sorted(places) for name, places in homes.items() if len(places) > 1}


def test_names_of_a_dataset_folder_are_spelled_in_its_layout_only():
    layout = TREES["pipeline/dataset/layout.py"]
    names = {text for text in strings(layout) if FILE_NAME.fullmatch(text)}
    assert len(names) > 40
    for place, tree in TREES.items():
        if Path(place).name != "layout.py":
            assert not {text for text in strings(tree) if text in names}, place
