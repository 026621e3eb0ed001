"""How often burned-in text is found, by size, brightness, place and number of slices, and how often none is.

Text is drawn into real series of `../shared/data`; the same series without it count false alarms.
    python benchmarks/burned_in.py
"""

from __future__ import annotations

import itertools
import random
import sys
import time
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pipeline.core.errors import PipelineError
from pipeline.dicom.admission import admit
from pipeline.dicom.burned_in import find_text
from pipeline.dicom.pixels import read_slice
from pipeline.dicom.scan import scan

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
SIZES = (8, 10, 12, 16, 24)
BRIGHTNESS = {"saturated": None, "+1000": 1000, "+300": 300, "+150": 150, "dark": -700}
"""Stored values above the body's median, which is HU but for an offset."""

CASES = int(sys.argv[1]) if len(sys.argv) > 1 else 320
PLACES = ("corner", "body")
TEXTS = ("KOWALSKA, M 1954-03-12", "ID 00776655", "王伟 CT-4471", "Zhang Wei")
Stack = list[NDArray[np.integer]]


def real_series() -> dict[str, Stack]:
    """Admissible CT series of the shared data with at least ten slices, by a name of ours."""
    groups: dict[tuple[str, ...], Stack] = defaultdict(list)
    for instance in scan([DATA]).instances:
        if admit(instance) is None:
            try:
                values = read_slice(instance)
            except PipelineError:
                continue
            folder = str(instance.source.path.relative_to(DATA).parent)
            groups[folder, instance.text("SeriesInstanceUID"), str(values.shape)].append(values)
    return {f"{folder} {shape} x{len(stack)}": stack for (folder, _, shape), stack in sorted(groups.items())}


def drawn(
    text: str, shape: tuple[int, int], size: int, place: str, rng: random.Random, *, smooth: bool
) -> NDArray[np.float64]:
    """Coverage 0 to 1 of a text drawn at a place of its kind."""
    page = Image.new("L" if smooth else "1", shape[::-1])
    rows, columns = shape
    top, left = (
        (rng.randrange(5, 30), rng.randrange(5, 30))
        if place == "corner"
        else (rows // 2 + rng.randrange(-60, 60), columns // 3 + rng.randrange(-40, 40))
    )
    ImageDraw.Draw(page).text((left, top), text, fill=255 if smooth else 1, font=ImageFont.load_default(size))
    return np.asarray(page, dtype=np.float64) / (255 if smooth else 1)


def with_text(stack: Stack, cover: NDArray[np.float64], brightness: int | None, slices: range) -> Stack:
    """A copy of a series with text drawn opaquely into some slices."""
    changed = list(stack)
    for number in slices:
        values = stack[number].astype(np.float64)
        body = np.median(values[values > np.percentile(values, 30) + 700])
        level = values.max() if brightness is None else body + brightness
        changed[number] = np.round(values * (1 - cover) + level * cover).astype(stack[number].dtype)
    return changed


def main() -> None:
    warnings.simplefilter("ignore")
    series = real_series()
    seconds = slices = 0.0
    for name, stack in series.items():
        started = time.perf_counter()
        finding = find_text(stack)
        seconds, slices = seconds + time.perf_counter() - started, slices + len(stack)
        print(f"{'FALSE ALARM' if finding.is_suspect else 'clean':12} {name} {finding.slices[:5]} {finding.is_static}")
    print(f"{1000 * seconds / slices:.1f} ms a slice")
    hits: dict[str, list[bool]] = defaultdict(list)
    rng = random.Random(7)
    large = [stack[:10] for stack in series.values() if len(stack) >= 20 and min(stack[0].shape) >= 256]
    cases = list(itertools.product(large, SIZES, BRIGHTNESS.items(), PLACES, (False, True), (False, True)))
    for stack, size, (bright, level), place, smooth, alone in rng.sample(cases, CASES):
        cover = drawn(rng.choice(TEXTS), stack[0].shape, size, place, rng, smooth=smooth)
        number = rng.randrange(len(stack))
        found = find_text(
            with_text(stack, cover, level, range(number, number + 1) if alone else range(len(stack)))
        ).is_suspect
        for key in (
            "all",
            f"{size} px",
            bright,
            place,
            "smooth" if smooth else "plain",
            "one slice" if alone else "all slices",
        ):
            hits[key].append(found)
        hits[f"{'one ' if alone else 'all '}{'smooth' if smooth else 'plain'} {place} {bright}"].append(found)
    for key, found in hits.items():
        print(f"{key:40} {sum(found)}/{len(found)} = {np.mean(found):.1%}")


if __name__ == "__main__":
    main()
