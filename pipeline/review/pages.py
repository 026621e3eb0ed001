"""What a rater reads: the start page with its pictures, the worklist, and how to send the work back."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.core.file_names import STATUS_AGREE
from pipeline.core.kinds import Color
from pipeline.core.labels import LabelScheme
from pipeline.core.records import Phase
from pipeline.core.words import counted, slice_ranges
from pipeline.pictures.outlines import css_color
from pipeline.review.assignment import item_id_of

START_PAGE = "START_HERE.html"
RETURN_PAGE = "RETURN.md"
WORKLIST_COLUMNS = (
    "item",
    "case",
    "priority",
    "reason",
    "slices_to_look_at",
    "minutes_estimate",
    "status",
    "comment",
)
READER_COLORS: Mapping[str, Color] = {
    "A": (33, 150, 243),
    "B": (255, 193, 7),
    "C": (233, 30, 99),
    "D": (0, 229, 255),
    "E": (255, 112, 67),
    "F": (186, 104, 200),
    "G": (205, 220, 57),
    "H": (255, 255, 255),
}
"""One colour an anonymous reader, told apart by colour-blind eyes too in their order."""

BASE_MINUTES = 5
MINUTES_A_SLICE = 0.5
"""A plan, not a measurement: five minutes to look through a volume, half a minute for each doubtful slice."""

_TEMPLATES = Path(__file__).with_name("templates")


@dataclass(frozen=True, slots=True)
class PackageItem:
    """One volume to send.

    Attributes:
        item_id: "P0001_C1", or "X4821" for a hidden repeat.
        case_id: "P0001"...; shown only where the item bears its own name.
        phase: of the case.
        image: the volume, a NIfTI file without free text.
        coarse: the mask to edit, on the image's grid: the network's, or for adjudication the vote.
        priority: larger is more doubtful.
        reason: why, in words for the rater.
        slices_to_look_at: indices along axis 0, from 0; shown counted from 1 as ITK-SNAP does.
        readings: for adjudication, letters to masks of the readers, see `adjudication.anonymous`.
    """

    item_id: str
    case_id: str
    phase: Phase
    image: Path
    coarse: Path
    priority: float = 0.0
    reason: str = ""
    slices_to_look_at: tuple[int, ...] = ()
    readings: Mapping[str, Path] = field(default_factory=dict)

    @property
    def is_hidden(self) -> bool:
        """True for a repeat, which bears a name that tells nothing."""
        return self.item_id != item_id_of(self.case_id, self.phase)

    @property
    def shown_case(self) -> str:
        """The case's name, or the item's own where it hides a repeat."""
        return self.item_id if self.is_hidden else self.case_id

    @property
    def minutes_estimate(self) -> int:
        """How long the volume may take."""
        return round(BASE_MINUTES + MINUTES_A_SLICE * len(self.slices_to_look_at))


@dataclass(frozen=True, slots=True)
class PackageFacts:
    """What a package says of itself.

    Attributes:
        dataset: its name.
        round_number: from 1.
        rater: code, never a name.
        is_adjudication: the rater decides between the masks of others.
    """

    dataset: str
    round_number: int
    rater: str
    is_adjudication: bool = False


def start_page(
    items: Sequence[PackageItem], pictures: Mapping[str, bytes], scheme: LabelScheme, facts: PackageFacts
) -> str:
    """The page a rater opens first; it holds its pictures and needs no network.

    Args:
        items: in reading order.
        pictures: a JPEG for each item, by name.
        scheme: the labels, for the colour key.
        facts: whose package this is.
    """
    rows = [
        {
            "item": item,
            "slices": slice_ranges(item.slices_to_look_at),
            "picture": base64.b64encode(pictures[item.item_id]).decode(),
        }
        for item in items
    ]
    minutes = sum(item.minutes_estimate for item in items)
    letters = sorted({letter for item in items for letter in item.readings})
    page = _template(START_PAGE).render(
        rows=rows,
        labels=[(name, css_color(scheme.colors[value]), value) for value, name in scheme.titles.items() if value],
        readers=[(letter, css_color(READER_COLORS[letter])) for letter in letters],
        facts=facts,
        hours=f"{minutes / 60:.1f}",
        agree=STATUS_AGREE,
    )
    return str(page)


def return_page(items: Sequence[PackageItem], facts: PackageFacts) -> str:
    """How to send the work back, as Markdown that reads well as plain text."""
    return str(_template(RETURN_PAGE).render(facts=facts, volumes=len(items), agree=STATUS_AGREE))


def worklist(items: Sequence[PackageItem]) -> str:
    """The list to tick off, with room for status and comment; CSV with line ends that every spreadsheet takes."""
    buffer = io.StringIO()
    table = csv.writer(buffer, lineterminator="\r\n")
    table.writerow(WORKLIST_COLUMNS)
    for item in items:
        slices = slice_ranges(item.slices_to_look_at)
        row = (item.item_id, item.shown_case, f"{item.priority:.3f}", item.reason, slices, item.minutes_estimate)
        table.writerow((*row, "", ""))
    return buffer.getvalue()


@cache
def _template(name: str) -> Any:
    """A page's template; HTML is escaped, other text is not."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=name.endswith(".html"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["counted"] = counted
    return environment.get_template(f"{name}.j2")
