"""The cohort on disk holds what its truth says, read back by other people's readers."""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from scipy import ndimage

from pipeline.core.config import load_config
from pipeline.core.files import digest
from pipeline.core.geometry import Geometry
from pipeline.core.records import Phase
from pipeline.core.volume import Volume
from pipeline.image.nifti import content_sha256
from pipeline.synth.cohort import make_cohort
from pipeline.synth.demo import demo_config

FIELDS = (
    "SeriesInstanceUID",
    "SOPInstanceUID",
    "PatientID",
    "PatientName",
    "Manufacturer",
    "InstitutionName",
    "SeriesDescription",
    "SliceThickness",
    "Modality",
    "ImageType",
    "ImagePositionPatient",
    "SpecificCharacterSet",
)


TYPE_ONE = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "Modality",
    "ImageType",
    "Rows",
    "Columns",
    "BitsAllocated",
    "PhotometricInterpretation",
)
"""Attributes that an image must have (PS3.3, type 1 of the modules of a CT Image)."""


@dataclass(frozen=True)
class Found:
    """One readable file: where it lies and what pydicom makes of its header."""

    path: Path
    relative: str
    header: pydicom.Dataset


@pytest.fixture(scope="module")
def found(cohort):
    """All files that pydicom reads, except those the truth sets aside."""
    folder, truth = cohort
    aside = {item.path for item in truth.set_aside}
    paths = sorted(path for path in (folder / "dicom").rglob("*") if path.is_file())
    relative = {path: path.relative_to(folder).as_posix() for path in paths}
    return [
        Found(path, relative[path], pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(FIELDS)))
        for path in paths
        if relative[path] not in aside
    ]


@pytest.fixture(scope="module")
def series_files(found):
    groups = defaultdict(list)
    for item in found:
        groups[item.header.SeriesInstanceUID].append(item)
    return groups


def volume_by_simpleitk(items: list[Found]) -> Volume:
    """An independent conversion: ITK reads the slices in order of position, air where the scanner padded."""
    ordered = sorted(items, key=lambda item: float(item.header.ImagePositionPatient[2]))
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(item.path) for item in ordered])
    image = reader.Execute()
    voxels = np.maximum(sitk.GetArrayFromImage(image), -1024).astype(np.int16)
    geometry = Geometry.from_axes(voxels.shape, spacing_mm=image.GetSpacing()[::-1], origin_lps_mm=image.GetOrigin())
    return Volume(voxels, geometry)


def test_every_file_is_a_slice_or_set_aside(cohort, series_files):
    folder, truth = cohort
    on_disk = sum(path.is_file() for path in (folder / "dicom").rglob("*"))
    assert on_disk == truth.file_count
    counted = {series.series_uid: series.slice_count for series in truth.series}
    assert counted == {uid: len(items) for uid, items in series_files.items()}
    assert sum(counted.values()) + len(truth.set_aside) == on_disk


def test_twelve_patients_are_kept_with_four_phases_each(cohort):
    _, truth = cohort
    phases = defaultdict(list)
    for volume in truth.volumes:
        phases[volume.patient_id].append(volume.phase)
    kept = [patient.patient_id for patient in truth.patients if patient.kept]
    assert len(kept) == 12
    assert sorted(phases) == sorted(kept)
    assert all(found == [Phase.PLAIN, Phase.ARTERIAL, Phase.PORTAL_VENOUS, Phase.DELAYED] for found in phases.values())


@pytest.mark.slow
def test_every_kept_volume_is_what_simpleitk_converts(cohort, series_files):
    _, truth = cohort
    for volume in truth.volumes:
        assert content_sha256(volume_by_simpleitk(series_files[volume.series_uid])) == volume.image_sha256


def test_a_volume_of_each_scanner_and_codec_is_what_simpleitk_converts(cohort, series_files):
    _, truth = cohort
    for number in (1, 2, 7, 10):  # signed, unsigned, RLE, JPEG 2000
        volume = truth.volumes[4 * (number - 1)]
        assert content_sha256(volume_by_simpleitk(series_files[volume.series_uid])) == volume.image_sha256


def test_two_vendors_write_different_headers(found):
    charsets = {(item.header.Manufacturer, str(item.header.SpecificCharacterSet)) for item in found}
    assert charsets == {("GE MEDICAL SYSTEMS", "ISO_IR 100"), ("SIEMENS", "GB18030")}
    assert any("欧阳" in str(item.header.PatientName) for item in found) or any(
        "司徒" in str(item.header.PatientName) for item in found
    )
    assert any("门静脉期" in item.header.SeriesDescription for item in found)


def test_implicit_explicit_and_compressed_transfer_syntaxes_occur(found):
    names = {item.header.file_meta.TransferSyntaxUID.name for item in found}
    assert names == {
        "Implicit VR Little Endian",
        "Explicit VR Little Endian",
        "RLE Lossless",
        "JPEG 2000 Image Compression (Lossless Only)",
    }


def test_one_site_gives_no_ending_and_the_other_names_patients_in_folders(found):
    assert all(not item.path.suffix for item in found if item.relative.startswith("dicom/site-a/"))
    names = {str(item.header.PatientName).split("=")[0].replace("^", "_") for item in found}
    assert any(any(name in item.relative for name in names) for item in found if "site-b" in item.relative)


def test_every_planted_fault_is_there_once_at_least(cohort):
    _, truth = cohort
    assert {rule for series in truth.series for rule in series.rules} == {
        "missing-slices",
        "slice-thickness",
        "slice-spacing",
        "not-preferred",
        "image-type",
        "not-axial",
        "not-original",
    }
    assert {rule for patient in truth.patients for rule in patient.rules} == {
        "phases-complete",
        "age",
        "diagnosis",
        "clinical-missing",
    }
    assert {item.code for item in truth.set_aside} >= {
        "localizer",
        "duplicate",
        "dose-report",
        "secondary-capture",
        "not-dicom",
        "truncated",
        "unreadable",
    }


def test_a_gap_is_a_gap_in_positions(cohort, series_files):
    _, truth = cohort
    for series in truth.series:
        heights = sorted(float(item.header.ImagePositionPatient[2]) for item in series_files[series.series_uid])
        steps = np.diff(heights)
        assert ("missing-slices" in series.rules) == (steps.max() > 1.5 * steps.min())


def test_one_patient_was_scanned_before_on_another_day(series_files):
    days = defaultdict(set)
    for items in series_files.values():
        header = pydicom.dcmread(items[0].path, stop_before_pixels=True)
        days[header.PatientID].add((header.StudyInstanceUID, header.StudyDate))
    assert sorted(len(studies) for studies in days.values()) == [1] * 16 + [2]
    earlier, later = sorted(date for _, date in max(days.values(), key=len))
    assert earlier < later


def test_a_coronal_reformat_shows_the_same_body(cohort, series_files):
    """By ITK's reading of both, its voxels lie where the axial series has the like: only the noise differs."""
    _, truth = cohort
    reformat = next(series for series in truth.series if "not-axial" in series.rules)
    axial = next(
        series
        for series in truth.series
        if (series.patient_id, series.phase, series.kept) == (reformat.patient_id, reformat.phase, True)
    )
    images = []
    for series, axis in ((reformat, 1), (axial, 2)):
        items = sorted(series_files[series.series_uid], key=lambda item: float(item.header.ImagePositionPatient[axis]))
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames([str(item.path) for item in items])
        images.append(reader.Execute())
    laid = sitk.Resample(images[0], images[1], sitk.Transform(), sitk.sitkNearestNeighbor, -1024)
    apart = np.abs(sitk.GetArrayFromImage(laid).astype(int) - sitk.GetArrayFromImage(images[1]))
    assert np.median(apart) < 25
    assert np.percentile(apart, 99) < 80


def test_copies_are_the_same_object(cohort, found):
    folder, truth = cohort
    objects = {item.header.SOPInstanceUID for item in found}
    copies = [item.path for item in truth.set_aside if item.code in ("duplicate", "truncated")]
    assert len(copies) == 4
    assert all(pydicom.dcmread(folder / path).SOPInstanceUID in objects for path in copies)


@pytest.mark.slow
def test_headers_hold_only_what_the_standard_allows(cohort, monkeypatch):
    """Every value of one file of each series and object passes pydicom's strict check of its VR."""
    monkeypatch.setattr(pydicom.config.settings, "reading_validation_mode", pydicom.config.RAISE)
    folder, truth = cohort
    broken = {item.path for item in truth.set_aside if item.code in ("not-dicom", "empty", "unreadable", "truncated")}
    paths = [path for path in sorted((folder / "dicom").rglob("*")) if path.is_file()]
    firsts = {path.parent: path for path in paths if path.relative_to(folder).as_posix() not in broken}
    for path in firsts.values():
        dataset = pydicom.dcmread(path)
        assert len(list(dataset.iterall())) > 50
        missing = [keyword for keyword in TYPE_ONE if keyword not in dataset]
        assert not missing or "PixelData" not in dataset


def test_no_object_is_there_twice_besides(found):
    objects = [item.header.SOPInstanceUID for item in found]
    assert len(set(objects)) == len(objects)


def test_the_clinical_table_knows_every_patient_but_one(cohort):
    folder, truth = cohort
    with (folder / "clinical.csv").open(encoding="utf-8") as file:
        rows = {row["patient_id"]: row for row in csv.DictReader(file)}
    unknown = [patient for patient in truth.patients if patient.patient_id not in rows]
    assert [patient.rules for patient in unknown] == [("clinical-missing",)]
    for patient in truth.patients:
        if patient.patient_id in rows:
            assert rows[patient.patient_id]["diagnosis"] == patient.diagnosis
            assert int(rows[patient.patient_id]["age"]) == patient.age_years


def test_every_secret_is_planted(cohort):
    """Each is in some file's bytes, in some name, or in the table: nothing is looked for that is not there."""
    folder, truth = cohort
    files = [path for path in folder.rglob("*") if path.is_file()]
    first_slices = {path.parent: path for path in sorted(files)}
    content = b"".join(path.read_bytes() for path in first_slices.values())
    for secret in truth.secrets:
        assert any(secret.encode(charset, "ignore") in content for charset in ("latin-1", "gb18030")), secret


def test_planted_lesions_are_the_components_of_the_masks(cohort):
    _, truth = cohort
    for volume in truth.volumes:
        labels = volume.labels.voxels
        found, count = ndimage.label(labels == 2, structure=np.ones((3, 3, 3)))
        assert count == len(volume.lesions)
        assert sorted(np.bincount(found.ravel())[1:]) == sorted(lesion.voxels for lesion in volume.lesions)
        for lesion in volume.lesions:
            z, y, x = np.round(volume.labels.geometry.to_index(lesion.centre_lps_mm)).astype(int)
            assert labels[z, y, x] == 2


def test_studies_lie_on_different_days(found):
    firsts = {item.header.PatientID: item.path for item in found}
    days = [pydicom.dcmread(path, stop_before_pixels=True).StudyDate for path in firsts.values()]
    assert len(set(days)) == len(days) == 17


@pytest.mark.slow
def test_a_second_writing_changes_only_what_was_spoilt(cohort):
    folder, truth = cohort
    paths = [path for path in sorted((folder / "dicom").rglob("*")) if path.is_file()]
    before = {path: path.stat().st_mtime_ns for path in paths}
    spoilt, content = paths[100], paths[100].read_bytes()
    spoilt.write_bytes(b"overwritten by accident")
    again = make_cohort(folder)
    assert again.to_json() == truth.to_json()
    assert spoilt.read_bytes() == content
    assert [path for path in paths if path.stat().st_mtime_ns != before[path]] == [spoilt]


@pytest.mark.slow
def test_another_seed_gives_other_people_and_other_volumes(cohort, tmp_path):
    _, truth = cohort
    other = make_cohort(tmp_path, seed=8)
    assert not {patient.patient_id for patient in truth.patients} & {patient.patient_id for patient in other.patients}
    assert not truth.labels_of_image.keys() & other.labels_of_image.keys()
    assert [patient.rules for patient in other.patients] == [patient.rules for patient in truth.patients]
    for volume in other.volumes:
        _, count = ndimage.label(volume.labels.voxels == 2, structure=np.ones((3, 3, 3)))
        assert count == len(volume.lesions)


def test_the_whole_cohort_is_small(cohort):
    folder, _ = cohort
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 80_000_000


def test_the_demo_configuration_is_valid_and_admits_the_kept(cohort, tmp_path):
    _, truth = cohort
    path = tmp_path / "dataset.toml"
    path.write_text(demo_config(), encoding="utf-8")
    config = load_config(path)
    for patient in truth.patients:
        if patient.kept:
            assert patient.diagnosis in config.inclusion.diagnosis
            assert patient.age_years >= config.inclusion.min_age_years
    assert config.review.per_case == len(config.review.raters) == 3
    assert list(config.phases.sites) == ["Saint Florian General Hospital"]


def test_the_truth_is_json(cohort):
    import json

    _, truth = cohort
    content = json.loads(json.dumps(truth.to_json(), allow_nan=False))
    assert len(content["volumes"]) == 48
    assert len({volume["image_sha256"] for volume in content["volumes"]}) == 48


def test_the_cohort_is_the_one_recorded_here(cohort):
    """Recorded once: on another CPU every series, volume, mask and fault must be the same."""
    _, truth = cohort
    assert digest(truth.to_json()) == "f90779737d6ec5966b3d6309dc38bb0b059e76b4ffa065f565e72f7f0ca33607"
