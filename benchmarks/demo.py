"""Prints how long the main commands take on this machine, beside what we promise for two cores without a GPU.

    python benchmarks/demo.py [--test-seconds SECONDS]

Needs an installed liverset (`make setup`). Takes about as long as `make demo`.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

LIVERSET = Path(sys.executable).with_name("liverset")
MANIFEST = Path(__file__).resolve().parents[1] / "data_manifest.csv"
HELP_RUNS = 5


def main() -> None:
    """Measure, then print one line a figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--test-seconds", type=float, help="what `make test` took, measured by yourself")
    arguments = parser.parse_args()
    busy = os.getloadavg()[0]
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, load {busy:.1f} before the start", flush=True)
    for name, seconds, limit in figures(arguments.test_seconds):
        verdict = "" if limit is None else f"  {'holds' if seconds < limit else 'FAILS'}: under {limit:g} s"
        print(f"{seconds:8.2f} s  {name}{verdict}", flush=True)


def figures(test_seconds: float | None) -> Iterator[tuple[str, float, float | None]]:
    """Name, measured seconds and promised limit of each figure, as they are measured."""
    yield f"liverset --help (median of {HELP_RUNS})", statistics.median(run("--help")[0] for _ in range(HELP_RUNS)), 0.5
    with tempfile.TemporaryDirectory() as folder:
        demo = Path(folder, "demo")
        seconds, printed = run("demo", demo, "--expect", MANIFEST)
        yield "liverset demo, after installation", seconds, 180
        overhead = re.search(r"of which Prefect took ([\d.]+) s", printed)
        yield "of which Prefect's own", float(overhead[1]) if overhead else float("nan"), None
        seconds, printed = run("build", demo)
        again = "does nothing" if "nothing to build" in printed else "WORKED AGAIN"
        yield f"second liverset build, unchanged demo: {again}", seconds, 5
    if test_seconds is not None:
        yield "make test, after installation, as told", test_seconds, 600


def run(*arguments: str | Path) -> tuple[float, str]:
    """Wall time of a liverset command, and what it printed. Its failure ends the benchmark with its own words."""
    started = time.monotonic()
    ended = subprocess.run([LIVERSET, *arguments], capture_output=True, text=True, check=False)
    seconds = time.monotonic() - started
    if ended.returncode:
        sys.exit(f"liverset {arguments[0]} ended with {ended.returncode}:\n{ended.stdout}{ended.stderr}")
    return seconds, ended.stdout


if __name__ == "__main__":
    main()
