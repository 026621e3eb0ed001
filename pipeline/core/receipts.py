"""What a stage read, did and wrote: the receipt that decides whether it must run again.

A receipt is written last, so that a finished one means that the outputs are whole. A stage is current when everything
that could change its result is as it was, and its outputs are on the disk as it left them. A stage that could not go on
leaves an unfinished receipt that says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pipeline.core.errors import StorageError
from pipeline.core.files import read_json, sha256_of, write_json
from pipeline.core.records import Problem, Severity

RECEIPT_SCHEMA = 2
NAMED = 3
"""How many of all changes a reason names."""

CURRENT = "current already"


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that may change what a stage makes.

    Attributes:
        stage: the stage's name.
        inputs: name of each input to the SHA-256 of its content.
        config: SHA-256 of the sections of `dataset.toml` that matter to this stage.
        code: SHA-256 of the part of the program that the stage can reach, see `pipeline.core.code`.
        packages: versions of the packages that do the work.
    """

    stage: str
    inputs: Mapping[str, str]
    config: str
    code: str
    packages: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class FileStamp:
    """A file as a stage left it; size and time say quickly that it was not touched, the hash says it surely."""

    sha256: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a stage did.

    Attributes:
        recipe: what its outputs hang on.
        outputs: the files it left, by their path relative to the dataset folder.
        problems: what it noticed, or why it could not go on.
        finished: False when it could not go on.
        accepted: the code that made the outputs, and any accepted since, before a person accepted the recipe's.
    """

    recipe: Recipe
    outputs: Mapping[str, FileStamp]
    problems: tuple[Problem, ...] = ()
    finished: bool = True
    accepted: tuple[str, ...] = ()


def write_receipt(
    path: Path,
    recipe: Recipe,
    outputs: Iterable[Path],
    *,
    root: Path,
    problems: tuple[Problem, ...] = (),
    finished: bool = True,
) -> Receipt:
    """Record what a stage did; call it last.

    Args:
        path: where the receipt goes.
        recipe: what the stage was made of.
        outputs: the files it wrote.
        root: the dataset folder; output paths are kept relative to it.
        problems: what it noticed, or why it could not go on.
        finished: False when it could not go on; such a stage runs again.
    """
    stamps = {output.relative_to(root).as_posix(): stamp_of(output) for output in sorted(outputs)}
    receipt = Receipt(recipe, stamps, problems, finished)
    _write(path, receipt)
    return receipt


def read_receipt(path: Path) -> Receipt | None:
    """The receipt a file holds; None when there is none or it cannot be understood."""
    try:
        content = read_json(path)
        if content["schema"] != RECEIPT_SCHEMA:
            return None
        outputs = {name: FileStamp(**stamp) for name, stamp in content["outputs"].items()}
        problems = tuple(
            Problem(**{**problem, "severity": Severity(problem["severity"])}) for problem in content["problems"]
        )
        recipe, accepted = Recipe(**content["recipe"]), tuple(content["accepted"])
        return Receipt(recipe, outputs, problems, content["finished"], accepted)
    except (StorageError, KeyError, TypeError, ValueError, AttributeError):
        return None


def why_stale(
    path: Path,
    recipe: Recipe,
    *,
    root: Path,
    verify: bool = False,
    what_changed: Callable[[str], str] = lambda before: "",
) -> str | None:
    """The reason a stage must run, in words; None when its outputs are current.

    Args:
        path: the stage's receipt.
        recipe: what the stage would be made of now.
        root: the dataset folder.
        verify: hash every output again instead of trusting size and time.
        what_changed: names what changed in the program since the code with a digest; "" where that is not known.
    """
    receipt = read_receipt(path)
    if receipt is None or not receipt.finished:
        return _why_unfinished(path, receipt)
    other = _change_besides_code(receipt.recipe, recipe)
    if other is None and receipt.recipe.code != recipe.code:
        changed = what_changed(receipt.recipe.code)
        return f"the program changed: {changed}" if changed else "the program changed"
    return other or _output_change(receipt, root, verify=verify)


def accept_code(path: Path, recipe: Recipe, *, root: Path, verify: bool = False) -> str | None:
    """Take what a stage left as if the program of today had made it; None when done, else why not, in words.

    Nothing is accepted unless the program is all that changed. The receipt keeps the digest of the code before.

    Args:
        path: the stage's receipt.
        recipe: what the stage would be made of now.
        root: the dataset folder.
        verify: hash every output again instead of trusting size and time.
    """
    receipt = read_receipt(path)
    if receipt is None or not receipt.finished:
        return _why_unfinished(path, receipt)
    other = _change_besides_code(receipt.recipe, recipe) or _output_change(receipt, root, verify=verify)
    if other is None and receipt.recipe.code == recipe.code:
        return CURRENT
    if other is None:
        _write(path, replace(receipt, recipe=recipe, accepted=(*receipt.accepted, receipt.recipe.code)))
    return other


def stamp_of(path: Path) -> FileStamp:
    """Hash, size and time of a file as it lies."""
    status = path.stat()
    return FileStamp(sha256_of(path), status.st_size, status.st_mtime_ns)


def package_versions(*names: str) -> dict[str, str]:
    """Installed versions of distributions; "absent" where one is not installed."""
    return {name: _version(name) for name in sorted(names)}


@cache
def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def _write(path: Path, receipt: Receipt) -> None:
    write_json(path, {"schema": RECEIPT_SCHEMA, **asdict(receipt)})


def _why_unfinished(path: Path, receipt: Receipt | None) -> str:
    if receipt is not None:
        return "failed last time"
    try:
        is_older = read_json(path)["schema"] < RECEIPT_SCHEMA
    except (StorageError, KeyError, TypeError):
        is_older = False
    return "made by an earlier version" if is_older else "never done"


def _change_besides_code(old: Recipe, new: Recipe) -> str | None:
    if old.inputs != new.inputs:
        changed = {name for name in {*old.inputs, *new.inputs} if old.inputs.get(name) != new.inputs.get(name)}
        return f"input changed: {', '.join(sorted(changed)[:NAMED])}"
    if old.config != new.config:
        return "settings of this stage changed in dataset.toml"
    both = sorted(old.packages.keys() & new.packages.keys())
    updated = [name for name in both if old.packages[name] != new.packages[name]]
    if updated:
        return f"another version is installed: {', '.join(updated)}"
    return None


def _output_change(receipt: Receipt, root: Path, *, verify: bool) -> str | None:
    for name, stamp in receipt.outputs.items():
        path = root / name
        if not path.is_file():
            return f"output is missing: {path.name}"
        status = path.stat()
        untouched = (status.st_size, status.st_mtime_ns) == (stamp.size, stamp.mtime_ns)
        if (verify or not untouched) and sha256_of(path) != stamp.sha256:
            return f"output was changed: {path.name}"
    return None
