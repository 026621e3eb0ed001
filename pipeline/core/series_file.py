"""A series as it is kept between stages: which source files form it, and what their headers say.

Files go by their place below the source that holds them, so that sources may move. The record names size and time of
each, so that its own hash changes when a source file does.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.core.artefacts import AGAIN, FORMAT, versioned
from pipeline.core.errors import StorageError
from pipeline.core.files import json_text
from pipeline.core.geometry import Geometry
from pipeline.core.records import Instance, Problem, Series, Severity, SourceFile

FORMAT_VERSION = 3


def series_record(series: Series, roots: Sequence[Path]) -> bytes:
    """A series for a later stage. Private: it holds headers.

    Args:
        series: its files lie below the roots.
        roots: where the sources lie.

    Raises:
        StorageError: when a source file has vanished.
    """
    geometry = series.geometry
    content = {
        FORMAT: FORMAT_VERSION,
        "key": series.key,
        "geometry": None if geometry is None else {"shape": geometry.shape, "affine": geometry.affine.tolist()},
        "problems": [[problem.code, problem.severity, problem.message, problem.own_fix] for problem in series.problems],
        "distinguished_by": dict(series.distinguished_by),
        "instances": [_instance_content(instance, roots) for instance in series.instances],
    }
    return json_text(content).encode("utf-8", "surrogatepass")  # a file name may be no text


def series_of(record: bytes, roots: Sequence[Path], name: str) -> Series:
    """The series that a record holds, equal to the one it was made of, its files below the roots of today.

    Args:
        record: from `series_record`.
        roots: where the sources lie now.
        name: what the record is called in a message.

    Raises:
        StorageError: when it is damaged, of another format, or of more sources than there are.
    """
    try:
        content = versioned(json.loads(record.decode("utf-8", "surrogatepass")), FORMAT_VERSION, name)
        grid = content["geometry"]
        return Series(
            key=content["key"],
            instances=tuple(_instance(entry, roots) for entry in content["instances"]),
            geometry=None if grid is None else Geometry(tuple(grid["shape"]), grid["affine"]),
            problems=tuple(
                Problem(code, Severity(severity), message, fix) for code, severity, message, fix in content["problems"]
            ),
            distinguished_by={str(word): str(value) for word, value in content["distinguished_by"].items()},
        )
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise StorageError(f"{name} is damaged ({type(error).__name__}); {AGAIN}") from error


def _instance_content(instance: Instance, roots: Sequence[Path]) -> dict[str, Any]:
    source = instance.source
    number = next(number for number, root in enumerate(roots) if source.path.is_relative_to(root))
    try:
        status = source.path.stat()
    except OSError:
        raise StorageError("a source file disappeared while it was read; build again") from None
    return {
        "root": number,
        "path": source.path.relative_to(roots[number]).as_posix(),
        "member": source.member,
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "header": dict(instance.header),
    }


def _instance(entry: dict[str, Any], roots: Sequence[Path]) -> Instance:
    header = {keyword: _tuples(value) for keyword, value in entry["header"].items()}
    return Instance(SourceFile(roots[entry["root"]] / entry["path"], entry["member"]), header)


def _tuples(value: Any) -> Any:
    """JSON's lists as the tuples they were."""
    return tuple(_tuples(part) for part in value) if isinstance(value, list) else value
