"""Review packages: one zip a rater that opens with a double click, without account, server or network.

The same inputs give the same bytes: members are sorted, stored uncompressed (images are compressed already) and carry
the earliest time a zip can tell.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.core.errors import ReviewError, StorageError
from pipeline.core.file_names import (
    ADJUDICATION_PACKAGE,
    EARLIEST_IN_ZIP,
    IMAGE_FILE,
    LABEL_TABLE,
    PACKAGE_CASES,
    ROUND_PACKAGE,
    WORKLIST,
    package_mask,
)
from pipeline.core.files import atomic_writer, json_text
from pipeline.core.geometry import require_same_space
from pipeline.core.labels import LabelScheme
from pipeline.core.volume import LabelMap, Unit, Volume
from pipeline.image.nifti import decode_nifti, gzipped_nifti, read_labels, read_volume
from pipeline.pictures.display import display_range
from pipeline.pictures.sheets import jpeg_bytes, png_bytes
from pipeline.review.pages import (
    RETURN_PAGE,
    START_PAGE,
    PackageFacts,
    PackageItem,
    return_page,
    start_page,
    worklist,
)
from pipeline.review.preview import preview
from pipeline.review.viewers import (
    COLOR_TABLE,
    color_table,
    itksnap_workspace,
    label_table,
    reading_name,
    slicer_script,
    unix_starter,
    windows_starter,
)

__all__ = ["MANIFEST", "PACKAGE_FACTS", "WORKLIST", "PackageItem", "build_package", "package_name", "sent_mask"]

PACKAGE_FACTS = "package.json"
MANIFEST = "MANIFEST.sha256"

Member = bytes | Path


@dataclass(frozen=True, slots=True)
class _Case:
    """An item's files, by their path in the zip, and its picture for the page."""

    members: Mapping[str, Member]
    picture: bytes


def package_name(facts: PackageFacts) -> str:
    """File name of a package: "review_demo_round-1_R2.zip", "adjudication_demo_round-1.zip"."""
    if facts.is_adjudication:
        return f"{ADJUDICATION_PACKAGE}_{facts.dataset}_round-{facts.round_number}.zip"
    return f"{ROUND_PACKAGE}_{facts.dataset}_round-{facts.round_number}_{facts.rater}.zip"


def build_package(
    path: Path,
    rater: str,
    items: Sequence[PackageItem],
    scheme: LabelScheme,
    *,
    round_number: int,
    dataset: str,
    unit: Unit = Unit.HU,
    is_adjudication: bool = False,
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
        is_adjudication: the rater settles what others drew; items then hold `readings`.

    Raises:
        ReviewError: when two items have the same name.
        GeometryError: when a mask does not lie on its image's grid.
        StorageError: when a file cannot be read, or the disk is full.
    """
    if len({item.item_id for item in items}) != len(items):
        raise ReviewError(f"two items of rater {rater} have the same name; each needs its own")
    facts = PackageFacts(dataset, round_number, rater, is_adjudication)
    cases = {item.item_id: _case(item, scheme, unit) for item in items}
    pictures = {name: case.picture for name, case in cases.items()}
    members: dict[str, Member] = {
        START_PAGE: start_page(items, pictures, scheme, facts).encode(),
        RETURN_PAGE: return_page(items, facts).encode(),
        WORKLIST: worklist(items).encode(),
        PACKAGE_FACTS: json_text({**asdict(facts), "items": list(cases)}).encode(),
        LABEL_TABLE: label_table(scheme).encode(),
        COLOR_TABLE: color_table(scheme).encode(),
    }
    for case in cases.values():
        members.update(case.members)
    target = path / package_name(facts)
    _write_zip(target, members)
    return target


def sent_mask(package: Path, item_id: str) -> LabelMap:
    """The mask that a package holds for an item.

    Raises:
        StorageError: when the package is damaged, or does not hold the item.
    """
    name = package_mask(item_id)
    try:
        with zipfile.ZipFile(package) as archive:
            content = archive.read(f"cases/{item_id}/{name}")
    except (zipfile.BadZipFile, KeyError, OSError):
        raise StorageError(f"{package.name} is damaged or does not hold {item_id}; restore it or pack again") from None
    voxels, geometry = decode_nifti(content, name)
    return LabelMap(voxels, geometry)


def _case(item: PackageItem, scheme: LabelScheme, unit: Unit) -> _Case:
    image = read_volume(item.image, unit)
    labels = _mask_on(image, item.coarse, scheme, f"mask of {item.item_id}")
    readings = {
        letter: _mask_on(image, path, scheme, f"reading {letter} of {item.item_id}")
        for letter, path in sorted(item.readings.items())
    }
    shown = display_range(image.voxels, image.unit)
    picture = preview(image, labels, readings, shown, item.slices_to_look_at, scheme)
    files: dict[str, Member] = {
        **_image_and_mask(item, image, labels),
        "preview.png": png_bytes(picture),
        **{reading_name(letter): path for letter, path in item.readings.items()},
        **_starters(item, image, scheme, shown),
    }
    folder = f"{PACKAGE_CASES}/{item.item_id}"
    return _Case({f"{folder}/{name}": content for name, content in files.items()}, jpeg_bytes(picture))


def _image_and_mask(item: PackageItem, image: Volume, labels: LabelMap) -> dict[str, Member]:
    """The two files as they lie, or for a repeat compressed anew: neither size nor checksum tells what it repeats."""
    if item.is_hidden:
        hidden = gzipped_nifti(image, for_release=True), gzipped_nifti(labels, for_release=True)
        return dict(zip((IMAGE_FILE, package_mask(item.item_id)), hidden, strict=True))
    return {IMAGE_FILE: item.image, package_mask(item.item_id): item.coarse}


def _mask_on(image: Volume, path: Path, scheme: LabelScheme, what: str) -> LabelMap:
    labels = read_labels(path)
    require_same_space(image.geometry, labels.geometry, what=what)
    scheme.check(labels.voxels, what=what)
    return labels


def _starters(item: PackageItem, image: Volume, scheme: LabelScheme, shown: tuple[float, float]) -> dict[str, Member]:
    """Everything that opens the case with one click."""
    image_range = float(image.voxels.min()), float(image.voxels.max())
    letters = sorted(item.readings)
    workspace = itksnap_workspace(item.item_id, scheme, image_range=image_range, shown=shown, readings=letters)
    return {
        f"{item.item_id}.itksnap": workspace.encode(),
        "open.bat": windows_starter(item.item_id, readings=letters).encode(),
        "open.sh": unix_starter(item.item_id, readings=letters).encode(),
        "open_in_slicer.py": slicer_script(item.item_id, shown, readings=letters).encode(),
    }


def _write_zip(target: Path, members: Mapping[str, Member]) -> None:
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
    info = zipfile.ZipInfo(name, date_time=EARLIEST_IN_ZIP)
    info.create_system = 3  # Unix, so that open.sh may be started
    info.external_attr = (0o100755 if name.endswith(".sh") else 0o100644) << 16
    return info


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StorageError(f"{path.name} cannot be read: {error.strerror or error}") from None
