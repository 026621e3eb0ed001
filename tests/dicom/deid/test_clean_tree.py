"""A tree of files comes out clean, renamed and accounted for."""

from __future__ import annotations

import csv
from datetime import date
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image, ImageDraw, ImageFont

from pipeline.core.boxes import Box
from pipeline.core.config import DeidentificationConfig, Modality
from pipeline.core.decisions import Decision, Decisions, TextDecision, TextVerdict
from pipeline.core.errors import PrivacyError
from pipeline.core.pseudonyms import Pseudonyms
from pipeline.dicom.deid.clean_tree import CleanTreeReport, deidentify_tree
from pipeline.leaks.search import harvest, search
from tests.dicom.deid.torture import SHAPE, Planter, Torture, image, save
from tests.dicom.scanner import Scan, dataset_of, set_stored
from tests.places import SHARED

KEYS = Pseudonyms(bytes(range(32)))
CONFIG = DeidentificationConfig()


def clean(source: Path, out: Path, **kwargs: object) -> CleanTreeReport:
    return deidentify_tree([source], out, KEYS, CONFIG, **kwargs)  # type: ignore[arg-type]


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "report.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def planter(tmp_path) -> Planter:
    (tmp_path / "source").mkdir()
    return Planter(Torture(tmp_path / "source"), 1)


def test_two_studies_of_one_patient_keep_their_distance_and_stay_one_patient(planter, tmp_path):
    source, out = tmp_path / "source", tmp_path / "out"
    for number, day in enumerate(("20240115", "20240301")):
        dataset = image(planter, 1)
        dataset.PatientID = " mrn7 " if number else "MRN7"
        dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = day
        save(dataset, source / str(number))
    assert clean(source, out).counts() == {"written": 2}
    made = [pydicom.dcmread(file) for file in sorted(out.rglob("*.dcm"))]
    days = sorted(date.fromisoformat(f"{one.StudyDate[:4]}-{one.StudyDate[4:6]}-{one.StudyDate[6:]}") for one in made)
    assert (days[1] - days[0]).days == 46
    assert days[0].weekday() == date(2024, 1, 15).weekday()
    assert len({one.PatientID for one in made}) == 1
    assert len({one.StudyInstanceUID for one in made}) == 2


def test_references_between_files_still_meet(planter, tmp_path):
    source, out = tmp_path / "source", tmp_path / "out"
    first, second = image(planter, 1), image(planter, 1)
    for dataset in (first, second):
        dataset.SeriesInstanceUID, dataset.StudyInstanceUID, dataset.PatientID = "1.2.3.4.5", "1.2.3.4", "7777777"
    item = pydicom.Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = first.SOPClassUID, first.SOPInstanceUID
    second.ReferencedImageSequence = pydicom.Sequence([item])
    save(first, source / "a")
    save(second, source / "b")
    clean(source, out)
    made = [pydicom.dcmread(file) for file in sorted(out.rglob("*.dcm"))]
    referring = next(one for one in made if "ReferencedImageSequence" in one)
    assert referring.ReferencedImageSequence[0].ReferencedSOPInstanceUID in {one.SOPInstanceUID for one in made}


def test_study_with_two_patients_stays_out(planter, tmp_path):
    source, out = tmp_path / "source", tmp_path / "out"
    for number in range(2):
        dataset = image(planter, number)
        dataset.StudyInstanceUID = "1.2.3.4"
        save(dataset, source / str(number))
    report = clean(source, out)
    assert report.counts() == {"mixed-patients": 2}
    assert not report.is_clean


def test_second_copy_of_an_image_stays_out(planter, tmp_path):
    source, out = tmp_path / "source", tmp_path / "out"
    dataset = image(planter, 1)
    save(dataset, source / "a")
    save(dataset, source / "b")
    assert clean(source, out).counts() == {"duplicate": 1, "written": 1}


def test_every_file_found_has_its_row(planter, tmp_path):
    source, out, private = tmp_path / "source", tmp_path / "out", tmp_path / "private"
    save(image(planter, 1), source / "a")
    (source / "notes.txt").write_text("not DICOM at all")
    (source / "empty").write_bytes(b"")
    clean(source, out, private=private)
    assert [row["file"] for row in rows(private)] == ["1", "2", "3"]
    assert len(rows(out)) == 3
    assert {row["action"] for row in rows(out)} == {"written", "set-aside"}


def test_cut_image_waits_for_a_person(planter, tmp_path):
    source, out = tmp_path / "source", tmp_path / "out"
    save(image(planter, 1), source / "a")
    content = (source / "a").read_bytes()
    (source / "a").write_bytes(content[:-5000])
    report = clean(source, out)
    assert report.counts() == {"unreadable": 1}
    assert not report.is_clean


def test_montage_of_a_suspect_goes_to_the_private_folder_only(planter, tmp_path):
    source, out, private = tmp_path / "source", tmp_path / "out", tmp_path / "private"
    dataset = image(planter, 1)
    values = np.frombuffer(dataset.PixelData, "<u2").reshape(128, 128).copy()
    for column in range(10, 100, 10):
        values[10:22, column : column + 2] = values[10:12, column : column + 7] = 4095
    dataset.PixelData = values.tobytes()
    save(dataset, source / "a")
    assert clean(source, out, private=private).counts() == {"text-suspected": 1}
    assert sorted(file.suffix for file in private.iterdir()) == [".csv", ".png"]
    assert private.stat().st_mode & 0o077 == 0
    assert list(out.rglob("*.png")) == list(out.rglob("*.dcm")) == []


def test_same_source_gives_the_same_tree(planter, tmp_path):
    save(image(planter, 1), tmp_path / "source" / "a")
    for name in ("one", "two"):
        clean(tmp_path / "source", tmp_path / name)
    one, two = (
        {f.relative_to(o): f.read_bytes() for f in o.rglob("*.dcm")} for o in (tmp_path / "one", tmp_path / "two")
    )
    assert one == two


@pytest.mark.parametrize(
    ("folder", "modality", "written"),
    [
        ("pseudo_phi", Modality.MR, 3),
        ("burned_in_phi", Modality.CT, 0),
        ("deid_small", Modality.CT, 1),
        ("deidentification_method", Modality.MR, 4),
        ("body_ct/example_ct_dicom", Modality.CT, 20),
    ],
)
def test_real_files_come_through_without_a_leak(tmp_path, folder, modality, written):
    if not SHARED.is_dir():
        pytest.skip("the shared real files are not here")
    report = clean(SHARED / folder, tmp_path / "out", modality=modality, allow_faces=True)
    assert report.counts().get("written", 0) == written
    assert search(harvest([SHARED / folder]), [tmp_path / "out"]) == ()


def test_no_table_beside_the_copies_lists_pseudonyms_in_the_order_of_names(planter, tmp_path):
    source, out, private = tmp_path / "source", tmp_path / "out", tmp_path / "out-private"
    for number, name in enumerate(["Adler", "Berger", "Cermak", "Dorfer", "Egger", "Fuchs", "Gruber", "Hofer"]):
        dataset = image(planter, 1)
        dataset.PatientName, dataset.PatientID = f"{name}^Jo", f"9{(number * 7) % 10}{number}41"
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"1.2.3.{number + 1}", f"1.2.4.{number + 1}"
        (source / f"{name}_Jo").mkdir()
        save(dataset, source / f"{name}_Jo" / "1")
    assert clean(source, out, private=private).counts() == {"written": 8}
    listed = [row["output"].partition("/")[0] for row in rows(out)]
    by_name = [row["output"].partition("/")[0] for row in rows(private)]
    assert listed == sorted(listed) != by_name
    assert sorted(by_name) == listed
    assert "file" not in rows(out)[0]
    assert (private / "report.csv").stat().st_mode & 0o777 == 0o600
    written = sorted((file.stat().st_mtime_ns, file) for file in out.rglob("*.dcm"))
    assert [file.relative_to(out).parts[0] for _, file in written] == listed, "also by the times of the files"


def several_frames(frames: np.ndarray) -> pydicom.Dataset:
    """An object of several frames that says nothing of the single ones."""
    dataset = dataset_of(Scan(frames, modality="MR"), 0, intercept=0.0)
    dataset.NumberOfFrames = len(frames)
    set_stored(dataset, frames)
    return dataset


def expose_object(dataset: pydicom.Dataset, folder: Path) -> None:
    folder.mkdir()
    dataset.save_as(folder / "frames", enforce_file_format=True)


def test_every_frame_comes_out_of_an_object_that_says_nothing_of_its_frames(tmp_path):
    frames = np.random.default_rng(1).integers(0, 4096, (10, 64, 64))
    expose_object(several_frames(frames), tmp_path / "source")
    report = clean(tmp_path / "source", tmp_path / "out", modality=Modality.MR)
    assert report.counts() == {"written": 1}
    (written,) = (tmp_path / "out").rglob("*.dcm")
    assert np.array_equal(pydicom.dcmread(written).pixel_array, frames)


def test_text_on_one_of_several_frames_keeps_the_object_out(tmp_path):
    named_frames(tmp_path / "source")
    report = clean(tmp_path / "source", tmp_path / "out", modality=Modality.MR)
    assert report.counts() == {"text-suspected": 1}


def named_frames(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """An object of ten frames with letters on the eighth; its stored values, and where the letters stand."""
    frames = np.random.default_rng(1).integers(0, 400, (10, 96, 96))
    page = Image.new("1", (96, 96))
    ImageDraw.Draw(page).text((5, 5), "KOWALSKA", fill=1, font=ImageFont.load_default(12))
    frames[7][np.asarray(page)] = 3000
    expose_object(several_frames(frames), folder)
    return frames, np.asarray(page)


def decided(verdict: TextVerdict, series: str, boxes: tuple[Box, ...] = ()) -> Decisions:
    use = {series: Decision(None, "R9")} if verdict is TextVerdict.EXCLUDE else {}
    return Decisions(use, {series: TextDecision(verdict, "R9", boxes)})


def test_a_person_who_looked_releases_masks_or_excludes_a_series(tmp_path):
    source, private = tmp_path / "source", tmp_path / "private"
    frames, letters = named_frames(source)
    (suspect,) = clean(source, tmp_path / "first", modality=Modality.MR, private=private).suspects
    assert (private / suspect.picture).is_file()
    (box,) = suspect.boxes
    assert box.slices == (7, 8)
    covered = np.zeros(frames.shape, np.bool_)
    covered[7, slice(*box.rows), slice(*box.columns)] = True
    assert covered[7][letters].all()
    for verdict, code in (("publish", "written"), ("mask", "text-masked"), ("exclude", "rejected")):
        out = tmp_path / verdict
        decisions = decided(TextVerdict(verdict), suspect.series)
        report = clean(source, out, modality=Modality.MR, private=private, decisions=decisions)
        assert report.counts() == {code: 1}
        assert report.is_clean
        made = [pydicom.dcmread(file) for file in out.rglob("*.dcm")]
        assert len(made) == (verdict != "exclude")
        for dataset in made:
            codes = [item.CodeValue for item in dataset.DeidentificationMethodCodeSequence]
            assert "113101" in codes
            blank = covered if verdict == "mask" else np.zeros_like(covered)
            assert np.array_equal(dataset.pixel_array[~blank], frames[~blank])
            assert (dataset.pixel_array[blank] == frames[7].min()).all()


def test_a_decision_holds_for_one_series_of_one_study_alone(tmp_path):
    for number in range(3):
        frames, letters = np.random.default_rng(number).integers(0, 400, (96, 96)), Image.new("1", (96, 96))
        ImageDraw.Draw(letters).text((5, 5), "KOWALSKA", fill=1, font=ImageFont.load_default(12))
        frames[np.asarray(letters)] = 3000
        dataset = dataset_of(Scan(frames[None], study_uid=f"1.2.{number}", series_uid="", frame_uid=""), 0, intercept=0)
        save(dataset, tmp_path / f"source{number}")
    sources = [tmp_path / f"source{number}" for number in range(3)]
    names = [one.series for one in deidentify_tree(sources, tmp_path / "out", KEYS, CONFIG).suspects]
    assert len(set(names)) == 3
    report = deidentify_tree(sources, tmp_path / "out", KEYS, CONFIG, decisions=decided(TextVerdict.EXCLUDE, names[1]))
    assert report.counts() == {"rejected": 1, "text-suspected": 2}


def test_boxes_by_hand_that_leave_letters_keep_the_series_out(tmp_path):
    named_frames(tmp_path / "source")
    (suspect,) = clean(tmp_path / "source", tmp_path / "out", modality=Modality.MR).suspects
    left, covered = Box((60, 90), (0, 96)), Box((0, 25), (0, 96), (7, 8))
    for box, code in ((left, "text-suspected"), (covered, "text-masked")):
        decisions = decided(TextVerdict.MASK, suspect.series, (box,))
        report = clean(tmp_path / "source", tmp_path / code, modality=Modality.MR, decisions=decisions)
        assert report.counts() == {code: 1}
    assert list((tmp_path / "text-masked").rglob("*.dcm"))
    with pytest.raises(PrivacyError, match=f"series {suspect.series}: the box .* does not lie within 10 slices"):
        clean(
            tmp_path / "source",
            tmp_path / "text-masked",
            modality=Modality.MR,
            decisions=decided(TextVerdict.MASK, suspect.series, (Box((0, 97), (0, 9)),)),
        )
    assert not list((tmp_path / "text-masked").rglob("*.dcm"))


@pytest.mark.parametrize("promised", [9, 11])
def test_an_object_that_holds_other_frames_than_it_promises_stays_out(tmp_path, promised):
    frames = np.random.default_rng(1).integers(0, 4096, (10, 64, 64))
    dataset = several_frames(frames)
    dataset.NumberOfFrames = promised
    expose_object(dataset, tmp_path / "source")
    assert clean(tmp_path / "source", tmp_path / "out", modality=Modality.MR).counts().get("written", 0) == 0
    assert not list((tmp_path / "out").rglob("*.dcm"))


def vault() -> np.ndarray:
    """Stored values of a slice through a skull, as `image` rescales them."""
    rows, columns = (np.mgrid[: SHAPE[0], : SHAPE[1]] - 63.5) * 0.75
    from_axis_mm = np.hypot(rows, columns)
    noise = np.random.default_rng(0).normal(0, 5, SHAPE)
    return (np.where(from_axis_mm < 40, 1060, np.where(from_axis_mm < 46, 2100, 30)) + noise).clip(0).astype("<u2")


@pytest.mark.parametrize("coded", [True, False], ids=["coded", "seen"])
def test_a_head_stays_out_unless_it_is_asked_for_and_is_marked_then(planter, tmp_path, coded):
    source, out = tmp_path / "source", tmp_path / "out"
    trunk, head = image(planter, 1), image(planter, 2)
    if coded:
        head.BodyPartExamined = "HEAD"
    else:
        head.PixelData = vault().tobytes()
    save(trunk, source / "trunk")
    save(head, source / "head")
    report = clean(source, out)
    assert report.counts() == {"face": 1, "written": 1}
    assert not report.is_clean
    assert clean(source, tmp_path / "all", allow_faces=True).counts() == {"written": 2}
    told = {pydicom.dcmread(file).RecognizableVisualFeatures for file in (tmp_path / "all").rglob("*.dcm")}
    assert told == {"YES", "NO"}
    assert [pydicom.dcmread(file).RecognizableVisualFeatures for file in out.rglob("*.dcm")] == ["NO"]
