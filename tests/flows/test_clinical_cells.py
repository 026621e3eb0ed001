"""Names in the wrong cells of a clinical table: neither Prefect's database nor the terminal repeats them."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.stages.awkward import Person, write_dataset

PEOPLE = (Person("Huber^Eva", "770121"), Person("Moser^Ina", "770122"))
SECRETS = ("Oberhuber", "06641234567", "Kantorowitz", "Huber", "Moser", "770121", "770122")
HEADINGS = "patient_id;age;sex;diagnosis;Nachname"
TABLES = {
    "cells that are not understood or contradict": "770121;60 (Dr. Oberhuber, Tel 06641234567);F;HCC;Huber\n"
    "770122;61;F Kantorowitz;HCC;Moser\n770122;62;F;HCC;Oberhuber",
    "a line with more cells than headings": "770121;60;F;HCC;Huber\n770122;61;F;HCC;Moser;Oberhuber;06641234567",
}


@pytest.mark.slow
@pytest.mark.parametrize("table", TABLES)
def test_a_cell_that_is_refused_reaches_no_database_log_or_terminal(
    root: Path, start: Callable[..., subprocess.Popen[str]], table: str
):
    home = root.with_name("clinical")
    root.rename(home)
    ws = write_dataset(home, PEOPLE, more='[source]\nclinical = "clinical.csv"')
    (home / "clinical.csv").write_text(f"{HEADINGS}\n{TABLES[table]}\n", encoding="utf-8")
    printed, noise = start("-m", "pipeline.cli", "build", home).communicate(timeout=120)
    assert "clinical.csv" in printed + noise
    assert not [secret for secret in SECRETS if secret in printed + noise]
    with closing(sqlite3.connect(home / ".prefect" / "prefect.db")) as database:
        assert database.execute("select count(*) from task_run where state_name = 'Failed'").fetchone() == (1,)
    kept_by_the_owner = (ws.layout.private, home / "dicom", home / "clinical.csv")
    left = [path for path in home.rglob("*") if path.is_file() and not any(map(path.is_relative_to, kept_by_the_owner))]
    assert [path.name for path in left if path.suffix == ".db"]
    assert not [(path.name, secret) for path in left for secret in SECRETS if secret.encode() in path.read_bytes()]
