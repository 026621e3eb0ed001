"""Nobody stands alone in what is published once a k is asked for."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import PrivacyError
from pipeline.dataset.anonymity import (
    HELD_OUT,
    LEFT_OUT_IN_TURN,
    QUASI_IDENTIFIERS,
    Row,
    age_band,
    anonymise,
    class_histogram,
    class_sizes,
    smallest_class,
    smallest_variety,
    told_of_patients,
)

COLUMNS = ("age", "gender", "site")
FACTS = st.fixed_dictionaries(
    {
        "patient_id": st.just("P"),
        "age": st.one_of(st.none(), st.just("90+"), st.integers(55, 70).map(str)),
        "gender": st.sampled_from(["M", "F"]),
        "site": st.sampled_from(["A", "B"]),
        "manufacturer": st.sampled_from(["GE", "SIEMENS", None]),
        "model": st.sampled_from(["VCT", "Flash"]),
        "kernel": st.sampled_from(["STANDARD", "B30f", "B40f"]),
        "kvp": st.sampled_from(["100.0", "120.0"]),
    }
)


def row(age: str | None, gender: str = "M", site: str = "A") -> dict[str, str | None]:
    return {"age": age, "gender": gender, "site": site}


def test_sizes_are_those_one_counts_on_paper():
    rows = [row("60"), row("60"), row("61"), row("60", "F")]
    assert class_sizes(rows, COLUMNS) == [2, 2, 1, 1]
    assert class_histogram(rows, COLUMNS) == {1: 2, 2: 2}
    assert smallest_class(rows, COLUMNS) == 1


def test_without_patients_there_is_no_class():
    assert (smallest_class([], COLUMNS), class_histogram([], COLUMNS), smallest_variety([], "x", COLUMNS)) == (0, {}, 0)
    assert anonymise([], 5).rows == ()


@pytest.mark.parametrize(
    ("age", "width", "band"),
    [
        ("60", 10, "60-69"),
        ("69", 10, "60-69"),
        ("64", 5, "60-64"),
        ("89", 20, "80-89"),
        ("95", 5, "90+"),
        ("90+", 5, "90+"),
    ],
)
def test_ages_fall_in_their_bands(age, width, band):
    assert age_band(age, width) == band


def test_unreadable_age_is_refused_without_repeating_it():
    with pytest.raises(PrivacyError) as refused:
        age_band("born 1954", 5)
    assert "1954" not in str(refused.value)


def test_ages_are_widened_before_anyone_is_left_out():
    rows = [row(str(age)) for age in (60, 61, 62, 63, 64)]
    made = anonymise(rows, 5)
    assert (made.k, made.age_band_years, made.left_out) == (5, 5, 0)
    assert {one["age"] for one in made.rows} == {"60-64"}


def test_exact_ages_stay_where_they_already_are_alike():
    rows = [row("60")] * 5
    assert anonymise(rows, 5).rows == tuple(rows)


def scanned(maker: str, model: str, kernel: str, **more: str | None) -> dict[str, str | None]:
    return {**row("60"), "manufacturer": maker, "model": model, "kernel": kernel, **more}


SIEMENS, GE = ("SIEMENS", "Flash", "B30f"), ("GE", "VCT", "STANDARD")


def test_one_on_another_scanner_and_one_more_lose_the_scanner_and_nothing_else():
    made = anonymise([scanned(*SIEMENS), scanned(*SIEMENS), scanned(*GE), scanned(*SIEMENS)], 2)
    told = [(one["age"], one["manufacturer"], one["model"], one["kernel"]) for one in made.rows]
    assert sorted(told, key=str) == [("60", *SIEMENS)] * 2 + [("60", None, None, None)] * 2
    assert (made.k, made.left_out) == (2, 6)


def test_kernel_goes_before_the_model_and_the_model_before_the_maker():
    softer = scanned("SIEMENS", "Flash", "B10f")
    assert anonymise([scanned(*SIEMENS), softer], 2).rows == (scanned("SIEMENS", "Flash", None),) * 2
    other = scanned("SIEMENS", "Force", "B30f")
    assert anonymise([scanned(*SIEMENS), other], 2).rows == (scanned("SIEMENS", None, None),) * 2


def test_class_that_can_spare_nobody_is_given_up_rather_than_the_promise():
    made = anonymise([row("60")] * 3 + [row("25", "F", "B")], 3)
    assert {tuple(one.values()) for one in made.rows} == {(None, None, None)}
    made = anonymise([row("60")] * 5 + [row("25", "F", "B")], 3)
    assert [one["gender"] for one in made.rows].count("M") == 3
    assert made.k == 3


def test_fewer_patients_than_promised_tell_nothing():
    made = anonymise([row("60"), row("60")], 3)
    assert (made.rows, made.k) == ((dict.fromkeys(COLUMNS),) * 2, 0)


def test_what_the_split_tells_is_never_mixed():
    rows = [{**row("60"), HELD_OUT: held} for held in ("yes", "yes", None, None, None)]
    made = anonymise(rows, 2)
    assert (made.k, made.left_out) == (2, 0)
    assert anonymise(rows[1:], 2).k == 1, "one who is held out stands alone, whatever else is left out"


def test_phases_with_different_values_are_told_apart():
    def told(plain: float | None, arterial: float | None) -> str | None:
        volumes = [
            {"patient_id": "P0001", "phase": "P", "kvp": plain}, {"patient_id": "P0001", "phase": "C1", "kvp": arterial}
        ]  # fmt: skip
        return told_of_patients(volumes, ("kvp",))["P0001"]["kvp"]

    assert told(None, None) is None
    assert told(120.0, 120.0) == "120.0"
    assert len({told(120.0, 120.0), told(120.0, 100.0), told(100.0, 120.0), told(120.0, None), told(None, 120.0)}) == 5


def test_class_with_one_diagnosis_tells_it():
    rows = [{**row("60"), "kind": "HCC"}, {**row("60"), "kind": "ICC"}, {**row("70"), "kind": "HCC"}]
    assert smallest_variety(rows, "kind", COLUMNS) == 1
    assert smallest_variety(rows[:2], "kind", COLUMNS) == 2


def classes(rows: Sequence[Row]) -> list[int]:
    """How many share each patient's values, counted pair by pair."""
    return [sum(all(one.get(c) == other.get(c) for c in QUASI_IDENTIFIERS) for other in rows) for one in rows]


@given(st.lists(FACTS, max_size=40), st.integers(1, 4))
def test_every_patient_shares_what_is_told_with_k_others_or_tells_nothing(rows, min_k):
    made = anonymise(rows, min_k)
    assert [one["patient_id"] for one in made.rows] == ["P"] * len(rows)
    tells_something = any(one.get(column) for one in made.rows for column in QUASI_IDENTIFIERS)
    assert not tells_something or min(classes(made.rows)) >= min_k
    assert made.k == 0 or made.k >= min_k


@given(st.lists(FACTS, max_size=12), st.integers(1, 4))
def test_nothing_is_left_out_where_enough_look_alike_already(rows, copies):
    alike = [one for one in rows for _ in range(copies)]
    assert anonymise(alike, copies).rows == tuple(alike)


@given(st.lists(FACTS, max_size=20), st.integers(2, 4), st.randoms(use_true_random=False))
def test_what_is_told_is_as_much_in_any_order_of_patients(rows, min_k, random):
    shuffled = random.sample(rows, len(rows))
    told = [
        Counter(tuple(sorted(one.items(), key=str)) for one in anonymise(given, min_k).rows)
        for given in (rows, shuffled)
    ]
    assert told[0] == told[1]


def fewest_left_out(rows: Sequence[Row], min_k: int) -> int:
    """By trying every step for every patient."""
    steps = [
        list(dict.fromkeys(tuple(sorted(_known(one, step).items())) for step in range(len(LEFT_OUT_IN_TURN) + 1)))
        for one in rows
    ]
    best = known = sum(value is not None for one in rows for value in one.values())
    for chosen in itertools.product(*steps):
        sizes = Counter(chosen)
        if min(sizes.values()) >= min_k:
            best = min(best, known - sum(value is not None for one in chosen for _, value in one))
    return best


def _known(one: Row, step: int) -> dict[str, str | None]:
    gone = [column for group in LEFT_OUT_IN_TURN[:step] for column in group]
    return {column: None if column in gone else value for column, value in one.items()}


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "gender": st.sampled_from(["M", "F"]),
                "site": st.sampled_from(["A", "B", None]),
                "manufacturer": st.sampled_from(["GE", "SIEMENS"]),
                "kernel": st.sampled_from(["soft", "sharp", None]),
                "kvp": st.sampled_from(["100", "120"]),
            }
        ),
        min_size=1,
        max_size=6,
    ),
    st.integers(2, 4),
)
def test_no_choice_of_steps_leaves_out_less(rows, min_k):
    assert anonymise(rows, min_k).left_out == fewest_left_out(rows, min_k)
