"""Adjudication: outlines go out without names, a decision comes back by file or by word, nothing drawn is changed."""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.agreement.reasons import LowDice, MinorityLesion, Seen, Span
from pipeline.core.errors import GeometryError, ReviewError
from pipeline.core.geometry import Geometry
from pipeline.core.volume import LabelMap
from pipeline.image.nifti import read_labels, write_nifti
from pipeline.review.adjudication import AdjudicationItem, anonymous, build_adjudication_package
from pipeline.review.pages import READER_COLORS
from pipeline.review.returns import SentItem, Verdict, check_return
from tests.review.rounds import SCHEME, Round


@pytest.fixture
def readings(review_round) -> dict[str, Path]:
    """Three readers of P0001 C1; the second one drew a second lesion, the third one drew none."""
    sent = read_labels(review_round.items[0].coarse)
    second, third = sent.voxels.copy(), sent.voxels.copy()
    second[6, 18:22, 18:22] = 2
    third[third == 2] = 1
    paths = {}
    for rater, voxels in {"R1": sent.voxels, "R2": second, "R3": third}.items():
        paths[rater] = review_round.folder / "ratings" / f"{rater}.nii.gz"
        write_nifti(paths[rater], LabelMap(voxels, sent.geometry))
    return paths


def adjudication(review_round: Round, readings: dict[str, Path]) -> tuple[Path, SentItem, dict[str, str]]:
    """The package, how it was sent, and which rater hides behind which letter."""
    sent = review_round.items[0]
    reasons = (
        MinorityLesion(Seen(2, 0.08, Span(6, 6), ("R2",), 3), kept_ml=0.0),
        LowDice("lesion", ("R1", "R3"), 0.71, 0.8),
    )
    item = AdjudicationItem("P0001_C1", "P0001", sent.phase, sent.image, sent.coarse, readings, reasons)
    path = build_adjudication_package(review_round.folder / "out", [item], SCHEME, round_number=1, dataset="demo")
    shown = anonymous(readings, dataset="demo", item_id="P0001_C1")
    dealt = {letter: path.name.removesuffix(".nii.gz") for letter, path in shown.items()}
    return path, SentItem("P0001_C1", "lead", "P0001", sent.phase, sent.image, sent.coarse, readings=shown), dealt


def test_letters_are_dealt_anew_for_each_volume_and_stay_the_same():
    ratings = {rater: Path(rater) for rater in ("R1", "R2", "R3")}
    dealt = [anonymous(ratings, dataset="demo", item_id=f"P{n:04d}_C1") for n in range(600)]
    assert all(sorted(one) == ["A", "B", "C"] and sorted(one.values()) == list(ratings.values()) for one in dealt)
    first = Counter(one["A"] for one in dealt)
    assert all(150 < first[path] < 250 for path in ratings.values())
    backwards = dict(reversed(ratings.items()))
    assert anonymous(backwards, dataset="demo", item_id="P0001_C1") == dealt[1]
    with pytest.raises(ReviewError, match="P0001_C1 has 9 readings; at most 8"):
        anonymous({f"R{n}": Path("m") for n in range(9)}, dataset="demo", item_id="P0001_C1")


def test_the_package_shows_every_outline_and_no_rater(review_round, readings):
    path, _, dealt = adjudication(review_round, readings)
    assert path.name == "adjudication_demo_round-1.zip"
    with zipfile.ZipFile(path) as package:
        for letter, rater in dealt.items():
            assert package.read(f"cases/P0001_C1/reader_{letter}.nii.gz") == readings[rater].read_bytes()
        for name in package.namelist():
            if not name.endswith((".gz", ".png")):
                text = re.sub(r"base64,[^\"]*", "", package.read(name).decode())
                assert not re.search(r"R[123]", text), name
        page = package.read("START_HERE.html").decode()
        assert "Liver adjudication" in page
        first, third = (letter for rater in ("R1", "R3") for letter in dealt if dealt[letter] == rater)
        first, third = sorted((first, third))
        assert "Lesion 2: 1 of 3 raters marked 0.08 ml on slice 7; the vote keeps nothing of it; " in page
        assert f"lesion: Dice 0.710 between reader {first} and reader {third} (limit 0.800)" in page
        assert all(f"reader {letter}" in page for letter in dealt)
        picture = np.asarray(Image.open(io.BytesIO(package.read("cases/P0001_C1/preview.png"))).convert("RGB"))
        workspace = package.read("cases/P0001_C1/P0001_C1.itksnap").decode()
        starters = [package.read(f"cases/P0001_C1/{name}").decode() for name in ("open.bat", "open.sh")]
    assert workspace.count("SegmentationRole") == 1
    assert workspace.count("OverlayRole") == 3
    assert all('-o "reader_A.nii.gz" "reader_B.nii.gz" "reader_C.nii.gz"' in text for text in starters)
    for letter in dealt:
        near = np.abs(picture.astype(int) - READER_COLORS[letter]).sum(axis=2) < 40
        assert near.sum() > 20, letter
        assert f'"reader {letter}"' in workspace


def returned(path: Path, *, status: str = "", comment: str = "", mask: bytes | None = None) -> Path:
    """The package as it comes back, with a word in the worklist or an edited mask."""
    back = path.parent.parent / "in" / path.name
    back.parent.mkdir()
    with zipfile.ZipFile(path) as package, zipfile.ZipFile(back, "w") as zipped:
        for name in package.namelist():
            content = package.read(name)
            if name == "worklist.csv":
                rows = list(csv.DictReader(io.StringIO(content.decode())))
                buffer = io.StringIO()
                table = csv.DictWriter(buffer, list(rows[0]))
                table.writeheader()
                table.writerow({**rows[0], "status": status, "comment": comment})
                content = buffer.getvalue().encode()
            if name.endswith("_mask.nii.gz") and mask is not None:
                content = mask
            zipped.writestr(name, content)
    return back


def test_a_letter_takes_that_readers_outline(review_round, readings):
    path, sent, dealt = adjudication(review_round, readings)
    letter = next(letter for letter, rater in dealt.items() if rater == "R2")
    (check,) = check_return(returned(path, status=f" {letter.lower()} ", comment="Zhang San has two"), [sent], SCHEME)
    assert (check.verdict, check.item.rater) == (Verdict.ACCEPT, "lead")
    np.testing.assert_array_equal(check.labels.voxels, read_labels(readings["R2"]).voxels)
    assert check.comment == "Zhang San has two"
    assert "Zhang" not in json.dumps(check.to_json())


def test_agree_takes_the_vote_and_silence_is_asked_about(review_round, readings):
    path, sent, _ = adjudication(review_round, readings)
    (check,) = check_return(returned(path, status="agree"), [sent], SCHEME)
    assert check.verdict is Verdict.ACCEPT
    np.testing.assert_array_equal(check.labels.voxels, read_labels(sent.coarse).voxels)
    (check,) = check_return(path, [sent], SCHEME)
    assert (check.verdict, check.problems[0].code) == (Verdict.FLAG, "unchanged")


def test_an_edited_mask_is_the_decision_but_not_together_with_a_letter(review_round, readings):
    path, sent, _ = adjudication(review_round, readings)
    edited = readings["R3"].read_bytes()
    back = returned(path, mask=edited)
    (check,) = check_return(back, [sent], SCHEME)
    assert (check.verdict, check.changed_voxels > 0) == (Verdict.ACCEPT, True)
    back.unlink()
    back.parent.rmdir()
    (check,) = check_return(returned(path, mask=edited, status="B"), [sent], SCHEME)
    assert (check.verdict, check.problems[0].code) == (Verdict.REJECT, "two-decisions")


def test_the_worklist_alone_is_enough_for_words(review_round, readings):
    _, sent, dealt = adjudication(review_round, readings)
    alone = review_round.folder / "alone"
    alone.mkdir()
    (alone / "worklist.csv").write_text("item\tstatus\nP0001_C1\tA\nP0009_C1\tB\n")
    (check,) = check_return(alone, [sent], SCHEME)
    np.testing.assert_array_equal(check.labels.voxels, read_labels(readings[dealt["A"]]).voxels)
    (alone / "worklist.csv").write_text("item\tstatus\nP0001_C1\tdone\n")
    (check,) = check_return(alone, [sent], SCHEME)
    assert check.problems[0].code == "no-mask"


def test_a_reading_on_another_grid_never_goes_out(review_round, readings):
    shape = (2, 3, 4)
    other = LabelMap(np.zeros(shape, np.uint8), Geometry.from_axes(shape, spacing_mm=(1, 1, 1)))
    write_nifti(readings["R1"], other)
    with pytest.raises(GeometryError, match=r"reading [ABC] of P0001_C1"):
        adjudication(review_round, readings)
