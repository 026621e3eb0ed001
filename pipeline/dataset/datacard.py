"""`datacard.md`: what the dataset is, how it came about and how to use it, for whoever downloads it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.cohort.inclusion import FlowStep
from pipeline.core.ages import OLDEST_EXACT_YEARS, OPEN_CLASS
from pipeline.core.config import Config
from pipeline.dataset.anonymity import QUASI_IDENTIFIERS, class_histogram, smallest_variety
from pipeline.dataset.layout import ReleaseLayout
from pipeline.dataset.manifest import ManifestRow
from pipeline.dataset.release_inputs import ReleaseInputs
from pipeline.dataset.tables import by_patient, markdown_table, table1_rows


def datacard_text(rows: Sequence[ManifestRow], inputs: ReleaseInputs) -> str:
    """The card in Markdown; every figure comes from the tables of the same release.

    Args:
        rows: of the manifest.
        inputs: of the release: configuration, CONSORT table, summaries of agreement.
    """
    config = inputs.config
    patients = {row.patient_id for row in rows}
    parts = [
        f"# {config.dataset.name} {inputs.version}",
        config.dataset.description or "Liver imaging with masks of liver and lesions, checked by radiologists.",
        f"{len(patients)} patients, {len(rows)} volumes, {sum(row.slices for row in rows)} slices. "
        f"Licence: {config.dataset.license}.",
        f"## The cohort\n\n{markdown_table(table1_rows(rows))}",
        _files(),
        _inclusion(inputs.flow),
        _making(rows, config),
        *_agreement(inputs),
        _privacy(rows, config),
        _limits(rows),
        _use(config),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _files() -> str:
    return """## Files

| file | holds |
|---|---|
| `patient_data.csv`, `.parquet` | one row a patient and phase; `schema.json` says what each column means |
| `ct_files/` | images, NIfTI |
| `mask_files/`, `liver_mask_files/` | binary masks of all lesions, and of the whole liver |
| `label_files/` | both in one mask: 0 background, 1 liver, 2 lesion; colours in `labels.label` |
| `lesions.csv`, `enhancement.csv` | every lesion measured, and its contrast uptake over the phases |
| `classification.csv`, `detection/coco.json` | classes of each patient, boxes around lesions slice by slice |
| `splits.json`, `splits_final.json` | train, test and folds by patient; the second as nnU-Net reads it |
| `agreement.csv`, `agreement_*.csv` | how far the radiologists agreed, pair by pair and as papers print it |
| `table1.csv`, `statistics.csv` | the cohort in figures |
| `SHA256SUMS`, `PROVENANCE.json`, `CHANGES.md` | what to check, what it was made of, what is new |"""


def _making(rows: Sequence[ManifestRow], config: Config) -> str:
    adjudicated = sum(row.review_status == "adjudicated" for row in rows)
    window, slices = config.image.window, config.image.slices
    shown = (
        f"clipped to {window.level_hu - window.width_hu / 2:g} to {window.level_hu + window.width_hu / 2:g} HU"
        if window
        else "in full HU range"
    )
    kept = (
        f"slices with liver and {slices.margin_mm:g} mm on both sides; `first_slice` tells where they lay in the scan"
        if slices.keep == "liver"
        else "all slices"
    )
    return f"""## How the labels came about

A network ({", ".join(sorted({row.coarse_model or "none" for row in rows}))}) drew first. Radiologists corrected its
masks without seeing one another's: {config.review.per_case} a volume. Their masks became one by
{config.consensus.method};
{adjudicated} of {len(rows)} volumes were settled by a further reader. Images are {shown}; kept are {kept}."""


def _inclusion(flow: Sequence[FlowStep]) -> str:
    if not flow:
        return ""
    steps = [
        {"of": step.of, "rule": step.rule, "left out": step.fell or "", "remaining": step.remaining} for step in flow
    ]
    return f"## Who is in it\n\n{markdown_table(steps)}"


def _agreement(inputs: ReleaseInputs) -> list[str]:
    """Each table of agreement, of those in groups only the rows over all volumes."""
    overall = {
        name: [row for row in table if row.get("group", "all") == "all"] for name, table in inputs.summaries.items()
    }
    return [
        f"### Agreement: {name.replace('_', ' ')}\n\n{markdown_table(table)}\n\nWhole table: "
        f"`{ReleaseLayout(Path()).agreement_summary(name)}`."
        for name, table in overall.items()
        if table
    ]


def _privacy(rows: Sequence[ManifestRow], config: Config) -> str:
    patients = [row.model_dump(mode="json") for row in by_patient(rows).values()]
    alike = class_histogram(patients)
    variety = smallest_variety(patients, "cancer_type")
    ages = f'{OLDEST_EXACT_YEARS} are "{OPEN_CLASS}"'
    options = ", ".join(sorted(config.deidentification.options)) or "none"
    return f"""## Privacy

Headers were rebuilt from an allow-list under DICOM PS3.15 Annex E, Basic Profile, with the options {options}. Ages over
{ages}, dates became days since the first study, and patients, series and hospitals have keyed pseudonyms.

Patients who share {", ".join(QUASI_IDENTIFIERS)}: the smallest group has {min(alike, default=0)} (k-anonymity),
and every group has at least {variety} diagnoses (l-diversity). {alike.get(1, 0)} of {len(patients)} patients stand
alone."""


def _limits(rows: Sequence[ManifestRow]) -> str:
    """What a user could be misled by, counted."""
    patients = by_patient(rows).values()
    unknown = {
        "age": sum(row.age is None for row in patients),
        "sex": sum(row.gender is None for row in patients),
        "diagnosis": sum(row.cancer_type is None for row in patients),
    }
    scanners = {(row.manufacturer, row.model) for row in rows}
    missing = ", ".join(f"{name} of {count}" for name, count in unknown.items() if count) or "nothing"
    return f"""## What to keep in mind

- {len({row.site for row in rows})} sites and {len(scanners)} scanners: expect other ones to look different.
- Unknown of the {len(patients)} patients: {missing}.
- The readers started from a network's masks, which draws their masks towards it and towards one another.
- Lesions are separate when no voxel of one touches the other; touching lesions count as one.
- Images end with the liver: what lies above and below is not in them."""


def _use(config: Config) -> str:
    return f"""## Use

```python
import pandas as pd
rows = pd.read_csv("{ReleaseLayout(Path()).manifest.name}", dtype={{"age": str}})
```

Test patients stay test patients in every version. Cite the version you used: {config.dataset.name}, with its number."""
