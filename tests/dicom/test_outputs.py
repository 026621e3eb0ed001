"""What a converted volume is called: by what it is, unique, and the same whatever the order of arrival."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.pseudonyms import Pseudonyms
from pipeline.core.records import Instance, PhaseGuess, Series, SourceFile
from pipeline.dicom.describe import description_of, unique_stems, volume_stem
from tests.dicom.scanner import Scan, body, expose
from tests.dicom.test_situations import stamped
from tests.dicom.test_tree import convert, rows

Values = dict[str, Any]
PSEUDONYMS = Pseudonyms(bytes(range(32)))

KINDS: dict[str, tuple[str, list[Values], list[str]]] = {
    "b-values": ("MR", [{"DiffusionBValue": b} for b in (0.0, 50.0, 800.0)], ["DWI_b0", "DWI_b50", "DWI_b800"]),
    "echo numbers": (
        "MR",
        [{"EchoNumbers": n, "EchoTime": t} for n, t in ((1, 2.3), (2, 4.6))],
        ["MR_e1", "MR_e2"],
    ),
    "echo times": ("MR", [{"EchoTime": t} for t in (2.3, 4.6)], ["MR_te2.3", "MR_te4.6"]),
    "inversion times": ("MR", [{"InversionTime": t} for t in (150.0, 2200.0)], ["MR_ti150", "MR_ti2200"]),
    "temporal positions": (
        "MR",
        [{"TemporalPositionIdentifier": n} for n in (1, 2, 3)],
        ["MR_t1", "MR_t2", "MR_t3"],
    ),
    "Dixon": (
        "MR",
        [{"ImageType": ["ORIGINAL", "PRIMARY", "DIXON", part]} for part in ("W", "F", "IN_PHASE", "OUT_PHASE")],
        ["T1_water", "MR_fat", "T1_in", "T1_opp"],
    ),
    "keV": (
        "CT",
        [{"MonoenergeticEnergyEquivalent": e} for e in (40.0, 70.0)],
        ["CT_40keV", "CT_70keV"],
    ),
    "thin and thick": ("CT", [{"SliceThickness": t} for t in (1.25, 5.0)], ["CT_1.25mm", "CT_5mm"]),
}
"""Kind to modality, what its volumes differ in, and how their names end."""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("one_series", [True, False], ids=["in one series", "each a series"])
@pytest.mark.parametrize("backwards", [False, True])
def test_volumes_are_named_by_what_tells_them_apart(kind: str, one_series: bool, backwards: bool, tmp_path: Path):
    modality, values, names = KINDS[kind]
    scan = Scan(body(5), modality=modality)
    order = list(enumerate(values))
    for place, (number, header) in enumerate(reversed(order) if backwards else order):
        one = replace(scan, hu=body(5, seed=number))
        if not one_series:
            one = replace(one, series_uid=f"1.2.{number + 1}")
        expose(tmp_path / "src" / f"{place}", one, stamped(**header))
    report = convert(tmp_path / "src", tmp_path / "out")
    paths = sorted(Path(row["path"]).name for row in report.series)
    if one_series or kind in ("Dixon", "keV"):
        assert paths == sorted(f"003_{name}.nii.gz" for name in names)
    if not one_series and kind in ("b-values", "temporal positions"):
        assert paths == sorted(f"003_{name}.nii.gz" for name in ("MR", *names[1:]))
    assert len(set(paths)) == len(values)
    assert {row["status"] for row in report.series} == {"converted"}


@pytest.mark.parametrize(("words", "name"), [("ep2d_diff", "DWI_b0"), ("T2 haste", "T2")])
def test_b_0_and_the_first_time_stand_in_a_name_only_where_they_mean_something(words: str, name: str, tmp_path: Path):
    """Some scanners write b 0 and temporal position 1 into every image."""
    header = {"DiffusionBValue": 0.0, "TemporalPositionIdentifier": 1, "SeriesDescription": words}
    expose(tmp_path / "src", Scan(body(5), modality="MR"), stamped(**header))
    (row,) = convert(tmp_path / "src", tmp_path / "out").series
    assert row["path"].endswith(f"/003_{name}.nii.gz")
    assert (row["b_value"], row["temporal_position"]) == ("0", "1")


@pytest.mark.parametrize(("word", "name"), [("MPR", "CT_mpr"), ("MIP", "CT_mip"), ("ZIMMERMANN", "CT")])
def test_a_product_of_a_scan_is_named_by_its_kind_and_by_no_other_word(word: str, name: str, tmp_path: Path):
    expose(tmp_path / "src", Scan(body(5)), stamped(ImageType=["DERIVED", "SECONDARY", word]))
    (row,) = convert(tmp_path / "src", tmp_path / "out").series
    assert row["path"].endswith(f"/003_{name}.nii.gz")
    assert "ZIMMERMANN" not in row["image_type"]


def test_files_without_a_number_are_no_conflict_of_one(tmp_path: Path):
    """Each study without a number is a patient of its own, so its dates of birth cannot contradict those of another."""
    for number in range(2):
        header = {"PatientID": "", "PatientBirthDate": f"19{50 + number}0101"}
        expose(tmp_path / "src" / f"{number}", Scan(body(5, seed=number)), stamped(**header))
    found = convert(tmp_path / "src", tmp_path / "out").series
    assert {row["status"] for row in found} == {"converted"}
    assert len({row["patient"] for row in found}) == 2


def test_energy_is_read_from_the_description_too(tmp_path: Path):
    for number, kev in enumerate((50, 70)):
        scan = Scan(body(5, seed=number), series_uid=f"1.2.{number + 1}", study_uid="1.2.99")
        expose(tmp_path / "src" / f"{kev}", scan, stamped(SeriesDescription=f"Mono_{kev} keV PORTAL VENOUS"))
    report = convert(tmp_path / "src", tmp_path / "out")
    names = sorted(Path(row["path"]).name for row in report.series)
    assert names == ["003_C2_50keV.nii.gz", "003_C2_70keV.nii.gz"]
    assert {row["energy_kev"] for row in report.series} == {"50", "70"}
    assert {row["description"] for row in report.series} == {"Mono keV PORTAL VENOUS"}


def test_each_volume_has_a_sidecar_and_lies_below_its_patient_and_study(tmp_path: Path):
    for number in range(2):
        scan = Scan(body(5, seed=number))
        expose(tmp_path / "src" / f"{number}", scan, stamped(PatientID=f"4711{number}", KVP=120))
    report = convert(tmp_path / "src", tmp_path / "out")
    assert len({row["patient"] for row in report.series}) == 2
    for row in report.series:
        patient, study, name = row["path"].split("/")
        assert (patient, study) == (row["patient"], row["study"])
        told = json.loads((tmp_path / "out" / patient / study / name.replace(".nii.gz", ".json")).read_text())
        assert told["KVP"] == 120
        assert "4711" not in json.dumps(told)


def test_rows_of_a_patient_stand_together_in_order_of_number(tmp_path: Path):
    for number in range(6):
        scan = Scan(body(5, seed=number), study_uid=f"1.2.{number % 2 + 1}")
        header = {"PatientID": f"4711{number % 2}", "SeriesNumber": 12 - number}
        expose(tmp_path / "src" / f"{number}", scan, stamped(**header))
    found = convert(tmp_path / "src", tmp_path / "out").series
    assert len({row["patient"] for row in found[:3]}) == len({row["patient"] for row in found[3:]}) == 1
    numbers = [[int(row["series_number"]) for row in half] for half in (found[:3], found[3:])]
    assert sorted(numbers) == [[7, 9, 11], [8, 10, 12]]


def test_order_of_files_tells_nothing_of_their_paths(tmp_path: Path):
    """Files named after patients come in an order of their own: the alphabet's would tell the first letters."""
    names = [f"{letter}ann_{letter}ira" for letter in "ABCDEFGHIJKL"]
    for number, name in enumerate(names):
        scan = Scan(body(3, seed=number))
        header = {"PatientID": f"{4711 + number}", "PatientName": name.replace("_", "^")}
        expose(tmp_path / "src" / name, scan, stamped(**header))
    convert(tmp_path / "src", tmp_path / "out")
    masked = {row["file"].split("/")[0]: row["series"] for row in rows(tmp_path / "out" / "files.csv")}
    lookup = rows(tmp_path / "out-private" / "lookup.csv")
    true = {row["file"].split("/")[0]: row["source"].split("/")[0] for row in lookup}
    assert sorted(true.values()) == names
    assert [true[name] for name in masked] != names
    by_number = sorted(masked, key=lambda name: int(name.removeprefix("~")))
    assert [true[name] for name in by_number] != names


def test_lookup_leads_from_every_name_to_its_source_and_is_private(tmp_path: Path):
    src, out, private = tmp_path / "src", tmp_path / "out", tmp_path / "out-private"
    expose(src / "Zimmermann_Otto", Scan(body(5)))
    expose(src / "b", Scan(body(5, seed=1)))[2].unlink()
    (src / "readme.txt").write_text("hello")
    report = convert(src, out)
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert stat.S_IMODE((private / "lookup.csv").stat().st_mode) == 0o600
    lookup = rows(private / "lookup.csv")
    assert {row["source"] for row in lookup} == {str(p.relative_to(src)) for p in src.rglob("*") if p.is_file()}
    assert {row["file"] for row in lookup} == {row["file"] for row in rows(out / "files.csv")}
    assert {row["path"] for row in lookup} - {""} == {row["path"] for row in report.series} - {""}
    assert {row["patient_id"] for row in lookup} == {"HN-2290417", ""}
    assert not list(out.rglob("lookup.csv"))


def test_two_people_under_one_number_are_flagged(tmp_path: Path):
    for number in range(2):
        scan = Scan(body(5, seed=number))
        expose(tmp_path / "src" / f"{number}", scan, stamped(PatientBirthDate=f"19{50 + number}0101"))
    found = convert(tmp_path / "src", tmp_path / "out").series
    assert {row["status"] for row in found} == {"flagged"}
    assert all(row["reason"].startswith("patient-conflict: ") for row in found)


def test_a_tree_of_which_nothing_becomes_a_volume_is_not_clean(tmp_path: Path):
    expose(tmp_path / "src", Scan(body(3)), stamped(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]))
    report = convert(tmp_path / "src", tmp_path / "out")
    assert [row["status"] for row in report.series] == ["excluded"]
    assert not report.is_clean


def test_progress_counts_slices_up_to_all(tmp_path: Path):
    for number in range(3):
        expose(tmp_path / "src" / f"{number}", Scan(body(3 + number, seed=number)))
    calls: list[tuple[int, int]] = []
    convert(tmp_path / "src", tmp_path / "out", progress=lambda done, total: calls.append((done, total)))
    assert {total for _, total in calls} == {12}
    assert calls[-1][0] == 12
    assert len(calls) == 3


headers = st.fixed_dictionaries(
    {},
    optional={
        "PatientID": st.sampled_from(["1", "2"]),
        "StudyInstanceUID": st.sampled_from(["1.2.3", "1.2.4"]),
        "SeriesNumber": st.sampled_from([1, 2, 99999, "text"]),
        "Modality": st.sampled_from(["CT", "MR", "../x"]),
        "DiffusionBValue": st.sampled_from([0.0, 50.0, 800.0]),
        "EchoTime": st.sampled_from([2.3, 4.6]),
        "EchoNumbers": st.integers(1, 3),
        "InversionTime": st.sampled_from([150.0, 160.0]),
        "TemporalPositionIdentifier": st.integers(1, 3),
        "SliceThickness": st.sampled_from([1.25, 5.0, 2290417.0]),
        "SeriesDescription": st.text(max_size=20),
        "ImageType": st.lists(st.sampled_from(["ORIGINAL", "W", "F", "ADC", "ZIMMERMANN"]), max_size=3).map(tuple),
    },
)
told_apart = st.dictionaries(
    st.sampled_from(["EchoTime", "EchoNumbers", "InversionTime", "SliceThickness", "AcquisitionTime"]),
    st.sampled_from(["1", "2"]),
    max_size=2,
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(headers, told_apart), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_names_are_unique_whatever_headers_say_and_the_same_in_any_order(found, random):
    series = [
        Series(f"1.2.{number}", (Instance(SourceFile(Path("x")), MappingProxyType(header)),), None, (), apart)
        for number, (header, apart) in enumerate(found)
    ]
    names = named(series)
    assert len({name.casefold() for name in names.values()}) == len(series)
    random.shuffle(series)
    assert named(series) == names
    for name in names.values():
        assert name.count("/") == 2
        assert ".." not in name
        assert not [word for word in ("ZIMMERMANN", "2290417", "2.29") if word in name]


def named(series: list[Series]) -> dict[str, str]:
    guess = PhaseGuess(None, 0.0)
    described = {one.key: description_of(one, PSEUDONYMS) for one in series}
    stems = {one.key: volume_stem(described[one.key], one, guess) for one in series}
    return unique_stems(stems, PSEUDONYMS)
