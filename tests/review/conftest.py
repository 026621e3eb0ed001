"""The round of review that the tests of this part work on."""

from __future__ import annotations

import pytest

from tests.review.rounds import Round, make_round


@pytest.fixture
def review_round(tmp_path) -> Round:
    return make_round(tmp_path)
