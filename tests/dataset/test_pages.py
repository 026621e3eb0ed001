"""The pages on inclusion and releases name every rule and every check there is."""

from __future__ import annotations

import ast
import re

from pipeline.cohort.rules import RULE_ORDER
from pipeline.cohort.selection import PREFERENCES
from tests.places import ROOT

CHECKS = ("verify/release.py", "verify/volumes.py", "verify/tables.py", "manifest.py")


def told(page: str) -> set[str]:
    return set(re.findall(r"`([a-z][a-z-]+)`", (ROOT / "docs" / page).read_text(encoding="utf-8")))


def codes_in_source(name: str) -> set[str]:
    """First arguments of calls that make a problem, and codes that checks yield as the first of a pair."""
    tree = ast.parse((ROOT / "pipeline" / "dataset" / name).read_text(encoding="utf-8"))
    makers = {"refused", "_look", "Problem", "_problem"}
    found = set()
    for node in ast.walk(tree):
        first = None
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in makers and node.args:
            first = node.args[0]
        elif isinstance(node, ast.Yield) and isinstance(node.value, ast.Tuple):
            first = node.value.elts[0]
        if isinstance(first, ast.Constant):
            found.add(str(first.value))
    return found


def test_every_rule_and_preference_is_told():
    assert set(RULE_ORDER) <= told("inclusion.md")
    text = (ROOT / "docs" / "inclusion.md").read_text(encoding="utf-8")
    for preference in PREFERENCES:
        assert preference.split(" ", 1)[-1] in text, preference


def test_every_check_of_verify_is_told_and_no_other():
    codes = set().union(*(codes_in_source(name) for name in CHECKS))
    assert len(codes) > 25
    assert codes <= told("releases.md")
    checked = (ROOT / "docs" / "releases.md").read_text(encoding="utf-8").split("## What is checked")[1].split("## ")[0]
    listed = {code for line in checked.splitlines() if line.startswith("| `") for code in
              re.findall(r"`([a-z-]+)`", line.split("|")[1])}  # fmt: skip
    assert listed == codes
