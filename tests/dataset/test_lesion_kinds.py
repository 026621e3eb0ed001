"""A release whose masks tell lesion kinds: every file that says so, checked against boxes one can tell on paper."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from liverset import open_release
from pipeline.core.config import Config
from pipeline.core.errors import ReleaseError
from pipeline.core.records import Severity
from pipeline.core.volume import LabelMap
from pipeline.dataset.export import export
from pipeline.dataset.layout import ExportFormat
from pipeline.dataset.release import cut
from pipeline.dataset.verify.release import verify
from pipeline.image.nifti import read_labels, write_nifti
from pipeline.lesions.measure import measure_lesions
from tests.dataset.conftest import box_labels, inputs_in

CYST = {"name": "cyst", "value": 7, "colour": "#112233"}
KINDS = ["HCC", CYST, "ICC"]
FIRST, SECOND = np.s_[2:4, 5:8, 7:9], np.s_[3:4, 10:12, 14:16]


def kinds_of(case_id: str, phase: str) -> tuple[int, int]:
    """Values of the first and second lesion: P0002 has HCC and a cyst, P0001 a cyst, all others no kind."""
    return {"P0002": (3, 7), "P0001": (7, 2)}.get(case_id, (2, 2))


def labels_with_kinds(case_id: str, phase: str, lesions: int) -> LabelMap:
    plain = box_labels(lesions)
    voxels = plain.voxels.copy()
    for place, value in zip((FIRST, SECOND), kinds_of(case_id, phase), strict=True):
        voxels[place] = np.where(voxels[place] == 2, value, voxels[place])
    return LabelMap(voxels, plain.geometry)


def inputs_with_kinds(folder, version="1.0.0"):
    inputs = inputs_in(folder, version)
    config = Config.model_validate({"dataset": {"name": "box-livers"}, "labels": {"lesion_kinds": KINDS}})
    volumes = []
    for volume in inputs.volumes:
        labels = labels_with_kinds(volume.case_id, volume.phase, len(volume.lesions))
        write_nifti(volume.labels, labels)
        rows = tuple(lesion.to_json() for lesion in measure_lesions(labels, scheme=config.labels.scheme))
        volumes.append(replace(volume, lesions=rows))
    return replace(inputs, config=config, volumes=tuple(volumes))


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kinds")
    return cut(inputs_with_kinds(folder), folder / "releases", leak_check=lambda _: [])


@pytest.fixture
def copy(tmp_path):
    """A release to break."""
    release = cut(inputs_with_kinds(tmp_path), tmp_path / "releases", leak_check=lambda _: [])
    release.chmod(0o755)
    for path in release.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return release


def table(path):
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def test_it_passes_its_own_checks_and_the_odd_diagnosis_is_worth_a_look(kinds):
    problems = verify(kinds)
    assert not [problem for problem in problems if problem.severity is Severity.REFUSE]
    # diagnoses: P0001 HCC, P0002 ICC; what their masks show is in kinds_of
    assert {problem.message for problem in problems if "masks show" in problem.message} == {
        "P0001: the diagnosis is HCC, but the masks show only cyst",
        "P0002: the diagnosis is ICC, but the masks show only HCC and cyst",
    }


def test_the_kinds_are_explained_in_table_colours_schema_card_and_croissant(kinds):
    assert table(kinds / "lesion_kinds.csv") == [
        {"value": "3", "name": "HCC", "name_zh": "肝细胞癌", "colour": "#e69f00", "snomed_ct": "109841003"},
        {"value": "7", "name": "cyst", "name_zh": "肝囊肿", "colour": "#112233", "snomed_ct": "85057007"},
        {"value": "5", "name": "ICC", "name_zh": "肝内胆管癌", "colour": "#56b4e9", "snomed_ct": "109842005"},
    ]
    colours = (kinds / "labels.label").read_text(encoding="utf-8")
    assert '"cyst 肝囊肿"' in colours
    assert "    7    17   34   51 " in colours
    words = "Mask of both: 0 background, 1 liver, 2 lesion of unknown kind, 3 HCC, 7 cyst, 5 ICC."
    assert json.loads((kinds / "schema.json").read_text())["properties"]["label_path"]["description"] == words
    croissant = json.loads((kinds / "croissant.json").read_text())
    assert words in [field["description"] for field in croissant["recordSet"][0]["field"]]
    assert "kind_mask_files" in [one["@id"] for one in croissant["distribution"]]
    assert "| 7 | cyst | 肝囊肿 | 85057007 |" in (kinds / "datacard.md").read_text(encoding="utf-8")


def test_binary_masks_of_kinds_and_of_all_lesions(kinds):
    names = {path.name for path in (kinds / "kind_mask_files").iterdir()}
    assert names == {
        f"{case}_mask_{phase}_{kind}.nii.gz"
        for case, kind in (("P0001", "7-cyst"), ("P0002", "3-HCC"), ("P0002", "7-cyst"))
        for phase in ("P", "C1")
    }
    release = open_release(kinds)
    for row in release.volumes.itertuples():
        labels = release.labels(row.patient_id, row.phase).voxels
        np.testing.assert_array_equal(release.mask(row.patient_id, row.phase).voxels, labels >= 2)
        np.testing.assert_array_equal(release.liver_mask(row.patient_id, row.phase).voxels, labels >= 1)
        np.testing.assert_array_equal(release.mask(row.patient_id, row.phase, kind="cyst").voxels, labels == 7)
    cyst = read_labels(kinds / "kind_mask_files" / "P0002_mask_C1_7-cyst.nii.gz").voxels
    assert cyst[SECOND].all()
    assert cyst.sum() == 4
    with pytest.raises(ReleaseError, match="its kinds: HCC, cyst, ICC"):
        release.mask("P0001", "C1", kind="FNH")


def test_figures_of_the_manifest_are_those_of_lesions_whatever_their_kind(kinds, released):
    columns = ["liver_volume_ml", "lesion_volume_ml", "lesion_count", "lesion_slices", "mask_content_sha256"]
    rows, others = (table(folder / "patient_data.csv") for folder in (kinds, released))
    assert [[row[name] for name in columns] for row in rows] == [[row[name] for name in columns] for row in others]


def test_lesions_have_the_kind_of_their_mask_or_of_the_diagnosis(kinds):
    found = {(row["patient_id"], row["phase"], row["number"]): row["kind"] for row in table(kinds / "lesions.csv")}
    assert found["P0002", "C1", "1"] == "HCC"
    assert found["P0002", "C1", "2"] == "cyst"
    assert found["P0001", "P", "1"] == "cyst"
    assert found["P0004", "P", "1"] == "HCC"  # its masks tell no kind, its diagnosis one
    assert "other_kinds" not in table(kinds / "lesions.csv")[0]


def test_classes_of_patients_come_from_their_masks(kinds):
    rows = {row["patient_id"]: row for row in table(kinds / "classification.csv")}
    assert [rows["P0002"][name] for name in ("kinds_in_mask", "HCC", "cyst", "ICC")] == ["HCC;cyst", "1", "1", "0"]
    assert [rows["P0004"][name] for name in ("kinds_in_mask", "HCC", "cyst", "ICC")] == ["", "1", "0", "0"]
    assert [rows["P0003"][name] for name in ("kinds_in_mask", "HCC", "cyst", "ICC")] == ["", "0", "0", "0"]


def test_boxes_bear_the_class_of_their_lesion(kinds):
    found = json.loads((kinds / "detection" / "coco.json").read_text())
    names = {category["id"]: category["name"] for category in found["categories"]}
    assert names == {1: "lesion", 2: "HCC", 6: "cyst", 4: "ICC"}
    images = {image["id"]: image["file_name"] for image in found["images"]}
    boxes = [box for box in found["annotations"] if "P0002_ct_C1" in images[box["image_id"]]]
    assert [(box["bbox"], names[box["category_id"]]) for box in boxes] == [
        ([7, 5, 2, 3], "HCC"),
        ([7, 5, 2, 3], "HCC"),
        ([14, 10, 2, 2], "cyst"),
    ]
    assert "kind" not in boxes[0]


def test_a_mixed_lesion_is_of_the_kind_of_most_of_its_voxels_and_says_so(tmp_path):
    inputs = inputs_with_kinds(tmp_path)
    volume = next(volume for volume in inputs.volumes if volume.case_id == "P0002")
    voxels = read_labels(volume.labels).voxels.copy()
    voxels[2, 5, 7:9] = 7
    labels = LabelMap(voxels, read_labels(volume.labels).geometry)
    write_nifti(volume.labels, labels)
    rows = tuple(lesion.to_json() for lesion in measure_lesions(labels, scheme=inputs.config.labels.scheme))
    volumes = tuple(replace(one, lesions=rows) if one is volume else one for one in inputs.volumes)
    release = cut(replace(inputs, volumes=volumes), tmp_path / "releases", leak_check=lambda _: [])
    mixed = [row for row in table(release / "lesions.csv") if row["other_kinds"]]
    assert [(row["patient_id"], row["kind"], row["other_kinds"]) for row in mixed] == [("P0002", "HCC", "cyst")]


@pytest.mark.parametrize("layout", [ExportFormat.NNUNET, ExportFormat.MSD, ExportFormat.BIDS])
def test_exports_name_every_kind(kinds, tmp_path, layout):
    out = export(kinds, tmp_path, layout)
    if layout is ExportFormat.NNUNET:
        classes = json.loads((out / "dataset.json").read_text())["labels"]
        assert classes == {"background": 0, "liver": 1, "lesion": 2, "HCC": 3, "ICC": 4, "cyst": 5}
        (labels,) = out.glob("labelsT*/P0002_C1.nii.gz")
        assert sorted(np.unique(read_labels(labels).voxels).tolist()) == [0, 1, 3, 5]
    elif layout is ExportFormat.MSD:
        assert json.loads((out / "dataset.json").read_text())["labels"]["7"] == "cyst"
    else:
        assert "7\tcyst" in (out / "derivatives" / "consensus" / "dseg.tsv").read_text()


def test_a_release_without_kinds_has_none_of_these(released, tmp_path):
    assert not (released / "kind_mask_files").exists()
    assert not (released / "lesion_kinds.csv").exists()
    config = Config.model_validate({"dataset": {"name": "box-livers"}, "labels": {"lesion_kinds": KINDS}})
    listed = cut(replace(inputs_in(tmp_path), config=config), tmp_path / "releases", leak_check=lambda _: [])
    for name in ("patient_data.csv", "schema.json", "labels.label", "detection/coco.json", "lesions.csv"):
        assert (listed / name).read_bytes() == (released / name).read_bytes(), name


BREAK = {
    "mask-differs": lambda release: write_nifti(
        release / "kind_mask_files" / "P0002_mask_C1_3-HCC.nii.gz",
        read_labels(release / "kind_mask_files" / "P0002_mask_C1_7-cyst.nii.gz"),
        for_release=True,
    ),
    "missing-file": lambda release: (release / "kind_mask_files" / "P0002_mask_C1_3-HCC.nii.gz").unlink(),
    "orphan": lambda release: (release / "kind_mask_files" / "P0002_mask_C1_5-ICC.nii.gz").write_bytes(
        (release / "kind_mask_files" / "P0002_mask_C1_3-HCC.nii.gz").read_bytes()
    ),
    "table-differs": lambda release: (release / "lesion_kinds.csv").write_text("value,name\n3,cyst\n"),
}


@pytest.mark.parametrize("code", BREAK)
def test_what_does_not_follow_from_the_masks_is_found(copy, code):
    BREAK[code](copy)
    assert code in {problem.code for problem in verify(copy) if problem.severity is Severity.REFUSE}


def test_a_value_outside_the_scheme_is_not_released(tmp_path):
    inputs = inputs_with_kinds(tmp_path)
    labels = read_labels(inputs.volumes[0].labels)
    voxels = labels.voxels.copy()
    voxels[2, 6, 7] = 4
    write_nifti(inputs.volumes[0].labels, LabelMap(voxels, labels.geometry))
    with pytest.raises(Exception, match=r"has the values \[4\]"):
        cut(inputs, tmp_path / "releases", leak_check=lambda _: [])
