"""When slices were acquired, and pauses between them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np

from pipeline.core.records import Instance

PAUSE_S = 3.0
"""A pause in the times of slices that may separate two scans; a table moves on within less."""

_FEW = 3
_CLOCK = re.compile(r"(\d\d)(?:(\d\d)(?:(\d\d(?:\.\d+)?))?)?(?:[+-]\d{4})?$", re.ASCII)


def pauses(slices: Sequence[Instance]) -> list[str]:
    """Slices by scan, where a pause in their times separates the scans."""
    times = [time_s(slice_) for slice_ in slices]
    known = sorted({time for time in times if time is not None})
    if len(known) < 2 or None in times:
        return [""] * len(slices)
    gaps = np.diff(known)
    limit = max(PAUSE_S, 5 * float(np.median(gaps)) if len(gaps) > _FEW else 0.0)
    starts = [later for earlier, later in pairwise(known) if later - earlier > limit]
    return [str(sum(start <= time for start in starts)) for time in times if time is not None]


def time_s(slice_: Instance) -> float | None:
    """Seconds into the day at which a slice was acquired; None where the header does not tell."""
    stamp = slice_.text("AcquisitionDateTime")
    text = stamp[8:] if len(stamp) >= 14 else slice_.text("AcquisitionTime") or slice_.text("ContentTime")
    return clock_s(text)


def begun_s(slices: Iterable[Instance]) -> float | None:
    """Seconds into the day at which the first of some slices was acquired; None where no header tells."""
    return min((time for time in map(time_s, slices) if time is not None), default=None)


def clock_s(text: str) -> float | None:
    """Seconds into the day of a DICOM time (TM); None when it is none."""
    match = _CLOCK.match(text.replace(":", "").strip())
    if match is None:
        return None
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds
