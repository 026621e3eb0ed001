"""An export that is still being copied waits by name, whatever comes first, and leaves no trace once it is whole."""

from __future__ import annotations

import csv
import shutil
import time
import zipfile
from itertools import permutations
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydicom.dataset import Dataset

from pipeline import stages
from pipeline.cli import main
from pipeline.cli.next_step import next_lines
from pipeline.core.errors import PrivacyError
from pipeline.core.files import sha256_of
from pipeline.core.records import Severity
from pipeline.plan import plan_build
from pipeline.stages.privacy import places_of_leaks
from pipeline.workspace import Outcome, Status, Workspace
from tests.dicom.scanner import Edit, Scan, body, expose
from tests.test_screening import SETTINGS, patient

KEYED = ("patient", "study", "series")
"""Columns whose names are made with the secret of a dataset."""

SETTLED = SETTINGS.replace('paths = ["dicom/"]', 'paths = ["dicom/"]\nsettle_minutes = 10')
MINUTE = 60 * 10**9
SLICES = 12


class Clock:
    """The clock of the machine, so many minutes after everything that a test wrote so far."""

    def __init__(self) -> None:
        self.minutes = 0.0
        self._now = time.time_ns

    def __call__(self) -> int:
        return self._now() + round(self.minutes * MINUTE)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    moved = Clock()
    monkeypatch.setattr(time, "time_ns", moved)
    return moved


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "dataset"
    (root / "dicom").mkdir(parents=True)
    (root / "dataset.toml").write_text(SETTLED)
    return root


def promising(number: str, images: int | None = SLICES, **more: str) -> Edit:
    """A patient's export whose headers say how many images there are."""
    named = patient(PatientID=number, **more)

    def edit(dataset: Dataset, slice_number: int) -> None:
        named(dataset, slice_number)
        if images is not None:
            dataset.ImagesInAcquisition = images

    return edit


def export(folder: Path, edit: Edit, seed: int = 0) -> list[Path]:
    """A whole series in a folder of the hospital's, not in the dataset."""
    expose(folder, Scan(body(SLICES, seed=seed)), edit)
    return sorted(path for path in folder.rglob("*") if path.is_file())


def copy(files: list[Path], target: Path) -> None:
    """As archives copy: with the times that the files have."""
    target.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copy2(file, target / file.name)


def screen(root: Path) -> Outcome:
    ws = Workspace.open(root)
    assert stages.SCAN(ws).is_well
    return stages.SCREEN(ws)


def cases(root: Path) -> tuple[str, ...]:
    return stages.case_ids(Workspace.open(root))


def planned(root: Path) -> list[tuple[str, str]]:
    return [(step.stage, step.reason) for step in plan_build(Workspace.open(root)) if step.stage in ("scan", "screen")]


def tables(root: Path) -> dict[str, str]:
    """What a screening leaves for people and for the release."""
    return {name: (root / "reports" / name).read_text() for name in ("series.csv", "exclusions.csv", "consort.json")}


@pytest.mark.parametrize("images", [SLICES, None])
def test_a_half_copied_export_waits_and_is_taken_up_whole(root: Path, tmp_path: Path, clock: Clock, images: int | None):
    files = export(tmp_path / "hospital", promising("771204", images))
    copy(files[:7], root / "dicom" / "a")
    outcome = screen(root)
    assert outcome.status is Status.DONE
    assert cases(root) == ()
    (note,) = outcome.problems
    assert (note.code, note.severity) == ("arriving", Severity.NOTE)
    assert "its files changed less than 10 minutes ago" in note.message
    assert "771204" not in note.message
    assert next_lines(Workspace.open(root), Path("ds")) == ["Next: `liverset build ds` when the export is complete"]
    assert planned(root) == [], "nothing to do while it is still young"

    clock.minutes = 11
    if images:
        assert planned(root) == [("screen", "input changed: arriving")]
        assert "ImagesInAcquisition says 12 images, 7 are here" in screen(root).problems[0].message
        assert planned(root) == []
        assert cases(root) == ()
    clock.minutes = 0
    copy(files[7:], root / "dicom" / "a")
    assert "changed less than" in screen(root).problems[0].message
    assert cases(root) == ()

    clock.minutes = 11
    assert screen(root).problems == ()
    assert len(cases(root)) == 1
    assert planned(root) == []

    straight = tmp_path / "straight"
    shutil.copytree(root, straight, ignore=shutil.ignore_patterns("reports", "series", "screening.enc", "taken-up.enc"))
    clock.minutes = 50
    assert screen(straight).problems == ()
    assert tables(straight) == tables(root), "nothing tells that it once waited"
    (record,) = (straight / "private" / "series").iterdir()
    assert record.name in {path.name for path in (root / "private" / "series").iterdir()}


def test_the_last_of_several_folders_decides_in_any_order(tmp_path: Path, clock: Clock):
    parts = [
        export(tmp_path / name, promising("1", AcquisitionTime=f"1010{seed}0"), seed) for seed, name in enumerate("abc")
    ]
    left = []
    for number, order in enumerate(permutations(range(3))):
        root = tmp_path / f"order-{number}"
        root.mkdir()
        (root / "dataset.toml").write_text(SETTLED)
        for place, part in enumerate(order):
            clock.minutes = 9
            copy(parts[part], root / "dicom" / "abc"[part])
            assert screen(root).problems[0].code == "arriving", place
            assert cases(root) == ()
        clock.minutes = 11
        screen(root)
        assert cases(root) == ("P0001",)
        rows = csv.DictReader(tables(root)["series.csv"].splitlines())
        left.append(sorted(str({key: cell for key, cell in row.items() if key not in KEYED}) for row in rows))
    assert all(one == left[0] for one in left)


def test_only_the_patient_whose_files_move_waits(root: Path, tmp_path: Path, clock: Clock):
    copy(export(tmp_path / "one", promising("1")), root / "dicom" / "a")
    clock.minutes = 11
    screen(root)
    copy(export(tmp_path / "two", promising("2"), 1)[:5], root / "dicom" / "b")
    for clock.minutes in (0, 11):
        assert len(screen(root).problems) == 1
        assert len(cases(root)) == 1
    result = CliRunner().invoke(main, ["status", str(root)])
    assert result.exit_code == 0
    assert "waits: ImagesInAcquisition says 12 images, 5 are here" in result.output


def test_a_decision_takes_up_what_will_never_be_whole(root: Path, tmp_path: Path, clock: Clock):
    copy(export(tmp_path / "one", promising("1", images=30)), root / "dicom" / "a")
    clock.minutes = 11
    assert [problem.code for problem in screen(root).problems] == ["arriving"]
    with (root / "reports" / "series.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["kept"], row["reasons"]) == ("false", "arriving")
    (root / "decisions.csv").write_text(f"series,phase,by\n{row['series']},C2,R9\n")
    screen(root)
    assert len(cases(root)) == 1


def test_a_case_stays_as_it_was_taken_up_until_everything_new_is_there(root: Path, tmp_path: Path, clock: Clock):
    first = export(tmp_path / "one", promising("1", AcquisitionTime="101000"))
    second = export(tmp_path / "two", promising("1", AcquisitionTime="101500"), 1)
    copy(first, root / "dicom" / "a")
    clock.minutes = 11
    screen(root)
    record = root / "private" / "series" / "P0001_C2.enc"
    before, counted = sha256_of(record), tables(root)["consort.json"]
    copy(second[:4], root / "dicom" / "b")
    (root / "dicom" / "a" / first[0].name).touch()
    clock.minutes = 0
    (note,) = screen(root).problems
    assert note.message.startswith("P0001 waits: ")
    assert note.message.endswith("P0001 stays as it was")
    assert cases(root) == ("P0001",)
    assert sha256_of(record) == before
    assert tables(root)["consort.json"] == counted
    copy(second, root / "dicom" / "b")
    clock.minutes = 11
    assert screen(root).problems == ()
    assert cases(root) == ("P0001",)


def test_what_was_taken_up_stays_so_in_a_copy(root: Path, tmp_path: Path, clock: Clock):
    copy(export(tmp_path / "one", promising("1")), root / "dicom" / "a")
    clock.minutes = 11
    screen(root)
    clock.minutes = 0
    copied = Path(shutil.copytree(root, tmp_path / "copied"))
    assert planned(copied) == []
    shutil.rmtree(copied / "reports")
    screen(copied)
    assert cases(copied) == ("P0001",)


@pytest.mark.parametrize("minutes", ["", "settle_minutes = 0"])
def test_without_the_setting_nothing_waits(root: Path, tmp_path: Path, minutes: str):
    (root / "dataset.toml").write_text(SETTLED.replace("settle_minutes = 10", minutes))
    copy(export(tmp_path / "one", promising("1", images=30)), root / "dicom" / "a")
    assert screen(root).problems == ()
    assert len(cases(root)) == 1
    assert not (root / "private" / "taken-up.enc").exists()


def test_a_half_copied_archive_stops_no_package_for_ever(root: Path, tmp_path: Path, clock: Clock):
    copy(export(tmp_path / "one", promising("1")), root / "dicom" / "a")
    clock.minutes = 11
    screen(root)
    packed = tmp_path / "two.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for file in export(tmp_path / "two", promising("884120"), 1):
            archive.write(file, file.name)
    half = root / "dicom" / "b" / "two.zip"
    half.parent.mkdir()
    half.write_bytes(packed.read_bytes()[:9000])
    clock.minutes = 0
    screen(root)
    leaving = tmp_path / "leaving.txt"
    leaving.write_text("for nobody")
    assert places_of_leaks(Workspace.open(root), [leaving]) == ()
    half.write_bytes(packed.read_bytes())
    clock.minutes = 30
    assert screen(root).problems == ()
    assert len(cases(root)) == 2
    leaving.write_text("for 884120")
    assert places_of_leaks(Workspace.open(root), [leaving]) == ("leaving.txt: content (number)",)


def test_a_lost_list_of_what_was_taken_up_without_the_key_is_not_guessed(root: Path, tmp_path: Path, clock: Clock):
    copy(export(tmp_path / "one", promising("1")), root / "dicom" / "a")
    clock.minutes = 11
    screen(root)
    (root / "private" / "project.key").unlink()
    with pytest.raises(PrivacyError, match="restore the key file"):
        screen(root)
