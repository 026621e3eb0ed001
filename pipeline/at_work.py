"""A dataset folder at work, as Python looks at it: how far its cases are, each volume and mask. Changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.config import Config
from pipeline.core.errors import ConfigError, StorageError
from pipeline.core.records import Phase
from pipeline.core.volume import LabelMap, Volume
from pipeline.frames import frame, read_frame
from pipeline.image.nifti import read_labels, read_volume
from pipeline.plan import case_progress
from pipeline.stages import case_ids, standing_problems
from pipeline.stages.case import read_vote, screened, screened_cases
from pipeline.stages.screen import series_columns
from pipeline.workspace import Waiting, Workspace

if TYPE_CHECKING:
    from pipeline.frames import DataFrame

_SERIES_NUMBERS = frozenset(
    {"confidence", "kept", "slices", "rows", "columns", "b_value", "echo_number", "echo_time_ms", "inversion_time_ms"}
    | {"series_number", "temporal_position", "energy_kev", "seconds_into_study"}
    | {f"{what}_mm" for what in ("slice_thickness", "slice_spacing", "row_spacing", "column_spacing")}
)


def open_dataset(folder: str | PathLike[str]) -> Dataset:
    """The dataset in a folder.

    Raises:
        ConfigError: when there is no such folder, or its `dataset.toml` is missing or wrong.
    """
    return Dataset(Workspace.open(Path(folder)))


class Dataset:
    """A dataset folder at work. Cases and phases go by their names: `dataset.image("P0001", "C1")`.

    Attributes:
        root: the folder that holds `dataset.toml`.
        config: what it says.
    """

    def __init__(self, ws: Workspace) -> None:
        self._ws = ws
        self.root: Path = ws.root
        self.config: Config = ws.config

    def __repr__(self) -> str:
        cases = len(case_ids(self._ws))
        return f"Dataset({self.config.dataset.name}, {cases} case{'s' * (cases != 1)})"

    @property
    def cases(self) -> DataFrame:
        """One row a case: its phases, and where it stands with each stage."""
        cases = screened_cases(self._ws)
        rows = [
            {"case_id": case.case_id, "phases": " ".join(cases[case.case_id].series), **case.steps}
            for case in case_progress(self._ws)
        ]
        return frame(rows, ("case_id", "phases"))

    @property
    def series(self) -> DataFrame:
        """One row a series of the sources: what it is, and why it is kept or not; empty before the first build."""
        table = self._ws.layout.series_table
        if not table.exists():
            return frame((), series_columns())
        return read_frame(table, text=[name for name in series_columns() if name not in _SERIES_NUMBERS])

    @property
    def problems(self) -> DataFrame:
        """One row a problem that still stands: how much it weighs, what was found, and the fix."""
        rows = [problem.to_json() for problem in standing_problems(self._ws)]
        return frame(rows, ("severity", "code", "message", "fix"))

    def image(self, case_id: str, phase: str) -> Volume:
        """The volume in HU (or MR intensity), uncropped.

        Raises: as `labels`.
        """
        return read_volume(self._file(self._ws.layout.image, case_id, phase, "volume"), self._ws.unit)

    def coarse(self, case_id: str, phase: str) -> LabelMap:
        """The network's labels.

        Raises: as `labels`.
        """
        return read_labels(self._file(self._ws.layout.coarse, case_id, phase, "coarse label"))

    def ratings(self, case_id: str, phase: str) -> dict[str, LabelMap]:
        """Every mask that came back, by the rater's code; none before the first return.

        Raises: as `labels`.
        """
        files = self._ws.layout.ratings(case_id, self._phase(case_id, phase)).glob("*.nii.gz")
        return {file.name.removesuffix(".nii.gz"): read_labels(file) for file in sorted(files)}

    def consensus(self, case_id: str, phase: str) -> LabelMap:
        """The voted mask.

        Raises: as `labels`.
        """
        return read_labels(self._file(self._ws.layout.consensus, case_id, phase, "vote"))

    def labels(self, case_id: str, phase: str) -> LabelMap:
        """The mask that counts: the lead radiologist's where there is one, else the voted one.

        Raises:
            ConfigError: when there is no such case, or it has no such phase.
            StorageError: when it is not made yet, or damaged.
        """
        return read_labels(self._file(self._final_mask, case_id, phase, "vote"))

    def _final_mask(self, case_id: str, phase: Phase) -> Path:
        vote = read_vote(self._ws, case_id, phase)
        return vote.mask if vote else self._ws.layout.consensus(case_id, phase)

    def _file(self, place: Callable[[str, Phase], Path], case_id: str, phase: str, what: str) -> Path:
        path = place(case_id, self._phase(case_id, phase))
        if not path.exists():
            raise StorageError(f"{case_id} {phase} has no {what} yet; `liverset status` shows how far each case is")
        return path

    def _phase(self, case_id: str, phase: str) -> Phase:
        try:
            known = screened(self._ws, case_id)[1].series
        except Waiting as waiting:
            raise ConfigError(str(waiting)) from None
        if phase not in known:
            raise ConfigError(f"{case_id} has no phase {phase}; it has {', '.join(known)}")
        return Phase(phase)
