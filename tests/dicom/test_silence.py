"""No door of ours lets a value of the source out in a warning, a log line or a printed word."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.dicom.deid.torture import make_torture
from tests.places import ROOT

PROGRAM = """
import logging, sys, warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
logging.basicConfig(level=logging.DEBUG)
warnings.simplefilter("default")
logging.captureWarnings(False)
from pipeline.leaks.search import harvest, search
source, out = Path(sys.argv[1]), Path(sys.argv[2])
harvest([source])
from pipeline.core.config import DeidentificationConfig
from pipeline.core.pseudonyms import Pseudonyms
from pipeline.dicom.deid.clean_tree import deidentify_tree
from pipeline.dicom.tree import convert_tree
key = Pseudonyms(bytes(32))
def nothing(*_): return ""
with ThreadPoolExecutor(4) as pool:
    jobs = [pool.submit(harvest, [source]) for _ in range(2)]
    how = {"write": nothing, "content_sha256": nothing, "private": out.with_name("private")}
    jobs.append(pool.submit(convert_tree, [source], out / "volumes", key, **how))
    jobs.append(pool.submit(deidentify_tree, [source], out / "clean", key, DeidentificationConfig()))
    results = [job.result() for job in jobs]
print(results[0], results[3].counts(), len(search(results[0], [out])))
"""


@pytest.fixture(scope="module")
def spoken(tmp_path_factory) -> tuple[dict[str, str], str]:
    folder = tmp_path_factory.mktemp("silence")
    made = make_torture(folder / "source", 5)
    (folder / "source" / "cut").write_bytes((made.folder / next(iter(made.folder.glob("*/top")))).read_bytes()[:3000])
    command = [sys.executable, "-c", PROGRAM, str(made.folder), str(folder / "out")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return made.plants, done.stdout + done.stderr


def test_scan_convert_harvest_and_deidentify_say_nothing_of_the_source(spoken):
    plants, words = spoken
    assert [category for text, category in plants.items() if text.casefold() in words.casefold()] == []


def test_pydicom_says_nothing_at_all(spoken):
    _, words = spoken
    assert "Warning" not in words
    assert "pydicom" not in words
