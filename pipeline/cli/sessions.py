"""How the command line reaches the flows without knowing Prefect: by the entry points of this distribution."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Protocol, cast

from pipeline.core.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.cli.console import Report
    from pipeline.stages.acceptance import Acceptance
    from pipeline.workspace import Outcome, Workspace

GROUP = "liverset.flows"


class FlowSession(Protocol):
    """A running orchestrator and the flows it can run on one dataset."""

    @property
    def overhead_seconds(self) -> float:
        """Wall time the orchestrator itself has cost so far."""

    def accept_code_changes(self, stages: Collection[str], *, verify: bool = False) -> tuple[Acceptance, ...]:
        """Outputs of stages taken as made by the program of today."""

    def build(self) -> tuple[Outcome, ...]:
        """From DICOM to coarse labels."""

    def collect_reviews(self) -> tuple[Outcome, ...]:
        """From returned packages to settled masks."""

    def publish_release(self, version: str) -> tuple[Outcome, ...]:
        """From settled masks to a verified release."""


def open_flows(ws: Workspace, report: Report) -> AbstractContextManager[FlowSession]:
    """The flows of a dataset, with whatever server they need, which stops when the block ends.

    Raises:
        ConfigError: when the installation holds no flows.
    """
    return cast("AbstractContextManager[FlowSession]", load("session")(ws.root, report=report))


def load(name: str) -> Any:
    """What the distribution offers under a name of the entry-point group.

    Raises:
        ConfigError: when the installation holds no flows.
    """
    for entry in entry_points(group=GROUP, name=name):
        return entry.load()
    raise ConfigError("this installation lacks its flows; install liverset again with `pip install liverset`")
