"""Lesion kinds on their way to raters and back: what viewers are given, and what comes back of it."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from pipeline.core.geometry import Geometry
from pipeline.core.labels import LabelScheme
from pipeline.core.volume import LabelMap
from pipeline.dataset.tables import label_names_text
from pipeline.image.masks import StoredMask, read_labels_of
from pipeline.image.nrrd import Segment
from pipeline.pictures.outlines import label_outlines
from pipeline.review.findings import findings
from pipeline.review.returns import Verdict, check_return
from pipeline.review.viewers import color_table, itksnap_workspace, label_table
from tests.review.rounds import image_voxels, mask_voxels
from tests.review.variants import save, slicer_kind, write_variant

KINDS = LabelScheme(("HCC", "cyst", "hemangioma"))
GRID = Geometry.from_axes((4, 6, 6), spacing_mm=(5, 1, 1))


def rows_of_itksnap(text: str) -> dict[int, tuple[str, tuple[int, ...]]]:
    rows = re.findall(r'^\s*(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+[\d.]+\s+\d\s+\d\s+"(.+)"$', text, re.M)
    return {int(value): (name, (int(r), int(g), int(b))) for value, r, g, b, name in rows}


def test_every_table_shows_the_same_names_values_and_colours():
    expected = {value: (KINDS.titles[value], KINDS.colors[value]) for value in KINDS.names if value}
    for text in (label_table(KINDS), label_names_text(KINDS)):
        assert {value: row for value, row in rows_of_itksnap(text).items() if value} == expected
    slicer = [line.split() for line in color_table(KINDS).splitlines() if not line.startswith("#")]
    shown = {int(row[0]): (row[1].replace("_", " "), tuple(map(int, row[2:5]))) for row in slicer if row[0] != "0"}
    assert shown == expected
    text = itksnap_workspace("P0001_C1", KINDS, image_range=(-100.0, 400.0), shown=(0.0, 200.0))
    root = ET.fromstring(re.sub(r"<!DOCTYPE.*?]>", "", text, flags=re.S))
    elements = [
        {entry.get("key"): entry.get("value") for entry in folder.findall("entry")}
        for folder in root.iter("folder")
        if folder.get("key", "").startswith("Element[")
    ]
    found = {int(one["Index"]): (one["Label"], tuple(map(int, one["Color"].split()))) for one in elements}
    assert found == expected


def test_names_of_the_colour_table_come_back_as_their_values():
    """What 3D Slicer saves of a mask that it opened with our colour table."""
    names = [line.split()[:2] for line in color_table(KINDS).splitlines() if not line.startswith("#")]
    layers = np.arange(6, dtype=np.uint8).reshape(1, 1, 1, 6)
    segments = tuple(Segment(name, int(value), 0) for value, name in names if int(value))
    grid = Geometry.from_axes((1, 1, 6), spacing_mm=(1, 1, 1))
    reading = read_labels_of(StoredMask(layers, grid, segments), KINDS, what="mask")
    np.testing.assert_array_equal(reading.labels.voxels, layers[0])
    assert reading.repairs == ()


def two_layers(first: str, second: str) -> StoredMask:
    layers = np.zeros((2, *GRID.shape), np.uint8)
    layers[0, 1:3, 1:5, 1:5], layers[1, 1:3, 2:4, 2:4] = 1, 1
    return StoredMask(layers, GRID, (Segment(first, 1, 0), Segment(second, 1, 1)))


@pytest.mark.parametrize(
    ("first", "second", "inside"),
    [("liver", "cyst", 4), ("lesion", "cyst", 4), ("cyst", "lesion", 4), ("HCC", "hcc", 3)],
)
def test_of_layers_the_inner_one_counts(first, second, inside):
    reading = read_labels_of(two_layers(first, second), KINDS, what="mask")
    assert (reading.labels.voxels[1:3, 2:4, 2:4] == inside).all()


@pytest.mark.parametrize(("first", "second"), [("HCC", "cyst"), ("cyst", "HCC")])
def test_two_kinds_at_one_place_are_refused(first, second):
    with pytest.raises(Exception, match="marks the same voxels as HCC and cyst; keep one of them"):
        read_labels_of(two_layers(first, second), KINDS, what="mask")


def test_a_segment_named_by_a_kind_has_its_value(review_round):
    path = write_variant(review_round, "m.seg.nrrd", slicer_kind)
    (check,) = check_return(path.parent, review_round.sent, LabelScheme(("ICC", "HCC")), rater="R1")
    assert check.is_usable
    assert sorted(np.unique(check.labels.voxels).tolist()) == [0, 1, 4]


@pytest.mark.parametrize(("scheme", "verdict"), [(KINDS, Verdict.ACCEPT), (LabelScheme(), Verdict.REJECT)])
def test_values_of_kinds_come_back_where_they_are_configured(review_round, scheme, verdict):
    def with_kind(voxels, affine, path):
        save(path, np.where(voxels == 2, 4, voxels), affine)

    path = write_variant(review_round, "m.nii.gz", with_kind)
    (check,) = check_return(path.parent, review_round.sent, scheme, rater="R1")
    assert check.verdict is verdict
    assert verdict is Verdict.REJECT or (check.labels.voxels == 4).any()
    assert verdict is Verdict.ACCEPT or check.problems[0].code == "wrong-labels"


def found_in(returned: np.ndarray, sent: np.ndarray):
    from pipeline.core.volume import Volume

    grid = Geometry.from_axes(sent.shape, spacing_mm=(5, 0.8, 0.8))
    image = Volume(image_voxels(mask_voxels()), grid)
    masks = (LabelMap(voxels, grid) for voxels in (returned, sent))
    problems = findings("P0001_C1", *masks, image, dict, agreed=True, kinds=KINDS.kind_names)
    return [problem.message for problem in problems if problem.code == "mixed-kinds"]


def test_a_lesion_of_two_kinds_is_flagged_unless_it_was_sent_so():
    sent = mask_voxels()
    one_kind = np.where(sent == 2, 3, sent).astype(np.uint8)
    mixed = one_kind.copy()
    mixed[5][mixed[5] == 3] = 4
    assert found_in(mixed, sent) == ["the mask of P0001_C1 marks one lesion as HCC and cyst (slices 5-7)"]
    assert found_in(mixed, mixed) == []
    assert found_in(one_kind, sent) == []
    partly = one_kind.copy()
    partly[5][partly[5] == 3] = 2
    assert found_in(partly, sent) == [], "what a rater left without a kind contradicts nothing"


def test_pictures_show_kinds_in_their_own_colours():
    labels = np.array([[[0, 1, 2, 3, 4, 9]]], np.uint8)
    outlines = label_outlines(labels, KINDS)
    assert [outline.color for outline in outlines[2:]] == [KINDS.colors[3], KINDS.colors[4]]
    assert outlines[1].mask.tolist() == [[[False, False, True, False, False, True]]]
    assert [outline.mask.sum() for outline in outlines[2:]] == [1, 1]
    assert len(label_outlines(labels)) == 2
