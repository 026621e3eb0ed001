"""`liverset convert` as people run it: exit codes, keys, and where the way back lies."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipeline.cli import main
from pipeline.cli.dataset import TEMPLATE
from tests.dicom.scanner import Scan, body, expose
from tests.dicom.test_situations import stamped


def convert(*words: object) -> Result:
    return CliRunner().invoke(main, ["convert", *map(str, words)])


def volumes(out: Path) -> list[str]:
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*.nii.gz"))


@pytest.fixture
def export(tmp_path: Path) -> Path:
    expose(tmp_path / "export", Scan(body(5)))
    return tmp_path / "export"


def test_a_clean_conversion_exits_with_0(export: Path, tmp_path: Path):
    result = convert(export, tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "1 series: 1 converted" in result.output
    assert len(volumes(tmp_path / "out")) == 1


def test_nothing_that_could_be_converted_exits_with_1_and_says_so(tmp_path: Path):
    expose(tmp_path / "export", Scan(body(3)), stamped(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]))
    result = convert(tmp_path / "export", tmp_path / "out")
    assert result.exit_code == 1
    assert "1 series: 1 excluded" in result.output
    assert "nothing was converted" in result.output


def test_one_key_gives_one_set_of_names(export: Path, tmp_path: Path):
    convert(export, tmp_path / "one")
    key = tmp_path / "one-private" / "project.key"
    convert(export, tmp_path / "two", "--key", key)
    convert(export, tmp_path / "three")
    assert volumes(tmp_path / "one") == volumes(tmp_path / "two") != volumes(tmp_path / "three")
    assert not (tmp_path / "two-private" / "project.key").exists()
    assert convert(export, tmp_path / "one").exit_code == 0
    assert volumes(tmp_path / "one") == volumes(tmp_path / "two")


def test_copies_of_deidentify_lie_below_the_same_pseudonyms(export: Path, tmp_path: Path):
    convert(export, tmp_path / "out")
    key = str(tmp_path / "out-private" / "project.key")
    CliRunner().invoke(main, ["deidentify", str(export), str(tmp_path / "clean"), "--key", key])
    (volume,), (first, *_) = volumes(tmp_path / "out"), sorted((tmp_path / "clean").rglob("*.dcm"))
    assert volume.split("/")[:2] == list(first.relative_to(tmp_path / "clean").parts[:2])


def test_the_way_back_is_readable_by_its_owner_only(export: Path, tmp_path: Path):
    convert(export, tmp_path / "out")
    private = tmp_path / "out-private"
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in private.iterdir()} == {
        "lookup.csv": 0o600,
        "project.key": 0o600,
    }


def test_settings_name_the_patient_by_the_folder(tmp_path: Path):
    for number in range(2):
        scan = Scan(body(5, seed=number), study_uid="1.2.3")
        expose(tmp_path / "export" / f"{number}", scan, stamped(PatientID="", PatientName=""))
    text = TEMPLATE.read_text(encoding="utf-8").replace("# patient =", "patient =")
    (tmp_path / "dataset.toml").write_text(text, encoding="utf-8")
    result = convert(tmp_path / "export", tmp_path / "out", "--config", tmp_path / "dataset.toml", "--json")
    assert result.exit_code == 0, result.output
    series = json.loads(result.stdout)["series"]
    assert len({row["patient"] for row in series}) == 2
    assert len(volumes(tmp_path / "out")) == 2
    without = convert(tmp_path / "export", tmp_path / "mixed", "--json")
    assert len({row["patient"] for row in json.loads(without.stdout)["series"]}) == 1
