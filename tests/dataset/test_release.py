"""Releases of a small cohort: the same bytes again, nothing undecided, nothing leaked, nothing ever changed."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.cohort.inclusion import FlowStep
from pipeline.core.config import DeidentificationConfig
from pipeline.core.errors import LeakError, ReleaseError
from pipeline.core.files import sha256_of
from pipeline.core.records import Patient
from pipeline.dataset.anonymity import QUASI_IDENTIFIERS
from pipeline.dataset.layout import ReleaseLayout
from pipeline.dataset.release import cut, diff, latest_version, refusals, verify
from pipeline.dataset.release_rows import patient_facts
from pipeline.dataset.sums import files_of
from pipeline.image.nifti import read_labels, write_nifti
from tests.dataset.conftest import VOXEL_ML, box_labels, lesion_rows


def no_leak(folder: Path) -> list[str]:
    return []


def table(release: Path, name: str) -> list[dict[str, str]]:
    with (release / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def writable_copy(release: Path, folder: Path) -> Path:
    shutil.copytree(release, folder)
    for path in files_of(folder):
        path.chmod(0o644)
    return folder


def codes(release: Path) -> set[str]:
    return {problem.code for problem in verify(release)} - {"writable"}


def test_a_release_holds_what_it_promises_and_verifies(released):
    assert not verify(released)
    rows = table(released, "patient_data.csv")
    first_columns = ["patient_id", "age", "gender", "phase", "cancer_type", "ct_path", "mask_path", "liver_mask_path"]
    assert list(rows[0])[:8] == first_columns
    assert [rows[0][name] for name in first_columns] == [
        "P0001", "50", "F", "P", "HCC",
        "ct_files/P0001_ct_P.nii.gz", "mask_files/P0001_mask_P.nii.gz", "liver_mask_files/P0001-livermask_P.nii.gz",
    ]  # fmt: skip
    assert [row["age"] for row in rows[::2]] == ["50", "60", "70", "80", "90+", "90+"]
    names = {path.relative_to(released).parts[0] for path in files_of(released)}
    assert names >= {
        "patient_data.csv", "patient_data.parquet", "schema.json", "splits.json", "splits_final.json", "table1.csv",
        "agreement.csv", "lesions.csv", "classification.csv", "enhancement.csv", "detection", "labels.label",
        "datacard.md", "CHANGES.md", "PROVENANCE.json", "SHA256SUMS", "ct_files", "mask_files", "liver_mask_files",
        "label_files",
    }  # fmt: skip


def test_figures_of_a_row_are_those_on_paper(released):
    row = next(
        row for row in table(released, "patient_data.csv") if (row["patient_id"], row["phase"]) == ("P0002", "C1")
    )
    assert float(row["liver_volume_ml"]) == pytest.approx(480 * VOXEL_ML)
    assert float(row["lesion_volume_ml"]) == pytest.approx(16 * VOXEL_ML)
    assert (row["lesion_count"], row["liver_slices"], row["lesion_slices"]) == ("2", "4", "2")
    assert (row["largest_lesion_mm"], row["lesion_dice_mean"], row["lesion_dice_min"]) == ("6.71", "0.85", "0.8")
    assert (row["orientation"], row["slice_spacing_mm"], row["first_slice"]) == ("SPL", "5.0", "3")


def test_pandas_and_parquet_tell_the_same(released):
    from_csv = pd.read_csv(released / "patient_data.csv", dtype={"age": str})
    from_parquet = pd.read_parquet(released / "patient_data.parquet")
    assert list(from_csv) == list(from_parquet)
    for name in from_csv:
        left, right = (
            frame[name].astype(object).where(frame[name].notna(), None) for frame in (from_csv, from_parquet)
        )
        assert left.tolist() == right.tolist(), name


def test_cutting_twice_from_empty_gives_the_same_bytes(make_inputs, tmp_path):
    sums = []
    for place in ("one", "two"):
        inputs = make_inputs()
        shuffled = replace(inputs, volumes=tuple(reversed(inputs.volumes)))
        given, jobs = (inputs, 1) if place == "one" else (shuffled, 3)
        release = cut(given, tmp_path / place, leak_check=no_leak, jobs=jobs)
        sums.append((release / "SHA256SUMS").read_bytes())
    assert sums[0] == sums[1]
    assert cut(make_inputs(), tmp_path / "one", leak_check=no_leak) == tmp_path / "one" / "1.0.0"


def test_builds_of_one_package_for_other_machines_give_the_same_bytes(make_inputs, tmp_path):
    sums = []
    for build in ("2.13.0+cpu", "2.13.0+cu130"):
        inputs = replace(make_inputs(patients=1), provenance={"packages": {"torch": build}, "program": "0.1.0"})
        release = cut(inputs, tmp_path / build, leak_check=no_leak)
        sums.append((release / "SHA256SUMS").read_bytes())
    assert sums[0] == sums[1]
    assert json.loads((release / "PROVENANCE.json").read_text())["packages"] == {"torch": "2.13.0"}


def test_sha256sum_agrees(released):
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=released, check=True)


def test_a_version_never_changes(make_inputs, tmp_path):
    release = cut(make_inputs(), tmp_path / "releases", leak_check=no_leak)
    before = (release / "SHA256SUMS").read_bytes()
    with pytest.raises(ReleaseError, match="a version never changes"):
        cut(make_inputs(patients=5), tmp_path / "releases", leak_check=no_leak)
    assert (release / "SHA256SUMS").read_bytes() == before
    assert all(path.stat().st_mode & 0o777 == 0o444 for path in files_of(release))
    assert [path.name for path in (tmp_path / "releases").iterdir()] == ["1.0.0"]


def test_unchanged_files_are_links_and_the_difference_is_told(make_inputs, tmp_path):
    releases = tmp_path / "releases"
    old = cut(make_inputs(patients=5), releases, leak_check=no_leak)
    inputs = make_inputs("1.1.0", patients=6)
    changed = inputs.volumes[0]
    write_nifti(changed.labels, box_labels(2))
    inputs = replace(inputs, volumes=(replace(changed, lesions=lesion_rows(2)), *inputs.volumes[1:]))
    new = cut(inputs, releases, leak_check=no_leak)
    assert not verify(new)

    def inode(release: Path, name: str) -> int:
        return (release / name).stat().st_ino

    assert inode(old, "ct_files/P0001_ct_P.nii.gz") == inode(new, "ct_files/P0001_ct_P.nii.gz")
    assert inode(old, "label_files/P0001_label_P.nii.gz") != inode(new, "label_files/P0001_label_P.nii.gz")
    difference = diff(old, new)
    assert difference.added == ("P0006 P", "P0006 C1")
    assert not difference.removed
    assert not difference.moved
    (change,) = difference.changed
    assert (change.volume, change.what) == ("P0001 P", ("labels", "facts"))
    assert change.dice == {"whole_liver": 1.0, "lesion": round(2 * 12 / (12 + 16), 4)}
    assert "P0001 P" in (new / "CHANGES.md").read_text()
    assert "1.1.0 against 1.0.0" in (new / "CHANGES.md").read_text()
    assert json.loads((new / "PROVENANCE.json").read_text())["previous"]["sums"] == sha256_of(old / "SHA256SUMS")


@pytest.mark.parametrize(
    ("version", "patients", "wanted"),
    [("1.0.1", 3, "1.1.0"), ("1.1.0", 3, None), ("1.9.0", 1, "2.0.0"), ("2.0.0", 1, None), ("1.0.1", 2, None)],
)
def test_the_number_must_rise_as_far_as_the_content_changed(make_inputs, tmp_path, version, patients, wanted):
    releases = tmp_path / "releases"
    cut(make_inputs(patients=2), releases, leak_check=no_leak)
    if wanted:
        expected = rf"^{version} is too small a step from 1\.0\.0 \(.*\); use version {wanted}$"
        with pytest.raises(ReleaseError, match=expected):
            cut(make_inputs(version, patients=patients), releases, leak_check=no_leak)
    else:
        assert cut(make_inputs(version, patients=patients), releases, leak_check=no_leak).name == version


def test_a_patient_who_left_and_returns_stands_where_he_stood(make_inputs, tmp_path):
    releases = tmp_path / "releases"
    first = cut(make_inputs("1.0.0", patients=4), releases, leak_check=no_leak)
    cut(make_inputs("2.0.0", patients=1), releases, leak_check=no_leak)
    again = cut(make_inputs("2.1.0", patients=6), releases, leak_check=no_leak)
    before, after = (json.loads((release / "splits.json").read_text())["patients"] for release in (first, again))
    assert {case_id: after[case_id] for case_id in before} == before
    assert cut(make_inputs("1.0.0", patients=4), releases, leak_check=no_leak) == first


def test_a_release_with_other_columns_can_still_be_compared(make_inputs, tmp_path):
    old = writable_copy(cut(make_inputs(patients=2), tmp_path / "a", leak_check=no_leak), tmp_path / "old")
    table = pd.read_csv(old / "patient_data.csv", dtype=str).rename(columns={"kernel": "reconstruction"})
    table.to_csv(old / "patient_data.csv", index=False)
    new = cut(make_inputs("2.0.0", patients=2), tmp_path / "b", leak_check=no_leak)
    difference = diff(old, new)
    assert (difference.columns_added, difference.columns_removed) == (("kernel",), ("reconstruction",))
    assert difference.step == 0
    assert not difference.changed


def test_a_leak_stops_the_release_and_leaves_nothing(make_inputs, tmp_path):
    def search(folder: Path) -> list[str]:
        return [str(p.relative_to(folder)) for p in files_of(folder) if b"Zhang" in p.read_bytes()]

    inputs = make_inputs(patients=2)
    leaking = replace(inputs, pages={"qc/index.html": lambda rows, summaries: "<p>Zhang</p>"})
    with pytest.raises(LeakError, match=r"qc/index.html") as caught:
        cut(leaking, tmp_path / "releases", leak_check=search)
    assert "Zhang" not in str(caught.value)
    assert not list((tmp_path / "releases").iterdir())
    (tmp_path / "releases" / ".0.9.0.partial" / "ct_files").mkdir(parents=True)
    assert cut(inputs, tmp_path / "releases", leak_check=search).is_dir()
    assert [path.name for path in (tmp_path / "releases").iterdir()] == ["1.0.0"]


def test_unfinished_reviews_are_refused_all_at_once(make_inputs, tmp_path):
    inputs = make_inputs(patients=2)
    one, two, three, four = inputs.volumes
    volumes = (
        replace(one, review=replace(one.review, undecided_voxels=3)),
        replace(two, review=replace(two.review, raters=("R1",))),
        replace(three, review=replace(three.review, open_reasons=("low-dice",))),
        replace(four, review=replace(four.review, open_reasons=("low-dice",), adjudicator="R9")),
    )
    broken = replace(inputs, volumes=(*volumes, four), version="v1")
    found = {problem.code for problem in refusals(broken)}
    assert found == {"undecided", "missing-reviews", "adjudication", "twice", "version"}
    with pytest.raises(ReleaseError) as caught:
        cut(broken, tmp_path / "releases", leak_check=no_leak)
    assert str(caught.value).count("\n") == 5


def test_pages_may_be_made_of_the_manifest(make_inputs, tmp_path):
    pages = {"notes.md": lambda rows, summaries: f"{len(rows)} volumes, {len(summaries)} tables\n"}
    release = cut(replace(make_inputs(patients=2), pages=pages), tmp_path / "releases", leak_check=no_leak)
    assert (release / "notes.md").read_text() == "4 volumes, 0 tables\n"
    assert not verify(release)


def test_lesions_measured_on_another_mask_are_noticed(make_inputs, tmp_path):
    inputs = make_inputs(patients=1)
    stale = replace(inputs.volumes[0], lesions=())
    with pytest.raises(ReleaseError, match="measure the lesions again"):
        cut(replace(inputs, volumes=(stale,)), tmp_path / "releases", leak_check=no_leak)


def test_versions_are_compared_as_numbers(tmp_path):
    for name in ("0.9.0", "0.10.0", "notes", "1.0.0"):
        (tmp_path / name).mkdir()
    assert latest_version(tmp_path) == tmp_path / "1.0.0"
    assert latest_version(tmp_path, before="1.0.0") == tmp_path / "0.10.0"
    assert latest_version(tmp_path, before="0.9.0") is None


def edit(name: str, old: str, new: str):
    def change(release: Path) -> None:
        path = release / name
        path.write_text(path.read_text().replace(old, new, 1))

    return change


def flip_byte(release: Path) -> None:
    path = release / "ct_files/P0001_ct_P.nii.gz"
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)


def swap_masks(release: Path) -> None:
    one, other = release / "label_files/P0001_label_P.nii.gz", release / "label_files/P0002_label_P.nii.gz"
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)


def copy_image(release: Path) -> None:
    shutil.copy(release / "ct_files/P0001_ct_P.nii.gz", release / "ct_files/P0002_ct_P.nii.gz")


def replace_by_link(release: Path) -> None:
    path = release / "datacard.md"
    path.rename(release.parent / "elsewhere.md")
    path.symlink_to(release.parent / "elsewhere.md")


def name_in_header(release: Path) -> None:
    import gzip

    path = release / "ct_files/P0001_ct_P.nii.gz"
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[148:153] = b"Zhang"
    path.write_bytes(gzip.compress(bytes(content), mtime=1))


def shift_mask(release: Path) -> None:
    path = release / "mask_files/P0001_mask_P.nii.gz"
    labels = read_labels(path)
    affine = labels.geometry.affine.copy()
    affine[2, 3] += 5
    write_nifti(path, replace(labels, geometry=replace(labels.geometry, affine=affine)), for_release=True)


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (flip_byte, {"changed-file", "unreadable"}),
        (lambda release: (release / "stray.txt").write_text("x"), {"extra-file"}),
        (lambda release: (release / "ct_files" / "P0009_ct_P.nii.gz").write_text("x"), {"extra-file", "orphan"}),
        (lambda release: (release / "mask_files/P0001_mask_P.nii.gz").unlink(), {"missing-file"}),
        (lambda release: (release / "SHA256SUMS").unlink(), {"sums"}),
        (edit("patient_data.csv", ",50,", ",51,"), {"changed-file", "patient-differs"}),
        (edit("patient_data.csv", "9.6", "9.7"), {"changed-file", "figure"}),
        (edit("patient_data.csv", "P0001,", "P0002,"), {"changed-file", "duplicate-row", "patient-differs", "path"}),
        (edit("patient_data.csv", "liver_mask_path", "livermask"), {"changed-file", "manifest"}),
        (edit("splits.json", '"test"', '"train"'), {"changed-file", "splits"}),
        (edit("splits_final.json", "P0001_P", "P0001_X"), {"changed-file", "splits"}),
        (swap_masks, {"changed-file", "content", "figure", "mask-differs"}),
        (copy_image, {"changed-file", "content", "twin"}),
        (edit("patient_data.csv", "2.25.11", "2.25.12"), {"changed-file", "twin"}),
        (edit("table1.csv", "patients,4", "patients,5"), {"changed-file", "table-differs"}),
        (edit("schema.json", "Whole years", "Years"), {"changed-file", "table-differs"}),
        (edit("detection/coco.json", '"area": 6', '"area": 7'), {"changed-file", "table-differs"}),
        (edit("lesions.csv", "6.7082", "6.8082"), {"changed-file", "table-differs"}),
        (edit("datacard.md", "# ", "# seen 2024-03-01 "), {"changed-file", "telltale"}),
        (edit("PROVENANCE.json", "{", '{"uid": "1.2.840.113619.2.55.3.1",'), {"changed-file", "telltale"}),
        (lambda release: (release / "patient_data.parquet").write_bytes(b"x"), {"changed-file", "table-differs"}),
        (edit("PROVENANCE.json", '"min_k": null', '"min_k": 5'), {"changed-file", "not-anonymous"}),
        (replace_by_link, {"link"}),
        (name_in_header, {"changed-file", "header-text", "gzip-header"}),
        (shift_mask, {"changed-file", "grid", "content"}),
    ],
)
def test_every_damage_is_found(released, tmp_path, damage, expected):
    release = writable_copy(released, tmp_path / "copy")
    damage(release)
    assert codes(release) >= expected


def test_agreement_of_the_manifest_must_be_that_of_the_pairs(make_inputs, tmp_path):
    inputs = make_inputs(patients=1)
    rows = [
        {"patient_id": v.case_id, "phase": str(v.phase), "structure": structure, "raters": raters, "dice": dice}
        for v in inputs.volumes
        for structure, scores in (("whole_liver", v.review.liver_dice), ("lesion", v.review.lesion_dice))
        for raters, dice in zip(("R1 R2", "R1 R3", "R2 R3"), scores, strict=True)
    ]
    summaries = {"plc": [{"measure": "dice", "mean": 0.85, "sd": None}]}
    release = cut(replace(inputs, agreement=rows, summaries=lambda _: summaries), tmp_path / "good", leak_check=no_leak)
    assert not verify(release)
    assert table(release, "agreement_plc.csv") == [{"measure": "dice", "mean": "0.85", "sd": ""}]
    rows[0]["dice"] = 0.5
    with pytest.raises(ReleaseError, match=r"agreement.csv does not follow from the whole_liver of P0001 P"):
        cut(replace(inputs, agreement=rows), tmp_path / "bad", leak_check=no_leak)


def test_coarse_labels_are_grouped_by_what_the_manifest_tells_and_nothing_else(make_inputs, tmp_path):
    inputs = make_inputs(patients=2)
    measured = [
        {"patient_id": v.case_id, "phase": v.phase, "structure": "lesion", "dice": 0.1, "manufacturer": "Rare Scanners"}
        for v in inputs.volumes
    ]
    release = cut(replace(inputs, coarse=measured), tmp_path / "releases", leak_check=no_leak)
    assert not verify(release)
    assert {row["manufacturer"] for row in table(release, "coarse.csv")} == {"GE"}
    assert [row["dice"] for row in table(release, "coarse.csv")] == ["0.1"] * 4
    copy = shutil.copytree(release, tmp_path / "copy")
    (copy / "coarse.csv").chmod(0o644)
    edit("coarse.csv", "GE", "Rare Scanners")(copy)
    assert "table-differs" in codes(copy)


def test_a_copy_is_searched_for_identifiers_too(released):
    (problem,) = verify(released, leak_check=lambda folder: ["ct_files/P0001_ct_P.nii.gz"])
    assert problem.code == "leak"


def test_a_volume_nobody_saw_is_never_released(make_inputs, tmp_path):
    inputs = make_inputs(patients=1)
    unseen = tuple(replace(volume, review=replace(volume.review, raters=())) for volume in inputs.volumes)
    with pytest.raises(ReleaseError, match="0 of 1 reviews are there"):
        cut(replace(inputs, volumes=unseen, min_raters=0), tmp_path / "releases", leak_check=no_leak)


def test_facts_that_no_manifest_may_hold_are_named_by_volume_and_column(make_inputs, tmp_path):
    inputs = make_inputs(patients=1)
    odd = tuple(replace(volume, scan=replace(volume.scan, phase_confidence=1.5)) for volume in inputs.volumes)
    with pytest.raises(ReleaseError, match=r"P0001 C1 has values that the manifest does not allow: phase_confidence"):
        cut(replace(inputs, volumes=odd), tmp_path / "releases", leak_check=no_leak)


def test_class_against_mask_goes_to_a_person(make_inputs, tmp_path):
    inputs = make_inputs(patients=3)
    people = {case_id: replace(patient, diagnosis="normal") for case_id, patient in inputs.patients.items()}
    release = cut(replace(inputs, patients=people), tmp_path / "releases", leak_check=no_leak)
    flagged = [problem.message for problem in verify(release) if problem.code == "class-differs"]
    assert len(flagged) == 4


def test_boxes_classes_and_lesions_follow_from_the_masks(released):
    content = json.loads(ReleaseLayout(released).detection.read_text())
    assert len(content["images"]) == 12 * 6
    images = {image["id"]: image for image in content["images"]}
    found = {
        (images[note["image_id"]]["slice"], note["lesion"], *note["bbox"], note["area"])
        for note in content["annotations"]
        if images[note["image_id"]]["file_name"] == "ct_files/P0002_ct_P.nii.gz"
    }
    assert found == {(2, 1, 7, 5, 2, 3, 6), (3, 1, 7, 5, 2, 3, 6), (3, 2, 14, 10, 2, 2, 4)}
    assert len({note["id"] for note in content["annotations"]}) == len(content["annotations"])

    classes = table(released, "classification.csv")
    assert [(row["patient_id"], row["HCC"], row["ICC"], row["normal"]) for row in classes[:3]] == [
        ("P0001", "1", "0", "0"), ("P0002", "0", "1", "0"), ("P0003", "0", "0", "1"),
    ]  # fmt: skip
    lesions = table(released, "lesions.csv")
    assert {(row["patient_id"], row["kind"]) for row in lesions[:6]} == {("P0001", "HCC"), ("P0002", "ICC")}
    assert [row["number"] for row in lesions if row["patient_id"] == "P0002"] == ["1", "2", "1", "2"]
    assert [row["appearance_mean"] for row in lesions if row["patient_id"] == "P0002"] == ["", "0.3333"] * 2


def test_table_1_counts_as_on_paper(released):
    lines = {row["characteristic"]: row for row in table(released, "table1.csv")}
    assert lines["patients"]["with_lesions"] == "4"
    assert lines["patients"]["without_lesions"] == "2"
    assert lines["age, median [IQR]"]["with_lesions"] == "70.00 [57.50, 82.50]"
    assert lines["cancer type ICC, n (%)"]["all"] == "2 (33.33)"
    assert lines["phase C1, n (%)"]["all"] == "6 (50.00)"
    assert lines["slices"]["all"] == "72"
    assert lines["lesion count, median [IQR] (min, max)"]["with_lesions"] == "1.50 [1.00, 2.00] (1, 2)"
    assert lines["lesion count, median [IQR] (min, max)"]["without_lesions"] == ""


def test_the_data_card_tells_the_cohort_its_limits_and_how_to_use_it(make_inputs, tmp_path):
    steps = (FlowStep("patients", "assessed", 0, 0, 3), FlowStep("patients", "age", 1, 1, 2))
    inputs = replace(
        make_inputs(patients=2), flow=steps, summaries=lambda _: {"limt": [{"structure": "lesion", "before": 88.46}]}
    )
    card = (cut(inputs, tmp_path / "releases", leak_check=no_leak) / "datacard.md").read_text()
    assert "# box-livers 1.0.0\n" in card
    assert "| patients | age | 1 | 2 |" in card
    assert "| patients | 2 | 0 | 2 |" in card
    assert "### Agreement: limt\n\n| structure | before |\n| --- | --- |\n| lesion | 88.46 |" in card
    assert "2 sites and 1 scanner:" in card
    assert "Unknown among 2 patients: nothing." in card
    assert "clipped to -200 to 200 HU" in card


def test_patients_are_made_alike_as_far_as_the_dataset_asks(make_inputs, tmp_path):
    inputs = make_inputs(patients=6)
    people = {f"P{n:04d}": Patient(50 + n, "F", "HCC" if n < 4 else "ICC") for n in range(1, 7)}
    volumes = tuple(replace(volume, scan=replace(volume.scan, site="A")) for volume in inputs.volumes)
    asking = inputs.config.model_copy(update={"deidentification": DeidentificationConfig(min_k=2)})
    alike = replace(inputs, patients=people, volumes=volumes, config=asking)
    release = cut(alike, tmp_path / "releases", leak_check=no_leak)
    assert not [problem for problem in verify(release) if problem.code != "class-differs"]
    rows = table(release, "patient_data.csv")[::2]
    assert [row["age"] for row in rows] == ["50-54"] * 4 + ["55-59"] * 2
    assert [row["cancer_type"] for row in rows] == ["HCC"] * 3 + ["ICC"] * 3
    card = (release / "datacard.md").read_text()
    assert "the smallest group has 2 (k-anonymity)" in card
    assert "0 of\n6 patients share them with nobody else" in card


def test_who_cannot_be_made_alike_is_told_without_what_singles_him_out(make_inputs, tmp_path):
    inputs = make_inputs(patients=6)
    asking = inputs.config.model_copy(update={"deidentification": DeidentificationConfig(min_k=6)})
    release = cut(replace(inputs, config=asking), tmp_path / "releases", leak_check=no_leak)
    told = {row[name] for row in table(release, "patient_data.csv") for name in QUASI_IDENTIFIERS if name != "gender"}
    assert told == {""}
    assert not [problem for problem in verify(release) if problem.code == "not-anonymous"]


def test_a_patient_with_two_scanners_looks_like_nobody_with_one_or_with_them_the_other_way_round(make_inputs):
    inputs = make_inputs(patients=3)
    scans = [replace(volume.scan, manufacturer=maker) for volume, maker in zip(inputs.volumes, "BABBAB", strict=True)]
    volumes = tuple(replace(volume, scan=scan) for volume, scan in zip(inputs.volumes, scans, strict=True))
    facts = patient_facts(replace(inputs, volumes=volumes))
    assert [facts[case_id]["manufacturer"] for case_id in facts] == ["C1 A;P B", "B", "C1 B;P A"]


def test_without_such_a_wish_the_card_tells_who_stands_alone(released):
    card = (released / "datacard.md").read_text()
    assert "the smallest group has 1 (k-anonymity)" in card
    assert "6 of\n6 patients share them with nobody else" in card


def test_itk_snap_reads_the_label_names(released):
    lines = [line for line in (released / "labels.label").read_text().splitlines() if not line.startswith("#")]
    parsed = [line.split(maxsplit=7) for line in lines]
    assert [(int(parts[0]), parts[7]) for parts in parsed] == [(0, '"background"'), (1, '"liver"'), (2, '"lesion"')]
    np.testing.assert_array_equal([[int(part) for part in parts[:7]] for parts in parsed][1], [1, 76, 175, 80, 1, 1, 1])
