"""`datacard.md`: what the dataset is, how it was made and how to use it, for whoever downloads it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.cohort.inclusion import FlowStep
from pipeline.core.ages import OLDEST_EXACT_YEARS, OPEN_CLASS
from pipeline.core.config import Config
from pipeline.core.labels import LabelScheme
from pipeline.core.words import counted
from pipeline.dataset.anonymity import QUASI_IDENTIFIERS, class_histogram, smallest_variety, told_of_patients
from pipeline.dataset.layout import ReleaseLayout
from pipeline.dataset.manifest import ManifestRow
from pipeline.dataset.release_inputs import ReleaseInputs, Summaries
from pipeline.dataset.tables import by_patient, markdown_table, table1_rows


def datacard_text(rows: Sequence[ManifestRow], inputs: ReleaseInputs, summaries: Summaries, scheme: LabelScheme) -> str:
    """The card in Markdown; every figure comes from the tables of the same release.

    Args:
        rows: of the manifest.
        inputs: of the release: configuration, CONSORT table.
        summaries: of agreement.
        scheme: the labels that its masks hold.
    """
    config = inputs.config
    patients = {row.patient_id for row in rows}
    parts = [
        f"# {config.dataset.name} {inputs.version}",
        config.dataset.description or "Liver imaging with masks of liver and lesions, checked by radiologists.",
        f"{counted(len(patients), 'patient')}, {counted(len(rows), 'volume')}, "
        f"{counted(sum(row.slices for row in rows), 'slice')}. "
        f"Licence: {config.dataset.license}.",
        f"## The cohort\n\n{markdown_table(table1_rows(rows))}",
        _files(scheme),
        _kinds(scheme),
        _inclusion(inputs.flow),
        _making(rows, config),
        *_agreement(summaries),
        _privacy(rows, inputs),
        _limits(rows, config),
        _use(config),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _kinds(scheme: LabelScheme) -> str:
    """What the masks tell of lesions; "" where they tell no kinds."""
    if not scheme.kinds:
        return ""
    table = [
        {"value": kind.value, "kind": kind.name, "中文": kind.chinese, "SNOMED CT": kind.snomed or ""}
        for kind in scheme.kinds
    ]
    return f"""## Lesion kinds

{markdown_table(table)}

In `label_files/` a lesion has the value of its kind, and 2 where its kind is unknown; every value from 2 on is lesion.
`kind` in `lesions.csv` is the kind of most voxels of a lesion; `other_kinds` names the others where there are any.
`kinds_in_mask` in `classification.csv` names all kinds of a patient's lesions. A category of `detection/coco.json` is a
kind."""


def _files(scheme: LabelScheme) -> str:
    kinds = "\n| `kind_mask_files/`, `lesion_kinds.csv` | binary masks of each lesion kind, and what the kinds are |"
    shown = kinds if scheme.kinds else ""
    return f"""## Files

| file | content |
|---|---|
| `patient_data.csv`, `.parquet` | one row per patient and phase; `schema.json` explains each column |
| `ct_files/` | images, NIfTI |
| `mask_files/`, `liver_mask_files/` | binary masks of all lesions, and of the whole liver |
| `label_files/` | both in one mask: 0 background, 1 liver, 2 lesion; colours in `labels.label` |{shown}
| `lesions.csv`, `enhancement.csv` | measurements of every lesion, and its enhancement over the phases |
| `classification.csv`, `detection/coco.json` | class of each patient, bounding boxes of lesions on each slice |
| `splits.json`, `splits_final.json` | training patients, test patients and folds; the second file is for nnU-Net |
| `agreement.csv`, `agreement_*.csv` | agreement of the radiologists, for each pair and in the form that papers report |
| `coarse.csv`, `agreement_coarse.csv` | the network's masks before review against the final ones |
| `table1.csv`, `statistics.csv` | the cohort in figures |
| `SHA256SUMS`, `PROVENANCE.json`, `CHANGES.md` | checksums, inputs and packages, changes since the version before |"""


def _making(rows: Sequence[ManifestRow], config: Config) -> str:
    adjudicated = sum(row.review_status == "adjudicated" for row in rows)
    window, slices = config.image.window, config.image.slices
    shown = (
        f"clipped to {window.level_hu - window.width_hu / 2:g} to {window.level_hu + window.width_hu / 2:g} HU"
        if window
        else "in full HU range"
    )
    kept = (
        f"slices with liver and {slices.margin_mm:g} mm on both sides; `first_slice` is their place in the scan"
        if slices.keep == "liver"
        else "all slices"
    )
    return f"""## How the labels were made

Initial masks came from a network ({", ".join(sorted({row.coarse_model or "none" for row in rows}))}).
{counted(config.review.per_case, "radiologist")} per volume corrected them independently. Their masks were combined by
{config.consensus.method}; the lead radiologist decided {adjudicated} of {counted(len(rows), "volume")}. Images are
{shown}. They contain {kept}."""


def _inclusion(flow: Sequence[FlowStep]) -> str:
    if not flow:
        return ""
    steps = [
        {"of": step.of, "rule": step.rule, "excluded": step.fell or "", "remaining": step.remaining} for step in flow
    ]
    return f"## Inclusion\n\n{markdown_table(steps)}"


def _agreement(summaries: Summaries) -> list[str]:
    """Each table of agreement, of those in groups only the rows over all volumes."""
    overall = {name: [row for row in table if row.get("group", "all") == "all"] for name, table in summaries.items()}
    return [
        f"### Agreement: {name.replace('_', ' ')}\n\n{markdown_table(table)}\n\nComplete table: "
        f"`{ReleaseLayout(Path()).agreement_summary(name)}`."
        for name, table in overall.items()
        if table
    ]


def _privacy(rows: Sequence[ManifestRow], inputs: ReleaseInputs) -> str:
    told = (row.model_dump(mode="json") for row in rows)
    patients = list(told_of_patients(told, (*QUASI_IDENTIFIERS, "cancer_type")).values())
    alike = class_histogram(patients)
    variety = smallest_variety(patients, "cancer_type")
    ages = f'{OLDEST_EXACT_YEARS} are "{OPEN_CLASS}"'
    options = ", ".join(sorted(inputs.config.deidentification.options)) or "none"
    min_k = inputs.config.deidentification.min_k
    asked = f" Ages are in bands and values empty where fewer than {min_k} would share them." if min_k else ""
    accepted = ", ".join(f"{count} of kind {kind}" for kind, count in inputs.accepted_leaks.items()) or "none"
    return f"""## Privacy

Headers were rebuilt from an allow-list under DICOM PS3.15 Annex E, Basic Profile, with the options {options}. Ages over
{ages}, dates are given as days since the first study, and patients, series and hospitals have keyed pseudonyms.

Patients who share {", ".join(QUASI_IDENTIFIERS)}: the smallest group has {min(alike, default=0)} (k-anonymity),
and every group has at least {counted(variety, "diagnosis", "diagnoses")} (l-diversity). {alike.get(1, 0)} of
{counted(len(patients), "patient")} share them with nobody else.{asked}

Every file was searched for the identifiers of the sources. Matches that a person looked at and accepted as no
identifier: {accepted}."""


def _limits(rows: Sequence[ManifestRow], config: Config) -> str:
    """What a user could be misled by, counted."""
    patients = by_patient(rows).values()
    unknown = {
        "age": sum(row.age is None for row in patients),
        "sex": sum(row.gender is None for row in patients),
        "diagnosis": sum(row.cancer_type is None for row in patients),
    }
    scanners = {(row.manufacturer, row.model) for row in rows}
    missing = ", ".join(f"{name} of {count}" for name, count in unknown.items() if count) or "nothing"
    cropped = "\n- Images end with the liver: slices above and below it are not included."
    places = f"{counted(len({row.site for row in rows}), 'site')} and {counted(len(scanners), 'scanner')}"
    return f"""## Limitations

- {places}: images from others may look different.
- Unknown among {counted(len(patients), "patient")}: {missing}.
- The radiologists started from a network's masks, which biases their masks towards it and towards each other.
- Lesions are separate when no voxel of one touches the other; touching lesions count as one.{
        cropped if config.image.slices.keep == "liver" else ""
    }"""


def _use(config: Config) -> str:
    return f"""## Use

```python
import pandas as pd
rows = pd.read_csv("{ReleaseLayout(Path()).manifest.name}", dtype={{"age": str}})
```

Test patients stay test patients in every version. Cite the version you used: {config.dataset.name}, with its number."""
