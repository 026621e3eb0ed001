"""What a person decides about text in a volume is what becomes of it, and nothing else runs again."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from pipeline import stages
from pipeline.core.boxes import parse_boxes
from pipeline.core.decisions import TextDecision, TextVerdict, decide_on_text
from pipeline.core.files import write_atomically
from pipeline.core.records import Phase
from pipeline.core.volume import LabelMap
from pipeline.image.nifti import decode_nifti, gzipped_nifti, read_volume
from pipeline.stages.artefacts import ConvertedVolume, TextSearch
from pipeline.synth.phantom import make_phantom
from pipeline.workspace import Outcome, Status, Workspace
from tests.dicom.scanner import Scan, expose
from tests.test_screening import patient

SETTINGS = """
[dataset]
name = "texts"
modality = "{modality}"
[phases]
required = ["C2"]
[inclusion]
min_slices = 5
[labels]
lesion_kinds = ["HCC"]
[image.slices]
keep = "all"
[review]
raters = ["R1", "R2"]
per_case = 2
[splits]
folds = 2
"""
PHASE = Phase.PORTAL_VENOUS
SHAPE = (36, 80, 80)
SPACING = (5.0, 4.5, 4.5)
EVERY = range(SHAPE[0])
INK_HU = 2500
LIMITS = "36 slices, 80 rows and 80 columns"
NUMBER = "HN-229041"
"""How patients' numbers begin."""

KINDS = {"int16": ("CT", 1.0), "int16 in steps": ("CT", 2.0), "float32": ("CT", 1.5346), "MR float32": ("MR", 0.7)}
"""Modality and RescaleSlope to what a volume is stored as."""


def ink(*lines: str) -> np.ndarray:
    """Where letters stand on a slice, in the upper left corner."""
    page = Image.new("1", SHAPE[:0:-1])
    for number, line in enumerate(lines):
        ImageDraw.Draw(page).text((3, 3 + 14 * number), line, fill=1, font=ImageFont.load_default(10))
    return np.asarray(page)


def dataset(
    root: Path, kind: str = "int16", *lines: str, on: range = EVERY, people: int = 1, clean: bool = False
) -> Workspace:
    """Patients of whom the first one's scan bears letters."""
    modality, slope = KINDS[kind]
    root.mkdir()
    (root / "dataset.toml").write_text(SETTINGS.format(modality=modality))
    for number in range(people):
        rng = np.random.default_rng(3 + number)
        hu = make_phantom(rng, shape=SHAPE, spacing_mm=SPACING, phase=PHASE).volume.voxels.astype(np.int32)
        if number == 0 and not clean:
            for index in on:
                hu[index][ink(*lines or ("KOWALSKA",))] = INK_HU
        scan = Scan(hu, spacing=SPACING, modality=modality, series_uid=f"1.2.3.{number}", study_uid=f"1.2.4.{number}")
        expose(root / "dicom" / str(number), scan, patient(PatientID=f"{NUMBER}{number}"), slope=slope)
    ws = Workspace.open(root)
    assert all(stage(ws).is_well for stage in stages.DATASET_STAGES)
    return ws


def suspect(ws: Workspace) -> tuple[str, str]:
    """The case and the series that a refused conversion names."""
    for case_id in stages.case_ids(ws):
        outcome = stages.CONVERT(ws, case_id)
        if not outcome.is_well:
            return case_id, re.search(r"series ([0-9a-f]{12})", message_of(outcome))[1]
    raise AssertionError("nothing was refused")


def message_of(outcome: Outcome) -> str:
    (problem,) = outcome.problems
    return problem.message


def decide(ws: Workspace, series: str, verdict: TextVerdict, boxes: str = "") -> None:
    decide_on_text(ws.layout.decisions, series, TextDecision(verdict, "R9", parse_boxes(boxes)))


def voxels_of(ws: Workspace, case_id: str) -> np.ndarray:
    return read_volume(ws.layout.image(case_id, PHASE)).voxels


def search_of(ws: Workspace, case_id: str) -> TextSearch:
    search = ConvertedVolume.load(ws.layout.header(case_id, PHASE)).text_search
    assert search is not None
    return search


def covered(search: TextSearch) -> np.ndarray:
    """Which voxels the record says were masked, by plain counting from 1."""
    inside = np.zeros(SHAPE, np.bool_)
    for words in search.masked:
        found = re.fullmatch(r"(?:slices (\d+)(?:-(\d+))? )?rows (\d+)-(\d+) columns (\d+)-(\d+)", words)
        first, last, *rest = (int(number) if number else None for number in found.groups())
        slices = slice(None) if first is None else slice(first - 1, last or first)
        inside[slices, rest[0] - 1 : rest[1], rest[2] - 1 : rest[3]] = True
    return inside


def answered(ws: Workspace) -> None:
    """Each rater returns what was sent, without the last slice of the liver, and everything follows from it."""
    for package in stages.packages(ws):
        returned = io.BytesIO()
        with zipfile.ZipFile(package) as sent, zipfile.ZipFile(returned, "w") as parcel:
            for name in sent.namelist():
                content = sent.read(name)
                parcel.writestr(name, trimmed(content, name) if name.endswith("_mask.nii.gz") else content)
        write_atomically(package.parent.parent / "inbox" / package.name, returned.getvalue())
    assert not stages.COLLECT(ws).problems
    for case_id in stages.case_ids(ws):
        assert all(stage(ws, case_id).is_well for stage in stages.REVIEW_STAGES)


def trimmed(content: bytes, name: str) -> bytes:
    voxels, geometry = decode_nifti(content, name)
    edited = voxels.copy()
    edited[np.flatnonzero(voxels.any(axis=(1, 2)))[-1]] = 0
    return gzipped_nifti(LabelMap(edited, geometry))


@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_covers_every_letter_and_changes_nothing_else(tmp_path: Path, kind: str):
    ws = dataset(tmp_path / "named", kind)
    case_id, series = suspect(ws)
    decide(ws, series, TextVerdict.MASK)
    assert stages.SCREEN(ws).status is Status.CURRENT
    outcome = stages.CONVERT(ws, case_id)
    assert outcome.is_well
    plain = dataset(tmp_path / "plain", kind, clean=True)
    assert stages.CONVERT(plain, case_id).is_well
    found, original, search = voxels_of(ws, case_id), voxels_of(plain, case_id), search_of(ws, case_id)
    inside = covered(search)
    assert inside[:, ink("KOWALSKA")].all()
    assert inside.mean() < 0.3
    assert found.dtype == original.dtype == (np.int16 if kind.startswith("int16") else np.float32)
    assert np.array_equal(found[~inside], original[~inside])
    background = original.min() if kind.startswith("MR") else -1024
    assert (found[inside] == np.float32(background)).all()
    assert (search.found, search.was_looked_at, search.decision) == ((), False, "mask")
    header = ConvertedVolume.load(ws.layout.header(case_id, PHASE)).header
    assert "113101" in [code["CodeValue"] for code in header["DeidentificationMethodCodeSequence"]]
    assert "text-masked" in [problem.code for problem in outcome.problems]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_published_keeps_its_pixels(tmp_path: Path, kind: str):
    ws = dataset(tmp_path / "named", kind)
    case_id, series = suspect(ws)
    decide(ws, series, TextVerdict.PUBLISH)
    outcome = stages.CONVERT(ws, case_id)
    assert "text-published" in [problem.code for problem in outcome.problems]
    letters = voxels_of(ws, case_id)[:, ink("KOWALSKA")]
    assert np.abs(letters - INK_HU).max() <= 1.0
    assert search_of(ws, case_id).was_looked_at


def test_what_is_excluded_is_no_case(tmp_path: Path):
    ws = dataset(tmp_path / "named", people=2)
    case_id, series = suspect(ws)
    decide(ws, series, TextVerdict.EXCLUDE)
    assert stages.SCREEN(ws).status is Status.DONE
    assert case_id not in stages.case_ids(ws)
    assert len(stages.case_ids(ws)) == 1
    with ws.layout.series_table.open(newline="") as file:
        assert {row["series"]: row["reasons"] for row in csv.DictReader(file)}[series] == "rejected"


def test_two_lines_are_masked_at_once(tmp_path: Path):
    ws = dataset(tmp_path / "named", "float32", "KOWALSKA", "12.05.1961")
    case_id, series = suspect(ws)
    decide(ws, series, TextVerdict.MASK)
    assert stages.CONVERT(ws, case_id).is_well
    assert covered(search_of(ws, case_id))[:, ink("KOWALSKA", "12.05.1961")].all()


def test_letters_on_one_slice_are_masked_there_alone(tmp_path: Path):
    ws = dataset(tmp_path / "named", on=range(17, 18))
    case_id, series = suspect(ws)
    decide(ws, series, TextVerdict.MASK)
    assert stages.CONVERT(ws, case_id).is_well
    inside = covered(search_of(ws, case_id))
    assert inside.any(axis=(1, 2)).nonzero()[0].tolist() == [17]
    assert inside[17][ink("KOWALSKA")].all()


def test_boxes_by_hand_count_instead_and_what_they_leave_is_asked_about_again(tmp_path: Path):
    ws = dataset(tmp_path / "named", "float32", "KOWALSKA", "12.05.1961")
    case_id, series = suspect(ws)
    decide(ws, series, TextVerdict.MASK, "rows 1-15 columns 1-80")
    outcome = stages.CONVERT(ws, case_id)
    assert not outcome.is_well
    assert "still seems to have text" in message_of(outcome)
    offered = re.search(r'--boxes "([^"]+)"', message_of(outcome))[1]
    decide(ws, series, TextVerdict.MASK, offered)
    assert stages.CONVERT(ws, case_id).is_well
    assert covered(search_of(ws, case_id))[:, ink("KOWALSKA", "12.05.1961")].all()
    decide(ws, series, TextVerdict.MASK_AND_PUBLISH, "rows 1-15 columns 1-80")
    assert stages.CONVERT(ws, case_id).is_well
    left = voxels_of(ws, case_id)[:, 15:][:, ink("KOWALSKA", "12.05.1961")[15:]]
    assert np.abs(left - INK_HU).max() <= 1.0


@pytest.mark.parametrize("on", [range(17, 18), range(20)])
def test_a_box_on_too_few_slices_does_not_hide_the_others_from_the_search(tmp_path: Path, on: range):
    ws = dataset(tmp_path / "named", "float32")
    case_id, series = suspect(ws)
    decide(ws, series, TextVerdict.MASK, f"slices {on.start + 1}-{on.stop} rows 1-15 columns 1-80")
    assert not stages.CONVERT(ws, case_id).is_well


def test_a_box_beyond_the_volume_is_refused(tmp_path: Path):
    ws = dataset(tmp_path / "named")
    case_id, series = suspect(ws)
    decide(ws, series, TextVerdict.MASK, "rows 1-15 columns 1-81")
    message = message_of(stages.CONVERT(ws, case_id))
    what = f"the box rows 1-15 columns 1-81 does not lie within {LIMITS}; correct the boxes in decisions.csv"
    assert message == f"{case_id} {PHASE}, series {series}: {what}"


def test_the_message_names_series_montage_and_command_and_no_patient(tmp_path: Path):
    ws = dataset(tmp_path / "named", "float32")
    case_id, series = suspect(ws)
    message = message_of(stages.CONVERT(ws, case_id))
    assert message.startswith(f"{case_id} {PHASE}, series {series}: seems to have text")
    assert f"`liverset decide {series} mask --by CODE`" in message
    assert str(tmp_path) not in message
    assert NUMBER not in message
    picture = ws.root / re.search(r"Look at (\S+),", message)[1]
    assert picture.stat().st_mode & 0o077 == 0
    assert imagecodecs.png_decode(picture.read_bytes()).ndim == 3


def test_all_suspect_phases_of_a_case_are_named_at_once_and_a_decision_runs_nothing_else_again(tmp_path: Path):
    ws = dataset(tmp_path / "named", people=2)
    case_id, series = suspect(ws)
    (other,) = set(stages.case_ids(ws)) - {case_id}
    assert stages.CONVERT(ws, other).is_well
    decide(ws, series, TextVerdict.MASK)
    assert stages.SCREEN(ws).status is Status.CURRENT
    assert stages.CONVERT(ws, other).status is Status.CURRENT
    assert stages.CONVERT(ws, case_id).status is Status.DONE
    assert stages.CONVERT(ws, case_id).status is Status.CURRENT


def test_a_decision_taken_back_takes_the_volume_back(tmp_path: Path):
    ws = dataset(tmp_path / "named", people=2)
    case_id, series = suspect(ws)
    decide(ws, series, TextVerdict.PUBLISH)
    for case in stages.case_ids(ws):
        assert all(stage(ws, case).is_well for stage in stages.CASE_STAGES)
    ws.layout.decisions.unlink()
    refused = stages.PACK(ws)
    assert not refused.is_well
    assert f"{case_id} {PHASE} has another decision about its text" in message_of(refused)
    assert not stages.CONVERT(ws, case_id).is_well
    assert not ws.layout.image(case_id, PHASE).exists()
    assert {volume[0] for volume in stages.to_pack(ws)} == set(stages.case_ids(ws)) - {case_id}
    assert stages.REPORT(ws).is_well


def test_a_release_holds_no_masked_letter_and_says_what_was_masked(tmp_path: Path):
    ws = dataset(tmp_path / "named", "float32", people=2)
    case_id, series = suspect(ws)
    decide(ws, series, TextVerdict.MASK)
    for case in stages.case_ids(ws):
        assert all(stage(ws, case).is_well for stage in stages.CASE_STAGES)
    assert stages.PACK(ws).is_well
    answered(ws)
    assert stages.cut_release(ws, "1.0.0").is_well
    assert stages.verify_release(ws, "1.0.0").is_well
    folder = ws.layout.release("1.0.0")
    released = read_volume(folder / "ct_files" / f"{case_id}_ct_{PHASE}.nii.gz").voxels
    assert (released[:, ink("KOWALSKA")] == released.min()).all()
    with (folder / "patient_data.csv").open(newline="") as file:
        rows = {row["patient_id"]: row["text_mask"] for row in csv.DictReader(file)}
    boxes = "; ".join(search_of(ws, case_id).masked)
    assert rows == {case: boxes if case == case_id else "" for case in stages.case_ids(ws)}
    assert boxes in (folder / "PROVENANCE.json").read_text()
    assert stages.REPORT(ws).is_well
    assert boxes in ws.layout.problems_table.read_text()
