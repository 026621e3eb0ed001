"""`private/` without the key tells nothing, and a dataset goes where its folder goes."""

from __future__ import annotations

import errno
import os
import shutil
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from pipeline import stages
from pipeline.core.errors import PrivacyError
from pipeline.core.files import sha256_of
from pipeline.leaks.search import harvest
from pipeline.plan import plan_build
from pipeline.stages.privacy import places_of_leaks
from pipeline.workspace import Workspace
from tests.stages.awkward import Person, build, write_dataset

PEOPLE = (
    Person("Brandstaetter^Juergen", "55102077", {"InstitutionName": "Landeskrankenhaus", "StationName": "CTROOM77"}),
    Person("Oberleitner^Maria", "55102188", {"StudyDate": "20170314", "PatientBirthDate": "19480229"}),
)
SHORTEST = 6
"""Shorter identifiers turn up in sealed bytes by chance."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset built as far as coarse labels, its sources inside and beside it."""
    home = tmp_path_factory.mktemp("hospital")
    ws = write_dataset(home / "dataset", PEOPLE)
    (home / "archive").mkdir()
    shutil.move(ws.root / "dicom" / "01", home / "archive" / "Oberleitner")
    text = ws.layout.config.read_text()
    paths = f'["dicom", "{home / "archive"}"]'
    ws.layout.config.write_text(text.replace("[phases]", f"[source]\npaths = {paths}\n[phases]"))
    ws = Workspace.open(ws.root)
    build(ws)
    places_of_leaks(ws, [ws.layout.config])
    assert not ready(ws)
    return home


def ready(ws: Workspace) -> list[tuple[str, str | None]]:
    """What a build would run; the report is made by the build itself, not by the stages here."""
    return [(step.stage, step.case_id) for step in plan_build(ws) if step.stage != "report"]


def unpacked(content: bytes) -> list[bytes]:
    """A file, and whatever in it begins like a zlib stream, unpacked."""
    found = [content]
    for beginning in (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda", b"\x1f\x8b"):
        at = content.find(beginning)
        while at >= 0:
            with suppress(zlib.error):
                found.append(zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(content[at:]))
            at = content.find(beginning, at + 1)
    return found


def planted(home: Path) -> set[bytes]:
    """Every identifier of the sources, in the encodings that a file of ours could have."""
    identifiers = harvest([home / "dataset" / "dicom", home / "archive"])
    texts = {text for _, text in identifiers.texts} | {"Oberleitner", "IM_0001", str(home)}
    return {text.encode(code) for text in texts if len(text) >= SHORTEST for code in ("utf-8", "utf-16-le")}


def test_nothing_in_private_tells_an_identifier_without_the_key(built: Path, tmp_path: Path):
    home = Path(shutil.copytree(built, tmp_path / "hospital"))
    private = home / "dataset" / "private"
    (private / "project.key").rename(tmp_path / "project.key")
    wanted = planted(built)
    assert b"Brandstaetter" in wanted
    assert b"20170314" in wanted
    assert len(wanted) > 200
    files = [path for path in private.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"crosswalk.enc", "harvest.enc", "screening.enc", "dicom-index.sqlite"}
    assert len([path for path in files if path.parent.name == "series"]) == len(PEOPLE)
    for path in files:
        told = b"\n".join([path.name.encode(), *unpacked(path.read_bytes())])
        assert not [text for text in wanted if text in told], path.name
    assert any(b"Brandstaetter" in one for one in unpacked(zlib.compress(b"for Brandstaetter"))), "it looks inside"


def test_the_same_content_is_sealed_as_the_same_bytes(built: Path, tmp_path: Path):
    root = Path(shutil.copytree(built, tmp_path / "hospital")) / "dataset"
    ws = Workspace.open(root)
    before = {path.name: sha256_of(path) for path in [*ws.layout.series_records.iterdir(), ws.layout.screening]}
    assert stages.SCREEN.work(ws, None).outputs
    assert {path.name: sha256_of(path) for path in [*ws.layout.series_records.iterdir(), ws.layout.screening]} == before
    assert len(set(before.values())) == len(before)


@pytest.mark.parametrize("lost", ["crosswalk", "harvest", "screening", None])
def test_without_the_key_every_command_says_how_to_restore_it(built: Path, tmp_path: Path, lost: str | None):
    root = Path(shutil.copytree(built, tmp_path / "hospital")) / "dataset"
    layout = Workspace.open(root).layout
    layout.secret.unlink()
    if lost:
        getattr(layout, lost).unlink()
    ws = Workspace.open(root)
    for command in (lambda: plan_build(ws), lambda: ws.crosswalk)[lost == "screening" :]:
        with pytest.raises(PrivacyError, match=r"project\.key is missing.*restore the key file from its backup"):
            command()
    assert not layout.secret.exists(), "a new secret would open nothing"


def test_what_an_earlier_version_left_in_clear_is_removed(built: Path, tmp_path: Path):
    root = Path(shutil.copytree(built, tmp_path / "hospital")) / "dataset"
    layout = Workspace.open(root).layout
    clear = [layout.private / "screening.json", layout.series_records / "P0001_C2.json"]
    stale = layout.series_records / "P0009_C2.enc"
    for path in (*clear, stale):
        path.write_text("Brandstaetter")
    stages.SCREEN.work(Workspace.open(root), None)
    assert not [path for path in (*clear, stale) if path.exists()]
    assert len(list(layout.series_records.iterdir())) == len(PEOPLE)


def test_a_dataset_that_may_only_be_read_can_be_looked_at(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As on a read-only mount: the disk refuses every change, also of permissions."""
    root = Path(shutil.copytree(built, tmp_path / "hospital")) / "dataset"

    def refuse(*arguments: object, **keywords: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    for name in ("chmod", "mkdir", "replace", "unlink"):
        monkeypatch.setattr(os, name, refuse)
    ws = Workspace.open(root)
    assert len(stages.case_ids(ws)) == len(PEOPLE)
    assert ready(ws) == []


def renamed(home: Path, new: Path) -> Path:
    return Path(shutil.move(home, new))


def copied(home: Path, new: Path) -> Path:
    """As `cp -a` and `rsync -a` copy: with the times of the files."""
    return Path(shutil.copytree(home, new))


def linked(home: Path, new: Path) -> Path:
    new.symlink_to(home)
    return new


@pytest.mark.parametrize("move", [renamed, copied, linked])
@pytest.mark.parametrize("spelling", ["absolute", "relative"])
@pytest.mark.parametrize("what", ["all", "dataset", "sources"])
def test_a_move_plans_nothing_and_the_old_place_is_not_read(
    built: Path, tmp_path: Path, move: Callable[[Path, Path], Path], spelling: str, what: str
):
    old = Path(shutil.copytree(built, tmp_path / "old"))
    before = {path.name: sha256_of(path) for path in old.glob("dataset/cases/*/*/image.nii.gz")}
    if what == "all":
        home = move(old, tmp_path / "new")
        dataset, archive = home / "dataset", home / "archive"
    else:
        (tmp_path / "new").mkdir()
        dataset, archive = old / "dataset", old / "archive"
        if what == "dataset":
            dataset = move(dataset, tmp_path / "new" / "elsewhere")
        else:
            archive = move(archive, tmp_path / "new" / "mounted")
    spelt = archive if spelling == "absolute" else Path(os.path.relpath(archive, dataset.resolve()))
    config = dataset / "dataset.toml"
    config.write_text(config.read_text().replace(str(built / "archive"), str(spelt)))
    if move is copied and what == "all":
        shutil.rmtree(old)
    assert ready(Workspace.open(dataset)) == []

    ws = Workspace.open(dataset)
    for case_id in stages.case_ids(ws):
        ws.layout.image(case_id, next(iter(stages.case.screened_cases(ws)[case_id].series))).unlink()
    assert {stage for stage, _ in ready(ws)} == {"convert", "label"}
    assert all(stages.CONVERT(ws, case_id).is_well for case_id in stages.case_ids(ws))
    assert {path.name: sha256_of(path) for path in dataset.glob("cases/*/*/image.nii.gz")} == before
    assert ready(ws) == []
    build(ws)
    assert places_of_leaks(ws, [ws.layout.config]) == ()


def test_after_a_move_a_changed_file_runs_its_own_case_alone(built: Path, tmp_path: Path):
    home = Path(shutil.copytree(built, tmp_path / "hospital"))
    config = home / "dataset" / "dataset.toml"
    config.write_text(config.read_text().replace(str(built), str(home)))
    changed = min((home / "archive").rglob("*0003"))
    content = bytearray(changed.read_bytes())
    content[-1] ^= 1
    changed.write_bytes(bytes(content))
    ws = Workspace.open(home / "dataset")
    assert ready(ws) == [("scan", None), ("screen", None)]
    assert all(stage(ws).is_well for stage in stages.DATASET_STAGES)
    (stale,) = {case_id for _, case_id in ready(ws)}
    assert [stage for stage, _ in ready(ws)] == ["convert", "label"]
    (in_archive,) = [
        case_id
        for case_id in stages.case_ids(ws)
        if stages.case.screened_cases(ws)[case_id].first_study_date == "20170314"
    ]
    assert stale == in_archive
