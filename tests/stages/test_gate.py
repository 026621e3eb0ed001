"""The gate stops what a source holds and nothing else, with the sources there or gone."""

from __future__ import annotations

import shutil
import zipfile
import zlib
from pathlib import Path

import pytest

from pipeline import stages
from pipeline.core.errors import LeakError, PrivacyError
from pipeline.core.records import Severity
from pipeline.leaks.identifiers import MIN_NAME_LETTERS
from pipeline.stages.intake import scan_sources
from pipeline.stages.privacy import accept_leaks, places_of_leaks, remember_sources, require_clean
from pipeline.workspace import Outcome, Workspace
from tests.stages.awkward import Person, build, cohorts, settle, write_dataset

COHORTS = tuple(cohorts(40))


def refusals(outcome: Outcome) -> list[str]:
    return [problem.message for problem in outcome.problems if problem.severity is Severity.REFUSE]


@pytest.mark.slow
@pytest.mark.parametrize("people", COHORTS, ids=lambda people: people[0].name)
def test_awkward_names_numbers_and_dates_refuse_nothing(tmp_path: Path, people: tuple[Person, ...]):
    ws = write_dataset(tmp_path / "awkward-names", people)
    build(ws)
    assert refusals(stages.PACK(ws)) == []
    settle(ws)
    outcomes = (stages.cut_release(ws, "1.0.0"), stages.verify_release(ws, "1.0.0"))
    assert [message for outcome in outcomes for message in refusals(outcome)] == []
    assert (ws.layout.release("1.0.0") / "patient_data.csv").is_file()
    surname = next(name for person in people if len(name := person.name.partition("^")[0]) >= MIN_NAME_LETTERS)
    described(ws, f"seen by {surname} in June")
    refused = refusals(stages.cut_release(Workspace.open(ws.root), "1.0.1"))
    assert any("description (name)" in message for message in refused)


def described(ws: Workspace, text: str) -> None:
    """Write free text into the configuration."""
    lines = ws.layout.config.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if not line.startswith("description")]
    ws.layout.config.write_text("\n".join([kept[0], f'description = "{text}"', *kept[1:]]) + "\n", encoding="utf-8")


PEOPLE = (Person("Brandstaetter^Juergen", "551020"), Person("Oberleitner^Maria", "551021"))
LEAK = "for Oberleitner, 551021"


@pytest.fixture(scope="module")
def screened_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    ws = write_dataset(tmp_path_factory.mktemp("gate") / "dataset", PEOPLE)
    assert all(stage(ws).is_well for stage in stages.DATASET_STAGES)
    return ws.root


@pytest.fixture
def ws(screened_once: Path, tmp_path: Path) -> Workspace:
    """Two screened patients, whose sources were read where they lie."""
    opened = Workspace.open(Path(shutil.copytree(screened_once, tmp_path / "dataset")))
    opened.layout.dicom_index.unlink()
    scan_sources(opened)
    remember_sources(opened)
    return opened


@pytest.fixture
def leaving(tmp_path: Path) -> Path:
    file = tmp_path / "leaving.txt"
    file.write_text(LEAK)
    return file


LEAKS = ("leaving.txt: content (name)", "leaving.txt: content (number)")


def unmount(ws: Workspace, what: str) -> None:
    """The sources gone as they go in practice."""
    source = ws.root / "dicom"
    if what == "one patient":
        shutil.rmtree(source / "01")
    elif what != "nothing":
        shutil.rmtree(source)
        if what == "all but the empty folder":
            source.mkdir()


@pytest.mark.parametrize("gone", ["nothing", "one patient", "all but the empty folder", "all"])
def test_leaks_are_found_whatever_is_left_of_the_sources(ws: Workspace, leaving: Path, gone: str):
    unmount(ws, gone)
    assert places_of_leaks(ws, [leaving]) == LEAKS
    leaving.write_text("for nobody")
    assert places_of_leaks(ws, [leaving]) == ()


@pytest.mark.parametrize("gone", ["one patient", "all but the empty folder", "all"])
@pytest.mark.parametrize("lost", [("harvest",), ("harvest", "dicom_index")])
def test_what_was_never_harvested_stops_the_gate(ws: Workspace, leaving: Path, gone: str, lost: tuple[str, ...]):
    for name in lost:
        getattr(ws.layout, name).unlink()
    unmount(ws, gone)
    leaving.write_text("for nobody")
    with pytest.raises(PrivacyError, match="leaks cannot be searched for"):
        places_of_leaks(ws, [leaving])


@pytest.mark.parametrize("lost", ["harvest", "dicom_index"])
def test_what_is_lost_is_made_again_from_the_sources(ws: Workspace, leaving: Path, lost: str):
    getattr(ws.layout, lost).unlink()
    assert places_of_leaks(ws, [leaving]) == LEAKS


def test_a_second_root_that_is_unmounted_is_still_sought(ws: Workspace, leaving: Path):
    (ws.root / "second").mkdir()
    (ws.root / "dicom" / "01").rename(ws.root / "second" / "01")
    text = ws.layout.config.read_text()
    ws.layout.config.write_text(text.replace("[phases]", '[source]\npaths = ["dicom", "second"]\n[phases]'))
    ws = Workspace.open(ws.root)
    scan_sources(ws)
    shutil.rmtree(ws.root / "second")
    assert places_of_leaks(ws, [leaving]) == LEAKS


@pytest.mark.parametrize("damage", [b"", b"x", b"liverset harvest 1\n", None])
def test_a_damaged_harvest_is_refused_and_not_begun_anew(ws: Workspace, leaving: Path, damage: bytes | None):
    content = bytearray(ws.layout.harvest.read_bytes())
    content[-1] ^= 1
    ws.layout.harvest.write_bytes(bytes(content) if damage is None else damage)
    kept = ws.layout.harvest.read_bytes()
    with pytest.raises(PrivacyError, match=r"harvest\.enc"):
        places_of_leaks(ws, [leaving])
    assert ws.layout.harvest.read_bytes() == kept


def test_a_harvest_of_another_secret_is_refused(ws: Workspace, leaving: Path, monkeypatch: pytest.MonkeyPatch):
    ws.layout.crosswalk.unlink()
    monkeypatch.setenv("LIVERSET_SECRET", "ab" * 32)
    with pytest.raises(PrivacyError, match="another project's secret"):
        places_of_leaks(Workspace.open(ws.root), [leaving])


def test_the_harvest_tells_nothing_without_the_secret(ws: Workspace):
    content = ws.layout.harvest.read_bytes()
    assert b"Oberleitner" not in content
    assert b"Oberleitner" not in zlib.compress(content)
    assert ws.layout.harvest.stat().st_mode & 0o777 == 0o600


def test_new_files_are_sought_at_once_and_old_ones_for_ever(ws: Workspace, leaving: Path):
    clinical = ws.root / "clinical.csv"
    clinical.write_text("patient_id;Nachname\n551020;Hinterhuber\n")
    text = ws.layout.config.read_text()
    ws.layout.config.write_text(text.replace("[phases]", '[source]\nclinical = "clinical.csv"\n[phases]'))
    ws = Workspace.open(ws.root)
    leaving.write_text("for Hinterhuber")
    assert places_of_leaks(ws, [leaving]) == ("leaving.txt: content (name)",)
    clinical.write_text("patient_id;Nachname\n551020;Steinbacher\n")
    leaving.write_text("for Hinterhuber and Steinbacher")
    assert len(remember_sources(ws).unreadable) == 0
    names = {text for _, text in remember_sources(ws).identifiers.texts}
    assert {"Hinterhuber", "Steinbacher", "Oberleitner"} <= names
    clinical.unlink()
    assert places_of_leaks(ws, [leaving]) == ("leaving.txt: content (name)",)


def test_a_source_that_cannot_be_read_stops_the_gate_until_a_person_accepts_it(ws: Workspace, leaving: Path):
    (ws.root / "dicom" / "export.zip").write_bytes(b"PK\x03\x04" + bytes(50))
    leaving.write_text("for nobody")
    assert places_of_leaks(ws, [leaving]) == ("the sources (unreadable)",)
    accept_leaks(ws, "the sources", "unreadable", by="R9", why="an empty archive", when="2026-01-31")
    assert places_of_leaks(ws, [leaving]) == ()
    (ws.root / "dicom" / "other.zip").write_bytes(b"PK\x03\x04" + bytes(51))
    assert places_of_leaks(ws, [leaving]) == ("the sources (unreadable)",)


BROKEN_ZIP = b"PK\x03\x04" + bytes(50)


def readable_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.csv", "name\nHinterhuber\n")


def test_a_source_that_was_replaced_by_a_readable_one_stops_nothing_and_is_sought(ws: Workspace, leaving: Path):
    export = ws.root / "dicom" / "export.zip"
    export.write_bytes(BROKEN_ZIP)
    leaving.write_text("for nobody")
    assert places_of_leaks(ws, [leaving]) == ("the sources (unreadable)",)
    export.write_bytes(BROKEN_ZIP + bytes(1))
    assert len(remember_sources(ws).unreadable) == 1
    readable_zip(export)
    assert places_of_leaks(ws, [leaving]) == ()
    leaving.write_text("for Hinterhuber")
    assert places_of_leaks(ws, [leaving]) == ("leaving.txt: content (name)",)
    export.write_bytes(BROKEN_ZIP + bytes(2))
    assert "the sources (unreadable)" in places_of_leaks(ws, [leaving])


def test_a_readable_file_moved_over_a_broken_one_replaces_it(ws: Workspace, leaving: Path):
    export, whole = ws.root / "dicom" / "export.zip", ws.root / "dicom" / "whole.zip"
    export.write_bytes(BROKEN_ZIP)
    readable_zip(whole)
    leaving.write_text("for nobody")
    assert places_of_leaks(ws, [leaving]) == ("the sources (unreadable)",)
    whole.replace(export)
    assert places_of_leaks(ws, [leaving]) == ()


@pytest.mark.parametrize("elsewhere", ["dicom/export2.zip", "dicom/below/export.zip"])
def test_a_broken_source_that_is_gone_or_replaced_elsewhere_still_stops(ws: Workspace, leaving: Path, elsewhere: str):
    export = ws.root / "dicom" / "export.zip"
    export.write_bytes(BROKEN_ZIP)
    leaving.write_text("for nobody")
    assert places_of_leaks(ws, [leaving]) == ("the sources (unreadable)",)
    export.unlink()
    (ws.root / elsewhere).parent.mkdir(exist_ok=True)
    readable_zip(ws.root / elsewhere)
    assert places_of_leaks(ws, [leaving]) == ("the sources (unreadable)",)


def test_an_exception_holds_for_its_place_kind_and_identifier_alone(ws: Workspace, leaving: Path):
    assert places_of_leaks(ws, [leaving]) == LEAKS
    (row,) = accept_leaks(ws, "leaving.txt: *", "name", by="R9", why="a word of the page", when="2026-01-31")
    assert row.place == "leaving.txt: content"
    assert places_of_leaks(ws, [leaving]) == ("leaving.txt: content (number)",)
    leaving.write_text("for Oberleitner and Brandstaetter")
    assert places_of_leaks(ws, [leaving]) == ("leaving.txt: content (name)",)
    other = leaving.with_name("other.txt")
    other.write_text("for Oberleitner")
    assert places_of_leaks(ws, [other]) == ("other.txt: content (name)",)
    assert "Oberleitner" not in ws.layout.leak_exceptions.read_text()


@pytest.mark.parametrize(("old", "new"), [("leaving.txt", "*"), (",name,", ",number,"), ("R9", "R8"), ("word", "name")])
def test_an_exception_changed_by_hand_is_refused(ws: Workspace, leaving: Path, old: str, new: str):
    places_of_leaks(ws, [leaving])
    accept_leaks(ws, "*", "name", by="R9", why="a word of the page", when="2026-01-31")
    text = ws.layout.leak_exceptions.read_text()
    ws.layout.leak_exceptions.write_text(text.replace(old, new))
    assert ws.layout.leak_exceptions.read_text() != text
    with pytest.raises(PrivacyError, match=r"line 2: its signature does not fit"):
        places_of_leaks(ws, [leaving])


def test_only_what_was_refused_can_be_accepted_and_never_by_an_identifier(ws: Workspace, leaving: Path):
    places_of_leaks(ws, [leaving])
    with pytest.raises(PrivacyError, match="refused nothing of kind date"):
        accept_leaks(ws, "*", "date", by="R9", why="a date of the page", when="2026-01-31")
    with pytest.raises(PrivacyError, match="must not hold an identifier"):
        accept_leaks(ws, "*", "name", by="R9", why="Oberleitner is a street", when="2026-01-31")
    assert not ws.layout.leak_exceptions.exists()


def test_a_name_in_the_description_stops_whatever_leaves(ws: Workspace, leaving: Path):
    described(ws, "livers for Brandstaetter")
    leaving.write_text("for nobody")
    assert places_of_leaks(Workspace.open(ws.root), [leaving]) == ("dataset.toml: description (name)",)


def test_refused_packages_are_removed_also_when_nothing_could_be_searched_for(ws: Workspace, leaving: Path):
    with pytest.raises(LeakError, match="liverset leaks accept"):
        require_clean(ws, [leaving], what="the packages")
    assert not leaving.exists()
    ws.layout.harvest.unlink()
    unmount(ws, "all")
    leaving.write_text("for nobody")
    with pytest.raises(PrivacyError):
        require_clean(ws, [leaving], what="the packages")
    assert not leaving.exists()


def test_what_a_person_wrote_into_a_header_or_a_cell_stands_in_no_table(tmp_path: Path):
    planted = {
        "Manufacturer": "SIEMENS for Dr Kantorowitz",
        "ManufacturerModelName": "SOMATOM Kantorowitz",
        "ConvolutionKernel": "B30f Kantorowitz",
    }
    people = (Person("Huber^Eva", "770120", planted), Person("Moser^Ina", "770121"), Person("Zauner^Lea", "770122"))
    ws = write_dataset(tmp_path / "dataset", people, more='[source]\nclinical = "clinical.csv"')
    rows = ("770120;60;HCC", "770121;61;HCC (ref. Dr. Oberhuber, Tel 06641234567)", "770122;62;normal")
    (ws.root / "clinical.csv").write_text("\n".join(("patient_id;age;diagnosis", *rows)))
    outcomes = [stage(ws) for stage in stages.DATASET_STAGES]
    assert all(outcome.is_well for outcome in outcomes)
    assert len(stages.case_ids(ws)) == 2
    texts = {file: file.read_text() for file in ws.root.glob("reports/**/*") if file.is_file()}
    assert any("diagnosis" in text for text in texts.values())
    for secret in ("Kantorowitz", "Oberhuber", "06641234567", "Huber", "770120"):
        assert not [file.name for file, text in texts.items() if secret in text]
        assert secret not in str(outcomes)


def test_a_release_without_a_settled_case_says_of_each_what_is_missing(tmp_path: Path):
    ws = write_dataset(tmp_path / "box-livers", (Person("Mora^Elsa", "884120"),))
    build(ws)
    outcome = stages.cut_release(ws, "1.0.0")
    assert not outcome.is_well
    assert [problem.message.splitlines() for problem in outcome.problems] == [
        [
            "nothing can be released; run `liverset build`, then finish the review:",
            "P0001 is not in this version: agree is not done",
        ]
    ]
