"""How often burned-in text is found, by size, brightness, place, contrast and number of slices, and how often none is.

Text is drawn into real series of `../shared/data`: those on which the detector's constants were chosen, and others held
back. False alarms are counted on all real series, CT and MR, as they are and changed in ways that leave them clean.
    python benchmarks/burned_in.py [cases [seed]]
"""

from __future__ import annotations

import itertools
import random
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from pipeline.core.config import Modality
from pipeline.core.errors import PipelineError
from pipeline.dicom.deid.admission import admit
from pipeline.dicom.read.pixels import read_slice
from pipeline.dicom.read.scan import scan
from pipeline.image.nifti import read_volume
from pipeline.text.find import find_text

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
SIZES = (8, 10, 12, 16, 24)
BRIGHTNESS = {"saturated": None, "+1000": 1000, "+300": 300, "+150": 150, "dark": -700}
"""Stored values above the body's median, which is HU but for an offset."""

CASES = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else 7
PLACES = ("corner", "body")
TEXTS = ("KOWALSKA, M 1954-03-12", "ID 00776655", "王伟 CT-4471", "Zhang Wei")
CLEAR_CONTRAST = (1.0, 2.0, 4.0, 8.0)
"""Contrast of the ink in standard deviations of what changes between slices there anyway."""

Stack = list[NDArray[np.int16]]


def real_series() -> dict[str, Stack]:
    """Admissible CT and MR series of the shared data, by a name of ours."""
    groups: dict[tuple[str, ...], Stack] = defaultdict(list)
    for instance in sorted(scan([DATA]).instances, key=lambda one: one.number("InstanceNumber") or 0):
        if any(admit(instance, modality=modality) is None for modality in (Modality.CT, Modality.MR)):
            try:
                values = read_slice(instance)
            except PipelineError:
                continue
            folder = str(instance.source.path.relative_to(DATA).parent)
            groups[folder, instance.text("SeriesInstanceUID"), str(values.shape)].append(values.astype(np.int16))
    return {f"{folder} {shape} x{len(stack)}": stack for (folder, _, shape), stack in sorted(groups.items())}


def resampled(numbers: range, axis: int) -> Stack:
    """Slices of a real CT of the whole trunk, from 3 mm to the size of a usual slice, with noise of a usual one."""
    voxels = read_volume(DATA / "body_ct" / "example_ct.nii.gz").voxels
    rng = np.random.default_rng(numbers.start)
    planes = (voxels.take(number, axis=axis).astype(np.float32) for number in numbers)
    large = (ndimage.zoom(plane, 4.2, order=3) for plane in planes)
    return [(plane + _noise(rng, plane.shape, 24)).round().clip(-3000, 8000).astype(np.int16) for plane in large]


def _noise(rng: np.random.Generator, shape: tuple[int, ...], spread: float) -> NDArray[np.float64]:
    smooth: NDArray[np.float64] = ndimage.gaussian_filter(rng.normal(0, spread, shape), 0.6)
    return smooth


def pools(series: dict[str, Stack]) -> dict[str, dict[str, Stack]]:
    """Ten slices each to draw into: what the constants were chosen on, and what was held back."""
    trunk = next(stack for name, stack in series.items() if name.startswith("body_ct"))
    head = next(stack for name, stack in series.items() if name.startswith("gantry_tilt"))
    return {
        "chosen on": {"trunk": trunk[:10], "head": head[:10], "resampled": resampled(range(34, 44), 0)},
        "held back": {
            "trunk": trunk[10:],
            "head": head[18:],
            "resampled": resampled(range(64, 74), 0),
            "coronal": resampled(range(50, 60), 1),
        },
    }


def clean_variants(stack: Stack) -> Iterator[tuple[str, Stack]]:
    """A clean series as it is, and changed in ways that leave it clean."""
    rng = np.random.default_rng(1)
    yield "as it is", stack
    yield "turned", [np.rot90(values).copy() for values in stack]
    yield "noisy", [(values + _noise(rng, values.shape, 60)).round().astype(np.int16) for values in stack]
    yield "smaller", [ndimage.zoom(values, 0.7, order=3) for values in stack]
    yield "larger", [ndimage.zoom(values, 1.4, order=3) for values in stack]
    if len(stack) >= 6:
        yield "every second slice", stack[::2]
        yield "shuffled", [stack[number] for number in rng.permutation(len(stack))]
        yield "one slice", stack[len(stack) // 2 :][:1]


def drawn(
    text: str, shape: tuple[int, ...], size: int, place: str, rng: random.Random, *, smooth: bool
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
        body = np.median(values[values > np.percentile(values, 1) + 700])
        level = values.max() if brightness is None else body + brightness
        changed[number] = np.round(values * (1 - cover) + level * cover).astype(stack[number].dtype)
    return changed


def contrast_to_noise(clean: Stack, inked: Stack, cover: NDArray[np.float64], number: int) -> float:
    """How far ink stands out in one slice, in standard deviations of what changes between slices there anyway."""
    ink = np.abs(inked[number].astype(np.float64) - clean[number])[cover > 0.5].mean()
    rows, columns = np.nonzero(cover)
    box = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    first = min(max(number - 1, 0), len(clean) - 3)
    beside = [clean[near][box].astype(np.float64) for near in range(first, first + 3) if near != number]
    return float(ink / max(float((clean[number][box] - np.mean(beside, axis=0)).std()), 1.0))


def print_false_alarms(series: dict[str, Stack]) -> None:
    """Count alarms on clean series, by what was done to them, and name the series."""
    count: dict[str, list[bool]] = defaultdict(list)
    for name, stack in series.items():
        for change, clean in clean_variants(stack):
            finding = find_text(clean)
            count[change].append(finding.is_suspect)
            if finding.is_suspect:
                print(f"FALSE ALARM {name}, {change}: {finding.lines[:5]}, static {finding.static}")
    for change, alarms in count.items():
        print(f"{'false alarms, ' + change:40} {sum(alarms)}/{len(alarms)}")


def print_sensitivity(pool: dict[str, Stack], count: int, seed: int) -> None:
    """Draw text into series of a pool and count what is found, by everything that varies."""
    hits: dict[str, list[bool]] = defaultdict(list)
    rng = random.Random(seed)
    kinds = list(itertools.product(pool, SIZES, BRIGHTNESS, PLACES, (False, True), (False, True)))
    for name, size, bright, place, smooth, alone in rng.choices(kinds, k=count):
        stack = pool[name]
        cover = drawn(rng.choice(TEXTS), stack[0].shape, size, place, rng, smooth=smooth)
        number = rng.randrange(len(stack))
        inked = with_text(stack, cover, BRIGHTNESS[bright], range(number, number + 1) if alone else range(len(stack)))
        found = find_text(inked).is_suspect
        contrast = contrast_to_noise(stack, inked, cover, number)
        kind = f"{'one slice' if alone else 'all slices'}, {'smooth' if smooth else 'plain'}"
        for key in ("all", name, f"{size} px", bright, place, kind):
            hits[key].append(found)
        for least in CLEAR_CONTRAST:
            hits[f"contrast to noise {'over' if contrast >= least else 'under'} {least:g}"].append(found)
    for key, found_there in sorted(hits.items()):
        print(f"    {key:36} {sum(found_there)}/{len(found_there)} = {np.mean(found_there):.1%}")


def print_speed(series: dict[str, Stack]) -> None:
    """CPU time a slice of 512x512 on one core, the shortest of five."""
    for name, stack in series.items():
        if len(stack) >= 10:
            shortest = np.inf
            for _ in range(5):
                started = time.process_time()
                find_text(stack)
                shortest = min(shortest, time.process_time() - started)
            print(f"{1000 * shortest / len(stack):.2f} ms a slice: {name}")


def main() -> None:
    warnings.simplefilter("ignore")
    series = real_series()
    print_speed(series)
    drawn_into = pools(series)
    print_false_alarms(
        series | {f"{part} {name}": stack for part, pool in drawn_into.items() for name, stack in pool.items()}
    )
    for part, pool in drawn_into.items():
        print(part)
        print_sensitivity(pool, CASES // 2, SEED)


if __name__ == "__main__":
    main()
