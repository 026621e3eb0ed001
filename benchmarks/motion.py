"""How surely planted motion is found, by amplitude, and how still sound scans are: one run, counts.

    python benchmarks/motion.py

Slices from one place on are displaced by known millimetres: the whole patient along rows or columns, or the belly alone
as in breathing while the back rests. Bodies: phantoms in 5 mm slices, and the real CT of ../shared/data where it is.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.cohort.image_quality import MAX_MOTION_MM
from pipeline.core.volume import Volume
from pipeline.image.motion import skin_jump_mm
from pipeline.image.nifti import read_volume
from pipeline.synth.phantom import make_phantom
from tests.image.breathing import breathed, shifted

AMPLITUDES_MM = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
PHANTOMS = 8
PLACES = (0.2, 0.4, 0.6, 0.8)
REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "body_ct" / "example_ct.nii.gz"


def main() -> None:
    """Measure every body as it is and with motion planted, then print one row an amplitude."""
    found = bodies()
    still = [skin_jump_mm(body) for body in found]
    alarms = sum(jump > MAX_MOTION_MM for jump in still)
    print(f"{len(found)} sound scans: at most {max(still):.2f} mm, {alarms} alarms")
    print(f"steps found at {MAX_MOTION_MM:g} mm, and measured on average:")
    print(f"{'planted':>10}{'patient along rows':>24}{'along columns':>24}{'belly':>24}")
    for amplitude_mm in AMPLITUDES_MM:
        row = f"{amplitude_mm:7.0f} mm"
        for kind in KINDS:
            row += f"{told([skin_jump_mm(kind(body, start, amplitude_mm)) for body, start in places(found)]):>24}"
        print(row)


def bodies() -> list[Volume]:
    """Phantoms, and the real CT."""
    shape, spacing_mm = (36, 192, 192), (5.0, 2.0, 2.0)
    phantoms = [
        make_phantom(np.random.default_rng(seed), shape=shape, spacing_mm=spacing_mm).volume for seed in range(PHANTOMS)
    ]
    return phantoms + ([read_volume(REAL)] if REAL.exists() else [])


def places(found: list[Volume]) -> list[tuple[Volume, int]]:
    """Each body with each place where motion begins."""
    return [(body, round(place * len(body.voxels))) for body in found for place in PLACES]


def told(jumps: list[float]) -> str:
    """Share of steps above the limit, and their mean."""
    share = np.mean([jump > MAX_MOTION_MM for jump in jumps])
    return f"{share:.0%} ({np.mean(jumps):.1f} mm)"


KINDS = (shifted, lambda body, start, mm: shifted(body, start, mm, axis=2), breathed)

if __name__ == "__main__":
    main()
