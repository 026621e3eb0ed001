"""Patients named by the path of their files: one answer for each file, or a refusal with the count."""

from __future__ import annotations

import re
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.core.config import SourceConfig
from pipeline.core.errors import ConfigError
from pipeline.core.records import Fate, FileFate, Instance, SourceFile
from pipeline.dicom.read.patients import identified
from pipeline.dicom.read.scan import ScanResult

ROOT = Path("/export")


def found(*paths: str, **header: object) -> ScanResult:
    """Objects at paths below the root; "!" parts an archive from its member."""
    files = []
    for path in paths:
        outer, _, member = path.partition("!")
        files.append(Instance(SourceFile(ROOT / outer, member or None), MappingProxyType(header)))
    return ScanResult(files)


def patients(rule: str, *paths: str, roots: tuple[Path, ...] = (ROOT,)) -> list[str]:
    return [instance.text("PatientID") for instance in identified(found(*paths), roots, rule).instances]


@pytest.mark.parametrize(
    ("rule", "path", "patient"),
    [
        ("folder", "1/CT/DICOM_anon/i0001.dcm", "1"),
        ("folder", "7.zip!a/b.dcm", "7"),
        ("folder", "7.tar.gz!b.dcm", "7"),
        ("{patient}/**", "1/a.dcm", "1"),
        ("{patient}/*/*", "P1/CT/a.dcm", "P1"),
        ("*/{patient}/**", "CT/22/DICOM_anon/a.dcm", "22"),
        ("**/sub-{patient}/*", "x/y/sub-004/a.dcm", "004"),
        ("**/sub-{patient}/*", "sub-004/a.dcm", "004"),
        ("{patient}_*.dcm", "P1_0001.dcm", "P1"),
        ("sub-{patient}_*/**", "sub-P1_ses/x/y/a.dcm", "P1"),
        ("/{patient}/*/", "P.1/a+(b)", "P.1"),
    ],
)
def test_the_patient_is_the_part_of_the_path_that_the_rule_names(rule: str, path: str, patient: str):
    assert patients(rule, path) == [patient]


@pytest.mark.parametrize(
    ("rule", "paths", "message"),
    [
        ("folder", ["a.dcm", "1/a.dcm"], "names no patient for 1 of 2 DICOM files"),
        ("folder", [" /a.dcm"], "names no patient for 1 of 1 DICOM file"),
        ("{patient}/*/*", ["1/a.dcm", "2/b.dcm", "3/x/c.dcm"], "names no patient for 2 of 3 DICOM files"),
        ("{patient}_*", ["a_b_c.dcm"], "names more than one patient for 1 of 1 DICOM file"),
        ("**/{patient}/**", ["a/b/c.dcm"], "names more than one patient for 1 of 1 DICOM file"),
        ("folder", ["p1/a.dcm", "P1/b.dcm"], "gives 1 patient two folders"),
    ],
)
def test_what_is_ambiguous_is_refused_with_its_count(rule: str, paths: list[str], message: str):
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        patients(rule, *paths)
    assert "export" not in str(caught.value)
    assert not re.search(r"a_b|P1|\.dcm", str(caught.value))


def test_one_folder_name_below_two_sources_is_refused():
    roots = (ROOT / "north", ROOT / "south")
    with pytest.raises(ConfigError, match="gives 1 patient two folders"):
        patients("folder", "north/1/a.dcm", "south/1/a.dcm", roots=roots)
    assert patients("*/{patient}/**", "north/1/a.dcm", "south/1/a.dcm") == ["1", "1"]


def test_a_file_below_two_sources_is_refused():
    with pytest.raises(ConfigError, match="names more than one patient"):
        patients("folder", "a/b/c.dcm", roots=(ROOT, ROOT / "a"))


def test_patient_id_leaves_everything_as_it_was():
    scan = found("a.dcm", PatientID="4711")
    assert identified(scan, [ROOT], "PatientID") is scan


def test_the_number_of_the_header_is_kept_beside_that_of_the_folder_and_other_files_stay():
    aside = FileFate(SourceFile(ROOT / "readme.txt"), Fate.EXCLUDED, "not-dicom")
    (instance,) = found("1/a.dcm", PatientID="4711", Modality="CT").instances
    named = identified(ScanResult([instance, aside]), [ROOT], "folder")
    assert dict(named.instances[0].header) == {"PatientID": "1", "WrittenPatientID": "4711", "Modality": "CT"}
    assert named.set_aside == (aside,)


@pytest.mark.parametrize("rule", ["", "Folder", "*/**", "{patient}/{patient}", "patient"])
def test_a_rule_that_names_no_patient_is_refused_where_it_is_read(rule: str):
    with pytest.raises(ValidationError, match="expected"):
        SourceConfig(patient=rule)


def answers_by_hand(pattern: str, path: str) -> set[tuple[int, int]]:
    """Every place of the patient, by trying all ways to read a pattern, sign by sign."""
    places: set[tuple[int, int]] = set()

    def read(at: int, sign: int, place: tuple[int, int] | None) -> None:
        if sign == len(pattern):
            if at == len(path) and place is not None:
                places.add(place)
            return
        if pattern.startswith("{patient}", sign):
            for stop in range(at + 1, len(path) + 1):
                if "/" not in path[at:stop]:
                    read(stop, sign + len("{patient}"), (at, stop))
        elif pattern[sign] == "*":
            for stop in range(at, len(path) + 1):
                if "/" not in path[at:stop]:
                    read(stop, sign + 1, place)
        elif at < len(path) and path[at] == pattern[sign]:
            read(at + 1, sign + 1, place)

    read(0, 0, None)
    return places


side = st.lists(st.sampled_from(["*", "a", "-", "/"]), max_size=4).map("".join)


@given(side, side, st.lists(st.sampled_from(["a", "b", "-", "/"]), min_size=1, max_size=9).map("".join))
def test_a_pattern_has_the_answers_that_trying_all_ways_finds(before: str, after: str, path: str):
    path = "/".join(part for part in path.split("/") if part)
    pattern = re.sub(r"/+", "/", re.sub(r"\*+", "*", f"{before}{{patient}}{after}")).strip("/")
    if not path:
        return
    expected = answers_by_hand(pattern, path)
    if len(expected) == 1:
        ((start, stop),) = expected
        assert patients(pattern, path) == [path[start:stop]]
    else:
        with pytest.raises(ConfigError, match="more than one" if expected else "names no patient"):
            patients(pattern, path)
