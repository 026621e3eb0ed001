"""The house plan holds: who may import whom, one door a heavy package, no Prefect below `flows`."""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest

from tests.places import ROOT

ALLOWED = {
    "core": set(),
    "silence": set(),
    "vocabulary": set(),
    "faces": set(),
    "frames": {"core"},
    "image": {"core"},
    "pictures": {"core"},
    "text": {"core", "pictures"},
    "leaks": {"core", "silence"},
    "dicom.read": {"core"},
    "dicom.group": {"core", "vocabulary", "dicom.read"},
    "dicom.deid": {"core", "faces", "frames", "vocabulary", "dicom.read", "text"},
    "dicom": {"core", "frames", "silence", "dicom.read", "dicom.group", "dicom.deid"},
    "cohort": {"core", "image"},
    "agreement": {"core", "frames", "image"},
    "lesions": {"core", "image"},
    "review": {"core", "image", "pictures"},
    "segment": {"core", "frames", "image"},
    "synth": {"core", "image"},
    "dataset": {"core", "frames", "image", "cohort", "dataset.verify"},
    "dataset.verify": {"core", "image", "dataset"},
    "evaluate": {"core", "image", "agreement", "dataset"},
    "report": {"core", "image", "cohort", "dataset", "pictures"},
}
"""What each room may import besides itself."""

WORKING_ROOMS = set(ALLOWED) - {"synth"}
ALLOWED["workspace"] = {"core", "dataset"}
ALLOWED["stages"] = WORKING_ROOMS | {"workspace"}
ALLOWED["plan"] = {"core", "stages", "workspace"}
ALLOWED["standalone"] = {
    *("core", "frames", "image", "dicom", "dicom.deid", "leaks", "segment", "agreement", "lesions", "dataset"),
    "stages",
}
ALLOWED["at_work"] = {"core", "frames", "image", "workspace", "stages", "plan"}
ALLOWED["cli"] = WORKING_ROOMS | {"workspace", "stages", "plan", "synth", "standalone"}
ALLOWED["liverset"] = {"core", "dataset", "standalone", "at_work"}

DOORS = {
    "pydicom": {"dicom", "dicom.read", "dicom.group", "dicom.deid", "leaks", "silence", "synth"},
    "SimpleITK": {"image"},
    "skimage": {"image", "pictures"},
    "torch": {"segment"},
    "nnunetv2": {"segment"},
    "batchgenerators": {"segment"},
    "dynamic_network_architectures": {"segment"},
    "pandas": {"frames", "cohort", "dataset", "dataset.verify"},
    "matplotlib": set(),
    "rapidocr": {"text"},
    "cv2": {"text"},
    "jinja2": {"report", "review"},
    "cryptography": {"dataset"},
    "click": {"cli"},
    "rich": {"cli"},
    "prefect": set(),
}

SOURCES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("liverset", "pipeline")
    for path in sorted((ROOT / package).rglob("*.py"))
}


@cache
def imports_of(path: Path) -> frozenset[str]:
    """Every module a file names in an import, lazy ones too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(names)


def room_of(module: str) -> str:
    """The innermost room a module stands in; "" for the house itself."""
    parts = module.removeprefix("pipeline").strip(".").split(".")
    return next((room for n in (2, 1) if (room := ".".join(parts[:n])) in ALLOWED), "")


def modules_imported_by(module: str) -> set[str]:
    return {name for name in imports_of(SOURCES[module]) if name in SOURCES}


def all_reached_from(room: str) -> set[str]:
    """Every module that importing a room's modules can lead to."""
    waiting = [module for module in SOURCES if room_of(module) == room]
    reached: set[str] = set()
    while waiting:
        module = waiting.pop()
        if module not in reached:
            reached.add(module)
            waiting += modules_imported_by(module)
    return reached


@pytest.mark.parametrize("module", SOURCES)
def test_rooms_import_only_what_the_plan_allows(module: str):
    room = room_of(module)
    assert not any(name.split(".")[0] == "flows" for name in imports_of(SOURCES[module]))
    used = {room_of(name) for name in modules_imported_by(module)} - {room, ""}
    assert used <= ALLOWED.get(room, set())


def test_no_module_needs_itself_by_way_of_others():
    for module in SOURCES:
        reached, waiting = set(), [name for name in modules_imported_by(module) if name != module]
        while waiting:
            name = waiting.pop()
            if name not in reached:
                reached.add(name)
                waiting += modules_imported_by(name)
        assert module not in reached or module == "pipeline.cli", f"{module}: a cycle of imports"


def test_the_plan_allows_nothing_that_is_not_used():
    used: Mapping[str, set[str]] = {room: set() for room in ALLOWED}
    for module in SOURCES:
        if room_of(module):
            used[room_of(module)] |= {room_of(name) for name in modules_imported_by(module)}
    idle = {room: allowed - used[room] for room, allowed in ALLOWED.items() if room not in ("stages", "cli", "plan")}
    assert not {room: sorted(rooms) for room, rooms in idle.items() if rooms}


def test_the_verifier_and_the_deidentifier_share_nothing_but_core():
    verifier, deidentifier = all_reached_from("leaks"), all_reached_from("dicom.deid")
    assert {room_of(module) for module in verifier} <= {"leaks", "core", "silence", ""}
    assert not {module for module in deidentifier if room_of(module) == "leaks"}


@pytest.mark.parametrize("module", SOURCES)
def test_each_heavy_package_has_one_door(module: str):
    packages = {name.split(".")[0] for name in imports_of(SOURCES[module])}
    assert not {package for package in packages & set(DOORS) if room_of(module) not in DOORS[package]}


def test_core_needs_only_numpy_and_pydantic():
    for path in (ROOT / "pipeline" / "core").glob("*.py"):
        packages = {name.split(".")[0] for name in imports_of(path)} - {"pipeline", ""}
        assert packages <= set(sys.stdlib_module_names) | {"numpy", "pydantic"}, path.name
