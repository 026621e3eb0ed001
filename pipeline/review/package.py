"""Review packages: one zip a rater that opens with a double click, without account, server or network.

The same inputs give the same bytes: members are sorted, stored uncompressed (images are compressed already) and carry
the earliest time a zip can tell.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count, groupby
from pathlib import Path
from typing import Any

from pipeline.core.errors import ReviewError, StorageError
from pipeline.core.files import atomic_writer, json_text
from pipeline.core.geometry import require_same_space
from pipeline.core.labels import COLORS, Label, LabelScheme
from pipeline.core.records import Phase
from pipeline.core.volume import Unit, Volume
from pipeline.image.nifti import read_labels, read_volume
from pipeline.review.assignment import item_id_of
from pipeline.review.preview import contact_sheet, contours_of, display_range, jpeg_bytes, png_bytes, slices_to_show
from pipeline.review.viewers import (
    COLOR_TABLE,
    IMAGE_NAME,
    LABEL_TABLE,
    color_table,
    itksnap_workspace,
    label_table,
    mask_name,
    slicer_script,
    unix_starter,
    windows_starter,
)

START_PAGE = "START_HERE.html"
WORKLIST = "worklist.csv"
PACKAGE_FACTS = "package.json"
MANIFEST = "MANIFEST.sha256"
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
STATUS_AGREE = "agree"
"""What a rater writes into the status column when the mask was right as sent."""

BASE_MINUTES = 5
MINUTES_A_SLICE = 0.5
"""A plan, not a measurement: five minutes to look through a volume, half a minute for each doubtful slice."""

_TEMPLATES = Path(__file__).with_name("templates")
_EARLIEST = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class PackageItem:
    """One volume to send.

    Attributes:
        item_id: "P0001_C1", or "X0003" for a hidden repeat.
        case_id: "P0001"...; shown only where the item bears its own name.
        phase: of the case.
        image: the volume, a NIfTI file without free text.
        coarse: the mask to edit, on the image's grid.
        priority: larger is more doubtful.
        reason: why, in words for the rater.
        slices_to_look_at: indices along axis 0, from 0; shown counted from 1 as ITK-SNAP does.
    """

    item_id: str
    case_id: str
    phase: Phase
    image: Path
    coarse: Path
    priority: float = 0.0
    reason: str = ""
    slices_to_look_at: tuple[int, ...] = ()

    @property
    def shown_case(self) -> str:
        """The case's name, or the item's own where it hides a repeat."""
        return self.case_id if self.item_id == item_id_of(self.case_id, self.phase) else self.item_id

    @property
    def minutes_estimate(self) -> int:
        """How long the volume may take."""
        return round(BASE_MINUTES + MINUTES_A_SLICE * len(self.slices_to_look_at))


@dataclass(frozen=True, slots=True)
class _Case:
    """An item's files and its picture for the page."""

    item: PackageItem
    members: Mapping[str, bytes | Path]
    picture: bytes


def package_name(dataset: str, round_number: int, rater: str) -> str:
    """File name of a rater's package."""
    return f"review_{dataset}_round-{round_number}_{rater}.zip"


def build_package(
    path: Path,
    rater: str,
    items: Sequence[PackageItem],
    scheme: LabelScheme,
    *,
    round_number: int,
    dataset: str,
    unit: Unit = Unit.HU,
) -> Path:
    """The zip written for one rater, `package_name` in a folder.

    Args:
        path: the folder to write into, such as a round's outbox.
        rater: code, never a name.
        items: in reading order.
        scheme: the labels.
        round_number: from 1.
        dataset: name of the dataset.
        unit: what the images' numbers mean; decides the window shown.

    Raises:
        ReviewError: when two items have the same name.
        GeometryError: when a mask does not lie on its image's grid.
        StorageError: when a file cannot be read, or the disk is full.
    """
    if len({item.item_id for item in items}) != len(items):
        raise ReviewError(f"two items of rater {rater} have the same name; each needs its own")
    cases = [_case(item, scheme, unit) for item in items]
    facts = {"dataset": dataset, "round": round_number, "rater": rater, "items": [item.item_id for item in items]}
    members: dict[str, bytes | Path] = {
        START_PAGE: _page(cases, scheme, facts).encode(),
        RETURN_PAGE: _template(RETURN_PAGE).render(facts=facts, agree=STATUS_AGREE).encode(),
        WORKLIST: _worklist(items).encode(),
        PACKAGE_FACTS: json_text(facts).encode(),
        LABEL_TABLE: label_table(scheme).encode(),
        COLOR_TABLE: color_table(scheme).encode(),
    }
    for case in cases:
        members.update({f"cases/{case.item.item_id}/{name}": content for name, content in case.members.items()})
    target = path / package_name(dataset, round_number, rater)
    _write_zip(target, members)
    return target


def slice_ranges(slices: Iterable[int]) -> str:
    """Slice numbers for people: counted from 1, neighbours joined, such as "12-14, 20"."""
    numbers = sorted({index + 1 for index in slices})
    runs = [list(run) for _, run in groupby(zip(numbers, count(), strict=False), key=lambda pair: pair[0] - pair[1])]
    return ", ".join(f"{run[0][0]}-{run[-1][0]}" if len(run) > 1 else str(run[0][0]) for run in runs)


def _case(item: PackageItem, scheme: LabelScheme, unit: Unit) -> _Case:
    image, labels = read_volume(item.image, unit), read_labels(item.coarse)
    require_same_space(image.geometry, labels.geometry, what=f"mask of {item.item_id}")
    scheme.check(labels.voxels, what=f"mask of {item.item_id}")
    sheet = contact_sheet(image, contours_of(labels), slices_to_show(labels, item.slices_to_look_at))
    members: dict[str, bytes | Path] = {
        IMAGE_NAME: item.image,
        mask_name(item.item_id): item.coarse,
        **_starters(item, image, scheme),
        "preview.png": png_bytes(sheet),
    }
    return _Case(item, members, jpeg_bytes(sheet))


def _starters(item: PackageItem, image: Volume, scheme: LabelScheme) -> dict[str, bytes]:
    """Everything that opens the case with one click."""
    shown = display_range(image)
    image_range = float(image.voxels.min()), float(image.voxels.max())
    workspace = itksnap_workspace(item.item_id, scheme, image_range=image_range, shown=shown)
    return {
        f"{item.item_id}.itksnap": workspace.encode(),
        "open.bat": windows_starter(item.item_id).encode(),
        "open.sh": unix_starter(item.item_id).encode(),
        "open_in_slicer.py": slicer_script(item.item_id, shown).encode(),
    }


def _worklist(items: Sequence[PackageItem]) -> str:
    buffer = io.StringIO()
    table = csv.writer(buffer, lineterminator="\r\n")
    table.writerow(WORKLIST_COLUMNS)
    for item in items:
        slices = slice_ranges(item.slices_to_look_at)
        row = (item.item_id, item.shown_case, f"{item.priority:.3f}", item.reason, slices, item.minutes_estimate)
        table.writerow((*row, "", ""))
    return buffer.getvalue()


def _page(cases: Sequence[_Case], scheme: LabelScheme, facts: Mapping[str, Any]) -> str:
    rows = [
        {
            "item": case.item,
            "slices": slice_ranges(case.item.slices_to_look_at),
            "picture": base64.b64encode(case.picture).decode(),
        }
        for case in cases
    ]
    colors = [
        {"value": value, "name": name, "rgb": "rgb({}, {}, {})".format(*COLORS[Label(value)])}
        for value, name in scheme.names.items()
        if value != Label.BACKGROUND
    ]
    minutes = sum(case.item.minutes_estimate for case in cases)
    page = _template(START_PAGE)
    return str(page.render(rows=rows, colors=colors, facts=facts, hours=f"{minutes / 60:.1f}", agree=STATUS_AGREE))


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
    return environment.get_template(f"{name}.j2")


def _write_zip(target: Path, members: Mapping[str, bytes | Path]) -> None:
    """Members in order of name, with a checksum of each in the manifest."""
    hashes = {}
    with atomic_writer(target) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as package:
        for name in sorted(members):
            content = members[name]
            whole = _bytes_of(content) if isinstance(content, Path) else content
            hashes[name] = hashlib.sha256(whole).hexdigest()
            package.writestr(_member(name), whole)
        manifest = "".join(f"{digest}  {name}\n" for name, digest in sorted(hashes.items()))
        package.writestr(_member(MANIFEST), manifest)


def _member(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, date_time=_EARLIEST)
    info.create_system = 3  # Unix, so that open.sh may be started
    info.external_attr = (0o100755 if name.endswith(".sh") else 0o100644) << 16
    return info


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StorageError(f"{path.name} cannot be read: {error.strerror or error}") from None
