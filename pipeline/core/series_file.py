"""A series kept as a private file between stages: which source files form it, and what their headers say.

The file names size and time of every source file, so that its own hash changes when a source does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.core.artefacts import AGAIN, FORMAT, read_versioned
from pipeline.core.errors import StorageError
from pipeline.core.files import PRIVATE_FILE_MODE, write_json
from pipeline.core.geometry import Geometry
from pipeline.core.records import Instance, Problem, Series, Severity, SourceFile

FORMAT_VERSION = 2


def save_series(path: Path, series: Series) -> None:
    """Write a series for a later stage, readable by its owner only.

    Raises:
        StorageError: when the disk is full, or a source file has vanished.
    """
    geometry = series.geometry
    content = {
        FORMAT: FORMAT_VERSION,
        "key": series.key,
        "geometry": None if geometry is None else {"shape": geometry.shape, "affine": geometry.affine.tolist()},
        "problems": [[problem.code, problem.severity, problem.message, problem.own_fix] for problem in series.problems],
        "distinguished_by": dict(series.distinguished_by),
        "instances": [_instance_content(instance) for instance in series.instances],
    }
    write_json(path, content, mode=PRIVATE_FILE_MODE)


def load_series(path: Path) -> Series:
    """The series a file of ours holds, equal to the one that was saved.

    Raises:
        StorageError: when the file is missing or damaged.
    """
    content = read_versioned(path, FORMAT_VERSION)
    try:
        grid = content["geometry"]
        return Series(
            key=content["key"],
            instances=tuple(_instance(entry) for entry in content["instances"]),
            geometry=None if grid is None else Geometry(tuple(grid["shape"]), grid["affine"]),
            problems=tuple(
                Problem(code, Severity(severity), message, fix) for code, severity, message, fix in content["problems"]
            ),
            distinguished_by={str(word): str(value) for word, value in content["distinguished_by"].items()},
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StorageError(f"{path.name} is damaged ({type(error).__name__}); {AGAIN}") from error


def _instance_content(instance: Instance) -> dict[str, Any]:
    source = instance.source
    try:
        status = source.path.stat()
    except OSError:
        raise StorageError("a source file disappeared while it was read; build again") from None
    return {
        "path": str(source.path),
        "member": source.member,
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "header": dict(instance.header),
    }


def _instance(entry: dict[str, Any]) -> Instance:
    header = {keyword: _tuples(value) for keyword, value in entry["header"].items()}
    return Instance(SourceFile(Path(entry["path"]), entry["member"]), header)


def _tuples(value: Any) -> Any:
    """JSON's lists as the tuples they were."""
    return tuple(_tuples(part) for part in value) if isinstance(value, list) else value
