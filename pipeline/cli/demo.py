"""`liverset demo`: the whole pipeline at once, on a synthetic cohort whose truth is known."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.console import finish, problem_lines, progress
from pipeline.cli.sessions import open_flows
from pipeline.core.errors import ConfigError
from pipeline.core.files import PRIVATE_FILE_MODE, make_private_folder, write_text
from pipeline.core.records import Problem, Severity

if TYPE_CHECKING:
    from pipeline.synth.truth import CohortTruth
    from pipeline.workspace import Outcome, Workspace

DEMO_VERSION = "1.0.0"
DEMO_SECRET = "5eed" * 16
"""Public on purpose: the demo's patients are invented, and the same secret gives the same case ids everywhere."""


@click.command(epilog="Example: `liverset demo demo`")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--expect",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Manifest that the release must match; written if it is missing.",
)
def demo(folder: Path, expect: Path | None) -> None:
    """Run the whole pipeline on invented patients.

    Writes 3,000 DICOM files with planted faults to FOLDER and builds, reviews and releases them in about two minutes.
    Checks every result against what was planted, then trains and measures the next round's network.
    """
    clock = _Clock()
    ws = _make_dataset(folder)
    problems, truth = _run(ws, clock)
    with clock.step("checked against the truth"):
        problems += _differences(ws, truth, expect)
    with clock.step("next round's network trained, both networks measured on test patients"):
        learned = _next_round(ws) if not any(problem.severity is Severity.REFUSE for problem in problems) else []
    lines = [*clock.lines(), *learned, *problem_lines([p for p in problems if p.severity is not Severity.NOTE])]
    lines.append(_next(ws))
    click.echo("\n".join(lines))
    finish(problems)


def _next(ws: Workspace) -> str:
    release = ws.layout.release(DEMO_VERSION)
    if not release.is_dir():
        return f"Next: fix the problems above, then `liverset demo {ws.root}`"
    return f"Next: open {ws.layout.qc_page} in a browser; the release is in {release}"


class _Clock:
    """Wall time of each step, to print at the end."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._steps: list[tuple[str, float]] = []
        self.overhead_seconds = 0.0

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self._steps.append((what, time.monotonic() - started))

    def lines(self) -> list[str]:
        total = time.monotonic() - self._started
        steps = [f"{seconds:7.1f} s  {what}" for what, seconds in self._steps]
        return [*steps, f"{total:7.1f} s  in total, of which Prefect took {self.overhead_seconds:.1f} s"]


def _make_dataset(folder: Path) -> Workspace:
    """The demo's settings and its secret; the cohort comes later."""
    from pipeline.dataset.layout import Layout
    from pipeline.synth.demo import demo_config
    from pipeline.workspace import Workspace

    layout = Layout(folder.resolve())
    if folder.exists() and any(folder.iterdir()) and not layout.config.exists():
        raise ConfigError(f"{folder.name} holds other files; choose a new or empty folder for the demo")
    write_text(layout.config, demo_config())
    make_private_folder(layout.private)
    write_text(layout.secret, DEMO_SECRET + "\n", mode=PRIVATE_FILE_MODE)
    return Workspace.open(layout.root)


def _run(ws: Workspace, clock: _Clock) -> tuple[list[Problem], CohortTruth]:
    """The cohort, the three flows in turn on one server, and the simulated raters between them.

    The cohort is written while the server comes up.
    """
    from pipeline import stages
    from pipeline.dataset.layout import ADJUDICATION
    from pipeline.synth.cohort import make_cohort
    from pipeline.synth.raters import answer_adjudication, answer_packages

    outcomes: list[Outcome] = []
    with progress(quiet=False) as report, open_flows(ws, report) as flows:
        with clock.step("invented patients written as DICOM"):
            truth = make_cohort(ws.root)
        with clock.step("built: converted, de-identified, labelled by nnU-Net"):
            outcomes += flows.build()
        with clock.step("packages written for three raters"):
            outcomes.append(stages.PACK(ws))
        with clock.step("masks corrected by simulated raters"):
            answer_packages(ws.layout.outbox(1), ws.layout.inbox(1), truth)
        with clock.step("returns checked, agreement measured, voted, lesions measured"):
            flows.collect_reviews()
        with clock.step("open votes settled by the simulated lead radiologist"):
            outcomes.append(stages.ADJUDICATE(ws))
            answer_adjudication(ws.layout.outbox(1, ADJUDICATION), ws.layout.inbox(1, ADJUDICATION), truth)
            outcomes += flows.collect_reviews()
        with clock.step("release cut and verified"):
            outcomes += flows.publish_release(DEMO_VERSION)
    clock.overhead_seconds = flows.overhead_seconds
    noticed = (problem for outcome in outcomes for problem in outcome.problems)
    return [*noticed, *stages.open_votes(ws)], truth


def _next_round(ws: Workspace) -> list[str]:
    """The network trained on the release's training patients, beside the first one, on its test patients."""
    from pipeline.stages.learn import evaluate_model, train_model

    out = ws.root / "models" / "round-2"
    with tempfile.TemporaryDirectory() as work:
        train_model(ws, DEMO_VERSION, out, Path(work), device="cpu", pretrained="demo")
    dice = {name: _dice(evaluate_model(ws, DEMO_VERSION, name, device="cpu")) for name in ("demo", str(out))}
    first, second = dice.values()
    return [
        f"{structure}: Dice {first[structure]:.3f} with the first network, {second[structure]:.3f} after one round"
        for structure in first
    ]


def _dice(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Mean Dice of each structure over all volumes."""
    return {row["structure"]: row["mean"] for row in rows if (row["group"], row["measure"]) == ("all", "dice")}


def _differences(ws: Workspace, truth: CohortTruth, expect: Path | None) -> list[Problem]:
    """Where the dataset is not what was planted, or its manifest not what was expected."""
    from pipeline.cli.verdict import differences, manifest_differences

    if not ws.layout.release(DEMO_VERSION).is_dir():
        return [Problem("truth", Severity.REFUSE, "no release was cut, so the result cannot be checked")]
    texts = [*differences(ws, truth, DEMO_VERSION)]
    if expect is not None and expect.exists():
        texts += manifest_differences(expect, ws.layout.manifest)
    elif expect is not None and not texts:
        write_text(expect, ws.layout.manifest.read_text(encoding="utf-8"))
    return [Problem("truth", Severity.REFUSE, text) for text in texts]


COMMANDS = (demo,)
