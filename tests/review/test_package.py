"""Packages: complete, usable offline, silent about what a rater must not know, and the same bytes every time."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import re
import shutil
import xml.dom.minidom
import zipfile
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from pipeline.core.errors import GeometryError, ReviewError
from pipeline.core.geometry import Geometry
from pipeline.core.volume import LabelMap
from pipeline.image.nifti import write_nifti
from pipeline.review.package import build_package
from pipeline.review.pages import WORKLIST_COLUMNS
from tests.review.rounds import SCHEME


@pytest.fixture
def package(review_round):
    with zipfile.ZipFile(review_round.package()) as opened:
        yield opened


def test_a_package_holds_what_a_rater_needs(package):
    names = set(package.namelist())
    top = {
        "START_HERE.html",
        "RETURN.md",
        "worklist.csv",
        "labels.label",
        "labels.ctbl",
        "package.json",
        "MANIFEST.sha256",
    }
    assert {name for name in names if "/" not in name} == top
    one = {name.split("/")[-1] for name in names if name.startswith("cases/P0001_C1/")}
    starters = {"open.bat", "open.sh", "open_in_slicer.py", "P0001_C1.itksnap"}
    assert one == {"image.nii.gz", "P0001_C1_mask.nii.gz", "preview.png", *starters}
    assert package.testzip() is None


def test_images_and_masks_go_out_byte_for_byte(package, review_round):
    for item in review_round.items:
        assert package.read(f"cases/{item.item_id}/image.nii.gz") == item.image.read_bytes()
        assert package.read(f"cases/{item.item_id}/{item.item_id}_mask.nii.gz") == item.coarse.read_bytes()


def test_the_manifest_names_every_other_file_with_its_hash(package):
    listed = dict(line.split("  ")[::-1] for line in package.read("MANIFEST.sha256").decode().splitlines())
    assert set(listed) == set(package.namelist()) - {"MANIFEST.sha256"}
    assert all(hashlib.sha256(package.read(name)).hexdigest() == digest for name, digest in listed.items())


def test_the_same_round_gives_the_same_bytes(review_round):
    first = review_round.package().read_bytes()
    shutil.rmtree(review_round.folder / "out")
    assert review_round.package().read_bytes() == first


def test_the_shell_script_may_be_started_and_the_batch_file_has_windows_line_ends(package):
    assert package.getinfo("cases/P0001_C1/open.sh").external_attr >> 16 == 0o100755
    assert package.read("cases/P0001_C1/open.bat").count(b"\r\n") == package.read("cases/P0001_C1/open.bat").count(
        b"\n"
    )


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found += [value for key, value in attrs if key in ("src", "href") and value]


def test_the_page_loads_nothing_from_anywhere(package):
    page = package.read("START_HERE.html").decode()
    links = Links()
    links.feed(page)
    assert all(link.startswith(("data:image/jpeg;base64,", "cases/")) for link in links.found)
    assert not re.search(r"https?://|@import|url\(", page)
    assert {f"cases/{item}/" for item in ("P0001_C1", "P0001_C2", "P0002_C1")} <= set(links.found)


def test_everything_on_the_page_is_said_in_english_and_in_chinese(package):
    page = package.read("START_HERE.html").decode()
    body = page[page.index("<body>") :]
    assert body.count('lang="en"') == body.count('lang="zh"') > 20
    for said in re.findall(r'<(p|span)[^>]* lang="zh">(.*?)</\1>', body):
        assert re.search(r"[\u4e00-\u9fff]|English", said[1])
    for text in re.findall(r'<(p|span)[^>]* lang="en">(.*?)</\1>', body):
        assert not re.search(r"[\u4e00-\u9fff]", text[1].replace("中文", ""))


def test_the_worklist_counts_slices_from_one_and_leaves_room_for_the_rater(package):
    rows = list(csv.DictReader(io.StringIO(package.read("worklist.csv").decode())))
    assert tuple(rows[0]) == WORKLIST_COLUMNS
    assert [row["item"] for row in rows] == ["P0001_C1", "P0001_C2", "P0002_C1"]
    assert (rows[0]["slices_to_look_at"], rows[0]["status"], rows[0]["comment"]) == ("5-7", "", "")


def test_the_itksnap_workspace_is_valid_by_its_own_grammar_and_finds_its_files(package):
    text = package.read("cases/P0001_C1/P0001_C1.itksnap").decode()
    document = xml.dom.minidom.parseString(text)
    assert "<!ELEMENT registry (entry*,folder*)>" in document.doctype.internalSubset
    assert_valid(document.documentElement)
    entries = {
        (entry.parentNode.getAttribute("key"), entry.getAttribute("key")): entry.getAttribute("value")
        for entry in document.getElementsByTagName("entry")
    }
    saved_in = entries["", "SaveLocation"]
    paths = {entries[layer, "Role"]: entries[layer, "AbsolutePath"] for layer in ("Layer[000]", "Layer[001]")}
    beside = {role: path.removeprefix(saved_in).lstrip("/") for role, path in paths.items()}
    assert beside == {"MainRole": "image.nii.gz", "SegmentationRole": "P0001_C1_mask.nii.gz"}
    assert all(f"cases/P0001_C1/{name}" in package.namelist() for name in beside.values())
    assert [entries[f"Element[{n}]", "Label"] for n in (0, 1)] == ["liver", "lesion"]


def assert_valid(element) -> None:
    """registry and folder: entries before folders, nothing else; entry: empty, with key and value."""
    children = [node for node in element.childNodes if node.nodeType == node.ELEMENT_NODE]
    assert not "".join(node.data for node in element.childNodes if node.nodeType == node.TEXT_NODE).strip()
    kinds = [child.tagName for child in children]
    assert kinds == sorted(kinds)
    assert set(kinds) <= {"entry", "folder"}
    for child in children:
        assert set(child.attributes.keys()) == ({"key", "value"} if child.tagName == "entry" else {"key"})
        assert child.tagName == "folder" or not child.childNodes
        assert_valid(child)


def test_label_tables_agree_with_each_other(package):
    label_rows = re.findall(
        r'^\s*(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+([\d.]+)\s+\d\s+\d\s+"(.+)"$', package.read("labels.label").decode(), re.M
    )
    color_rows = [
        line.split() for line in package.read("labels.ctbl").decode().splitlines() if not line.startswith("#")
    ]
    assert [row[0] for row in label_rows] == ["0", "1", "2", "3"]
    assert [row[5] for row in label_rows] == ["Clear Label", "liver", "lesion", "HCC 肝细胞癌"]
    assert [list(row[1:4]) for row in label_rows] == [row[2:5] for row in color_rows]
    assert [row[1] for row in color_rows] == ["background", "liver", "lesion", "HCC_肝细胞癌"]


def test_scripts_are_whole_python_and_name_the_item(package):
    script = package.read("cases/P0002_C1/open_in_slicer.py").decode()
    compile(script, "open_in_slicer.py", "exec")
    assert "P0002_C1_mask.nii.gz" in script
    assert "SetWindowLevel(400, 50)" in script


def test_the_preview_shows_the_outlines_in_their_colours(package):
    picture = np.asarray(Image.open(io.BytesIO(package.read("cases/P0001_C1/preview.png"))).convert("RGB")).astype(int)
    for color in ((76, 175, 80), (244, 67, 54)):
        assert (np.abs(picture - color).sum(axis=2) < 30).sum() > 100


def test_a_hidden_repeat_does_not_tell_whose_it_is(review_round):
    hidden = replace(review_round.items[2], item_id="X0001")
    path = build_package(
        review_round.folder / "hidden", "R1", [*review_round.items[:2], hidden], SCHEME, round_number=1, dataset="demo"
    )
    with zipfile.ZipFile(path) as package:
        assert not [name for name in package.namelist() if "P0002" in name]
        for name in package.namelist():
            assert b"P0002" not in package.read(name)


def test_neither_size_nor_checksum_of_a_repeat_is_that_of_its_original(review_round):
    original = review_round.items[0]
    items = [original, replace(original, item_id="X0001")]
    path = build_package(review_round.folder / "hidden", "R1", items, SCHEME, round_number=1, dataset="demo")
    with zipfile.ZipFile(path) as package:
        for name in ("image.nii.gz", "{}_mask.nii.gz"):
            first, second = (package.read(f"cases/{item}/{name.format(item)}") for item in ("P0001_C1", "X0001"))
            assert gzip.decompress(first) == gzip.decompress(second)
            assert len(first) != len(second)


def test_a_mask_on_another_grid_or_a_double_name_never_goes_out(review_round):
    with pytest.raises(ReviewError, match="same name"):
        build_package(review_round.folder, "R1", review_round.items[:1] * 2, SCHEME, round_number=1, dataset="demo")
    item = review_round.items[0]
    shape = (3, 4, 5)
    write_nifti(item.coarse, LabelMap(np.zeros(shape, np.uint8), Geometry.from_axes(shape, spacing_mm=(1, 1, 1))))
    with pytest.raises(GeometryError, match="mask of P0001_C1"):
        review_round.package()
