"""What a stage really runs, as Python itself tells, is part of its code: nothing that decides a result is missed."""

from __future__ import annotations

import ast
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import CodeType, FrameType

import numpy as np
import pytest

from pipeline import stages
from pipeline.core.records import Phase
from pipeline.dataset.layout import ADJUDICATION
from pipeline.stages.neutral import own_text
from pipeline.synth.cohort import make_cohort
from pipeline.synth.demo import demo_config
from pipeline.synth.phantom import make_phantom
from pipeline.synth.raters import answer_adjudication, answer_packages
from pipeline.workspace import Stage, Workspace
from tests.dicom.scanner import Scan, expose
from tests.places import ROOT
from tests.test_screening import SETTINGS, patient

IS_FUNCTION = 0x1
"""Flag CO_OPTIMIZED: set for functions, not for modules and class bodies."""


@contextmanager
def watching() -> Iterator[set[CodeType]]:
    """Every function of the program that runs in the block, in any thread."""
    seen: set[CodeType] = set()

    def note(frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            seen.add(frame.f_code)

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield seen
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def names_of(code: CodeType) -> set[str]:
    """The definitions at the top of a module, or members of a class there, in which a function stands."""
    path = Path(code.co_filename)
    if path.suffix != ".py" or not path.is_relative_to(ROOT / "pipeline") or not code.co_flags & IS_FUNCTION:
        return set()
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    return {f"{module}.{name}" for first, last, name in lines_of(path) if first <= code.co_firstlineno <= last}


@cache
def lines_of(path: Path) -> list[tuple[int, int, str]]:
    """First and last line of each function, member of a class, and lambda in a constant, with its name."""
    found = []
    for node in ast.parse(path.read_bytes()).body:
        if isinstance(node, ast.ClassDef):
            functions = [member for member in node.body if isinstance(member, ast.FunctionDef)]
            found += [(*span(member), f"{node.name}.{member.name}") for member in functions]
        elif isinstance(node, ast.FunctionDef):
            found.append((*span(node), node.name))
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found += [(*span(one), node.targets[0].id) for one in ast.walk(node) if isinstance(one, ast.Lambda)]
    return found


def span(node: ast.stmt | ast.Lambda) -> tuple[int, int]:
    decorators = getattr(node, "decorator_list", [])
    return min([node.lineno, *(one.lineno for one in decorators)]), node.end_lineno or node.lineno


def missed(stage: Stage, ws: Workspace, case_id: str | None = None) -> set[str]:
    """What the work of a stage ran that is no part of its code; words of the registry count where they are an input.

    What the program itself writes decides no result: it only keeps the gate from taking its own words for a patient's.
    """
    with watching() as seen:
        stage.work(ws, case_id)
    ran = {name for code in seen for name in names_of(code)}
    ran = {name for name in ran if not name.startswith("pipeline.stages.neutral.")}
    if "problems" in stage.inputs(ws, case_id):
        ran = {name for name in ran if not name.startswith("pipeline.core.problems.")}
    assert stage.roots[0] in ran
    return ran - stage.own_code.definitions.keys()


def test_scanning_screening_and_converting_run_nothing_but_their_code(tmp_path: Path):
    (tmp_path / "dataset.toml").write_text(SETTINGS)
    rng = np.random.default_rng(3)
    volume = make_phantom(rng, shape=(36, 80, 80), spacing_mm=(5.0, 4.5, 4.5), phase=Phase.PORTAL_VENOUS).volume
    expose(tmp_path / "dicom", Scan(volume.voxels.astype(np.int32), spacing=(5.0, 4.5, 4.5)), patient(PatientID="1"))
    ws = Workspace.open(tmp_path)
    found = {}
    for stage in (stages.SCAN, stages.SCREEN):
        found[stage.name] = missed(stage, ws)
    (case_id,) = stages.case_ids(ws)
    found["convert"] = missed(stages.CONVERT, ws, case_id)
    assert found == {"scan": set(), "screen": set(), "convert": set()}


@pytest.mark.slow
def test_every_stage_runs_nothing_but_its_code(tmp_path: Path):
    """On three patients of the demo cohort, all the way, with a decision of the lead."""
    truth = make_cohort(tmp_path)
    (tmp_path / "dataset.toml").write_text(demo_config())
    for folder in [folder for site in (tmp_path / "dicom").iterdir() for folder in sorted(site.iterdir())[2:]]:
        shutil.rmtree(folder) if folder.is_dir() else folder.unlink()
    ws = Workspace.open(tmp_path)
    found = {stage.name: missed(stage, ws) for stage in stages.DATASET_STAGES}
    cases = stages.case_ids(ws)
    assert cases
    own_text(ws.config)  # once for the process, so that no stage is seen to write it

    def each_case(some: tuple[Stage, ...]) -> None:
        for case_id in cases:
            for stage in some:
                found[stage.name] = found.get(stage.name, set()) | missed(stage, ws, case_id)

    def whole(stage: Stage) -> None:
        found[stage.name] = found.get(stage.name, set()) | missed(stage, ws)

    each_case(stages.CASE_STAGES)
    whole(stages.PACK)
    answer_packages(ws.layout.outbox(1), ws.layout.inbox(1), truth)
    whole(stages.COLLECT)
    each_case(stages.REVIEW_STAGES)
    whole(stages.ADJUDICATE)
    for number in ws.layout.numbers(ADJUDICATION):
        answer_adjudication(ws.layout.outbox(number, ADJUDICATION), ws.layout.inbox(number, ADJUDICATION), truth)
    whole(stages.COLLECT)
    each_case(stages.REVIEW_STAGES)
    whole(stages.REPORT)
    assert found == {stage.name: set() for stage in stages.STAGES}
