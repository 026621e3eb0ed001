"""Returned masks: each way to go wrong gets its own verdict, one sentence and a fix, and no name a rater chose."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.core.geometry import Geometry
from pipeline.core.volume import LabelMap, Volume
from pipeline.image.nifti import read_labels, write_nifti
from pipeline.review.returns import ReturnCheck, Verdict, check_return
from tests.review.rounds import SCHEME


def edited(review_round, item: int = 0) -> LabelMap:
    """The mask sent, with one lesion more: 9 voxels on one slice."""
    sent = read_labels(review_round.items[item].coarse)
    voxels = sent.voxels.copy()
    voxels[6, 20:23, 18:21] = 2
    return LabelMap(voxels, sent.geometry)


def repacked(review_round, changes, name="review_demo_round-1_R1.zip", drop=()) -> Path:
    """The package sent back with some members replaced, added or left out."""
    path = review_round.folder / "in" / name
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(review_round.package()) as package, zipfile.ZipFile(path, "w") as returned:
        for member in package.namelist():
            if member not in drop and member not in changes:
                returned.writestr(member, package.read(member))
        for member, content in changes.items():
            returned.writestr(member, content)
    return path


def nifti(labels: LabelMap, folder: Path) -> bytes:
    path = folder / "scratch.nii.gz"
    write_nifti(path, labels)
    return path.read_bytes()


def mask_of(item_id: str) -> str:
    return f"cases/{item_id}/{item_id}_mask.nii.gz"


def by_item(checks) -> dict[str, ReturnCheck]:
    return {check.item.item_id if check.item else "": check for check in checks}


def test_an_edited_mask_in_the_zip_is_accepted_and_its_edit_counted(review_round):
    labels = edited(review_round)
    path = repacked(review_round, {mask_of("P0001_C1"): nifti(labels, review_round.folder)})
    checks = by_item(check_return(path, review_round.sent, SCHEME))
    good = checks["P0001_C1"]
    assert (good.verdict, good.item.rater, good.changed_voxels, good.changed_slices) == (Verdict.ACCEPT, "R1", 9, (6,))
    np.testing.assert_array_equal(good.labels.voxels, labels.voxels)
    assert good.is_usable
    assert checks["P0001_C2"].verdict is Verdict.FLAG
    assert checks["P0001_C2"].problems[0].code == "unchanged"


def test_agreeing_in_the_worklist_makes_an_unchanged_mask_good(review_round):
    worklist = "\ufeffitem;case;status;comment\r\nP0001_C1;P0001; Agree ;\r\n".encode()
    checks = by_item(check_return(repacked(review_round, {"worklist.csv": worklist}), review_round.sent, SCHEME))
    assert checks["P0001_C1"].verdict is Verdict.ACCEPT
    assert checks["P0002_C1"].verdict is Verdict.FLAG


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_a_worklist_saved_by_a_chinese_spreadsheet_keeps_its_words(review_round, encoding):
    worklist = "item,status,comment\r\nP0001_C1,agree,边界清楚\r\n".encode(encoding)
    check = by_item(check_return(repacked(review_round, {"worklist.csv": worklist}), review_round.sent, SCHEME))[
        "P0001_C1"
    ]
    assert (check.verdict, check.comment) == (Verdict.ACCEPT, "边界清楚")


@pytest.mark.parametrize("form", ["folder", "file", "zip in a folder"])
def test_a_folder_and_a_single_file_are_as_good_as_the_zip(review_round, form):
    content = nifti(edited(review_round), review_round.folder)
    inbox = review_round.folder / "in"
    if form == "folder":
        path = inbox / "from R2"
        target = path / "P0001_C1_mask.nii.gz"
    elif form == "file":
        path = target = inbox / "P0001_C1_mask_R2 (1).nii.gz"
    else:
        path = inbox
        target = inbox / "R2.zip"
    target.parent.mkdir(parents=True)
    if target.suffix == ".zip":
        with zipfile.ZipFile(target, "w") as package:
            package.writestr("done/P0001_C1_mask.nii.gz", content)
    else:
        target.write_bytes(content)
    (check,) = check_return(path, review_round.sent, SCHEME)
    assert (check.verdict, check.item.rater, check.changed_voxels) == (Verdict.ACCEPT, "R2", 9)


def test_the_package_itself_knows_its_rater_whatever_the_zip_is_called(review_round):
    path = repacked(
        review_round, {mask_of("P0001_C1"): nifti(edited(review_round), review_round.folder)}, "finished.zip"
    )
    assert by_item(check_return(path, review_round.sent, SCHEME))["P0001_C1"].item.rater == "R1"


def test_a_return_of_nobody_is_refused_until_someone_says_whose_it_is(review_round):
    path = review_round.folder / "P0001_C1_mask.nii.gz"
    write_nifti(path, edited(review_round))
    (check,) = check_return(path, review_round.sent, SCHEME)
    assert (check.verdict, check.problems[0].code) == (Verdict.REJECT, "unknown-rater")
    (check,) = check_return(path, review_round.sent, SCHEME, rater="R2")
    assert (check.verdict, check.item.rater) == (Verdict.ACCEPT, "R2")


def only(review_round, name: str, content: bytes) -> ReturnCheck:
    """The verdict on a single file sent by R1."""
    path = review_round.folder / "single" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    (check,) = check_return(path, review_round.sent, SCHEME, rater="R1")
    return check


def test_another_cases_mask_under_this_name_is_refused_and_the_owner_named(review_round):
    check = only(review_round, "P0001_C1_mask.nii.gz", nifti(edited(review_round, 2), review_round.folder))
    assert (check.verdict, check.problems[0].code, check.labels) == (Verdict.REJECT, "wrong-case", None)
    assert "P0002_C1" in check.sentence


def test_another_phases_mask_on_the_same_grid_is_noticed_by_its_shape(review_round):
    check = only(review_round, "P0001_C1_mask.nii.gz", nifti(edited(review_round, 1), review_round.folder))
    assert (check.verdict, check.problems[0].code) == (Verdict.FLAG, "wrong-case")
    unedited = review_round.items[1].coarse.read_bytes()
    check = only(review_round, "P0001_C1_mask.nii.gz", unedited)
    assert (check.verdict, check.problems[0].code) == (Verdict.REJECT, "wrong-case")
    assert "P0001_C2" in check.sentence


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_voxels_flipped_without_their_header_are_refused_as_mirrored(review_round, axis):
    labels = edited(review_round)
    flipped = LabelMap(np.flip(labels.voxels, axis), labels.geometry)
    check = only(review_round, "P0001_C1_mask.nii.gz", nifti(flipped, review_round.folder))
    assert (check.verdict, check.problems[0].code) == (Verdict.REJECT, "mirrored")


def test_a_cut_file_is_refused_and_the_rest_of_the_return_goes_on(review_round):
    whole = nifti(edited(review_round), review_round.folder)
    other = nifti(edited(review_round, 2), review_round.folder)
    path = repacked(review_round, {mask_of("P0001_C1"): whole[: len(whole) * 6 // 10], mask_of("P0002_C1"): other})
    checks = by_item(check_return(path, review_round.sent, SCHEME))
    assert (checks["P0001_C1"].verdict, checks["P0001_C1"].problems[0].code) == (Verdict.REJECT, "damaged")
    assert checks["P0002_C1"].verdict is Verdict.ACCEPT


def test_a_cut_zip_is_refused_in_one_sentence(review_round):
    path = repacked(review_round, {})
    path.write_bytes(path.read_bytes()[:-200])
    (check,) = check_return(path, review_round.sent, SCHEME)
    assert (check.verdict, check.problems[0].code) == (Verdict.REJECT, "unreadable-return")
    assert "again" in check.fix or "again" in check.sentence


def test_two_different_masks_for_one_item_are_a_question(review_round):
    labels = edited(review_round)
    other = LabelMap(np.where(labels.voxels == 2, 1, labels.voxels).astype(np.uint8), labels.geometry)
    path = repacked(
        review_round,
        {
            mask_of("P0001_C1"): nifti(labels, review_round.folder),
            "cases/P0001_C1/P0001_C1_mask_new.nii.gz": nifti(other, review_round.folder),
        },
    )
    check = by_item(check_return(path, review_round.sent, SCHEME))["P0001_C1"]
    assert (check.verdict, check.problems[0].code) == (Verdict.REJECT, "two-masks")


def test_an_edited_copy_beside_the_untouched_mask_counts(review_round):
    path = repacked(
        review_round, {"cases/P0001_C1/P0001_C1_mask-edited.nii.gz": nifti(edited(review_round), review_round.folder)}
    )
    check = by_item(check_return(path, review_round.sent, SCHEME))["P0001_C1"]
    assert (check.verdict, check.changed_voxels) == (Verdict.ACCEPT, 9)


def test_names_a_rater_chose_are_never_repeated(review_round):
    content = nifti(edited(review_round), review_round.folder)
    path = repacked(
        review_round,
        {"ZHANG_SAN_1958.nii.gz": content, "Zhang San/P0001_C1 Zhang.mrb": b"PK", "P0009_C1_mask.nii.gz": content},
    )
    told = json.dumps([check.to_json() for check in check_return(path, review_round.sent, SCHEME)])
    assert "zhang" not in told.lower()
    assert "P0009" not in told
    codes = [check.problems[0].code for check in check_return(path, review_round.sent, SCHEME) if check.item is None]
    assert codes == ["unknown-item", "unknown-item"]


def test_litter_of_other_systems_and_the_image_itself_are_no_masks(review_round):
    path = repacked(review_round, {"__MACOSX/cases/P0001_C1/._P0001_C1_mask.nii.gz": b"x", ".DS_Store": b"x"})
    assert len(check_return(path, review_round.sent, SCHEME)) == 3


def test_what_was_sent_is_known_from_the_package_when_the_network_labels_anew(review_round):
    package = review_round.package()
    sent = [replace(item, package=package) for item in review_round.sent]
    back = repacked(review_round, {})
    coarse = review_round.items[0].coarse
    write_nifti(coarse, edited(review_round))
    unaware = by_item(check_return(back, review_round.sent, SCHEME))["P0001_C1"]
    assert unaware.verdict is Verdict.ACCEPT, "without the package, the old mask looks like an edit of the new one"
    check = by_item(check_return(back, sent, SCHEME))["P0001_C1"]
    assert (check.verdict, check.problems[0].code) == (Verdict.FLAG, "unchanged")


def test_a_mask_for_an_image_that_was_made_anew_is_not_used(review_round):
    sent = [replace(item, package=review_round.package()) for item in review_round.sent]
    back = repacked(review_round, {mask_of("P0001_C1"): nifti(edited(review_round), review_round.folder)})
    image = review_round.items[0].image
    write_nifti(image, Volume(np.zeros((2, 3, 4), np.int16), Geometry.from_axes((2, 3, 4), spacing_mm=(1, 1, 1))))
    check = by_item(check_return(back, sent, SCHEME))["P0001_C1"]
    assert (check.verdict, check.problems[0].code) == (Verdict.FLAG, "earlier-image")
    assert not check.is_usable
    assert check.labels is None
    assert check.earlier is not None
    np.testing.assert_array_equal(check.earlier[1].voxels, edited(review_round).voxels)


def test_a_zip_of_windows_with_backslashes_is_as_good(review_round):
    path = review_round.folder / "windows.zip"
    mask = nifti(edited(review_round), review_round.folder)
    with zipfile.ZipFile(review_round.package()) as package, zipfile.ZipFile(path, "w") as returned:
        for name in package.namelist():
            if "P0001_C1" in name or name == "package.json":
                content = mask if name == mask_of("P0001_C1") else package.read(name)
                returned.writestr("review\\" + name.replace("/", "\\"), content)
    (check,) = check_return(path, review_round.sent, SCHEME)
    assert (check.verdict, check.item.rater, check.changed_voxels) == (Verdict.ACCEPT, "R1", 9)


def test_another_kind_of_archive_is_asked_for_as_a_zip(review_round):
    path = review_round.folder / "Zhang R1.rar"
    path.write_bytes(b"Rar!")
    (check,) = check_return(path, review_round.sent, SCHEME)
    assert (check.problems[0].code, check.fix) == ("unreadable-return", "please send a zip")
    assert "Zhang" not in check.sentence


def test_an_item_of_another_rater_is_not_taken(review_round):
    sent = [item for item in review_round.sent if not (item.rater == "R1" and item.item_id == "P0002_C1")]
    path = review_round.folder / "P0002_C1_mask.nii.gz"
    write_nifti(path, edited(review_round, 2))
    (check,) = check_return(path, sent, SCHEME, rater="R1")
    assert (check.verdict, check.problems[0].code) == (Verdict.REJECT, "not-assigned")


def test_an_empty_or_missing_return_is_told(review_round):
    nothing = review_round.folder / "nothing"
    nothing.mkdir()
    assert check_return(nothing, review_round.sent)[0].problems[0].code == "unknown-rater"
    assert check_return(nothing, review_round.sent, rater="R1")[0].problems[0].code == "no-mask"
    assert check_return(nothing / "no.zip", review_round.sent)[0].problems[0].code == "unreadable-return"
    locked = review_round.folder / "in" / "locked.zip"
    shutil.copyfile(repacked(review_round, {}), locked)
    content = bytearray(locked.read_bytes())
    for at in (content.find(b"PK\x01\x02") + 8,):
        content[at] |= 1
    locked.write_bytes(bytes(content))
    assert "password" in check_return(locked, review_round.sent)[0].sentence


@given(harm=st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=3), st.integers(0, 4)), min_size=1, max_size=3))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_damage_to_a_zip_is_told_in_one_line(review_round, small_return, harm):
    content = bytearray(small_return)
    for share, new, removed in harm:
        at = int(share * len(content))
        content[at : at + removed] = new
    path = review_round.folder / "damaged.zip"
    path.write_bytes(bytes(content))
    for check in check_return(path, review_round.sent, SCHEME):
        assert "\n" not in check.sentence + check.fix


@pytest.fixture
def small_return(review_round) -> bytes:
    """A compressed zip with the facts, the worklist and one mask."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(review_round.package()) as package,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as small,
    ):
        for name in ("package.json", "worklist.csv", mask_of("P0001_C1")):
            small.writestr(name, package.read(name))
    return buffer.getvalue()
