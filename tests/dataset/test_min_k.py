"""min_k holds over all files of a release together: whatever a file says of a patient, enough others share it."""

from __future__ import annotations

import csv
import json
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.core.config import DeidentificationConfig, SplitsConfig
from pipeline.core.errors import ReleaseError
from pipeline.core.records import Patient, Phase
from pipeline.dataset.release import ReleaseInputs, cut
from pipeline.dataset.release_inputs import ReleaseVolume, Summaries
from pipeline.dataset.sums import files_of
from pipeline.dataset.verify.release import verify
from tests.dataset.conftest import inputs_in
from tests.dataset.test_release import edit, no_leak, writable_copy

PATIENT = re.compile(r"P\d{4}")
VALUES = {
    "manufacturer": ["MakerOne", "MakerTwo"],
    "model": ["ModelOne", "ModelTwo", None],
    "kernel": ["KernelOne", "KernelTwo", None],
    "site": ["SiteOne", "SiteTwo"],
}
TOKEN = re.compile(r"(?:Maker|Model|Kernel|Site)(?:One|Two)")
"""Values that one can find in any file without knowing its format."""
PHASE = re.compile(r"(?<![A-Za-z0-9])(?:P|C1)(?![A-Za-z0-9])")

ONE, TWO = ({name: values[place] for name, values in VALUES.items()} for place in (0, 1))

SCANNERS = st.fixed_dictionaries({name: st.sampled_from(values) for name, values in VALUES.items()})
ARTERIAL = st.one_of(st.just({}), st.fixed_dictionaries({"kernel": st.sampled_from(VALUES["kernel"])}))
"""What differs in the second phase."""

PEOPLE = st.lists(
    st.tuples(st.sampled_from("MF"), st.sampled_from([None, 61, 62, 95]), SCANNERS, ARTERIAL), min_size=1, max_size=5
)


Facts = dict[str, str | None]
Somebody = tuple[str, int | None, Facts, Facts]
"""Sex, age, scanner, and what differs in the arterial phase."""


@cache
def base() -> ReleaseInputs:
    """Volumes of five patients, written once."""
    return inputs_in(Path(tempfile.mkdtemp()), patients=5)


def inputs_of(people: Sequence[Somebody], min_k: int | None) -> ReleaseInputs:
    """A release of these patients; with tables by vendor, and a page of cards, as the program makes them."""
    inputs = base()
    ids = sorted(inputs.patients)[: len(people)]
    of = dict(zip(ids, people, strict=True))
    volumes = [volume for volume in inputs.volumes if volume.case_id in of]
    return replace(
        inputs,
        config=inputs.config.model_copy(update={"deidentification": DeidentificationConfig(min_k=min_k)}),
        patients={case_id: Patient(age, sex, "HCC") for case_id, (sex, age, *_) in of.items()},
        volumes=tuple(scanned_as(volume, *of[volume.case_id][2:]) for volume in volumes),
        summaries=by_vendor,
    )


def scanned_as(volume: ReleaseVolume, scanner: Facts, arterial: Facts) -> ReleaseVolume:
    own = {**scanner, **(arterial if volume.phase is Phase.ARTERIAL else {})}
    return replace(volume, scan=replace(volume.scan, **own))


def by_vendor(rows: Any) -> Summaries:
    counts = Counter(row.manufacturer or "unknown" for row in rows)
    return {"plc_cect": [{"group": "vendor", "value": name, "volumes": count} for name, count in counts.items()]}


def lines_of(path: Path) -> Iterator[str]:
    """What stands together in a file: a line of a table, a leaf's surroundings in a document."""
    if path.suffix == ".parquet":
        yield from (" ".join(map(str, row)) for row in pd.read_parquet(path).itertuples())
    elif path.suffix == ".json":
        yield from json.dumps(json.loads(path.read_text())).split("},")
    elif path.suffix in (".csv", ".md"):
        yield from path.read_text().splitlines()


def told(release: Path) -> tuple[dict[str, set[str]], set[frozenset[str]]]:
    """Every token that any file has beside a patient, with its phase, and every set of tokens that is beside none."""
    beside: dict[str, set[str]] = defaultdict(set)
    alone: set[frozenset[str]] = set()
    for path in files_of(release):
        for line in lines_of(path):
            tokens, patients = set(TOKEN.findall(line)), set(PATIENT.findall(line))
            for patient in patients:
                beside[patient] |= {" ".join([*PHASE.findall(line), token]) for token in tokens}
            if tokens and not patients:
                alone.add(frozenset(tokens))
    with (release / "patient_data.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            beside[row["patient_id"]] |= {f"age {row['age']}" if row["age"] else "", row["gender"]} - {""}
    return beside, alone


@settings(max_examples=12, deadline=None)
@given(PEOPLE, st.integers(1, 4))
@example(
    [("F", 61, ONE, {"kernel": "KernelTwo"}), ("F", 61, {**ONE, "kernel": "KernelTwo"}, {"kernel": "KernelOne"})], 2
)
def test_each_combination_in_all_files_together_is_of_k_patients_or_left_out(people, min_k):
    inputs = inputs_of(people, min_k if min_k > 1 else None)
    with tempfile.TemporaryDirectory() as folder:
        release = cut(inputs, Path(folder), leak_check=no_leak)
        beside, groups = told(release)
        assert not [problem for problem in verify(release) if problem.code == "not-anonymous"]
    sizes = Counter(map(frozenset, beside.values()))
    assert set(sizes) == {frozenset()} or min(sizes.values()) >= min_k
    for tokens in groups:
        assert sum(tokens <= {one.split()[-1] for one in own} for own in beside.values()) >= min_k


@settings(max_examples=5, deadline=None)
@given(PEOPLE.filter(lambda people: len(people) < 3))
def test_nothing_is_left_out_where_k_is_met(people):
    inputs = inputs_of([one for one in people for _ in range(2)], 2)
    with tempfile.TemporaryDirectory() as folder:
        beside, _ = told(cut(inputs, Path(folder), leak_check=no_leak))
    for place, (case_id, own) in enumerate(sorted(beside.items())):
        sex, _, scanner, _ = people[place // 2]
        assert {sex, *filter(None, scanner.values())} <= {one.split()[-1] for one in own}, case_id


@pytest.fixture(scope="module")
def lone_scanner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four patients, one of them on another scanner; k = 2."""
    people: list[Somebody] = [("F", 61, ONE, {})] * 3 + [("F", 61, {**TWO, "site": "SiteOne"}, {})]
    return cut(inputs_of(people, 2), tmp_path_factory.mktemp("lone"), leak_check=no_leak)


def add_page(text: str) -> Callable[[Path], None]:
    def damage(release: Path) -> None:
        (release / "qc").mkdir()
        (release / "qc" / "index.html").write_text(text)

    return damage


def card(name: str, value: str) -> str:
    return f'<article id="P0004-P" data-case="P0004"><dl><div><dt>{name}</dt><dd>{value}</dd></div></dl></article>'


def add_column(name: str, column: str, value: str) -> Callable[[Path], None]:
    """A column in a table, filled in for the patient who was scanned elsewhere."""

    def damage(release: Path) -> None:
        lines = (release / name).read_text().splitlines()
        lines = [f"{line},{column if n == 0 else value if 'P0004' in line else ''}" for n, line in enumerate(lines)]
        (release / name).write_text("\n".join(lines) + "\n")

    return damage


def tell_the_maker(release: Path) -> None:
    """In the manifest itself."""
    frame = pd.read_csv(release / "patient_data.csv", dtype=str)
    frame.loc[frame["patient_id"] == "P0004", "manufacturer"] = "MakerTwo"
    frame.to_csv(release / "patient_data.csv", index=False)


def add_document(content: Any) -> Callable[[Path], None]:
    return lambda release: (release / "facts.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("damage", "file", "column"),
    [
        (add_page(card("scanner", "MakerTwo ModelTwo")), "qc/index.html", "model"),
        (add_page(card("manufacturer", "MakerTwo")), "qc/index.html", "manufacturer"),
        (add_page(card("kernel", "KernelTwo")), "qc/index.html", "kernel"),
        (add_page(card("tube voltage", "100 kV")), "qc/index.html", "kvp"),
        (
            add_page(
                "<table><tr><th>manufacturer</th><th>patients</th></tr><tr><td>MakerTwo</td><td>1</td></tr></table>"
            ),
            "qc/index.html",
            "manufacturer",
        ),
        (
            add_page("<table><tr><th>case</th><th>model</th></tr><tr><td>P0004 P</td><td>ModelTwo</td></tr></table>"),
            "qc/index.html",
            "model",
        ),
        (add_column("lesions.csv", "vendor", "MakerTwo"), "lesions.csv", "manufacturer"),
        (add_column("classification.csv", "slice thickness", "2.5 mm"), "classification.csv", "slice_thickness_mm"),
        (add_column("classification.csv", "age", "62"), "classification.csv", "age"),
        (
            edit("agreement_plc_cect.csv", "vendor,unknown", "vendor,MakerTwo"),
            "agreement_plc_cect.csv",
            "manufacturer",
        ),
        (add_document({"P0004": {"ConvolutionKernel": "KernelTwo"}}), "facts.json", "kernel"),
        (
            add_document([{"file_name": "ct_files/P0004_ct_P.nii.gz", "Manufacturer": "MakerTwo"}]),
            "facts.json",
            "manufacturer",
        ),
        (
            lambda release: (release / "notes.md").write_text(
                "| patient | kernel |\n|---|---|\n| P0004 | KernelTwo |\n"
            ),
            "notes.md",
            "kernel",
        ),
        (tell_the_maker, "patient_data.csv", "manufacturer"),
    ],
)
def test_what_another_file_tells_is_found_and_named(lone_scanner, tmp_path, damage, file, column):
    release = writable_copy(lone_scanner, tmp_path / "copy")
    assert not [problem for problem in verify(release) if problem.code == "not-anonymous"]
    damage(release)
    found = [problem.message for problem in verify(release) if problem.code == "not-anonymous"]
    assert any(column in message for message in found)
    assert all(file in message for message in found)
    assert not any(TOKEN.search(message) for message in found)


def held_out_by_maker(people: Sequence[Somebody]) -> ReleaseInputs:
    inputs = inputs_of(people, 2)
    splits = SplitsConfig(out_of_distribution={"manufacturer": "MakerTwo"}, folds=2, test_fraction=0.0)
    return replace(inputs, config=inputs.config.model_copy(update={"splits": splits}))


def test_a_split_by_maker_is_refused_where_it_would_single_a_patient_out(tmp_path):
    with pytest.raises(ReleaseError, match=r"out_of_distribution holds out 1 patient of 4; with min_k = 2"):
        cut(held_out_by_maker([("F", 61, ONE, {})] * 3 + [("F", 61, TWO, {})]), tmp_path, leak_check=no_leak)


def test_a_split_by_maker_stays_whole_where_both_sides_are_large_enough(tmp_path):
    people: list[Somebody] = [("F", 61, ONE, {})] * 3 + [("F", 61, TWO, {}), ("M", 61, TWO, {})]
    release = cut(held_out_by_maker(people), tmp_path, leak_check=no_leak)
    assert not [problem for problem in verify(release) if problem.code == "not-anonymous"]
    with (release / "patient_data.csv").open(newline="") as file:
        rows = {row["patient_id"]: row for row in csv.DictReader(file)}
    assert [row["split"] for row in rows.values()] == ["train"] * 3 + ["test-ood"] * 2
    assert [row["gender"] for row in rows.values()] == ["F", "F", "F", "", ""]
    moved = writable_copy(release, tmp_path / "copy")
    frame = pd.read_csv(moved / "patient_data.csv", dtype=str)
    frame.loc[frame["patient_id"] == "P0005", "split"] = "train"
    frame.to_csv(moved / "patient_data.csv", index=False)
    (found, *_) = [problem.message for problem in verify(moved) if problem.code == "not-anonymous"]
    assert "split in patient_data.csv" in found
