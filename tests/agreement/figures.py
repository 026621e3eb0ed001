"""The pictures of docs/agreement.md: each rule at work on masks of a few voxels, what it decides taken from the rule.

`WRITE_FIGURES=1 pytest tests/agreement/test_figures.py` writes them anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from html import escape
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from pipeline.agreement.agree import agree, coarse_against_final
from pipeline.agreement.consensus import Consensus, vote
from pipeline.core.config import AdjudicateConfig, ConsensusConfig
from pipeline.core.geometry import Geometry
from pipeline.core.labels import LabelScheme
from pipeline.core.records import Phase
from pipeline.core.volume import LabelMap
from pipeline.lesions.measure import measure_lesions
from pipeline.lesions.records import Match
from pipeline.lesions.tracks import follow, liver_shift_mm
from pipeline.pictures.outlines import css_color

CELL = 8
"""Pixels of a voxel."""

SPACING_MM = (5.0, 1.0, 1.0)
SCHEME = LabelScheme(("HCC", "ICC", "cyst"))
LENIENT = AdjudicateConfig(min_dice=0, max_tie_fraction=1, max_volume_difference_ml=1e6)
PALE = 9
"""A lesion under lines."""

STYLE = (
    "text{font:12px sans-serif;fill:#1f2328}.b{font-weight:bold}.m{fill:#59636e}.bg{fill:#fff}"
    ".f{fill:none;stroke:#8c959f}.v1{fill:#4caf50;opacity:.35}.v2{fill:#f44336}.v255{fill:#8c959f}"
    + "".join(f".v{kind.value}{{fill:{css_color(kind.color)}}}" for kind in SCHEME.kinds)
    + ".v9{fill:#f44336;opacity:.3}.a{fill:none;stroke:#0969da;stroke-width:2.5}"
    ".d{fill:none;stroke:#bf5b00;stroke-width:2.5;stroke-dasharray:4 4}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.m{fill:#9198a1}.bg{fill:#0d1117}"
    ".a{stroke:#58a6ff}.d{stroke:#f0a04b}}"
)
"""Own background and a dark form, so that a picture is readable on any page."""

Plane = NDArray[np.uint8]


class Sheet:
    """A picture under way."""

    def __init__(self, title: str) -> None:
        self.title, self.parts, self.width, self.height = title, list[str](), 0.0, 0.0

    def add(self, part: str, right: float, bottom: float) -> None:
        self.parts.append(part)
        self.width, self.height = max(self.width, right), max(self.height, bottom)

    def text(self, x: float, y: float, text: str, css: str = "") -> None:
        named = f' class="{css}"' if css else ""
        self.add(f'<text x="{x:g}" y="{y:g}"{named}>{escape(text)}</text>', x + 6.6 * len(text), y + 4)

    def cells(self, x: float, y: float, plane: Plane, caption: str = "") -> None:
        """One slice, a square a voxel."""
        height, width = (n * CELL for n in plane.shape)
        if caption:
            self.text(x, y - 5, caption)
        paths: dict[int, str] = {}
        for row, line in enumerate(plane.tolist()):
            for value, start, stop in _runs(line):
                run = (stop - start) * CELL
                step = f"M{x + start * CELL:g} {y + row * CELL:g}h{run}v{CELL}h-{run}z"
                paths[value] = paths.get(value, "") + step
        self.parts += [f'<path d="{paths[value]}" class="v{value}"/>' for value in sorted(paths)]
        frame = f'<rect x="{x:g}" y="{y:g}" width="{width}" height="{height}" class="f"/>'
        self.add(frame, x + width, y + height)

    def outline(self, x: float, y: float, mask: NDArray[np.bool_], css: str) -> None:
        """The border of a mask along the edges of its voxels."""
        whole = np.pad(mask, 1)
        across = np.argwhere(whole[1:] != whole[:-1])
        down = np.argwhere(whole[:, 1:] != whole[:, :-1])
        steps = [f"M{x + (column - 1) * CELL:g} {y + row * CELL:g}h{CELL}" for row, column in across.tolist()]
        steps += [f"M{x + column * CELL:g} {y + (row - 1) * CELL:g}v{CELL}" for row, column in down.tolist()]
        self.parts.append(f'<path d="{"".join(steps)}" class="{css}"/>')

    def line(self, ends: Sequence[tuple[float, float]], css: str) -> None:
        (x1, y1), (x2, y2) = ends
        self.parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{css}"/>')

    def svg(self) -> str:
        width, height = self.width + 14, self.height + 14
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" role="img">'
        )
        back = f'<rect class="bg" width="{width:g}" height="{height:g}" rx="6"/>'
        named = f"<title>{escape(self.title)}</title><style>{STYLE}</style>"
        return "\n".join([head, named, back, *self.parts, "</svg>\n"])


def _runs(line: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Value, start and end of each stretch of one value that is not 0."""
    cuts = [0, *(n for n in range(1, len(line)) if line[n] != line[n - 1]), len(line)]
    return ((line[start], start, stop) for start, stop in pairwise(cuts) if line[start])


def labels_of(plane: Plane) -> LabelMap:
    """One slice as a mask."""
    return LabelMap(plane[np.newaxis], Geometry.from_axes((1, *plane.shape), spacing_mm=SPACING_MM))


def between_livers(plane: Plane) -> LabelMap:
    """A slice with liver above and below, in which a hole is one."""
    stack = np.stack([liver(*plane.shape), plane, liver(*plane.shape)])
    return LabelMap(stack, Geometry.from_axes(stack.shape, spacing_mm=SPACING_MM))


def ratings_of(planes: Sequence[Plane]) -> dict[str, LabelMap]:
    return {f"R{n}": labels_of(plane) for n, plane in enumerate(planes, start=1)}


def voted(ratings: Mapping[str, LabelMap] | Sequence[Plane], **settings: str) -> Consensus:
    config = ConsensusConfig.model_validate({"adjudicate": LENIENT, **settings})
    return vote(ratings if isinstance(ratings, Mapping) else ratings_of(ratings), config, scheme=SCHEME)


def liver(height: int, width: int, *lesions: NDArray[np.bool_], value: int = 2) -> Plane:
    """A liver with a margin of one voxel, and lesions in it."""
    plane = np.zeros((height, width), np.uint8)
    plane[1:-1, 1:-1] = 1
    for lesion in lesions:
        plane[lesion] = value
    return plane


def disc(height: int, width: int, row: float, column: float, radius: float) -> NDArray[np.bool_]:
    rows, columns = np.indices((height, width))
    return np.asarray((rows - row) ** 2 + (columns - column) ** 2 <= radius**2)


def rows_of(sheet: Sheet, x: float, y: float, planes: Sequence[Plane], captions: Iterable[str]) -> float:
    """Slices side by side; gives where the next one would stand."""
    for plane, caption in zip(planes, captions, strict=True):
        sheet.cells(x, y, plane, caption)
        x += plane.shape[1] * CELL + 14
    return x


def raters(planes: Sequence[Plane]) -> list[str]:
    return [f"R{n}" for n in range(1, len(planes) + 1)]


def majority() -> Sheet:
    """Three raters, where more than half decide; four raters, where a tie is left."""
    sheet = Sheet("Majority vote: more than half of the raters; what a tie becomes")
    size = 10, 12
    planes = [liver(*size, disc(*size, 4.5, column, 2.6)) for column in (4, 5.5, 7)]
    sheet.text(14, 22, "Three raters: lesion where two of three mark it", "b")
    x = rows_of(sheet, 14, 48, planes, raters(planes))
    sheet.cells(x + 20, 48, voted(planes).labels.voxels[0], "vote")
    left, right = (liver(*size, disc(*size, 4.5, column, 2.6)) for column in (4, 7))
    four = [left, left, right, right]
    sheet.text(14, 158, "Four raters: where two of four mark lesion, the tie policy decides", "b")
    x = rows_of(sheet, 14, 184, four, raters(four))
    results = {f"ties = {ties}": voted(four, ties=ties).labels.voxels[0] for ties in ("down", "up", "undecided")}
    rows_of(sheet, x + 20, 184, list(results.values()), results)
    sheet.text(14, 284, "light: liver; full: lesion; grey: undecided, 255", "m")
    return sheet


def losses() -> Sheet:
    """What the vote takes away and names, and the wider border that is none of it."""
    sheet = Sheet("What the vote loses: a lesion, a piece, liver in a hole; a wider border is no loss")
    size = 14, 18
    agreed = disc(*size, 6.5, 5.5, 3.2)
    thirds = [np.zeros(size, bool) for _ in range(3)]
    for n, third in enumerate(thirds):
        third[4:10, 5 + 3 * n : 8 + 3 * n] = True
    hole = disc(*size, 6.5, 8.5, 2.3)
    hollow = liver(*size)
    hollow[hole] = 0
    rim = [disc(*size, 6.5, 8.5, radius) for radius in (2.9, 5.6)]
    cases = {
        "Adjoining thirds: three raters saw it, no voxel has two": [liver(*size, third) for third in thirds],
        "A satellite that one rater adds": [
            *[liver(*size, agreed)] * 2,
            liver(*size, agreed | disc(*size, 6.5, 12.5, 2.3) | disc(*size, 6.5, 9.5, 1)),
        ],
        "A border that one rater puts further out all around": [*[liver(*size, rim[0])] * 2, liver(*size, rim[1])],
        "Liver that two raters leave out, inside": [liver(*size), hollow, hollow],
    }
    y = 22.0
    for title, planes in cases.items():
        found = voted({rater: between_livers(plane) for rater, plane in zip(raters(planes), planes, strict=True)})
        named = [reason.rule for reason in found.needs_adjudication]
        sheet.text(14, y, title, "b")
        x = rows_of(sheet, 14, y + 24, planes, raters(planes))
        sheet.cells(x + 20, y + 24, found.labels.voxels[1], "vote")
        sheet.text(x + 34 + size[1] * CELL, y + 24 + size[0] * CELL / 2, ", ".join(named) or "nothing is named")
        y += size[0] * CELL + 52
    return sheet


def rules() -> Sheet:
    """Other rules on the same masks: lesions kept apart, and raters weighed by what they seem to miss."""
    sheet = Sheet("instance-majority keeps lesions apart; STAPLE weighs raters")
    size = 12, 18
    apart = []
    for gap in (6, 8, 10):
        two = np.zeros(size, bool)
        two[4:8, 3:15] = True
        two[:, gap : gap + 1] = False
        apart.append(liver(*size, two))
    sheet.text(14, 22, "Each rater leaves the gap between two lesions elsewhere", "b")
    x = rows_of(sheet, 14, 48, apart, raters(apart))
    results = {
        method: voted(apart, method=method).labels.voxels[0] for method in ("nested-majority", "instance-majority")
    }
    rows_of(sheet, x + 20, 48, list(results.values()), results)
    discs = disc(*size, 5.5, 8.5, 3), disc(*size, 5.5, 6.5, 2), disc(*size, 5.5, 10.5, 2)
    planes = [liver(*size, lesion) for lesion in discs]
    sheet.text(
        14, 174, "R2 and R3 mark parts of what R1 marks: STAPLE takes it that they miss much, and follows R1", "b"
    )
    x = rows_of(sheet, 14, 200, planes, raters(planes))
    results = {method: voted(planes, method=method).labels.voxels[0] for method in ("nested-majority", "staple")}
    assert np.array_equal(results["staple"], planes[0])
    assert not np.array_equal(results["nested-majority"], planes[0])
    rows_of(sheet, x + 20, 200, list(results.values()), results)
    return sheet


def kinds() -> Sheet:
    """A majority, a plurality without majority, and a tie."""
    sheet = Sheet("The kind of a lesion: majority, plurality, tie")
    size = 8, 10
    lesion = disc(*size, 3.5, 4.5, 2.3)
    names = {**SCHEME.kind_names, 2: "no kind"}
    cases = {
        "Majority": (3, 3, 5),
        "Plurality: more than any other kind, but no majority of those who saw it": (3, 2, 2),
        "Tie: every kind once": (3, 4, 5),
    }
    y = 22.0
    for title, said in cases.items():
        planes = [liver(*size, lesion, value=value) for value in said]
        found = voted(planes)
        labels = found.labels.voxels[0]
        sheet.text(14, y, title, "b")
        captions = [f"R{n} {names[value]}" for n, value in enumerate(said, start=1)]
        x = rows_of(sheet, 14, y + 24, planes, captions)
        sheet.cells(x + 20, y + 24, labels, f"vote {names[int(labels[lesion].max())]}")
        doubts = ", ".join(reason.rule for reason in found.needs_adjudication) or "nothing is left open"
        sheet.text(x + 34 + size[1] * CELL, y + 24 + size[0] * CELL / 2, doubts)
        y += size[0] * CELL + 52
    return sheet


def diameters() -> Sheet:
    """The two of RECIST 1.1 on the slice of the longest."""
    sheet = Sheet("The longest axial diameter, and the short axis at right angles to it")
    rows, columns = np.indices((16, 26))
    turned = (columns - 12.5) * 0.94 + (rows - 7.5) * 0.34, (rows - 7.5) * 0.94 - (columns - 12.5) * 0.34
    mask = (turned[0] / 10) ** 2 + (turned[1] / 4.5) ** 2 <= 1
    (lesion,) = measure_lesions(labels_of(mask.astype(np.uint8) * np.uint8(2)))
    long, short = longest_and_short(mask)
    assert math.isclose(math.dist(*long), lesion.axial_diameter_mm)
    assert math.isclose(math.dist(*short), lesion.short_axis_mm)
    x, y = 14, 26
    sheet.cells(x, y, mask.astype(np.uint8) * np.uint8(PALE))
    for ends, css in ((long, "a"), (short, "d")):
        sheet.line([(x + (column + 0.5) * CELL, y + (row + 0.5) * CELL) for row, column in ends], css)
    right = x + mask.shape[1] * CELL + 20
    sheet.line([(right, 46), (right + 24, 46)], "a")
    sheet.text(right + 32, 50, f"axial_diameter_mm {lesion.axial_diameter_mm:.1f}, between voxel centres")
    sheet.line([(right, 70), (right + 24, 70)], "d")
    sheet.text(right + 32, 74, f"short_axis_mm {lesion.short_axis_mm:.1f}, at right angles, in the same slice")
    sheet.text(right, 104, "voxels of 1 x 1 mm", "m")
    return sheet


Point = tuple[float, float]


def longest_and_short(mask: NDArray[np.bool_]) -> tuple[tuple[Point, Point], tuple[Point, Point]]:
    """Ends of the longest way between voxel centres, and of the longest chord of the hull across it, by trying all."""
    points = np.argwhere(mask).astype(float)
    corners = points[ConvexHull(points).vertices]
    first, second = max(combinations(corners, 2), key=lambda pair: float(np.linalg.norm(pair[1] - pair[0])))
    way = (second - first) / np.linalg.norm(second - first)
    across = np.array([-way[1], way[0]])
    chords = []
    for start in corners:
        met = []
        for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            along_a, along_b = (a - start) @ way, (b - start) @ way
            if min(along_a, along_b) <= 1e-9 and max(along_a, along_b) >= -1e-9 and not math.isclose(along_a, along_b):
                met.append(a + (b - a) * (-along_a / (along_b - along_a)))
        heights = [float((point - start) @ across) for point in met]
        chords.append((start + across * min(heights), start + across * max(heights)))
    short = max(chords, key=lambda ends: float(np.linalg.norm(ends[1] - ends[0])))
    return _pair(first, second), _pair(*short)


def _pair(first: NDArray[np.float64], second: NDArray[np.float64]) -> tuple[Point, Point]:
    return (float(first[0]), float(first[1])), (float(second[0]), float(second[1]))


def follow_up() -> Sheet:
    """Three lesions on the first phase; the second, breathed down: found by overlap, by centre, and not."""
    sheet = Sheet("A lesion over phases: overlap after the shift, then the nearest centre, else unmatched")
    size = 25, 36
    first, second = (liver_at(size, top) for top in (1, 5))
    for row, column, radius in ((7, 8, 3.6), (6, 22, 1.5), (14, 16, 2.5)):
        first[disc(*size, row, column, radius)] = 2
    for row, column, radius in ((11, 10, 3.6), (10, 29, 1.5)):
        second[disc(*size, row, column, radius)] = 2
    masks = {Phase.PLAIN: labels_of(first), Phase.ARTERIAL: labels_of(second)}
    found = follow(masks)
    down = round(float(liver_shift_mm(*masks.values())[1]))
    sheet.cells(14, 40, first, "phase P")
    x = 14 + size[1] * CELL + 24
    sheet.cells(x, 40, second, f"phase C1: the liver lies {down} mm lower")
    right = x + size[1] * CELL + 18
    sheet.text(14, 60 + size[0] * CELL, "blue: outlines of phase P, moved as the liver", "m")
    for number, track in enumerate(found.tracks, start=1):
        region = track.outlines[Phase.PLAIN]
        row, column = region.indices.mean(axis=0)[1:].tolist()
        sheet.text(14 + column * CELL + 1, 40 + row * CELL + 9, str(number), "b")
        moved = np.zeros((1, *size), bool)
        moved[region.box][region.mask] = True
        sheet.outline(x, 40, np.roll(moved[0], down, axis=0), "a")
        sheet.text(x + column * CELL + 1, 40 + (row + down) * CELL + 9, str(number), "b")
        sheet.text(
            right, 36 + 24 * number, f"lesion {number}: {track.matches.get(Phase.ARTERIAL, Match.UNMATCHED)}", "b"
        )
    return sheet


def liver_at(size: tuple[int, int], top: int) -> Plane:
    plane = np.zeros(size, np.uint8)
    plane[top : top + 19, 2:-2] = 1
    return plane


def detection() -> Sheet:
    """Pairs of lesions above and below the threshold, and a coarse label against the final mask."""
    sheet = Sheet("Lesions match above an intersection over union of one half; coarse against final")
    size = 12, 16
    sheet.text(14, 22, "Lesions of two masks: f1_iou50 counts those above one half", "b")
    x = 14.0
    for right in (1, 3, 7):
        masks = [np.zeros(size, bool) for _ in range(2)]
        masks[0][3:9, 2:7] = masks[1][3:9, 2 + right : 7 + right] = True
        found = agree(ratings_of([liver(*size, mask) for mask in masks]))
        iou = next(pair for pair in found.pairs if pair.structure == "lesion").overlap.jaccard
        said = "matched" if found.detections[0].well_matched else "not matched"
        sheet.cells(x, 48, liver(*size), f"IoU {iou:.2f}: {said}")
        sheet.outline(x, 48, masks[0], "a")
        sheet.outline(x, 48, masks[1], "d")
        x += size[1] * CELL + 26
    sheet.line([(x, 60), (x + 24, 60)], "a")
    sheet.text(x + 32, 64, "first mask, or coarse label")
    sheet.line([(x, 84), (x + 24, 84)], "d")
    sheet.text(x + 32, 88, "second mask, or final mask")
    coarse, final = disc(*size, 5.5, 6.5, 3.6), disc(*size, 5.5, 7.5, 2.9)
    found = coarse_against_final(*(labels_of(liver(*size, mask)) for mask in (coarse, final)))
    pair = next(pair for pair in found.pairs if pair.structure == "lesion")
    sheet.text(14, 176, "A coarse label against the mask that counts", "b")
    sheet.cells(14, 190, liver(*size))
    sheet.outline(14, 190, coarse, "a")
    sheet.outline(14, 190, final, "d")
    more_ml = pair.volumes_ml[0] - pair.volumes_ml[1]
    sheet.text(160, 226, f"Dice {pair.overlap.dice:.2f}, HD95 {pair.distances.hd95_max_mm:.1f} mm")
    sheet.text(160, 246, f"volume difference +{more_ml:.2f} ml: the network marked too much")
    return sheet


FIGURES: Mapping[str, Callable[[], Sheet]] = {
    "vote": majority,
    "losses": losses,
    "rules": rules,
    "kinds": kinds,
    "diameters": diameters,
    "follow-up": follow_up,
    "detection": detection,
}
"""Name of the file in docs/figures to what draws it."""
