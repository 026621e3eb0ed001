"""The label scheme: what it knows passes, everything else is named."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import LabelError
from pipeline.core.labels import LabelScheme


@given(values=st.lists(st.integers(-3, 300), max_size=8))
def test_exactly_the_values_outside_the_scheme_are_named(values):
    unknown = sorted(set(values) - {0, 1, 2})
    array = np.array(values, dtype=np.int64)
    if unknown:
        with pytest.raises(LabelError, match="relabel") as refusal:
            LabelScheme().check(array, what="mask of P0001 C1")
        assert f"the values {unknown}, expected only" in str(refusal.value)
    else:
        LabelScheme().check(array, what="mask of P0001 C1")
