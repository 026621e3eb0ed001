"""Wrong input of every kind: one clear line, the right exit code, no traceback, nothing lost, no patient's data."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipeline.cli import main
from pipeline.cli.dataset import TEMPLATE
from pipeline.workspace import Status, Workspace
from tests.dicom.scanner import Scan, body, expose


def liverset(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)


def printed(result: Result) -> str:
    text = result.output + result.stderr
    assert "Traceback" not in text
    return text


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "ds"
    assert liverset("init", folder).exit_code == 0
    return folder


@pytest.mark.parametrize("words", [("build",), ("plan",), ("status",), ("review", "pack"), ("review", "check")])
def test_missing_folder_is_wrong_use(tmp_path: Path, words: tuple[str, ...]):
    result = liverset(*words, tmp_path / "nowhere")
    assert result.exit_code == 2
    assert "folder 'nowhere' does not exist; make a dataset with `liverset init nowhere`" in printed(result)


def test_folder_without_settings_says_how_to_make_them(tmp_path: Path):
    result = liverset("build", tmp_path)
    assert result.exit_code == 2
    assert "no dataset.toml in this folder; make one with `liverset init FOLDER`" in printed(result)


def test_unknown_key_is_named_with_its_line(dataset: Path):
    path = dataset / "dataset.toml"
    path.write_text(path.read_text(encoding="utf-8").replace("license =", "licence ="), encoding="utf-8")
    result = liverset("build", dataset)
    assert result.exit_code == 2
    assert "dataset.toml, line 6: dataset.licence: unknown key" in printed(result)


def test_init_never_overwrites(dataset: Path):
    before = (dataset / "dataset.toml").read_bytes()
    result = liverset("init", dataset)
    assert result.exit_code == 2
    assert "dataset.toml exists already; edit it, or choose another folder" in printed(result)
    assert (dataset / "dataset.toml").read_bytes() == before == TEMPLATE.read_bytes()


def test_missing_sources_and_tables_are_named(dataset: Path):
    result = liverset("build", dataset)
    assert result.exit_code == 2
    assert "[source] paths: dicom/ not found; put the exports there or correct the path" in printed(result)
    (dataset / "dicom").mkdir()
    result = liverset("plan", dataset)
    assert result.exit_code == 2
    assert "[source] clinical: clinical.csv not found; add the table or delete the line" in printed(result)


@pytest.mark.parametrize("content", [None, b"hello"])
def test_sources_without_dicom_are_refused_by_the_scan(dataset: Path, content: bytes | None):
    from pipeline.stages import SCAN

    (dataset / "dicom").mkdir()
    if content is not None:
        (dataset / "dicom" / "Mustermann.txt").write_bytes(content)
    outcome = SCAN(Workspace.open(dataset))
    assert outcome.status is Status.FAILED
    count = "0 files" if content is None else "1 file"
    assert outcome.problems[0].message == f"dicom/: found {count} but no DICOM image; expected a DICOM export"


def test_empty_and_foreign_folders_convert_to_nothing_and_say_so(tmp_path: Path):
    source = tmp_path / "source"
    source.mkdir()
    result = liverset("convert", source, tmp_path / "out")
    assert result.exit_code == 1
    assert "found 0 files but no DICOM image" in printed(result)
    (source / "Mustermann.txt").write_text("hello", encoding="utf-8")
    result = liverset("convert", source, tmp_path / "out")
    assert result.exit_code == 1
    assert "found 1 file but no DICOM image" in printed(result)
    assert "Mustermann" not in printed(result)


def test_the_folder_one_stands_in_may_be_the_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    expose(tmp_path / "export", Scan(body()))
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    assert liverset("convert", tmp_path / "export", ".").exit_code == 0
    assert {path.name for path in (tmp_path / "out").glob("*.csv")} == {"files.csv", "series.csv", "slices.csv"}
    assert (tmp_path / "out-private" / "project.key").is_file()


def test_review_and_release_before_their_time_say_what_comes_first(dataset: Path):
    (dataset / "dicom").mkdir()
    (dataset / "clinical.csv").write_text("patient_id,age\n", encoding="utf-8")
    result = liverset("review", "pack", dataset)
    assert result.exit_code == 1
    assert "no volume is labelled yet; run `liverset build`" in printed(result)
    assert "no package was handed out yet" in printed(liverset("review", "status", dataset))
    result = liverset("review", "accept", dataset, "R1", "P0001_C1")
    assert result.exit_code == 1
    assert "no flagged mask of P0001_C1 from R1" in printed(result)
    result = liverset("release", "verify", dataset, "--version", "1.0.0")
    assert result.exit_code == 1
    assert "version 1.0.0 does not exist; versions found: none" in printed(result)
    result = liverset("why", dataset, "P0001")
    assert result.exit_code == 2
    assert "P0001 is not a case of this dataset" in printed(result)


def test_unknown_option_is_wrong_use(dataset: Path):
    assert liverset("build", dataset, "--colour").exit_code == 2


def test_doctor_finds_nothing_wrong_with_the_pinned_installation():
    result = liverset("doctor")
    assert "failed" not in printed(result)
    assert "demo model: complete, checksum correct" in printed(result)


def test_disk_that_refuses_is_one_line(dataset: Path, monkeypatch: pytest.MonkeyPatch):
    import errno

    from pipeline.workspace import Workspace as Opened

    def refuse(root: Path) -> Opened:
        raise OSError(errno.ENOSPC, "No space left on device", "/home/Mustermann/x")

    monkeypatch.setattr(Opened, "open", staticmethod(refuse))
    result = liverset("status", dataset)
    assert result.exit_code == 1
    assert "No space left on device" in printed(result)
    assert "Mustermann" not in printed(result)
