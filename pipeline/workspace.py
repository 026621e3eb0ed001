"""A dataset folder at work, and what running a stage means: skip what is current, else do it and leave a receipt."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.core.code import Code, Limits, changes, code_of, name_of
from pipeline.core.config import Config, Modality, Section, config_digest, load_config
from pipeline.core.errors import ConfigError, PipelineError
from pipeline.core.files import read_json, sha256_of, write_json
from pipeline.core.receipts import (
    FileStamp,
    Recipe,
    accept_code,
    package_versions,
    read_receipt,
    why_stale,
    write_receipt,
)
from pipeline.core.records import Problem, Severity
from pipeline.core.volume import Unit
from pipeline.dataset.crosswalk import Crosswalk
from pipeline.dataset.layout import Layout

logger = logging.getLogger(__name__)

LIMITS = Limits(
    ends=frozenset(
        {
            "pipeline.workspace.Workspace.open",
            "pipeline.workspace.Stage.why",
            "pipeline.core.problems.fix_of",
            "pipeline.core.problems.meaning_of",
            "pipeline.stages.neutral.own_text",
        }
    ),
    by_field=frozenset({"pipeline.core.config.Config"}),
    declared=frozenset({"pipeline.workspace.Stage"}),
)
"""A stage is handed an open workspace, asks for some tables of the settings, and neither runs nor judges another.

The words of the registry are an input of the stages that print them. The program's own text, as the search for leaks
knows it, may refuse a package and changes none.
"""


class Status(StrEnum):
    """How a stage ended."""

    DONE = "done"
    CURRENT = "current"
    WAITING = "waiting"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What running one stage came to.

    Attributes:
        stage: the stage's name.
        case_id: None for a stage of the whole dataset.
        status: how it ended.
        problems: everything noticed, also when nothing had to be done again.
        seconds: wall time.
        note: one line of figures worth telling, such as "48 volumes"; without patient data.
    """

    stage: str
    case_id: str | None
    status: Status
    problems: tuple[Problem, ...] = ()
    seconds: float = 0.0
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON-able values."""
        return {**asdict(self), "problems": [problem.to_json() for problem in self.problems]}

    @property
    def is_well(self) -> bool:
        """True when its outputs are there and current."""
        return self.status in (Status.DONE, Status.CURRENT)


class Waiting(Exception):
    """A stage cannot start yet; the message says what it waits for."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a stage's own function hands back: the files it wrote, what it noticed, and a line of figures."""

    outputs: tuple[Path, ...]
    problems: tuple[Problem, ...] = ()
    note: str = ""


class Workspace:
    """An open dataset folder.

    Attributes:
        root: the folder that holds `dataset.toml`.
        config: what it says.
        layout: where everything lies.
    """

    def __init__(self, root: Path, config: Config) -> None:
        self.root = root
        self.config = config
        self.layout = Layout(root)

    @classmethod
    def open(cls, root: Path) -> Workspace:
        """The dataset in a folder.

        Raises:
            ConfigError: when there is no such folder, or its `dataset.toml` is missing or wrong.
        """
        if not root.is_dir():
            raise ConfigError(f"folder {root.name!r} does not exist; make a dataset with `liverset init {root.name}`")
        root = root.resolve()
        return cls(root, load_config(Layout(root).config))

    @cached_property
    def crosswalk(self) -> Crosswalk:
        """Which patient is which case; opened, or made with a new secret, on first use."""
        return Crosswalk.open(self.layout)

    @property
    def unit(self) -> Unit:
        """What the numbers of this dataset's images mean."""
        return Unit.HU if self.config.dataset.modality is Modality.CT else Unit.INTENSITY

    def stamps(self, case_id: str | None) -> dict[str, FileStamp]:
        """Every file that the stages of a case, or of the whole dataset, say they left."""
        folder = self.layout.reports if case_id is None else self.layout.case(case_id)
        receipts = (read_receipt(path) for path in sorted(folder.glob("*.receipt.json")))
        return {name: stamp for receipt in receipts if receipt for name, stamp in receipt.outputs.items()}

    def hashes(self, files: Iterable[Path], case_id: str | None) -> dict[str, str]:
        """SHA-256 of files by their path in the dataset; one that lies as its stage left it is not read again."""
        stamps = self.stamps(case_id)
        return {
            file.relative_to(self.root).as_posix(): _known_hash(
                file, stamps.get(file.relative_to(self.root).as_posix())
            )
            for file in sorted(files)
        }


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of the way of the data; call it with a workspace and, for a case's stage, a case.

    Attributes:
        name: as receipts, logs and Prefect show it.
        sections: the tables of `dataset.toml` that decide its result.
        inputs: name to hash of everything it reads; raises `Waiting` when it cannot start yet.
        work: does it, and says what it wrote; raises `PipelineError` when it cannot go on.
    """

    name: str
    sections: Callable[[Config], tuple[Section, ...]]
    inputs: Callable[[Workspace, str | None], Mapping[str, str]]
    work: Callable[[Workspace, str | None], Work]

    def __call__(self, ws: Workspace, case_id: str | None = None, *, verify: bool = False) -> Outcome:
        """Run it unless it is current; never raises for what is wrong with one case's data."""
        started = time.monotonic()
        try:
            status, problems, note = self._run(ws, case_id, verify=verify)
        except Waiting as waiting:
            status, problems, note = Status.WAITING, (), str(waiting)
        seconds = time.monotonic() - started
        logger.info("%s %s: %s in %.2f s", self.name, case_id or "dataset", status, seconds)
        return Outcome(self.name, case_id, status, problems, seconds, note)

    def why(self, ws: Workspace, case_id: str | None = None, *, verify: bool = False) -> str | None:
        """The reason it would run, in words; None when it is current. Raises `Waiting` when it cannot start."""
        receipt, recipe = self.receipt(ws, case_id), self._recipe(ws, case_id)
        return why_stale(receipt, recipe, root=ws.root, verify=verify, what_changed=lambda code: self._since(ws, code))

    def accept_code(self, ws: Workspace, case_id: str | None = None, *, verify: bool = False) -> str | None:
        """Take its outputs as made by the program of today; None when done, else why not."""
        reason = accept_code(self.receipt(ws, case_id), self._recipe(ws, case_id), root=ws.root, verify=verify)
        if reason is None:
            self._keep_code(ws)
        return reason

    def receipt(self, ws: Workspace, case_id: str | None = None) -> Path:
        """Where its receipt lies."""
        layout = ws.layout
        return layout.dataset_receipt(self.name) if case_id is None else layout.case_receipt(case_id, self.name)

    @property
    def own_code(self) -> Code:
        """What its work can reach in the program. What it reads and is asked for is in its receipt by content."""
        return code_of(*self.roots, limits=LIMITS)

    @property
    def roots(self) -> tuple[str, ...]:
        """Where its code begins: its work, and what the work is handed."""
        return name_of(self.work), name_of(Workspace), name_of(Config)

    def _recipe(self, ws: Workspace, case_id: str | None) -> Recipe:
        return Recipe(
            stage=self.name,
            inputs=dict(self.inputs(ws, case_id)),
            config=config_digest(*self.sections(ws.config)),
            code=self.own_code.digest,
            packages=package_versions(*self.own_code.packages),
        )

    def _run(self, ws: Workspace, case_id: str | None, *, verify: bool) -> tuple[Status, tuple[Problem, ...], str]:
        recipe = self._recipe(ws, case_id)
        receipt = self.receipt(ws, case_id)
        if why_stale(receipt, recipe, root=ws.root, verify=verify) is None:
            earlier = read_receipt(receipt)
            return Status.CURRENT, earlier.problems if earlier else (), ""
        try:
            work = self.work(ws, case_id)
        except PipelineError as error:
            if error.exit_code != 1:
                raise
            problem = Problem(f"{self.name}-failed", Severity.REFUSE, str(error))
            write_receipt(receipt, recipe, (), root=ws.root, problems=(problem,), finished=False)
            return Status.FAILED, (problem,), ""
        self._keep_code(ws)
        write_receipt(receipt, recipe, work.outputs, root=ws.root, problems=work.problems)
        return Status.DONE, work.problems, work.note

    def _keep_code(self, ws: Workspace) -> None:
        """Keep what its code is made of, one file for all receipts that name it, to tell later what changed."""
        path = ws.layout.code(self.own_code.digest)
        if not path.is_file():
            write_json(path, dict(self.own_code.definitions))

    def _since(self, ws: Workspace, code: str) -> str:
        path = ws.layout.code(code)
        return changes(read_json(path), self.own_code.definitions) if path.is_file() else ""


def accepted_changes(ws: Workspace, stages: Iterable[Stage], case_ids: Collection[str]) -> dict[str, Mapping[str, int]]:
    """For the provenance: stages whose code change a person accepted, and for how many cases; nothing where nobody did.

    What a stage of the whole dataset left is part of every case.
    """
    counts = {}
    for stage in stages:
        if _is_accepted(stage.receipt(ws)):
            counts[stage.name] = len(case_ids)
        else:
            counts[stage.name] = sum(_is_accepted(stage.receipt(ws, case_id)) for case_id in case_ids)
    found = {name: count for name, count in counts.items() if count}
    return {"accepted_code_changes": found} if found else {}


def _is_accepted(path: Path) -> bool:
    receipt = read_receipt(path)
    return receipt is not None and bool(receipt.accepted)


def _known_hash(file: Path, stamp: FileStamp | None) -> str:
    if stamp is not None and file.is_file():
        status = file.stat()
        if (status.st_size, status.st_mtime_ns) == (stamp.size, stamp.mtime_ns):
            return stamp.sha256
    return sha256_of(file)
