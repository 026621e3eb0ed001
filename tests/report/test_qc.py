"""The quality page: what it shows of small volumes, that it stands alone, and that it is the same every time."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from pipeline.cohort.inclusion import FlowStep
from pipeline.core.geometry import Geometry
from pipeline.core.records import Phase, Problem, Severity
from pipeline.core.volume import LabelMap, Volume
from pipeline.report import qc
from pipeline.report.charts import flow_chart, heat_map, profile, stacked_bars, strip_plot
from pipeline.report.qc import SETTLED, QcVolume, make_card, qc_page
from pipeline.report.sheets import (
    PATH_UNITS,
    TILE_PX,
    choose_tiles,
    contact_sheet,
    disputed_voxels,
    frame_of,
    outlines,
)

SHAPE = (12, 40, 40)


def labels(*, lesion: bool = True, directions=None) -> LabelMap:
    voxels = np.zeros(SHAPE, dtype=np.uint8)
    voxels[2:10, 10:30, 8:28] = 1
    if lesion:
        voxels[4:6, 12:16, 10:14] = 2
        voxels[5, 12:20, 10:20] = 2
    return LabelMap(voxels, Geometry.from_axes(SHAPE, spacing_mm=(5, 2, 2), directions=directions))


def volume(case_id: str = "P0001", mask: LabelMap | None = None, **changes) -> QcVolume:
    mask = mask or labels()
    image = Volume((mask.voxels * 60).astype(np.int16), mask.geometry)
    return QcVolume(case_id, Phase.ARTERIAL, image, mask, **changes)


class Page(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.ids += [values["id"]] if values.get("id") else []
        self.links += [value for name in ("href", "src") if (value := values.get(name))]


def test_the_page_needs_no_other_file_and_its_links_lead_somewhere():
    page = Page(
        qc_page(
            "demo",
            [volume(liver_dice={"R1 R2": 0.97}, lesion_dice={"R1 R2": 0.9})],
            flow=[FlowStep("patients", "assessed", 0, 0, 2), FlowStep("patients", "age", 1, 1, 1)],
            exclusions=[{"patient": "P0002", "phase": None, "rule": "age", "message": "younger than 18 years"}],
        )
    )
    assert all(link.startswith(("#", "data:image/jpeg;base64,")) for link in page.links)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))


def test_the_same_input_gives_the_same_page_in_any_order():
    volumes = [volume(f"P{n:04d}", lesion_dice={"R1 R2": 0.5 + n / 20}) for n in range(1, 6)]
    assert qc_page("demo", volumes) == qc_page("demo", reversed(volumes))


def test_the_most_doubtful_volume_comes_first():
    volumes = [
        volume("P0001", liver_dice={"R1 R2": 0.99}),
        volume("P0002", lesion_dice={"R1 R2": 0.8}),
        volume("P0003", lesion_dice={"R1 R2": 0.3}),
        volume("P0004", problems=(Problem("x", Severity.FLAG, "touches the last slice"),)),
    ]
    order = re.findall(r'<article id="(P\d+)', qc_page("demo", volumes))
    assert order == ["P0003", "P0002", "P0004", "P0001"]


def test_texts_from_data_cannot_become_markup():
    html = qc_page("<b>demo", [volume(facts={"scanner": "<script>alert(1)</script>"})])
    assert "<script>alert" not in html
    assert "<b>demo" not in html


def test_only_the_most_doubtful_of_many_volumes_come_with_pictures(monkeypatch):
    monkeypatch.setattr(qc, "MAX_SHEETS", 2)
    html = qc_page("demo", [volume(f"P{n:04d}", lesion_dice={"R1 R2": n / 10}) for n in range(1, 5)])
    cards = html.split("<article")[1:]
    assert ["data:image" in card for card in cards] == [True, True, False, False]
    assert [re.search(r"P\d+", card).group() for card in cards] == ["P0001", "P0002", "P0003", "P0004"]
    assert "Pictures of the first 2." in html


def test_an_empty_dataset_has_a_page():
    assert "Quality of 0 volumes" in qc_page("demo", [])


def test_undefined_dice_counts_neither_as_good_nor_as_bad():
    card = make_card(volume(mask=labels(lesion=False), lesion_dice={"R1 R2": None}))
    assert (card.lesion_dice, card.level, card.concerns) == ({}, "good", ())


def test_dispute_weighs_until_the_lead_radiologist_settled_it():
    levels = [make_card(volume(lesion_dice={"R1 R2": 0.5}, status=status)).level for status in ("voted", SETTLED)]
    assert levels == ["bad", "good"]
    assert make_card(volume(lesion_dice={"R1 R2": 0.5}, status=SETTLED)).concerns


def test_card_tells_volumes_and_parts_on_paper():
    mask = labels()
    voxels = mask.voxels.copy()
    voxels[11, 0, 0] = 1
    card = make_card(volume(mask=LabelMap(voxels, mask.geometry)))
    assert card.liver_ml == pytest.approx((8 * 20 * 20 + 1) * 0.02)
    assert card.lesion_ml == pytest.approx((16 + 80) * 0.02)
    assert card.lesions == 1
    assert card.concerns == ("the liver is in several parts",)


def test_without_a_liver_the_card_is_bad():
    card = make_card(volume(mask=LabelMap(np.zeros(SHAPE, dtype=np.uint8), labels().geometry)))
    assert (card.level, card.tiles) == ("bad", ((6, "no liver"),))


def test_disputed_and_largest_slices_are_shown():
    tiles = {tile.slice: tile.why for tile in choose_tiles(labels(), {7: 40, 3: 90, 8: 1, 9: 0})}
    assert tiles[3] == tiles[7] == "most disputed"
    assert tiles[5] == "most lesion"
    assert tiles[2] == "first with liver"
    assert tiles[9] == "last with liver"
    assert list(tiles) == sorted(tiles)


def test_dispute_is_shown_from_counts_or_from_voxels():
    counted = make_card(volume(disagreement={3: 9}))
    voxels = np.zeros(SHAPE, dtype=bool)
    voxels[3, 10:13, 10:13] = True
    seen = make_card(volume(disputed=voxels))
    assert (3, "most disputed") in counted.tiles
    assert counted.tiles == seen.tiles
    assert counted.profile == seen.profile
    assert "disputed" in seen.outlines
    assert "disputed" not in counted.outlines


def test_every_slice_of_a_thin_liver_is_shown_once():
    voxels = np.zeros(SHAPE, dtype=np.uint8)
    voxels[3:5, 10:20, 10:20] = 1
    assert [tile.slice for tile in choose_tiles(LabelMap(voxels, labels().geometry), {})] == [3, 4]


def bright(directions=None) -> np.ndarray:
    """Where on its tile the one bright corner of the liver stands."""
    mask = labels(directions=directions)
    voxels = np.zeros(SHAPE, dtype=np.int16)
    voxels[5, 11:15, 9:13] = 240
    sheet = contact_sheet(Volume(voxels, mask.geometry), frame_of(mask), [5])
    return np.argwhere(np.asarray(Image.open(io.BytesIO(sheet))) > 200).mean(axis=0)


def test_front_is_on_top_and_the_patients_right_on_the_left():
    assert (bright() < TILE_PX / 2).all()
    turned = bright(np.array([[0, 0, 1.0], [0, -1.0, 0], [-1.0, 0, 0]]))
    assert (turned > TILE_PX / 2).all()


def test_sheet_has_one_tile_a_slice():
    mask = labels()
    image = Volume((mask.voxels * 60).astype(np.int16), mask.geometry)
    assert Image.open(io.BytesIO(contact_sheet(image, frame_of(mask), [2, 5, 9]))).size == (3 * TILE_PX, TILE_PX)


def area_of(path: str, *, edge_voxels: int) -> float:
    """Shoelace area of SVG paths of relative steps, in voxels; the tile shows so many along its edge."""
    total = 0.0
    for x, y, steps in re.findall(r"M(-?\d+) (-?\d+)l([^z]+)z", path):
        start = np.array([int(x), int(y)])
        points = start + np.cumsum(np.array(steps.split(), dtype=int).reshape(-1, 2), axis=0)
        across, down = points.T
        total += 0.5 * float(np.dot(across, np.roll(down, 1)) - np.dot(down, np.roll(across, 1)))
    return abs(total) / (TILE_PX * PATH_UNITS / edge_voxels) ** 2


def test_outlines_enclose_the_area_of_the_mask():
    mask = labels()
    drawn = outlines({"liver": mask.voxels > 0}, frame_of(mask), [3, 5])
    found = re.findall(r'class="liver" d="([^"]+)"', drawn)
    assert len(found) == 1
    assert area_of(found[0], edge_voxels=31) == pytest.approx(2 * (20 * 20 - 0.5), rel=0.01)


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_outlines_of_any_mask_enclose_it_up_to_the_cut_corners(seed):
    rng = np.random.default_rng(seed)
    voxels = np.zeros(SHAPE, dtype=np.uint8)
    voxels[5, 8:32, 8:32] = ndimage.uniform_filter(rng.random((24, 24)), 5) > 0.5
    voxels[5, 8, 8] = voxels[5, 31, 31] = 1
    mask = LabelMap(voxels, labels().geometry)
    drawn = outlines({"liver": voxels > 0}, frame_of(mask), [5])
    cut_corners = voxels[5].sum() * 0.25 + 8
    assert area_of(drawn, edge_voxels=35) == pytest.approx(voxels[5].sum(), abs=cut_corners)


def test_disputed_is_where_one_rater_differs():
    one, other, third = (np.zeros((1, 2, 3), dtype=np.uint8) for _ in range(3))
    one[0, 0, 0] = other[0, 0, 0] = third[0, 0, 0] = 2
    other[0, 1, 1] = 1
    third[0, 0, 0] = 1
    assert disputed_voxels([one, other, third]).sum() == 2
    assert not disputed_voxels([one]).any()


def test_heat_map_shows_the_mean_of_each_pair_in_either_order():
    chart = heat_map({"R1 R2": [0.8, 0.9], "R2 R3": [1.0]}, ["R1", "R2", "R3"])
    assert chart.count("0.850") == 2
    assert chart.count("1.000") == 2
    assert chart.count('class="none"') == 5


def test_strip_plot_starts_with_the_lowest_and_shows_every_score():
    chart = strip_plot([("b", "B", [0.9, 0.2]), ("a", "A", [0.95])], good=0.85, bad=0.7)
    assert chart.index("b: lowest 0.200") > 0
    assert re.findall(r'href="#(\w)"', chart) == ["B", "A"]
    assert chart.count("<circle") == 3
    heights = [float(y) for y in re.findall(r'cy="([\d.-]+)"', chart)]
    assert all(0 <= y <= 210 for y in heights)


def test_flow_chart_and_profile_hold_their_numbers():
    steps = [("assessed", 0, 10), ("tilt", 0, 10), ("kernel", 4, 6), ("kept", 0, 6)]
    chart = flow_chart([FlowStep("series", rule, fell, fell, left) for rule, fell, left in steps])
    assert "−4" in chart
    assert 'width="420.0"' in chart
    assert "tilt" not in chart
    bars = profile({"liver": [0, 10, 5], "lesion": [0, 4, 0], "disputed": [0, 3, 0]}, [1])
    assert [bars.count(f'class="{name}"') for name in ("liver", "lesion", "disputed", "shown")] == [2, 1, 1, 1]


def test_tables_are_shown_with_short_numbers():
    html = qc_page(
        "demo",
        [volume(liver_dice={"R1 R2": 0.97})],
        tables={"As LiMT prints it": [{"structure": "lesion", "before_vote": 88.4567891, "raters": None}], "none": []},
    )
    assert "<th>before vote</th>" in html
    assert "<td>88.46</td>" in html
    assert '<details class="table" open><summary>As LiMT prints it <small>1 rows</small></summary>' in html
    assert "none <small>" not in html


def test_stacked_bars_divide_each_category():
    chart = stacked_bars(["HCC", "ICC"], {"F": [1, 0], "M": [2, 3]})
    assert chart.count('class="group-0"') == 2  # one in the legend
    assert chart.count('class="group-1"') == 3
    assert chart.count(">3<") == 2


def test_pictures_are_jpeg():
    html = qc_page("demo", [volume()])
    (picture,) = re.findall(r'data:image/jpeg;base64,([^"]+)', html)
    assert Image.open(io.BytesIO(base64.b64decode(picture))).format == "JPEG"
