"""Simulated readers answer packages as people do: zips and folders, repeats, faults, and a lead who settles."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest

from pipeline.core.errors import ReviewError, StorageError
from pipeline.core.labels import LabelScheme
from pipeline.core.records import Phase
from pipeline.core.volume import LabelMap
from pipeline.image.masks import place, read_labels_of, read_mask
from pipeline.image.nifti import content_sha256, write_nifti
from pipeline.synth.anatomy import LesionKind
from pipeline.synth.phantom import make_phantom
from pipeline.synth.raters import answer_adjudication, answer_packages
from pipeline.synth.truth import CohortTruth, VolumeTruth


def nested_majority(masks: list[np.ndarray]) -> np.ndarray:
    """Liver where most say liver or lesion; lesion where, of all, most say lesion. Written anew, by counting."""
    stack = np.stack(masks)
    half = len(masks) / 2
    return ((stack > 0).sum(axis=0) > half).astype(np.uint8) + ((stack == 2).sum(axis=0) > half)


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
