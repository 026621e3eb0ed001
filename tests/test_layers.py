"""The house plan holds: who may import whom, one door a heavy package, no Prefect below `flows`."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

ALLOWED = {
    "core": set(),
    "dicom": {"core"},
    "image": {"core"},
    "agreement": {"core", "image"},
    "lesions": {"core", "image"},
    "review": {"core", "image"},
    "dataset": {"core", "image"},
    "synth": {"core", "image"},
    "segment": {"core", "image", "dataset"},
    "report": {"core", "image", "dataset", "agreement", "lesions"},
}
WORKING_PARTS = set(ALLOWED) - {"synth"}
ALLOWED["workspace"] = {"core", "dataset"}
ALLOWED["stages"] = WORKING_PARTS | {"workspace"}
ALLOWED["plan"] = WORKING_PARTS | {"workspace", "stages"}
ALLOWED["cli"] = WORKING_PARTS | {"workspace", "stages", "plan", "synth"}

DOORS = {
    "pydicom": {"dicom", "synth"},
    "SimpleITK": {"image"},
    "skimage": {"image"},
    "torch": {"segment"},
    "nnunetv2": {"segment"},
    "batchgenerators": {"segment"},
    "dynamic_network_architectures": {"segment"},
    "pandas": {"dataset"},
    "matplotlib": set(),
    "jinja2": {"report", "review"},
    "cryptography": {"dataset"},
    "click": {"cli"},
    "rich": {"cli"},
    "prefect": set(),
}


def imports_of(path: Path) -> set[str]:
    """Every module a file names in an import, lazy ones too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def part_of(path: Path) -> str:
    return path.relative_to(ROOT / "pipeline").parts[0].removesuffix(".py")


SOURCES = sorted((ROOT / "pipeline").rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_parts_import_only_what_the_plan_allows(path: Path):
    part = part_of(path)
    if part == "__init__":
        return
    used = {name.split(".")[1] for name in imports_of(path) if name.startswith("pipeline.")}
    assert not any(name.split(".")[0] == "flows" for name in imports_of(path))
    assert used - {part, "__version__"} <= ALLOWED[part]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_heavy_package_has_one_door(path: Path):
    packages = {name.split(".")[0] for name in imports_of(path)}
    wrong = {package for package in packages & set(DOORS) if part_of(path) not in DOORS[package]}
    assert not wrong


def test_core_needs_only_numpy_and_pydantic():
    import sys

    for path in (ROOT / "pipeline" / "core").glob("*.py"):
        packages = {name.split(".")[0] for name in imports_of(path)} - {"pipeline", ""}
        assert packages <= set(sys.stdlib_module_names) | {"numpy", "pydantic"}, path.name
