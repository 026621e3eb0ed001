"""What a person or a machine sees: lines, tables, JSON, progress, and the exit code that goes with it."""

from __future__ import annotations

import json
import math
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.core.errors import PipelineError
from pipeline.core.records import Problem, Severity

if TYPE_CHECKING:
    from pipeline.workspace import Outcome

Report = Callable[["Outcome"], None]

EXIT_PROBLEMS = 1

LINE_EVERY_S = 60.0
SHORTEST_S = 1e-3
"""A line of progress a minute in a log; no time is taken for shorter than a clock can tell."""

MOST_ALIKE = 3
"""Problems of one kind that are printed one by one; `reports/problems.csv` lists all."""

WEIGHT = {Severity.NOTE: "note", Severity.FLAG: "needs review", Severity.REFUSE: "error"}
"""What people read in place of a problem's severity."""


def _one_folder(ctx: click.Context, parameter: click.Parameter, folders: tuple[Path, ...]) -> Path:
    """The folder that was named, or the one the command runs in."""
    if len(folders) > 1:
        raise click.UsageError(f"expected one dataset folder, found {len(folders)}", ctx)
    return folders[0] if folders else Path()


as_json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")
version_option = click.option("--version", "version", required=True, help="Version number, such as 1.0.0.")
folder_argument = click.argument(
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    nargs=-1,
    metavar="[FOLDER]",
    callback=_one_folder,
)
"""The dataset folder, first of a command's arguments and optional before any others; by default the current folder."""


class PipelineGroup(click.Group):
    """A group whose commands end with one clear line, never a traceback, when a `PipelineError` stops them."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; print what stopped it on standard error and exit with its code."""
        try:
            return super().invoke(ctx)
        except PipelineError as error:
            click.echo(f"liverset: {error}", err=True)
            ctx.exit(error.exit_code)
        except BrokenPipeError:
            raise
        except OSError as error:
            reason = error.strerror or type(error).__name__
            click.echo(f"liverset: cannot read or write a file: {reason}; no partial files were left", err=True)
            ctx.exit(EXIT_PROBLEMS)


def show(content: dict[str, Any], lines: Sequence[str], *, as_json: bool) -> None:
    """Print a result: as JSON for machines, or as lines for people."""
    click.echo(json.dumps(content, indent=2, ensure_ascii=False, default=str) if as_json else "\n".join(lines))


def finish(problems: Sequence[Problem]) -> None:
    """Exit with 1 when a problem is more than a note, else return."""
    if any(problem.severity is not Severity.NOTE for problem in problems):
        click.get_current_context().exit(EXIT_PROBLEMS)


def problem_lines(problems: Sequence[Problem], *, most: int = MOST_ALIKE) -> list[str]:
    """One line per problem: how much it weighs, what was found, the fix; of many alike, the first few and how many."""
    alike: dict[tuple[Severity, str], list[Problem]] = {}
    for problem in problems:
        alike.setdefault((problem.severity, problem.code), []).append(problem)
    lines = []
    for (severity, code), group in alike.items():
        weight = WEIGHT[severity]
        lines += [f"  {weight}: {one.message}" + (f"; {one.fix}" if one.fix else "") for one in group[:most]]
        lines += [f"  {weight}: {len(group) - most} more with the code {code}"] if len(group) > most else []
    return lines


def table_lines(header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """A plain table with aligned columns; nothing for no rows."""
    if not rows:
        return []
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


@contextmanager
def progress(*, quiet: bool) -> Iterator[Report]:
    """A function to call with each outcome: a moving line on a terminal, plain lines in a log, nothing if quiet."""
    if quiet:
        yield lambda outcome: None
    elif sys.stderr.isatty():
        with _moving_line() as report:
            yield report
    else:
        lock = threading.Lock()

        def say(outcome: Outcome) -> None:
            with lock:
                click.echo(outcome_line(outcome), err=True)

        yield say


@contextmanager
def counting(what: str, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A function to call with how many are done, and of how many: rate and time left on standard error.

    A moving line on a terminal, a line a minute in a log, nothing if quiet.

    Args:
        what: that is counted, in the plural.
        quiet: print nothing.
    """
    if quiet:
        yield lambda done, total: None
    elif sys.stderr.isatty():
        with _moving_count(what) as report:
            yield report
    else:
        yield MinuteLine(what, lambda line: click.echo(line, err=True))


class MinuteLine:
    """Says at most once a minute how many are done, how fast, and how long the rest will take."""

    def __init__(self, what: str, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._what, self._say, self._clock = what, say, clock
        self._start = self._last = clock()

    def __call__(self, done: int, total: int) -> None:
        """Take note of progress."""
        now = self._clock()
        if now - self._last >= LINE_EVERY_S and done:
            self._last = now
            self._say(rate_line(self._what, done, total, now - self._start))


def rate_line(what: str, done: int, total: int, seconds: float) -> str:
    """How many are done, how many a second, and how long the rest will take at that rate."""
    rate = done / max(seconds, SHORTEST_S)
    minutes, rest = divmod(math.ceil((total - done) / rate), 60)
    return f"{done} of {total} {what}, {rate:.3g} per second, {minutes} min {rest:02d} s left"


@contextmanager
def _moving_count(what: str) -> Iterator[Callable[[int, int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    with Progress(BarColumn(), TextColumn("{task.description}"), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading headers", total=None)
        start = time.monotonic()

        def move(done: int, total: int) -> None:
            text = rate_line(what, done, total, time.monotonic() - start)
            bar.update(task, completed=done, total=total, description=text)

        yield move


def outcome_line(outcome: Outcome) -> str:
    """One outcome as a line of a log."""
    note = f" ({outcome.note})" if outcome.note else ""
    return f"{outcome.stage} {outcome.case_id or 'dataset'}: {outcome.status} in {outcome.seconds:.1f} s{note}"


@contextmanager
def _moving_line() -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.completed:>4} steps"),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=None)
        yield lambda outcome: bar.update(task, advance=1, description=outcome_line(outcome))
