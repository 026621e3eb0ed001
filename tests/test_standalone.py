"""Plain files and arrays in, results out: what Python users and the commands get, in memory and on disk alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import liverset
from pipeline.cli.leaks import leaks
from pipeline.core.errors import ConfigError, DicomError, GeometryError, LabelError, PrivacyError, StorageError
from pipeline.image.nifti import content_sha256
from pipeline.image.orientation import reoriented
from tests.dicom.scanner import Scan, body, expose

GRID = liverset.Geometry.from_axes((6, 12, 14), spacing_mm=(5, 0.8, 0.7))


def mask(width: int = 4) -> liverset.LabelMap:
    voxels = np.ones(GRID.shape, np.uint8)
    voxels[2:4, 3:7, 3 : 3 + width] = 2
    return liverset.LabelMap(voxels, GRID)


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """A CT, an MR, and a file that is no DICOM."""
    expose(tmp_path / "export" / "ct", Scan(body(5)))
    expose(tmp_path / "export" / "mr", Scan(body(5, seed=1), modality="MR"))
    (tmp_path / "export" / "readme.txt").write_text("hello", encoding="utf-8")
    return tmp_path / "export"


def test_volumes_in_memory_are_those_on_disk(export: Path, tmp_path: Path):
    written = liverset.convert(str(export), str(tmp_path / "out"))
    kept = liverset.convert(export, key=tmp_path / "out-private" / "project.key")
    table = written.to_frame().set_index("series")
    assert set(kept.volumes) == set(table.index)
    assert not written.volumes
    for name, volume in kept.volumes.items():
        unit = liverset.Unit.HU if table.modality[name] == "CT" else liverset.Unit.INTENSITY
        again = liverset.read_volume(tmp_path / "out" / table.path[name], unit)
        assert volume.unit is unit
        assert content_sha256(volume) == content_sha256(again) == table.content_sha256[name]
    assert [dict(row) for row in kept.files] == [dict(row) for row in written.files]


def test_memory_leaves_nothing_on_disk(export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    before = sorted(tmp_path.rglob("*"))
    report = liverset.convert(export)
    assert sorted(tmp_path.rglob("*")) == before
    assert set(report.to_frame()["path"]) == {""}


def test_a_clean_copy_has_no_leaks_and_the_original_has(export: Path, tmp_path: Path):
    report = liverset.deidentify(export, tmp_path / "clean")
    assert report.to_frame()["action"].value_counts().to_dict() == {"written": 5, "quarantined": 5, "set-aside": 1}
    found = liverset.find_leaks(export, tmp_path / "clean")
    assert not found
    assert list(found.to_frame().columns) == ["where", "kind"]
    planted = liverset.find_leaks(export, export)
    assert "name" in set(planted.to_frame()["kind"])
    assert "Zimmermann" not in repr(planted) + planted.to_frame().to_string()


def test_a_search_says_how_many_source_files_it_could_not_read(export: Path, tmp_path: Path):
    (tmp_path / "copy").mkdir()
    assert liverset.find_leaks(export, tmp_path / "copy").unreadable == 0
    (export / "cut.zip").write_bytes(b"PK\x03\x04 and no more")
    assert liverset.find_leaks(export, tmp_path / "copy").unreadable == 1
    result = CliRunner().invoke(leaks, [str(export), str(tmp_path / "copy")])
    assert "1 source file cannot be read" in result.output


def test_a_table_of_patients_is_searched_for_too(export: Path, tmp_path: Path):
    (tmp_path / "clinical.csv").write_text("patient_id,age\nHN-2290417,61\n", encoding="utf-8")
    assert liverset.find_leaks(tmp_path / "clinical.csv", export)


def test_a_search_for_nothing_is_never_clean(export: Path, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(PrivacyError, match="nothing was searched for"):
        liverset.find_leaks(tmp_path / "empty", export)


@pytest.mark.parametrize(
    "call",
    [
        lambda path: liverset.convert(path),
        lambda path: liverset.convert(path, path.parent / "out"),
        lambda path: liverset.deidentify(path, path.parent / "out"),
        lambda path: liverset.find_leaks(path, path.parent),
        lambda path: liverset.find_leaks(path.parent, path),
        lambda path: liverset.read_volume(path / "x.nii.gz"),
        lambda path: liverset.read_labels(path / "x.seg.nrrd"),
        lambda path: liverset.measure_lesions(path / "x.nii"),
        lambda path: liverset.agree([path / "x.nii", path / "y.nii"]),
        lambda path: liverset.agree({"R1": mask(), "R2": path / "y.nii"}),
        lambda path: liverset.segment(path / "x.nii"),
        lambda path: liverset.open_dataset(path),
        lambda path: liverset.open_release(path),
    ],
)
def test_what_is_not_there_is_named_in_plain_words_and_leaves_nothing(call: Callable[[Path], object], export: Path):
    missing = export.parent / "Mustermann"
    before = sorted(export.parent.rglob("*"))
    with pytest.raises(liverset.PipelineError) as caught:
        call(missing)
    assert str(export.parent) not in str(caught.value)
    assert sorted(export.parent.rglob("*")) == before


def test_a_source_without_dicom_is_refused(tmp_path: Path):
    (tmp_path / "Mustermann.txt").write_text("hello", encoding="utf-8")
    with pytest.raises(DicomError, match="found 1 file but no DICOM image"):
        liverset.convert(tmp_path)


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz", "X.NII.GZ"])
def test_what_is_written_is_read_again(name: str, tmp_path: Path):
    liverset.write(mask(), str(tmp_path / name))
    again = liverset.read_labels(str(tmp_path / name))
    np.testing.assert_array_equal(again.voxels, mask().voxels)
    assert again.geometry.same_space(GRID)


def test_fractions_come_back_as_fractions(tmp_path: Path):
    image = liverset.Volume(np.full(GRID.shape, 2.0, np.float32), GRID, liverset.Unit.INTENSITY)
    liverset.write(image, tmp_path / "x.nii.gz")
    again = liverset.read_volume(tmp_path / "x.nii.gz", liverset.Unit.INTENSITY)
    assert again.voxels.dtype == np.float32
    assert again.unit is liverset.Unit.INTENSITY


@pytest.mark.parametrize("name", ["x.nrrd", "x", "x.gz", "nii.gz.zip"])
def test_only_names_of_nifti_files_are_written(name: str, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"end it in \.nii or \.nii\.gz"):
        liverset.write(mask(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_raters_may_be_masks_or_paths(tmp_path: Path):
    masks = {"R1": mask(4), "R2": mask(6)}
    paths = {rater: tmp_path / f"{rater}.nii.gz" for rater in masks}
    for rater, path in paths.items():
        liverset.write(masks[rater], path)
    tables = [
        liverset.agree(given).to_frame() for given in (masks, paths, {**masks, "R2": str(paths["R2"])}, paths.values())
    ]
    for table in tables[1:]:
        pd.testing.assert_frame_equal(table, tables[0])  # but for what a header rounds away
    lesion = tables[0].set_index("structure").loc["lesion"]
    assert lesion["dice"] == pytest.approx(2 * 4 / (4 + 6))
    voxel_ml = 5 * 0.8 * 0.7 / 1000
    assert lesion[["volume_ml_a", "volume_ml_b"]].tolist() == pytest.approx([32 * voxel_ml, 48 * voxel_ml])
    assert (lesion["rater_a"], lesion["rater_b"]) == ("R1", "R2")


def test_a_vote_lists_what_it_leaves_open_as_a_table():
    consensus = liverset.vote({"R1": mask(4), "R2": mask(6)})
    assert consensus.to_frame()["rule"].tolist()[0] == "two-raters"
    assert (consensus.labels.voxels == 2).sum() == 2 * 4 * 4
    settled = liverset.vote({"R1": mask(), "R2": mask(), "R3": mask()})
    assert list(settled.to_frame().columns) == ["rule", "message"]
    assert settled.to_frame().empty
    assert len(repr(settled)) < 100


def kinds(*values: int) -> liverset.LabelMap:
    """A liver with one lesion for each value, apart from one another."""
    voxels = np.ones(GRID.shape, np.uint8)
    for n, value in enumerate(values):
        voxels[2:4, 3:7, 1 + 4 * n : 4 + 4 * n] = value
    return liverset.LabelMap(voxels, GRID)


def test_lesion_kinds_have_their_names():
    masks = {"R1": kinds(3, 4, 2), "R2": kinds(3, 9, 4)}
    listed = ["HCC", "cyst", {"name": "abscess", "value": 9}]
    found = liverset.agree(masks, lesion_kinds=iter(listed))
    structures = {"whole_liver", "parenchyma", "lesion"}
    assert set(found.to_frame()["structure"]) == structures | {"HCC", "cyst", "abscess"}
    assert set(liverset.agree(masks).to_frame()["structure"]) == structures | {"3", "4", "9"}
    assert [lesion.kinds for lesion in found.lesions] == [("HCC", "HCC"), ("cyst", "abscess"), ("", "cyst")]
    voted = liverset.vote({**masks, "R3": kinds(3, 4, 4)}, lesion_kinds=listed)
    assert [vote.kind for vote in voted.kinds.votes] == ["HCC", "cyst", "cyst"]
    np.testing.assert_array_equal(voted.labels.voxels, kinds(3, 4, 4).voxels)
    measured = liverset.measure_lesions(kinds(3, 4, 9), lesion_kinds=listed).to_frame()
    assert measured["kinds"].tolist() == [["HCC"], ["cyst"], ["abscess"]]


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        (["HCC", "hcc"], "lesion kind hcc: the name means something else already; choose another"),
        ([{"name": "HCC", "value": 2}], "lesion_kinds.*value: Input should be greater than or equal to 3"),
        ([{"name": "HCC", "color": "red"}], "lesion_kinds.*unknown key"),
        ("HCC", "lesion_kinds: "),
    ],
)
def test_impossible_lesion_kinds_are_named(listed: list[object], message: str):
    with pytest.raises(ConfigError, match=f"^{message}"):
        liverset.agree({"R1": mask()}, lesion_kinds=listed)


def binary(labels: liverset.LabelMap, value: int = 1) -> liverset.LabelMap:
    return liverset.LabelMap((labels.voxels == 2).astype(np.uint8) * np.uint8(value), labels.geometry)


@pytest.mark.parametrize("value", [1, 2, 255])
def test_binary_masks_are_lesions_where_they_are_meant_so(value: int, tmp_path: Path):
    wanted = liverset.agree({"R1": mask(4), "R2": mask(6)}).to_frame().set_index("structure").loc[["lesion"]]
    masks = {"R1": binary(mask(4), value), "R2": binary(mask(6), value)}
    for rater, labels in masks.items():
        liverset.write(labels, tmp_path / f"{rater}.nii.gz")
    paths = {rater: tmp_path / f"{rater}.nii.gz" for rater in masks}
    for given in (masks, paths, paths.values()):
        table = liverset.agree(given, as_="lesion").to_frame().set_index("structure")
        pd.testing.assert_frame_equal(table, wanted)
        voted = liverset.vote(given, as_="lesion").labels.voxels
        assert (voted == 2).sum() == 2 * 4 * 4
        assert set(np.unique(voted)) == {0, 2}
    (lesion,) = liverset.measure_lesions(masks["R1"], as_="lesion")
    assert lesion.voxels == 2 * 4 * 4
    assert np.isnan(lesion.distance_to_surface_mm)  # no liver says where its surface is


def test_labels_of_several_things_are_no_binary_mask():
    with pytest.raises(LabelError, match="the mask R1 holds the values"):
        liverset.agree({"R1": mask(), "R2": mask()}, as_="lesion")
    with pytest.raises(ConfigError, match="as_ is 'lesions', expected one of labels, lesion"):
        liverset.measure_lesions(mask(), as_="lesions")


def test_the_image_is_the_grid_of_cropped_and_turned_masks(tmp_path: Path):
    """One rater's mask is cropped to the lesion, the other's lies the other way round."""
    image = liverset.Volume(np.zeros(GRID.shape, np.int16), GRID)
    liverset.write(image, tmp_path / "image.nii.gz")
    cropped = liverset.LabelMap(mask().voxels[2:4, 3:7, 3:7], GRID.cropped((2, 3, 3), (2, 4, 4)))
    masks = {"R1": cropped, "R2": reoriented(mask(), "LPI")}
    for rater, labels in masks.items():
        liverset.write(labels, tmp_path / f"{rater}.nii.gz")
    files = [tmp_path / f"{rater}.nii.gz" for rater in masks]
    for given in (masks, files):
        for of in (image, tmp_path / "image.nii.gz"):
            voted = liverset.vote(given, image=of)
            assert voted.labels.geometry.same_space(GRID)
            np.testing.assert_array_equal(voted.labels.voxels == 2, mask().voxels == 2)
            found = liverset.agree(given, image=of)
            assert (found.lesions[0].first_slice, found.lesions[0].last_slice) == (2, 3)
    small = liverset.Volume(np.zeros((3, 12, 14), np.int16), GRID.cropped((0, 0, 0), (3, 12, 14)))
    with pytest.raises(GeometryError, match="outside the image"):
        liverset.agree(masks, image=small)


@pytest.mark.parametrize("settings", [{"ties": "left"}, {"method": "guess"}])
def test_an_impossible_setting_is_named(settings: dict[str, str]):
    with pytest.raises(ConfigError, match=f"^{next(iter(settings))}: "):
        liverset.vote({"R1": mask()}, **settings)


def test_lesions_are_a_table_with_every_number_in_a_column_of_its_own(tmp_path: Path):
    image = liverset.Volume(np.full(GRID.shape, 60, np.int16), GRID)
    lesions = liverset.measure_lesions(mask(), image)
    row = lesions.to_frame().iloc[0]
    assert len(lesions) == len(lesions.to_frame()) == 1
    assert [row[f"box_{end}_{axis}"] for end in ("start", "shape") for axis in ("slice", "row", "column")] == [
        *(2, 3, 3),
        *(2, 4, 4),
    ]
    assert [row[f"centroid_lps_mm_{axis}"] for axis in "xyz"] == pytest.approx([4.5 * 0.7, 4.5 * 0.8, 2.5 * 5])
    assert row["appearance_whole_mean"] == 60
    assert all(np.isscalar(value) for value in row)
    liverset.write(mask(), tmp_path / "mask.nii.gz")
    liverset.write(image, tmp_path / "image.nii.gz")
    assert liverset.measure_lesions(tmp_path / "mask.nii.gz", str(tmp_path / "image.nii.gz")).to_frame().loc[
        0, "volume_ml"
    ] == pytest.approx(row["volume_ml"])
    none = liverset.measure_lesions(liverset.LabelMap(np.ones(GRID.shape, np.uint8), GRID)).to_frame()
    assert none.empty
    assert "volume_ml" in none


def test_one_image_and_a_folder_of_files_get_the_same_labels(tmp_path: Path):
    image = liverset.Volume(
        body(8, 16, 16).astype(np.int16), liverset.Geometry.from_axes((8, 16, 16), spacing_mm=(5, 4, 4))
    )
    liverset.write(image, tmp_path / "a.nii.gz")
    report = liverset.segment([tmp_path / "a.nii.gz"], tmp_path / "out")
    assert report.to_frame()["outcome"].tolist() == ["done"]
    of_file = liverset.read_labels(tmp_path / "out" / "a.nii.gz")
    for given in (image, tmp_path / "a.nii.gz"):
        np.testing.assert_array_equal(liverset.segment(given).voxels, of_file.voxels)


@pytest.mark.parametrize(
    "call",
    [
        lambda image: liverset.segment("a.nii.gz", "out"),
        lambda image: liverset.segment(image, "out"),
        lambda image: liverset.segment(["a.nii.gz"]),
        lambda image: liverset.segment(image, device="gpu"),
        lambda image: liverset.agree("a.nii.gz"),
        lambda image: liverset.window(image, width_hu=0),
    ],
)
def test_wrong_use_says_what_is_needed(call: Callable[[liverset.Volume], object]):
    with pytest.raises(ConfigError):
        call(liverset.Volume(np.zeros(GRID.shape, np.int16), GRID))


def test_faults_of_content_keep_their_own_kind(tmp_path: Path):
    moved = liverset.LabelMap(mask().voxels, liverset.Geometry.from_axes(GRID.shape, spacing_mm=(5, 0.8, 0.8)))
    with pytest.raises(GeometryError):
        liverset.agree({"R1": mask(), "R2": moved})
    with pytest.raises(LabelError):
        liverset.agree({})
    (tmp_path / "x.nii.gz").write_bytes(b"no image")
    with pytest.raises(StorageError):
        liverset.read_volume(tmp_path / "x.nii.gz")
