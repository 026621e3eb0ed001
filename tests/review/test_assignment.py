"""Assignments: balance counted by hand, orders that differ between raters, repeats far from their originals."""

from __future__ import annotations

import re
from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.config import ReviewConfig
from pipeline.core.errors import ReviewError
from pipeline.core.records import Phase
from pipeline.review.assignment import assign

TWO_PHASES = (Phase.PLAIN, Phase.PORTAL_VENOUS)


def volumes(cases: int, phases=(Phase.PORTAL_VENOUS,)):
    return [(f"P{n:04d}", phase) for n in range(1, cases + 1) for phase in phases]


def raters(count: int, **settings) -> ReviewConfig:
    return ReviewConfig(raters=tuple(f"R{n}" for n in range(1, count + 1)), **settings)


@pytest.mark.parametrize(("count", "per_case", "cases"), [(5, 3, 100), (6, 3, 127), (3, 2, 30), (4, 1, 10)])
def test_loads_and_pairs_are_even(count, per_case, cases):
    assignment = assign(volumes(cases), raters(count, per_case=per_case))
    loads = [len(items) for items in assignment.lists.values()]
    assert sum(loads) == cases * per_case
    assert max(loads) - min(loads) <= 1
    readers = {
        case: [r for r, items in assignment.lists.items() if case in {i.case_id for i in items}]
        for case, _ in volumes(cases)
    }
    assert {len(group) for group in readers.values()} == {per_case}
    met = Counter(pair for group in readers.values() for pair in combinations(group, 2))
    if per_case > 1:
        assert len(met) == count * (count - 1) // 2
        assert max(met.values()) - min(met.values()) <= 4


def test_a_patients_phases_stay_together_in_order():
    lists = assign(volumes(12, TWO_PHASES), raters(3)).lists
    for items in lists.values():
        assert [item.phase for item in items] == list(TWO_PHASES) * 12
        assert all(a.case_id == b.case_id for a, b in zip(items[::2], items[1::2], strict=True))


def test_raters_read_in_different_orders_but_the_urgent_third_first():
    wanted = volumes(30)
    priority = {volume: float(n < 10) + float(n < 20) for n, volume in enumerate(wanted)}
    lists = assign(wanted, raters(3), priority=priority).lists
    orders = {tuple(item.case_id for item in items) for items in lists.values()}
    assert len(orders) == 3
    for order in orders:
        assert sorted(order[:10]) == [case for case, _ in wanted[:10]]
        assert sorted(order[20:]) == [case for case, _ in wanted[20:]]


def test_repeats_have_names_that_tell_nothing_and_come_after_their_originals():
    lists = assign(volumes(20, TWO_PHASES), raters(3, repeats=0.1)).lists
    for items in lists.values():
        repeats = [item for item in items if item.is_repeat]
        assert len(repeats) == 4
        assert all(re.fullmatch(r"X\d{4}", item.item_id) for item in repeats)
        for repeat in repeats:
            original = next(item for item in items if item.volume == repeat.volume and not item.is_repeat)
            assert items.index(original) < 20 <= items.index(repeat)


def test_names_of_repeats_differ_between_raters_and_rounds():
    def hidden(wanted):
        lists = assign(wanted, raters(3, repeats=0.1)).lists
        return [item.item_id for items in lists.values() for item in items if item.is_repeat]

    names = hidden(volumes(20, TWO_PHASES)) + hidden([(f"P9{n:03d}", Phase.PLAIN) for n in range(40)])
    assert len(names) == 24
    assert len(set(names)) == 24


def test_nothing_to_read_gives_empty_lists_and_a_double_is_refused():
    assert assign([], raters(3)).lists == {"R1": (), "R2": (), "R3": ()}
    with pytest.raises(ReviewError, match="twice"):
        assign(volumes(1) * 2, raters(3))


@given(cases=st.integers(0, 25), count=st.integers(1, 6), data=st.data())
@settings(max_examples=50, deadline=None)
def test_any_assignment_is_complete_and_does_not_hang_on_the_order_of_the_input(cases, count, data):
    per_case = data.draw(st.integers(1, count))
    config = raters(count, per_case=per_case, repeats=data.draw(st.sampled_from([0, 0.1, 0.5])))
    wanted = volumes(cases, TWO_PHASES)
    assignment = assign(wanted, config)
    assert assign(data.draw(st.permutations(wanted)), config) == assignment
    read = Counter(item.volume for items in assignment.lists.values() for item in items if not item.is_repeat)
    assert read == Counter(dict.fromkeys(wanted, per_case))
    for items in assignment.lists.values():
        assert len({item.item_id for item in items}) == len(items)
