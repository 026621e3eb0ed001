"""Figures that stand in two tables come out alike, however they are rounded."""

from __future__ import annotations

import csv
import io

from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.dataset.tables import largest_diameter_mm, rows_text


@given(st.lists(st.floats(0, 500), min_size=1, max_size=5))
@example([8.774964])
def test_the_largest_diameter_is_the_same_from_the_table_of_lesions(diameters_mm: list[float]):
    table = rows_text(("max_diameter_mm",), [{"max_diameter_mm": diameter} for diameter in diameters_mm])
    read = [float(row["max_diameter_mm"]) for row in csv.DictReader(io.StringIO(table))]
    assert largest_diameter_mm(read) == largest_diameter_mm(diameters_mm)


def test_without_lesions_there_is_no_largest():
    assert largest_diameter_mm([]) is None
