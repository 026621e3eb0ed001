"""Names of files that more than one room knows; what only a dataset folder or a release holds stands in its layout."""

from __future__ import annotations

from typing import Final

SECRET: Final = "project.key"
"""The secret that all pseudonyms of a project hang on."""

DECISIONS: Final = "decisions.csv"
"""What people decided about series, beside `dataset.toml` or among the private files of `liverset deidentify`."""

IMAGE_FILE: Final = "image.nii.gz"
"""A volume, in a case's folder and in a package."""

LABEL_TABLE: Final = "labels.label"
"""Names and colours of the labels, as ITK-SNAP reads them, in a package and in a release."""

SERIES_TABLE: Final = "series.csv"
FILES_TABLE: Final = "files.csv"
SLICES_TABLE: Final = "slices.csv"
"""Every series found, every file found, every slice converted."""

CLINICAL_TABLE: Final = "clinical.csv"
"""Age, sex and diagnosis of each patient, by patient number."""

LOOKUP_TABLE: Final = "lookup.csv"
"""Private: which file of the source each name in these tables stands for."""

# --- nnU-Net's own names (nnU-Net v2, documentation/dataset_format.md)

NNUNET_DATASET: Final = "dataset.json"
NNUNET_PLANS: Final = "plans.json"
NNUNET_SPLITS: Final = "splits_final.json"
NNUNET_CHECKPOINT: Final = "checkpoint_final.pth"
TRAINING_IMAGES: Final = "imagesTr"
TRAINING_LABELS: Final = "labelsTr"
TEST_IMAGES: Final = "imagesTs"
TEST_LABELS: Final = "labelsTs"


def nnunet_image(case: str) -> str:
    """The first channel of a case."""
    return f"{case}_0000.nii.gz"


def nnunet_labels(case: str) -> str:
    """The labels of a case."""
    return f"{case}.nii.gz"


# --- a review package

WORKLIST: Final = "worklist.csv"
STATUS_AGREE: Final = "agree"
"""What a rater writes into the worklist's status where the mask was right as sent."""

PACKAGE_CASES: Final = "cases"
ROUND_PACKAGE: Final = "review"
ADJUDICATION_PACKAGE: Final = "adjudication"
"""How the names of packages begin: those of raters, and that of the lead."""

EARLIEST_IN_ZIP: Final = (1980, 1, 1, 0, 0, 0)
"""Date and time of every file in a package, so that the same content gives the same bytes: the earliest there is."""


def package_mask(item_id: str, suffix: str = ".nii.gz") -> str:
    """The file a rater edits, and returns under this name."""
    return f"{item_id}_mask{suffix}"
