"""Simulated raters: different from one another, never wrong twice at one voxel, readable by other people's programs."""

from __future__ import annotations

import hashlib
import zipfile

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from pipeline.core.errors import ReviewError, StorageError
from pipeline.core.geometry import Geometry
from pipeline.core.labels import LabelScheme
from pipeline.core.records import Phase
from pipeline.core.volume import LabelMap
from pipeline.image.masks import place, read_labels_of, read_mask
from pipeline.image.nifti import content_sha256, write_nifti
from pipeline.synth.anatomy import LesionKind
from pipeline.synth.mistakes import draw_mistakes, rate
from pipeline.synth.phantom import make_phantom
from pipeline.synth.programs import as_itksnap_saves, as_resaved_canonical, as_slicer_saves
from pipeline.synth.raters import answer_adjudication, answer_packages
from pipeline.synth.truth import CohortTruth, VolumeTruth

RATERS = 3


def key_of(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(np.random.default_rng(3), kinds=(LesionKind.HCC, LesionKind.CYST, LesionKind.ICC))


def nested_majority(masks: list[np.ndarray]) -> np.ndarray:
    """Liver where most say liver or lesion; lesion where, of all, most say lesion. Written anew, by counting."""
    stack = np.stack(masks)
    half = len(masks) / 2
    return ((stack > 0).sum(axis=0) > half).astype(np.uint8) + ((stack == 2).sum(axis=0) > half)


@given(number=st.integers(0, 10**6), seed=st.integers(0, 10**6), raters=st.integers(3, 6))
@settings(max_examples=25, deadline=None)
def test_the_nested_majority_of_three_or_more_is_the_truth_exactly(number, seed, raters):
    """Whatever the mask looks like: here boxes of liver and lesion thrown about at random."""
    rng = np.random.default_rng(seed)
    voxels = np.zeros((6, 30, 30), dtype=np.uint8)
    for label in (1, 1, 2, 2):
        z, y, x = rng.integers(0, (4, 24, 24))
        voxels[z : z + 3, y : y + int(rng.integers(1, 20)), x : x + int(rng.integers(1, 20))] = label
    truth = LabelMap(voxels, Geometry.from_axes(voxels.shape, spacing_mm=(5, 2, 2)))
    masks = [rate(truth, key=key_of(number), rater=rater, raters=raters).voxels for rater in range(raters)]
    assert (nested_majority(masks) == voxels).all()
    wrong = np.stack([mask != voxels for mask in masks])
    assert wrong.sum(axis=0).max() <= 1


def test_raters_differ_from_the_truth_and_from_one_another(phantom):
    truth = phantom.labels.voxels
    masks = [rate(phantom.labels, key=key_of(1), rater=rater, raters=RATERS).voxels for rater in range(RATERS)]
    for mask in masks:
        dice = 2 * ((mask > 0) & (truth > 0)).sum() / ((mask > 0).sum() + (truth > 0).sum())
        assert 0.95 < dice < 0.999
    assert len({mask.tobytes() for mask in masks}) == RATERS


def test_slips_occur_and_only_small_lesions_are_missed():
    """Over many sittings: lesions drawn too wide, too narrow, and missed only beside much larger ones."""
    labels = np.zeros((9, 60, 60), dtype=np.uint8)
    labels[1:8, 5:55, 5:55] = 1
    labels[2:7, 10:28, 10:28] = 2
    labels[4:6, 40:45, 40:45] = 2
    large, small = sorted(lesions_of(labels), key=np.sum, reverse=True)
    seen = {(name, slip): 0 for name in ("large", "small") for slip in ("wide", "narrow", "missed")}
    for number in range(60):
        drawn = draw_mistakes(labels, key_of(number), RATERS).drawn
        for name, lesion in (("large", large), ("small", small)):
            kept = (drawn == 2) & lesion
            seen[name, "missed"] += not kept.any()
            seen[name, "narrow"] += kept.any() and (kept != lesion).any()
            seen[name, "wide"] += ((drawn == 2) & around(lesion) & ~lesion).any()
    assert seen.pop(("large", "missed")) == 0
    assert all(5 <= count <= 25 for count in seen.values()), seen


def test_a_lesion_alone_is_seen_by_everybody(phantom):
    only = np.where(phantom.labels.voxels == 2, 1, phantom.labels.voxels)
    lesion = max(lesions_of(phantom.labels.voxels), key=np.sum)
    only[lesion] = 2
    for number in range(20):
        drawn = draw_mistakes(only, key_of(number), RATERS).drawn == 2
        assert 2 * (drawn & lesion).sum() / (drawn.sum() + lesion.sum()) > 0.75


def lesions_of(truth: np.ndarray) -> list[np.ndarray]:
    numbered, count = ndimage.label(truth == 2, structure=np.ones((3, 3, 3)))
    return [numbered == number for number in range(1, count + 1)]


def around(lesion: np.ndarray) -> np.ndarray:
    return ndimage.binary_dilation(lesion, structure=np.ones((1, 3, 3)), iterations=2)


def test_the_same_sitting_gives_the_same_mask_and_another_one_another(phantom):
    first, again, other = (
        rate(phantom.labels, key=key_of(number), rater=0, raters=RATERS).voxels for number in (1, 1, 2)
    )
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize("save", [as_itksnap_saves, as_resaved_canonical, as_slicer_saves])
def test_what_a_program_saves_is_the_mask_for_our_reader(phantom, tmp_path, save):
    suffix, content = save(phantom.labels)
    path = tmp_path / f"mask{suffix}"
    path.write_bytes(content)
    labels = read_labels_of(read_mask(path), LabelScheme(), what="mask").labels
    placement = place(labels, phantom.labels.geometry, what="mask")
    assert (placement.labels.voxels == phantom.labels.voxels).all()


@pytest.mark.parametrize(
    ("save", "meaning"),
    [(as_itksnap_saves, [0, 1, 2]), (as_resaved_canonical, [0, 1, 2]), (as_slicer_saves, [0, 2, 1])],
)
def test_what_a_program_saves_is_the_mask_for_simpleitk(phantom, tmp_path, save, meaning):
    """ITK reads the file on its own grid and lays it on the image's by position."""
    suffix, content = save(phantom.labels)
    path, reference = tmp_path / f"mask{suffix}", tmp_path / "reference.nii.gz"
    path.write_bytes(content)
    write_nifti(reference, phantom.labels)
    laid = sitk.Resample(
        sitk.ReadImage(str(path)), sitk.ReadImage(str(reference)), sitk.Transform(), sitk.sitkNearestNeighbor
    )
    assert (np.array(meaning)[sitk.GetArrayFromImage(laid)] == phantom.labels.voxels).all()


def test_itk_snap_saves_sixteen_bits_and_slicer_a_cropped_extent(phantom, tmp_path):
    for save, name in ((as_itksnap_saves, "a.nii.gz"), (as_slicer_saves, "b.seg.nrrd")):
        (tmp_path / name).write_bytes(save(phantom.labels)[1])
    assert sitk.ReadImage(str(tmp_path / "a.nii.gz")).GetPixelID() == sitk.sitkInt16
    cropped = sitk.ReadImage(str(tmp_path / "b.seg.nrrd"))
    assert np.prod(cropped.GetSize()) < phantom.labels.voxels.size / 2
    assert cropped.GetMetaData("Segment0_Name") == "lesion"


def test_an_empty_mask_can_be_saved_by_every_program(tmp_path):
    empty = LabelMap(np.zeros((4, 5, 6), dtype=np.uint8), Geometry.from_axes((4, 5, 6), spacing_mm=(5, 2, 2)))
    for save in (as_itksnap_saves, as_resaved_canonical, as_slicer_saves):
        suffix, content = save(empty)
        (tmp_path / f"empty{suffix}").write_bytes(content)
        labels = read_labels_of(read_mask(tmp_path / f"empty{suffix}"), LabelScheme(), what="mask").labels
        assert not place(labels, empty.geometry, what="mask").labels.voxels.any()


@pytest.fixture
def round_of_review(tmp_path):
    """Two volumes sent to three raters, one of them twice to the first."""
    phantoms = [
        make_phantom(np.random.default_rng(seed), kinds=(LesionKind.HCC,), shape=(36, 80, 90)) for seed in (1, 2)
    ]
    outbox = tmp_path / "outbox"
    outbox.mkdir()
    items = {"P0001_C2": 0, "P0002_C2": 1}
    for rater in ("R1", "R2", "R3"):
        sent = {**items, "X0001": 1} if rater == "R1" else items
        with zipfile.ZipFile(outbox / f"review_demo_round-1_{rater}.zip", "w") as archive:
            for item, which in sent.items():
                write_nifti(tmp_path / "image.nii.gz", phantoms[which].volume)
                archive.write(tmp_path / "image.nii.gz", f"cases/{item}/image.nii.gz")
                archive.writestr(f"cases/{item}/{item}_mask.nii.gz", b"the coarse mask")
            archive.writestr("package.json", f'{{"rater": "{rater}"}}')
    volumes = tuple(
        VolumeTruth("private", Phase.PORTAL_VENOUS, "1.2", content_sha256(p.volume), p.labels, ()) for p in phantoms
    )
    return outbox, tmp_path / "inbox", CohortTruth((), (), volumes, (), 0, ()), [p.labels for p in phantoms]


def returned(inbox, rater: str, item: str, suffix: str, tmp_path):
    """Our reading of one returned mask on its own, from a zip or a folder."""
    name = f"cases/{item}/{item}_mask{suffix}"
    home = inbox / f"review_demo_round-1_{rater}"
    if not home.is_dir():
        with zipfile.ZipFile(home.with_suffix(".zip")) as archive:
            archive.extract(name, tmp_path / rater)
        home = tmp_path / rater
    return read_labels_of(read_mask(home / name), LabelScheme(), what=item).labels


def test_every_package_is_answered_and_the_vote_is_the_truth(round_of_review, tmp_path):
    outbox, inbox, truth, planted = round_of_review
    assert answer_packages(outbox, inbox, truth) == ()
    programs = {"R1": ".nii.gz", "R2": ".nii.gz", "R3": ".seg.nrrd"}
    for item, labels in zip(("P0001_C2", "P0002_C2"), planted, strict=True):
        masks = [returned(inbox, rater, item, suffix, tmp_path) for rater, suffix in programs.items()]
        placed = [place(mask, labels.geometry, what=item).labels.voxels for mask in masks]
        assert (nested_majority(placed) == labels.voxels).all()


def test_a_hidden_repeat_is_read_with_other_mistakes(round_of_review, tmp_path):
    outbox, inbox, truth, _ = round_of_review
    answer_packages(outbox, inbox, truth)
    first, again = (returned(inbox, "R1", item, ".nii.gz", tmp_path) for item in ("P0002_C2", "X0001"))
    assert (first.voxels != again.voxels).any()


def test_a_returned_zip_keeps_what_tells_the_rater_and_drops_the_images(round_of_review):
    outbox, inbox, truth, _ = round_of_review
    answer_packages(outbox, inbox, truth)
    with zipfile.ZipFile(inbox / "review_demo_round-1_R1.zip") as archive:
        names = archive.namelist()
    assert "package.json" in names
    assert not any(name.endswith("image.nii.gz") for name in names)


def test_answers_are_the_same_bytes_every_time(round_of_review):
    outbox, inbox, truth, _ = round_of_review
    contents = []
    for _ in range(2):
        answer_packages(outbox, inbox, truth)
        contents.append({path: path.read_bytes() for path in sorted(inbox.rglob("*")) if path.is_file()})
    assert contents[0] == contents[1]


def test_planted_faults_are_one_wrong_case_and_one_truncated_file(round_of_review, tmp_path):
    outbox, inbox, truth, planted = round_of_review
    faults = answer_packages(outbox, inbox, truth, plant_faults=True)
    assert [(fault.package, fault.item, fault.fault) for fault in faults] == [
        ("review_demo_round-1_R1.zip", "P0001_C2", "wrong-case"),
        ("review_demo_round-1_R2.zip", "P0001_C2", "truncated"),
    ]
    wrong = returned(inbox, "R1", "P0001_C2", ".nii.gz", tmp_path)
    assert wrong.geometry.same_space(planted[1].geometry)
    with pytest.raises(StorageError):
        returned(inbox, "R2", "P0001_C2", ".nii.gz", tmp_path)


def test_an_image_of_nobody_is_refused_without_a_patient(round_of_review):
    outbox, inbox, truth, _ = round_of_review
    nobody = CohortTruth((), (), truth.volumes[:1], (), 0, ())
    with pytest.raises(ReviewError, match=r"P0002_C2 of review_demo_round-1_R1\.zip is no volume of the demo cohort"):
        answer_packages(outbox, inbox, nobody)


WORKLIST = "\ufeffitem,case,status,comment\nP0001_C2,P0001,,look\nP0002_C2,P0002,,\n"


def test_the_lead_radiologist_agrees_with_a_right_vote_and_corrects_a_wrong_one(round_of_review, tmp_path):
    outbox, inbox, truth, planted = round_of_review
    wrong = LabelMap(np.where(planted[1].voxels == 2, 1, planted[1].voxels).astype(np.uint8), planted[1].geometry)
    voted = {"P0001_C2": planted[0], "P0002_C2": wrong}
    package = outbox / "adjudication_demo_round-1.zip"
    with zipfile.ZipFile(outbox / "review_demo_round-1_R2.zip") as sent, zipfile.ZipFile(package, "w") as archive:
        archive.writestr("worklist.csv", WORKLIST)
        for item, mask in voted.items():
            image, name = f"cases/{item}/image.nii.gz", f"cases/{item}/{item}_mask.nii.gz"
            archive.writestr(image, sent.read(image))
            write_nifti(tmp_path / "voted.nii.gz", mask)
            archive.write(tmp_path / "voted.nii.gz", name)
            archive.writestr(f"cases/{item}/reading_A.nii.gz", b"another reader's")
    answer_adjudication(outbox, inbox, truth)
    with zipfile.ZipFile(inbox / package.name) as answer:
        answer.extractall(tmp_path / "answer")
        assert answer.read("worklist.csv").decode("utf-8-sig").splitlines() == [
            "item,case,status,comment",
            "P0001_C2,P0001,agree,look",
            "P0002_C2,P0002,,",
        ]
        assert not any("reading_A" in name for name in answer.namelist())
    for item, labels in zip(voted, planted, strict=True):
        path = tmp_path / "answer" / "cases" / item / f"{item}_mask.nii.gz"
        assert (read_labels_of(read_mask(path), LabelScheme(), what=item).labels.voxels == labels.voxels).all()


def test_adjudication_packages_are_not_read_by_raters(round_of_review):
    outbox, inbox, truth, _ = round_of_review
    (outbox / "adjudication_demo_round-1.zip").write_bytes((outbox / "review_demo_round-1_R1.zip").read_bytes())
    answer_packages(outbox, inbox, truth)
    assert sorted(path.name for path in inbox.iterdir()) == [
        "review_demo_round-1_R1.zip",
        "review_demo_round-1_R2.zip",
        "review_demo_round-1_R3",
    ]
