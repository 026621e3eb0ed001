"""Lesion kinds of a dataset: values, names, colours and codes from one list, and what such a list may not say."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.config import Config, load_config, section_content
from pipeline.core.errors import ConfigError, LabelError
from pipeline.core.geometry import Geometry
from pipeline.core.kinds import FIRST_KIND, KNOWN_KINDS, LAST_KIND
from pipeline.core.labels import COLORS, LabelScheme, Structure, largest_first, structure_mask
from pipeline.core.volume import LabelMap

SEEN_BY = {
    "all cones": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
"""Linear RGB as colour-blind eyes see it. Source: Machado et al. 2009, IEEE TVCG 15(6), severity 1."""

XYZ = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
WHITE = (0.9505, 1.0, 1.089)


def lab(rgb, eyes):
    """CIE 1976 L*a*b* of an sRGB colour as some eyes see it."""
    share = np.array(rgb) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    xyz = np.array(XYZ) @ np.clip(np.array(eyes) @ linear, 0, 1) / WHITE
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def config_of(kinds, folder):
    path = folder / "dataset.toml"
    path.write_text(f'[dataset]\nname = "x"\n[labels]\nlesion_kinds = {kinds}\n', encoding="utf-8")
    return load_config(path)


@pytest.mark.parametrize("eyes", SEEN_BY)
def test_colours_of_known_kinds_differ_for_every_eye(eyes):
    """A difference of 2.3 is just noticeable; fifteen is told apart at a glance."""
    scheme = LabelScheme(tuple(entry.name for entry in KNOWN_KINDS.values()))
    seen = {name: lab(scheme.colors[value], SEEN_BY[eyes]) for value, name in scheme.names.items() if value}
    for one, other in itertools.combinations(seen, 2):
        assert np.linalg.norm(seen[one] - seen[other]) > 15, (one, other)


def test_known_kinds_are_complete():
    for entry in KNOWN_KINDS.values():
        assert re.fullmatch(r"[一-鿿]{3,8}", entry.chinese), entry.name
        assert entry.colour
        assert entry.snomed is None or _is_snomed(entry.snomed), entry.name


def _is_snomed(code: str) -> bool:
    """The check digit of SNOMED CT, Verhoeff's, and the two digits before it, which say that it is a concept."""
    turn = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]
    table, check = list(range(10)), 0
    for digit in map(int, reversed(code)):
        check = _times(check, table[digit])
        table = [table[turn[n]] for n in range(10)]
    return check == 0 and code[-3:-1] == "00"


def _times(a: int, b: int) -> int:
    """The dihedral group of the pentagon."""
    if a < 5:
        return (a + b) % 5 if b < 5 else 5 + (a + b) % 5
    return 5 + (a - b) % 5 if b < 5 else (a - b) % 5


def test_values_follow_the_list_and_a_table_says_more(tmp_path):
    kinds = '["HCC", {name = "abscess", value = 9, colour = "#102030", chinese = "肝脓肿", snomed = "27916005"}, "odd"]'
    scheme = config_of(kinds, tmp_path).labels.scheme
    assert scheme.names == {0: "background", 1: "liver", 2: "lesion", 3: "HCC", 9: "abscess", 5: "odd"}
    assert scheme.titles[9] == "abscess 肝脓肿"
    assert scheme.colors[9] == (16, 32, 48)
    assert scheme.titles[5] == "odd"
    assert len(set(scheme.colors.values())) == 6
    assert {kind.name: kind.snomed for kind in scheme.kinds} == {"HCC": "109841003", "abscess": "27916005", "odd": None}


@pytest.mark.parametrize(
    ("kinds", "words"),
    [
        ('["HCC", "hcc"]', "lesion kind hcc: the name means something else"),
        ('["liver"]', "lesion kind liver"),
        ('["7"]', "lesion kind 7"),
        ('["a;b"]', "no comma, semicolon or quote"),
        ('["HCC", {name = "x", value = 3}]', "HCC and x have the same value 3"),
        ('[{name = "x", value = 2}]', "greater than or equal to 3"),
        ('[{name = "x", value = 255}]', "less than or equal to 99"),
        ('[{name = "x", colour = "red"}]', "pattern"),
        ('[{name = "x", color = "#ffffff"}]', "unknown key"),
        ("[{value = 3}]", "name"),
        ("[3]", "lesion_kinds"),
    ],
)
def test_what_cannot_be_is_refused_with_its_line(tmp_path, kinds, words):
    with pytest.raises(ConfigError, match=r"line [34]") as refused:
        config_of(kinds, tmp_path)
    assert words in str(refused.value)


def test_settings_of_plain_names_read_as_before():
    config = Config.model_validate({"dataset": {"name": "x"}, "labels": {"lesion_kinds": ["HCC", "ICC"]}})
    assert section_content(config.labels) == {"lesion_kinds": ["HCC", "ICC"]}


@pytest.mark.parametrize("text", ["HCC", "hcc", " Hcc ", "肝细胞癌", "HCC 肝细胞癌", "HCC_肝细胞癌"])
def test_a_kind_is_known_by_each_of_its_names(text):
    assert LabelScheme(("ICC", "HCC")).value_of(text) == 4


@pytest.mark.parametrize("text", ["", "HC", "肝", "left kidney", "HCC ICC"])
def test_other_texts_mean_no_kind(text):
    assert LabelScheme(("ICC", "HCC")).value_of(text) is None


def test_as_many_kinds_as_there_are_values():
    names = tuple(f"kind {letter}{number}" for letter in "abcdefgh" for number in range(20))
    room = LAST_KIND - FIRST_KIND + 1
    assert len(LabelScheme(names[:room]).names) == room + 3
    with pytest.raises(LabelError, match="value 100, expected 3 to 99"):
        LabelScheme(names[: room + 1])


@given(st.lists(st.integers(0, 255), max_size=30))
def test_structures_hold_every_kind_and_nothing_undecided(values):
    found = {one: structure_mask(np.array(values, np.uint8), one).tolist() for one in Structure}
    assert found[Structure.LESION] == [2 <= value <= 99 for value in values]
    assert found[Structure.WHOLE_LIVER] == [1 <= value <= 99 for value in values]
    assert found[Structure.PARENCHYMA] == [value == 1 for value in values]


@given(st.lists(st.integers(0, 99), max_size=30))
def test_kinds_come_by_their_share(values):
    counts = {value: values.count(value) for value in values if value > 2}
    assert largest_first(np.array(values, np.uint8)) == tuple(sorted(counts, key=lambda value: (-counts[value], value)))


def test_colours_of_levels_stay():
    assert COLORS == {0: (0, 0, 0), 1: (76, 175, 80), 2: (244, 67, 54)}


def test_a_mask_without_its_kinds():
    voxels = np.array([[[0, 1, 2, 3, 8, 99, 255]]], np.uint8)
    labels = LabelMap(voxels, Geometry.from_axes(voxels.shape, spacing_mm=(1, 1, 1)))
    assert labels.levels.voxels.tolist() == [[[0, 1, 2, 2, 2, 2, 255]]]
