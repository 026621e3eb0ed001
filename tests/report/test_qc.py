"""The quality page: what it shows of small volumes, that it stands alone, and that it is the same every time."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from pipeline.cohort.inclusion import FlowStep
from pipeline.core.geometry import Geometry
from pipeline.core.records import Phase, Problem, Severity
from pipeline.core.volume import LabelMap, Volume
from pipeline.report import qc
from pipeline.report.charts import flow_chart, heat_map, profile, stacked_bars, strip_plot
from pipeline.report.qc import SETTLED, QcVolume, make_card, qc_page

SHAPE = (12, 40, 40)


def labels(*, lesion: bool = True) -> LabelMap:
    voxels = np.zeros(SHAPE, dtype=np.uint8)
    voxels[2:10, 10:30, 8:28] = 1
    if lesion:
        voxels[4:6, 12:16, 10:14] = 2
        voxels[5, 12:20, 10:20] = 2
    return LabelMap(voxels, Geometry.from_axes(SHAPE, spacing_mm=(5, 2, 2)))


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
    assert "The first 2 have pictures." in html


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
    assert card.concerns == ("the liver mask has several separate parts",)


def test_without_a_liver_the_card_is_bad():
    card = make_card(volume(mask=LabelMap(np.zeros(SHAPE, dtype=np.uint8), labels().geometry)))
    assert card.level == "bad"
    assert {tile.why for tile in card.tiles} == {"no liver"}


def test_disputed_and_largest_slices_are_shown():
    card = make_card(volume(disagreement={7: 40, 3: 90, 8: 1, 9: 0, 99: 50}))
    tiles = {tile.index: tile.why for tile in card.tiles}
    assert {index for index, why in tiles.items() if why == "most disputed"} == {3, 7}
    assert tiles[5] == "most lesion"
    assert tiles[2] == "first with liver"
    assert tiles[9] == "last with liver"
    assert list(tiles) == sorted(tiles)


def test_the_page_counts_slices_from_1():
    html = qc_page("demo", [volume(disagreement={3: 90})])
    assert "<span>slice 4<small> most disputed</small></span>" in html
    assert "<span>slice 3<small> first with liver</small></span>" in html


def test_outlines_and_bars_have_the_colours_of_the_labels():
    html = qc_page("demo", [volume()])
    assert [html.count(f'<path stroke="{color}"') for color in ("#4caf50", "#f44336")] == [1, 1]
    assert "--liver:#4caf50; --lesion:#f44336;" in html


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
    assert '<details class="table" open><summary>As LiMT prints it <small>1 row</small></summary>' in html
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
