"""liverset from Python: every public name; docs/python.md shows each at work.

Read and convert   convert, read_volume, read_labels, write, window
Protect            deidentify, find_leaks
Label and judge    segment, agree, vote, measure_lesions
Whole folders      open_dataset, open_release
Types              Volume, LabelMap, Geometry, Unit, Dataset, Release, PipelineError

Each name is loaded when it is first used, and brings its libraries then. All else, in `pipeline` and `flows`, is
internal and may change in any version.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pipeline import __version__ as __version__

if TYPE_CHECKING:
    from pipeline.at_work import Dataset, open_dataset
    from pipeline.core.errors import PipelineError
    from pipeline.core.geometry import Geometry
    from pipeline.core.volume import LabelMap, Unit, Volume
    from pipeline.dataset.reading import Release, open_release
    from pipeline.standalone import (
        agree,
        convert,
        deidentify,
        find_leaks,
        measure_lesions,
        read_labels,
        read_volume,
        segment,
        vote,
        window,
        write,
    )

__all__ = [
    "Dataset",
    "Geometry",
    "LabelMap",
    "PipelineError",
    "Release",
    "Unit",
    "Volume",
    "agree",
    "convert",
    "deidentify",
    "find_leaks",
    "measure_lesions",
    "open_dataset",
    "open_release",
    "read_labels",
    "read_volume",
    "segment",
    "vote",
    "window",
    "write",
]

_HOMES = {
    **dict.fromkeys(("Dataset", "open_dataset"), "pipeline.at_work"),
    **dict.fromkeys(("Release", "open_release"), "pipeline.dataset.reading"),
    **dict.fromkeys(("LabelMap", "Unit", "Volume"), "pipeline.core.volume"),
    "Geometry": "pipeline.core.geometry",
    "PipelineError": "pipeline.core.errors",
}
"""Where a name comes from, unless from `pipeline.standalone`."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'liverset' has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_HOMES.get(name, "pipeline.standalone")), name)
    return found


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
