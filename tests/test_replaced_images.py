"""An image that is completed after it was handed out goes to its raters again, with the work they did on it."""

from __future__ import annotations

import io
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread

from pipeline import stages
from pipeline.core.files import write_atomically
from pipeline.core.records import Phase
from pipeline.core.volume import LabelMap
from pipeline.dataset.layout import ADJUDICATION
from pipeline.image.nifti import decode_nifti, gzipped_nifti, read_labels
from pipeline.review.package import sent_mask
from pipeline.stages.collect import accept_flagged, review_status
from pipeline.stages.handed_out import assignments
from pipeline.workspace import Outcome, Workspace
from tests.stages.awkward import SLICES, Person, build, write_dataset

PEOPLE = (Person("Brandstaetter^Juergen", "55102077"), Person("Oberleitner^Maria", "55102188"))
PARTS = {"top": range(14), "bottom": range(8, SLICES)}
"""Slices that were there when the case was handed out; the rest came later."""

C2 = Phase.PORTAL_VENOUS


def dataset(root: Path, there: range, *, repeats: float = 0.0) -> Workspace:
    """Two patients, built and handed out to R1 and R2 while the first one's export was half copied."""
    ws = write_dataset(root / "dataset", PEOPLE)
    text = ws.layout.config.read_text()
    ws.layout.config.write_text(
        text.replace("[review]", f"[consensus.adjudicate]\nmin_dice = 0.0\n[review]\nrepeats = {repeats}")
    )
    for number in set(range(SLICES)) - set(there):
        rest = root / "rest" / f"{number:04d}"
        rest.parent.mkdir(exist_ok=True)
        shutil.move(ws.root / "dicom" / "00" / f"{number:04d}", rest)
    ws = Workspace.open(ws.root)
    build(ws)
    assert stages.PACK(ws).is_well
    return ws


@pytest.fixture(scope="module", params=["top", pytest.param("bottom", marks=pytest.mark.slow)])
def half(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, range]:
    root = tmp_path_factory.mktemp(f"half-{request.param}")
    dataset(root, PARTS[request.param])
    return root, PARTS[request.param]


class Ward:
    """A copy of the dataset at work, and what happens in it."""

    def __init__(self, root: Path, there: range) -> None:
        self.root, self.there = root, there
        self.case_id = next(one for one in stages.case_ids(self.ws) if self._is_first(one))

    @property
    def ws(self) -> Workspace:
        return Workspace.open(self.root / "dataset")

    @property
    def item(self) -> str:
        return f"{self.case_id}_{C2}"

    def _is_first(self, case_id: str) -> bool:
        return self.ws.crosswalk.given(PEOPLE[0].number) == case_id

    def rest_arrives(self) -> None:
        for path in (self.root / "rest").iterdir():
            shutil.copy2(path, self.root / "dataset" / "dicom" / "00" / path.name)
        build(self.ws)

    def pack(self) -> Outcome:
        return stages.PACK(self.ws)

    def collect(self) -> Outcome:
        outcome = stages.COLLECT(self.ws)
        for case_id in stages.case_ids(self.ws):
            for stage in stages.REVIEW_STAGES:
                stage(self.ws, case_id)
        return outcome

    def package(self, number: int, rater: str) -> Path:
        return self.ws.layout.outbox(number) / f"review_dataset_round-{number}_{rater}.zip"

    def give_back(
        self, number: int, rater: str, shift: int = 0, *, inbox: int | None = None, form: str = "zip"
    ) -> None:
        """A rater's masks of a round's package, outlined as `outlined` says."""
        place = self.ws.layout.inbox(inbox or number)
        with zipfile.ZipFile(self.package(number, rater)) as sent:
            contents = {name: sent.read(name) for name in sent.namelist()}
        masks = {
            name: self._outlined_file(content, name, shift) for name, content in contents.items() if "_mask" in name
        }
        if form == "loose":
            for name, content in masks.items():
                write_atomically(place / rater / f"late-{number}" / Path(name).name, content)
            return
        returned = io.BytesIO()
        with zipfile.ZipFile(returned, "w") as parcel:
            for name, content in (contents | masks).items():
                parcel.writestr(name, content)
        write_atomically(place / f"from-{number}-{rater}.zip", returned.getvalue())

    def outlined(self, shift: int = 0, *, whole: bool = False) -> NDArray[np.uint8]:
        """A box of liver with a lesion, another one for each shift, at one place of the body on both images."""
        first = 2 + self.there.start * whole
        drawn = np.zeros((SLICES if whole else len(self.there), 64, 64), np.uint8)
        drawn[first : first + 10, 20:40, 12:30] = 1
        drawn[first + 2 : first + 6, 24 : 28 + shift, 16:21] = 2
        return drawn

    def _outlined_file(self, content: bytes, name: str, shift: int) -> bytes:
        voxels, geometry = decode_nifti(content, name)
        return gzipped_nifti(LabelMap(self.outlined(shift, whole=len(voxels) == SLICES), geometry))

    def on_new_grid(self, old: NDArray[np.uint8], label: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """On paper: the same slices at their places in the whole scan, the network's label in all others."""
        whole = label.copy()
        whole[self.there.start : self.there.stop] = old
        return whole

    def earlier(self, number: int, rater: str) -> Path:
        return self.ws.layout.earlier_rating(self.case_id, C2, number, rater)

    def rating(self, rater: str) -> Path:
        return self.ws.layout.rating(self.case_id, C2, rater)


@pytest.fixture
def ward(half: tuple[Path, range], tmp_path: Path) -> Ward:
    root, there = half
    return Ward(Path(shutil.copytree(root, tmp_path / "ward")), there)


def test_the_completed_image_is_packed_again_for_its_raters_with_their_masks(ward: Ward):
    ward.give_back(1, "R1", 1)
    ward.give_back(1, "R2", 2)
    assert ward.collect().is_well
    assert ward.rating("R1").is_file()
    assert ward.ws.layout.consensus(ward.case_id, C2).is_file()
    ward.rest_arrives()

    assert "image was replaced" in (stages.VOTE(ward.ws, ward.case_id).note)
    assert list(stages.to_pack(ward.ws)) == [(ward.case_id, C2)]
    outcome = ward.pack()
    assert "1 again because the image was replaced" in outcome.note
    assert {rater: [item.item_id for item in items] for rater, items in assignments(ward.ws)[2].lists.items()} == {
        "R1": [ward.item],
        "R2": [ward.item],
    }
    assert ward.pack().note == "" or stages.to_pack(ward.ws) == ()
    label = read_labels(ward.ws.layout.coarse(ward.case_id, C2)).voxels
    assert label.shape == (SLICES, 64, 64)
    for rater, shift in (("R1", 1), ("R2", 2)):
        old = ward.outlined(shift)
        np.testing.assert_array_equal(read_labels(ward.earlier(1, rater)).voxels, old)
        np.testing.assert_array_equal(
            sent_mask(ward.package(2, rater), ward.item).voxels,
            ward.on_new_grid(old, label),
            "its own, not the other's",
        )
        with zipfile.ZipFile(ward.package(2, rater)) as package:
            page = package.read("START_HERE.html").decode()
            worklist = package.read("worklist.csv").decode()
        for text in (page, worklist):
            assert "The image was replaced after round 1" in text
            assert "Your earlier mask is kept: it is carried over by position" in text
    new = sorted(set(range(1, SLICES + 1)) - {number + 1 for number in ward.there})
    assert f"{new[0]}-{new[-1]}" in worklist


def test_old_work_counts_no_more_and_the_new_mask_decides(ward: Ward):
    ward.give_back(1, "R1")
    ward.give_back(1, "R2")
    ward.collect()
    ward.rest_arrives()
    ward.pack()
    ward.collect()
    assert not ward.rating("R1").exists()
    assert not ward.ws.layout.consensus(ward.case_id, C2).exists()
    assert (ward.ws.layout.earlier(ward.case_id, C2, 1) / "consensus.nii.gz").is_file()
    status = {(row.round, row.rater): (row.assigned, row.returned) for row in review_status(ward.ws)}
    assert [status[1, rater][0] for rater in ("R1", "R2")] == [1, 1], "round 1 asks for the other patient alone"
    assert [status[2, rater] for rater in ("R1", "R2")] == [(1, 0), (1, 0)]

    for rater in ("R1", "R2"):
        ward.give_back(2, rater, 3)
    outcome = ward.collect()
    assert not [problem for problem in outcome.problems if ward.item in problem.message], (
        "the answer closes what was open about the earlier mask"
    )
    for stage in stages.REVIEW_STAGES:
        assert stage.why(ward.ws, ward.case_id) is None
    final = read_labels(ward.ws.layout.consensus(ward.case_id, C2)).voxels
    np.testing.assert_array_equal(final, ward.outlined(3, whole=True))
    np.testing.assert_array_equal(read_labels(ward.earlier(1, "R1")).voxels, ward.outlined())


def test_the_final_mask_includes_earlier_work_that_the_raters_agree_to(ward: Ward):
    for rater in ("R1", "R2"):
        ward.give_back(1, rater, 2)
    ward.collect()
    ward.rest_arrives()
    ward.pack()
    for rater in ("R1", "R2"):
        rows = f"item,status,comment\n{ward.item},agree,"
        write_atomically(ward.ws.layout.inbox(2) / rater / f"list-{rater}" / "worklist.csv", rows.encode())
    ward.collect()
    label = read_labels(ward.ws.layout.coarse(ward.case_id, C2)).voxels
    final = read_labels(ward.ws.layout.consensus(ward.case_id, C2)).voxels
    np.testing.assert_array_equal(final, ward.on_new_grid(ward.outlined(2), label))
    assert stages.MEASURE.why(ward.ws, ward.case_id) is None


@pytest.mark.parametrize("form", ["zip", "loose"])
@pytest.mark.parametrize("inbox", [1, 2])
def test_a_late_return_of_the_old_package_is_kept_flagged_and_can_be_accepted(ward: Ward, form: str, inbox: int):
    ward.rest_arrives()
    ward.pack()
    ward.give_back(1, "R1", 2, inbox=inbox, form=form)
    outcome = ward.collect()
    flagged = [problem for problem in outcome.problems if problem.code == "return-flag"]
    (about,) = [problem.message for problem in flagged if ward.item in problem.message]
    assert f"the image of {ward.item} was replaced after this mask was sent; the mask is kept" in about
    assert "carried over by position" in about
    old = ward.outlined(2)
    np.testing.assert_array_equal(read_labels(ward.earlier(1, "R1")).voxels, old)
    assert not ward.rating("R1").exists()

    accept_flagged(ward.ws, "R1", ward.item)
    assert not [problem for problem in ward.collect().problems if ward.item in problem.message]
    label = read_labels(ward.ws.layout.coarse(ward.case_id, C2)).voxels
    np.testing.assert_array_equal(read_labels(ward.rating("R1")).voxels, ward.on_new_grid(old, label))

    ward.give_back(2, "R1", 4)
    ward.collect()
    np.testing.assert_array_equal(read_labels(ward.rating("R1")).voxels, ward.outlined(4, whole=True))


@pytest.mark.parametrize("form", ["zip", "loose"])
def test_the_new_package_counts_in_whichever_inbox_it_lies(ward: Ward, form: str):
    ward.rest_arrives()
    ward.pack()
    ward.give_back(2, "R1", 4, inbox=1, form=form)
    ward.collect()
    np.testing.assert_array_equal(read_labels(ward.rating("R1")).voxels, ward.outlined(4, whole=True))


@pytest.mark.parametrize("packed_first", [True, False])
def test_a_return_between_the_new_image_and_its_package_is_kept_for_the_package(ward: Ward, packed_first: bool):
    ward.rest_arrives()
    if packed_first:
        ward.pack()
    ward.give_back(1, "R1", 2)
    ward.collect()
    np.testing.assert_array_equal(read_labels(ward.earlier(1, "R1")).voxels, ward.outlined(2))
    ward.pack()
    label = read_labels(ward.ws.layout.coarse(ward.case_id, C2)).voxels
    expected = label if packed_first else ward.on_new_grid(ward.outlined(2), label)
    np.testing.assert_array_equal(sent_mask(ward.package(2, "R1"), ward.item).voxels, expected)


def test_an_image_with_other_voxels_takes_no_mask_and_says_so(ward: Ward):
    ward.give_back(1, "R1", 2)
    ward.collect()
    spaced_anew(ward)
    ward.pack()
    with zipfile.ZipFile(ward.package(2, "R1")) as package:
        assert "it cannot be carried over" in package.read("worklist.csv").decode()
    label = read_labels(ward.ws.layout.coarse(ward.case_id, C2)).voxels
    np.testing.assert_array_equal(sent_mask(ward.package(2, "R1"), ward.item).voxels, label)
    ward.give_back(1, "R2", 2)
    (problem,) = [one for one in ward.collect().problems if ward.item in one.message and "R2" in one.message]
    assert "it cannot be carried over" in problem.message
    assert problem.fix == "outline the image of the newest package"
    np.testing.assert_array_equal(read_labels(ward.earlier(1, "R2")).voxels, ward.outlined(2))


def spaced_anew(ward: Ward) -> None:
    """The same scan, reconstructed with larger pixels."""
    for path in (ward.root / "dataset" / "dicom" / "00").iterdir():
        header = dcmread(path)
        header.PixelSpacing = [float(step) * 1.25 for step in header.PixelSpacing]
        header.save_as(path)
    build(ward.ws)


@pytest.mark.slow
def test_hidden_repeats_and_images_that_are_replaced_twice_lose_nothing(tmp_path: Path):
    dataset(tmp_path, PARTS["top"], repeats=0.5)
    ward = Ward(tmp_path, PARTS["top"])
    items = assignments(ward.ws)[1].lists["R1"]
    assert sum(item.is_repeat for item in items) == 1
    ward.give_back(1, "R1", 1)
    ward.give_back(1, "R2", 1)
    ward.collect()
    ward.rest_arrives()
    ward.pack()
    ward.give_back(2, "R1", 2)
    assert ward.collect().is_well
    spaced_anew(ward)
    ward.pack()
    for number in (1, 2):
        ward.give_back(number, "R2", 3, inbox=3)
    assert ward.collect().is_well
    assert [item.item_id for item in assignments(ward.ws)[3].lists["R1"]] == [ward.item]
    masks = {(n, rater): read_labels(ward.earlier(n, rater)).voxels for n, rater in ((1, "R1"), (2, "R1"), (1, "R2"))}
    np.testing.assert_array_equal(masks[1, "R1"], ward.outlined(1))
    np.testing.assert_array_equal(masks[2, "R1"], ward.outlined(2, whole=True))
    np.testing.assert_array_equal(masks[1, "R2"], ward.outlined(3))
    np.testing.assert_array_equal(read_labels(ward.earlier(2, "R2")).voxels, ward.outlined(3, whole=True))
    assert not list(ward.ws.layout.ratings(ward.case_id, C2).rglob("*.nii.gz")), "no earlier mask counts"


def stop_at(monkeypatch: pytest.MonkeyPatch, name: str) -> Callable[[], None]:
    """The power fails when a step of packing begins."""

    def fail(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"pipeline.stages.pack.{name}", fail)
    return monkeypatch.undo


@pytest.mark.parametrize("step", ["_rater_package", "require_clean", "_set_apart", "RoundAssignment"])
def test_packing_that_was_interrupted_loses_no_mask(ward: Ward, step: str, monkeypatch: pytest.MonkeyPatch):
    ward.give_back(1, "R1", 2)
    ward.collect()
    ward.rest_arrives()
    again = stop_at(monkeypatch, step)
    with pytest.raises(KeyboardInterrupt):
        ward.pack()
    again()
    ward.pack()
    label = read_labels(ward.ws.layout.coarse(ward.case_id, C2)).voxels
    expected = ward.on_new_grid(ward.outlined(2), label)
    np.testing.assert_array_equal(sent_mask(ward.package(2, "R1"), ward.item).voxels, expected)
    assert ward.earlier(1, "R1").is_file()


def test_an_open_vote_on_an_earlier_image_is_not_sent_to_the_lead(ward: Ward):
    ward.give_back(1, "R1")
    ward.give_back(1, "R2")
    ward.collect()
    ward.rest_arrives()
    assert ward.case_id not in {case_id for case_id, _ in stages.adjudicate.to_adjudicate(ward.ws)}
    stages.ADJUDICATE(ward.ws)
    asked = [
        item
        for number in ward.ws.layout.numbers(ADJUDICATION)
        for item in stages.adjudicate.adjudications(ward.ws)[number]
    ]
    assert ward.case_id not in {item.case_id for item in asked}
    assert stages.REPORT(ward.ws).is_well
