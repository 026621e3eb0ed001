"""A match counts where chance does not give it: short words never in coded bytes, numbers where there are few."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.core.geometry import Geometry
from pipeline.core.volume import Volume
from pipeline.image.nifti import nifti_bytes
from pipeline.leaks.search import Identifiers, Kind, search

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def names(count: int, length: int, seed: int = 1) -> Identifiers:
    letters = np.random.default_rng(seed).choice(list(LETTERS), (count, length))
    return Identifiers(frozenset((Kind.NAME, "".join(row)) for row in letters))


def numbers(values: Iterable[int]) -> Identifiers:
    return Identifiers(frozenset((Kind.NUMBER, str(value)) for value in values))


def jpegs(count: int) -> Iterable[bytes]:
    for seed in range(count):
        noise, stream = np.random.default_rng(seed).integers(0, 255, (600, 600, 3), np.uint8), io.BytesIO()
        Image.fromarray(noise).save(stream, "JPEG", quality=90)
        yield stream.getvalue()


def test_names_of_500_patients_stand_in_no_jpeg(tmp_path: Path):
    identifiers = names(500, 4)
    content = b"".join(jpegs(12))
    expected = len(content) * 500 * (2 / 256) ** 4
    assert expected > 3, "by chance some of the names do stand among the bytes"
    assert any(text.encode() in content.lower() for _, text in identifiers.texts)
    for number, picture in enumerate(jpegs(12)):
        (tmp_path / f"{number}.jpg").write_bytes(picture)
    assert search(identifiers, [tmp_path]) == ()


@pytest.mark.parametrize("dtype", [np.int16, np.uint8])
def test_names_of_a_large_cohort_stand_in_no_voxels(tmp_path: Path, dtype: type):
    grid = Geometry.from_axes((2, 4, 4), spacing_mm=(5, 1, 1))
    header = nifti_bytes(Volume(np.zeros(grid.shape, np.int16), grid))[:352]
    voxels = np.random.default_rng(5).normal(105, 3, 1 << 22).round().astype(dtype).tobytes()
    shown = "".join(map(chr, range(97, 114)))
    letters = np.random.default_rng(6).choice(list(shown), (20_000, 8))
    identifiers = Identifiers(frozenset((Kind.NAME, "".join(row)) for row in letters))
    (tmp_path / "image.nii.gz").write_bytes(gzip.compress(header + voxels))
    assert search(identifiers, [tmp_path]) == ()


def test_a_number_among_thousands_like_it_is_chance_and_all_of_them_are_not(tmp_path: Path):
    rng = np.random.default_rng(2)
    patients = rng.choice(np.arange(100_000, 1_000_000), 500, replace=False)
    voxels = rng.integers(100_000, 1_000_000, 20_000)
    assert np.isin(voxels, patients).any(), "by chance some of the numbers are those of patients"
    path = tmp_path / "boxes.csv"
    path.write_text("\n".join(f"P0001,{count}" for count in voxels))
    assert search(numbers(patients), [path]) == ()
    path.write_text("\n".join(f"P0001,{count}" for count in [*voxels, *patients]))
    assert search(numbers(patients), [path])


def test_one_number_in_a_short_text_is_no_chance(tmp_path: Path):
    path = tmp_path / "card.md"
    path.write_text("seen as 654321, of 123456 voxels")
    assert search(numbers([654321]), [path])


def test_dates_among_digits_of_checksums_and_pseudonyms_are_chance(tmp_path: Path):
    identifiers = Identifiers(frozenset({(Kind.DATE, "20210311")}))
    path = tmp_path / "sums"
    for text in ("a20210311b" + "0f" * 20, "2.25.20210311398470093847593847", "0.20210311", "120210311", "202103119"):
        path.write_text(text)
        assert search(identifiers, [path]) == (), text
    for text in ("day 20210311.", "20210311101112", "CT20210311", "20210311\n"):
        path.write_text(text)
        assert search(identifiers, [path]), text
