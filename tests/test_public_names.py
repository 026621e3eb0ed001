"""The public names are a promise: this list changes only on purpose, with a line in the changelog."""

from __future__ import annotations

import ast
import os
from pathlib import Path

from tests.places import ROOT

LIST = Path(__file__).with_name("public_names.txt")


def public_names() -> list[str]:
    """Every function and class without an underscore, as module.name."""
    names = []
    for package in ("pipeline", "flows"):
        for path in sorted((ROOT / package).rglob("*.py")):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            names += [
                f"{module}.{node.name}"
                for node in ast.parse(path.read_text(encoding="utf-8")).body
                if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
            ]
    return sorted(names)


def test_public_names_are_those_promised():
    found = public_names()
    if os.environ.get("WRITE_PUBLIC_NAMES"):
        LIST.write_text("\n".join(found) + "\n", encoding="utf-8")
    promised = LIST.read_text(encoding="utf-8").split()
    new, gone = sorted(set(found) - set(promised)), sorted(set(promised) - set(found))
    assert (new, gone) == ([], []), "if this is meant, run once with WRITE_PUBLIC_NAMES=1 and note it in CHANGELOG.md"
