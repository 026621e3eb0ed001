"""One page to look at before a dataset goes out: self-contained HTML, works from the disk, no network.

Volumes come most doubtful first. Each part says what is shown, what is good, what is bad and what to do.
"""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from statistics import median
from types import MappingProxyType
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from pipeline.cohort.inclusion import FlowStep
from pipeline.core.kinds import FIRST_KIND
from pipeline.core.labels import COLORS, Label, LabelScheme, Structure, structure_mask
from pipeline.core.records import Phase, Problem
from pipeline.core.volume import LabelMap, Volume
from pipeline.core.words import counted
from pipeline.dataset.manifest import ManifestRow
from pipeline.dataset.release_inputs import Row
from pipeline.dataset.statistics import distributions, scanners
from pipeline.dataset.tables import flattened
from pipeline.image.components import component_count
from pipeline.pictures.display import display_range
from pipeline.pictures.frame import frame_around
from pipeline.pictures.outlines import as_svg, css_color, label_outlines
from pipeline.pictures.sheets import Tile, choose_tiles, contact_sheet, jpeg_bytes, most_disputed
from pipeline.report.charts import PAIR_SEPARATOR, flow_chart, heat_map, profile, stacked_bars, strip_plot

LIVER_DICE = (0.90, 0.95)
"""Bad below, good from: raters of LiMT reached 0.9615 a pair before any vote (arXiv 2511.19889)."""

LESION_DICE = (0.70, 0.85)
"""Bad below, good from: PLC-CECT's observers reached 0.7586 a pair, LiMT's 0.8846."""

SETTLED = "adjudicated"
"""Status of a volume whose raters differed and which the lead radiologist has decided."""

TILES_A_VOLUME = 6
DISPUTED_TILES = 2
"""Of the six; the others show the volume as a whole."""

MAX_SHEETS = 150
"""Most doubtful volumes that come with pictures, about 55 kB each; more would be too heavy for a browser."""

_TEMPLATES = Path(__file__).with_name("templates")


@dataclass(frozen=True, slots=True, eq=False)
class QcVolume:
    """One volume as the page shows it.

    Attributes:
        case_id: "P0001"...
        phase: of the volume.
        image: as released, or in full.
        labels: consensus, or what there is so far, on the same grid.
        status: in words: "voted", "coarse label only"...; with `SETTLED` disagreement is shown but no longer counts.
        facts: name to value, shown as given: scanner, spacing, diagnosis...
        liver_dice: "R1 R2" to Dice of the whole liver; None where there was nothing to compare.
        lesion_dice: the same for lesions.
        disagreement: slice of the image to number of voxels the raters do not agree on.
        problems: noticed for this volume.
        scheme: whose lesion kinds are shown in their own colours.
    """

    case_id: str
    phase: Phase
    image: Volume
    labels: LabelMap
    status: str = ""
    facts: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    liver_dice: Mapping[str, float | None] = field(default_factory=lambda: MappingProxyType({}))
    lesion_dice: Mapping[str, float | None] = field(default_factory=lambda: MappingProxyType({}))
    disagreement: Mapping[int, int] = field(default_factory=lambda: MappingProxyType({}))
    problems: tuple[Problem, ...] = ()
    scheme: LabelScheme = LabelScheme()  # noqa: RUF009


@dataclass(frozen=True, slots=True)
class QcCard:
    """What stays of a volume once its pictures are made."""

    name: str
    link: str
    case_id: str
    phase: str
    status: str
    facts: Mapping[str, object]
    sheet: str
    outlines: str
    tiles: tuple[Tile, ...]
    profile: str
    liver_dice: Mapping[str, float]
    lesion_dice: Mapping[str, float]
    liver_ml: float
    lesion_ml: float
    lesions: int
    slices: int
    concerns: tuple[str, ...]
    level: str

    @property
    def doubt(self) -> tuple[int, float, str]:
        """Sorts cards: most doubtful first."""
        order = {"bad": 0, "look": 1, "good": 2}
        return order[self.level], min([*self.lesion_dice.values(), *self.liver_dice.values()], default=1.0), self.name


def qc_page(
    title: str,
    volumes: Iterable[QcVolume],
    *,
    version: str = "",
    flow: Sequence[FlowStep] = (),
    exclusions: Sequence[Mapping[str, Any]] = (),
    problems: Sequence[Problem] = (),
    rows: Sequence[ManifestRow] = (),
    tables: Mapping[str, Sequence[Row]] = MappingProxyType({}),
) -> str:
    """The whole page as HTML; the same input gives the same text.

    Args:
        title: name of the dataset.
        volumes: looked at one by one, so a generator keeps memory small.
        version: of the release, where there is one.
        flow: CONSORT steps, see `dataset.inclusion.consort`.
        exclusions: rows of `exclusions.csv`: patient, phase, rule, message.
        problems: of the dataset as a whole.
        rows: the manifest, for the cohort's statistics.
        tables: further tables by their headings, such as summaries of agreement.
    """
    cards = sorted((make_card(volume) for volume in volumes), key=lambda card: card.doubt)
    cards[MAX_SHEETS:] = [replace(card, sheet="", outlines="", tiles=()) for card in cards[MAX_SHEETS:]]
    raters = sorted({rater for card in cards for pair in card.liver_dice for rater in pair.split(PAIR_SEPARATOR)})
    return _template().render(
        title=title,
        version=version,
        colors={label.name.lower(): css_color(color) for label, color in COLORS.items()},
        cards=cards,
        max_sheets=MAX_SHEETS,
        headline=_headline(cards, raters),
        flows=[(of, flow_chart([step for step in flow if step.of == of])) for of in ("patients", "series")]
        if flow
        else [],
        exclusions=exclusions,
        problems=problems,
        agreement=[_agreement(name, kind, cards, raters) for name, kind in _STRUCTURES.items()] if raters else [],
        statistics=[(one, stacked_bars(one.categories, one.counts)) for one in distributions(rows)],
        scanners=_plain_table(scanners(rows)),
        tables={name: _plain_table(table) for name, table in tables.items() if table},
        phases=sorted({card.phase for card in cards}, key=list(Phase).index),
        levels=[(level, sum(card.level == level for card in cards)) for level in ("bad", "look", "good")],
    )


_STRUCTURES = MappingProxyType({"Whole liver": ("liver_dice", LIVER_DICE), "Lesions": ("lesion_dice", LESION_DICE)})


def make_card(volume: QcVolume) -> QcCard:
    """Everything the page says of one volume."""
    labels, geometry = volume.labels.voxels, volume.labels.geometry
    whole, lesion = labels != Label.BACKGROUND, structure_mask(labels, Structure.LESION)
    per_slice = {
        "liver": whole.sum(axis=(1, 2)).tolist(),
        "lesion": lesion.sum(axis=(1, 2)).tolist(),
        "disputed": [volume.disagreement.get(index, 0) for index in range(len(labels))],
    }
    tiles = choose_tiles(labels, most_disputed(per_slice["disputed"], DISPUTED_TILES), TILES_A_VOLUME)
    frame, slices = frame_around(whole.any(axis=0), geometry), [tile.index for tile in tiles]
    sheet = contact_sheet(volume.image.voxels[slices], frame, display_range(volume.image.voxels, volume.image.unit))
    liver_dice, lesion_dice = _defined(volume.liver_dice), _defined(volume.lesion_dice)
    concerns, level = _concerns(volume, liver_dice, lesion_dice)
    return QcCard(
        name=f"{volume.case_id} {volume.phase}",
        link=f"{volume.case_id}-{volume.phase}",
        case_id=volume.case_id,
        phase=str(volume.phase),
        status=volume.status,
        facts={**volume.facts, **_kinds(volume)},
        sheet=base64.b64encode(jpeg_bytes(sheet)).decode("ascii"),
        outlines=as_svg(label_outlines(labels[slices], volume.scheme), frame),
        tiles=tiles,
        profile=profile(per_slice, slices),
        liver_dice=liver_dice,
        lesion_dice=lesion_dice,
        liver_ml=int(whole.sum()) * geometry.voxel_volume_ml,
        lesion_ml=int(lesion.sum()) * geometry.voxel_volume_ml,
        lesions=component_count(lesion),
        slices=len(labels),
        concerns=concerns,
        level=level,
    )


def _kinds(volume: QcVolume) -> dict[str, str]:
    """The lesion kinds that the mask tells, as a fact; none where it tells none."""
    kinds = volume.scheme.kinds if (volume.labels.voxels >= FIRST_KIND).any() else ()
    found = [kind.name for kind in kinds if (volume.labels.voxels == kind.value).any()]
    return {"lesion kinds": ", ".join(found)} if found else {}


def _concerns(
    volume: QcVolume, liver_dice: Mapping[str, float], lesion_dice: Mapping[str, float]
) -> tuple[tuple[str, ...], str]:
    """What speaks against a volume in words, and how much: "bad", "look" or "good"."""
    concerns = [problem.message for problem in volume.problems]
    is_bad = not volume.labels.voxels.any()
    if is_bad:
        concerns.append("no liver is labelled")
    is_doubtful = bool(concerns)
    for name, scores, (bad, good) in (("liver", liver_dice, LIVER_DICE), ("lesion", lesion_dice, LESION_DICE)):
        lowest = min(scores.values(), default=1.0)
        if lowest < good:
            concerns.append(f"raters disagree on the {name}: lowest Dice {lowest:.2f}")
            is_doubtful = is_doubtful or volume.status != SETTLED
            is_bad = is_bad or (lowest < bad and volume.status != SETTLED)
    if component_count(volume.labels.voxels != Label.BACKGROUND) > 1:
        concerns.append("the liver mask has several separate parts")
        is_doubtful = True
    return tuple(concerns), "bad" if is_bad else "look" if is_doubtful else "good"


def _headline(cards: Sequence[QcCard], raters: Sequence[str]) -> list[tuple[str, str]]:
    liver = [score for card in cards for score in card.liver_dice.values()]
    lesion = [score for card in cards for score in card.lesion_dice.values()]
    return [
        ("patients", str(len({card.case_id for card in cards}))),
        ("volumes", str(len(cards))),
        ("slices", f"{sum(card.slices for card in cards):,}"),
        ("lesions", f"{sum(card.lesions for card in cards):,}"),
        ("raters", str(len(raters))),
        ("median Dice, liver", f"{median(liver):.3f}" if liver else "–"),
        ("median Dice, lesions", f"{median(lesion):.3f}" if lesion else "–"),
    ]


def _plain_table(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Headings and cells; words with blanks for underscores, numbers short."""
    flat = [flattened(row) for row in rows]
    columns = list(dict.fromkeys(column for row in flat for column in row))
    cells = [[_cell(row.get(column)) for column in columns] for row in flat]
    return [column.replace("_", " ") for column in columns], cells


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _agreement(
    name: str, kind: tuple[str, tuple[float, float]], cards: Sequence[QcCard], raters: Sequence[str]
) -> dict[str, Any]:
    attribute, (bad, good) = kind
    by_pair: dict[str, list[float]] = defaultdict(list)
    for card in cards:
        for pair, score in getattr(card, attribute).items():
            by_pair[pair].append(score)
    groups = [
        (card.name, card.link, list(getattr(card, attribute).values())) for card in cards if getattr(card, attribute)
    ]
    return {
        "name": name,
        "bad": bad,
        "good": good,
        "heat": heat_map(by_pair, raters),
        "strip": strip_plot(groups, good=good, bad=bad) if groups else "",
    }


def _defined(scores: Mapping[str, float | None]) -> dict[str, float]:
    return {pair: score for pair, score in scores.items() if score is not None}


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["counted"] = counted
    return environment.get_template("qc.html.j2")
