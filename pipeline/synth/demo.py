"""The demo dataset's `dataset.toml`: what a data engineer would write for the demo cohort."""

from __future__ import annotations

from pipeline.core.file_names import CLINICAL_TABLE
from pipeline.synth.anatomy import LesionKind
from pipeline.synth.cohort import DICOM_FOLDER
from pipeline.synth.roster import ADULT_AGE_YEARS, DIAGNOSES
from pipeline.synth.scanners import SITE_PATTERNS

DEMO_NAME = "demo-liver"


def demo_config(*, raters: tuple[str, ...] = ("R1", "R2", "R3"), jobs: int = 2) -> str:
    """The text of a `dataset.toml` under which the pipeline must come to the cohort's truth.

    Args:
        raters: who answers the review packages; all of them read every volume.
        jobs: how many cases are worked on at once.
    """
    return f"""\
# The demo dataset: invented patients, real formats. Every key is explained in the README.
[dataset]
name = "{DEMO_NAME}"
modality = "CT"
license = "CC-BY-4.0"
description = "Synthetic multi-phase liver CT with planted faults; no clinical meaning."

[source]
paths = ["{DICOM_FOLDER}/"]
clinical = "{CLINICAL_TABLE}"

[phases]
required = ["P", "C1", "C2", "C3"]
missing = "exclude"
{_site_patterns()}
[inclusion]
slice_thickness_mm = [1.0, 5.0]
slice_spacing_mm = [0.5, 5.0]
min_slices = 20
min_coverage_mm = 150.0
min_age_years = {ADULT_AGE_YEARS}
diagnosis = {_list(DIAGNOSES)}

[coarse]
model = "demo"
device = "auto"

[labels]
lesion_kinds = {_list(LesionKind)}

[review]
raters = {_list(raters)}
per_case = {len(raters)}

[consensus]
method = "nested-majority"
ties = "down"

[splits]
seed = 7
stratify = ["site", "cancer_type"]

[run]
jobs = {jobs}
"""


def _site_patterns() -> str:
    lines = []
    for institution, patterns in SITE_PATTERNS.items():
        lines.append(f'\n[phases.sites."{institution}"]')
        lines += [f'{phase} = ["{pattern}"]' for phase, pattern in patterns.items()]
    return "\n".join([*lines, ""])


def _list(words: tuple[str, ...] | type[LesionKind]) -> str:
    return "[" + ", ".join(f'"{word}"' for word in words) + "]"
