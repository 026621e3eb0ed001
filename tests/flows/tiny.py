"""A dataset whose stages are tiny and real and leave receipts, and its flows as a program of their own.

`python -m tests.flows.tiny ROOT LABEL_SECONDS RUNNER` builds, collects and publishes, and prints every outcome as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

from pipeline.core.errors import DicomError
from pipeline.core.files import write_text
from pipeline.workspace import Outcome, Stage, Status, Work, Workspace

PHI = "DOE^JANE 1961-02-03"
"""What a careless error message might quote."""
REFUSAL = "two slices share one position; export them again"
CASES = ("P0001", "P0002", "P0003", "P0004")


def tiny_dataset(root: Path, runner: str = "threads") -> Path:
    """A dataset folder with nothing but its configuration."""
    write_text(root / "dataset.toml", f'[dataset]\nname = "tiny"\n[run]\nrunner = "{runner}"\n')
    return root


def install_tiny_stages(*, label_seconds: float = 0.0) -> None:
    """Put tiny stages in the place of `pipeline.stages`, for this process.

    P0002 cannot be converted; P0003 meets an error that nobody foresaw while it is labelled.
    """
    stages = ModuleType("pipeline.stages")
    for name, content in _tiny_stages(label_seconds).items():
        setattr(stages, name, content)
    sys.modules["pipeline.stages"] = stages
    sys.modules["pipeline"].stages = stages


def _tiny_stages(label_seconds: float) -> dict[str, object]:
    def label(case_id: str | None) -> None:
        time.sleep(label_seconds)
        _fail_on("P0003", ValueError(PHI))(case_id)

    return {
        "DATASET_STAGES": (_stage("scan"), _stage("screen")),
        "CASE_STAGES": (_stage("convert", _fail_on("P0002", DicomError(REFUSAL))), _stage("label", label)),
        "COLLECT": _stage("collect"),
        "REVIEW_STAGES": (_stage("agree"), _stage("vote")),
        "REPORT": _stage("report"),
        "case_ids": lambda workspace: CASES,
        "cut_release": lambda workspace, version: Outcome("cut", None, Status.DONE, note=version),
        "verify_release": lambda workspace, version: Outcome("verify", None, Status.DONE, note=version),
    }


def _stage(name: str, act: Callable[[str | None], None] = lambda case_id: None) -> Stage:
    def work(workspace: Workspace, case_id: str | None) -> Work:
        act(case_id)
        folder = workspace.layout.reports if case_id is None else workspace.layout.case(case_id)
        write_text(folder / f"{name}.txt", f"{name} {case_id}\n")
        return Work((folder / f"{name}.txt",))

    return Stage(name, lambda config: (config.dataset,), lambda workspace, case_id: {}, work)


def _fail_on(case: str, error: Exception) -> Callable[[str | None], None]:
    def act(case_id: str | None) -> None:
        if case_id == case:
            raise error

    return act


def main(root: Path, label_seconds: float = 0.0, runner: str = "threads") -> None:
    from flows.session import flow_session

    install_tiny_stages(label_seconds=label_seconds)
    heard: list[Outcome] = []
    started = time.monotonic()
    with flow_session(tiny_dataset(root, runner), report=heard.append) as session:
        flows = {
            "build": session.build(),
            "collect": session.collect_reviews(),
            "publish": session.publish_release("1.0.0"),
        }
    content = {name: [asdict(outcome) for outcome in outcomes] for name, outcomes in flows.items()}
    content["heard"] = [asdict(outcome) for outcome in heard]
    seconds = {"overhead": session.overhead_seconds, "all": time.monotonic() - started}
    print(json.dumps({**content, "seconds": seconds}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3])
