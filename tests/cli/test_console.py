"""Progress in a log: a line a minute, with the rate and the time left."""

from __future__ import annotations

import pytest

from pipeline.cli.console import MinuteLine, rate_line


@pytest.mark.parametrize(
    ("done", "total", "seconds", "line"),
    [
        (300, 1200, 60.0, "300 of 1200 slices, 5 per second, 3 min 00 s left"),
        (1, 1200, 4.0, "1 of 1200 slices, 0.25 per second, 79 min 56 s left"),
        (1200, 1200, 60.0, "1200 of 1200 slices, 20 per second, 0 min 00 s left"),
        (10, 10, 0.0, "10 of 10 slices, 1e+04 per second, 0 min 00 s left"),
    ],
)
def test_a_line_says_rate_and_time_left(done: int, total: int, seconds: float, line: str):
    assert rate_line("slices", done, total, seconds) == line


def test_a_log_gets_at_most_one_line_a_minute():
    now = [0.0]
    lines: list[str] = []
    report = MinuteLine("slices", lines.append, lambda: now[0])
    for second in range(0, 181, 5):
        now[0] = float(second)
        report(second, 360)
    assert lines == [
        "60 of 360 slices, 1 per second, 5 min 00 s left",
        "120 of 360 slices, 1 per second, 4 min 00 s left",
        "180 of 360 slices, 1 per second, 3 min 00 s left",
    ]


def test_nothing_done_says_nothing():
    now = [0.0]
    lines: list[str] = []
    report = MinuteLine("slices", lines.append, lambda: now[0])
    now[0] = 300.0
    report(0, 10)
    assert lines == []
