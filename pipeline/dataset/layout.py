"""The only place that spells a file name: where everything of a dataset lies, and what it is called in a release."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pipeline.core.config import CONFIG_NAME
from pipeline.core.file_names import (
    CLINICAL_TABLE,
    DECISIONS,
    FILES_TABLE,
    IMAGE_FILE,
    LABEL_TABLE,
    NNUNET_SPLITS,
    SECRET,
    SERIES_TABLE,
)
from pipeline.core.kinds import Kind
from pipeline.core.records import Phase


class ExportFormat(StrEnum):
    """Layouts a release can be exported to."""

    NNUNET = "nnunet"
    MSD = "msd"
    BIDS = "bids"


ROUND = "round"
ADJUDICATION = "adjudication"
"""Kinds of review: raters draw independently; the lead settles what their vote does not."""


CARRIED_OVER = "carried-over"
"""Folder of masks that a round sent in place of the network's."""

EARLIER = "earlier"
"""Folder of what was made of images that others replaced."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths of one dataset folder.

    Attributes:
        root: the folder that holds `dataset.toml`.
    """

    root: Path

    @property
    def config(self) -> Path:
        """What decides the dataset."""
        return self.root / CONFIG_NAME

    @property
    def manifest(self) -> Path:
        """The current manifest: one row a patient and phase."""
        return self.root / "data_manifest.csv"

    @property
    def decisions(self) -> Path:
        """What a person decided about series that the rules could not."""
        return self.root / DECISIONS

    @property
    def private(self) -> Path:
        """The secret, and what it seals; mode 0700, never released."""
        return self.root / "private"

    @property
    def secret(self) -> Path:
        """The project secret that all pseudonyms hang on."""
        return self.private / SECRET

    @property
    def crosswalk(self) -> Path:
        """Which patient is which case, encrypted."""
        return self.private / "crosswalk.enc"

    @property
    def dicom_index(self) -> Path:
        """Headers of all files found, sealed, so that an unchanged folder is not read again."""
        return self.private / "dicom-index.sqlite"

    @property
    def clinical(self) -> Path:
        """The clinical table that `init --from` prepares; `[source] clinical` may name another."""
        return self.private / CLINICAL_TABLE

    @property
    def hospitals(self) -> Path:
        """Hospitals by name, as headers spell it, with how many of their series have no recognised phase."""
        return self.private / "hospitals.csv"

    @property
    def harvest(self) -> Path:
        """Every identifier the sources ever held, sealed: what the search for leaks looks for."""
        return self.private / "harvest.enc"

    @property
    def look_ups(self) -> Path:
        """When the patient of a case was looked up, and which case; only grows."""
        return self.private / "look-ups.log"

    @property
    def refused_leaks(self) -> Path:
        """What the last refusal found, by keyed names, sealed: what a person may accept."""
        return self.private / "refused-leaks.enc"

    @property
    def leak_exceptions(self) -> Path:
        """Matches that a person looked at and found to be no leak, signed."""
        return self.root / "leak_exceptions.csv"

    @property
    def withdrawals(self) -> Path:
        """Cases whose patients withdrew consent, with reason and day."""
        return self.root / "withdrawals.csv"

    @property
    def screening(self) -> Path:
        """Which series became which volume, sealed."""
        return self.private / "screening.enc"

    @property
    def taken_up(self) -> Path:
        """Which folders of the sources were taken up as they are, sealed."""
        return self.private / "taken-up.enc"

    @property
    def sealed(self) -> tuple[Path, ...]:
        """What only the secret opens, and nothing brings back without it."""
        return self.crosswalk, self.harvest, self.screening

    @property
    def once_in_clear(self) -> tuple[Path, ...]:
        """What earlier versions left in `private/` without sealing it."""
        return self.private / "screening.json", *sorted(self.series_records.glob("*.json"))

    def text_montage(self, case_id: str, phase: Phase) -> Path:
        """Slices of a volume that look as if text were burned in; for a person's eyes only."""
        return self.private / "montages" / f"{case_id}_{phase}.png"

    @property
    def series_records(self) -> Path:
        """One file a volume."""
        return self.private / "series"

    def series_record(self, case_id: str, phase: Phase) -> Path:
        """Which source files form a volume, and what their headers say, sealed."""
        return self.series_records / f"{case_id}_{phase}.enc"

    @property
    def cases(self) -> Path:
        """One folder a case."""
        return self.root / "cases"

    @property
    def reports(self) -> Path:
        """Tables and pages for people."""
        return self.root / "reports"

    def code(self, digest: str) -> Path:
        """What the code of a stage is made of, so that it can be told what changed since."""
        return self.reports / "code" / f"{digest}.json"

    @property
    def logs(self) -> Path:
        """Logs of runs, without source identifiers."""
        return self.root / "logs"

    @property
    def review(self) -> Path:
        """Rounds of review."""
        return self.root / "review"

    @property
    def releases(self) -> Path:
        """Immutable versions."""
        return self.root / "releases"

    @property
    def prefect_home(self) -> Path:
        """Prefect's database and settings for this dataset."""
        return self.root / ".prefect"

    @property
    def prefect_log(self) -> Path:
        """What Prefect's server and client had to say."""
        return self.logs / "prefect.log"

    @property
    def run_lock(self) -> Path:
        """Held by the one run that is at work in this dataset."""
        return self.prefect_home / "run.lock"

    @property
    def series_table(self) -> Path:
        """Every series found, with its verdict."""
        return self.reports / SERIES_TABLE

    @property
    def exclusions_table(self) -> Path:
        """Every series and patient kept out, one row a reason."""
        return self.reports / "exclusions.csv"

    @property
    def consort(self) -> Path:
        """How many series and patients fell at each rule."""
        return self.reports / "consort.json"

    @property
    def files_table(self) -> Path:
        """How many files were used, set aside, duplicate or unreadable, by reason."""
        return self.reports / FILES_TABLE

    @property
    def problems_table(self) -> Path:
        """What could not go on, with its fix."""
        return self.reports / "problems.csv"

    @property
    def recall_table(self) -> Path:
        """Packages and versions that hold what is no longer part of the dataset, or was masked since."""
        return self.reports / "recall.csv"

    @property
    def returns_table(self) -> Path:
        """Every returned mask with its verdict."""
        return self.reports / "returns.csv"

    @property
    def qc_page(self) -> Path:
        """The quality page of everything built so far."""
        return self.reports / "qc.html"

    def outbox(self, number: int, kind: str = ROUND) -> Path:
        """Packages to hand out, one zip a rater, or one for the lead."""
        return self.review / f"{kind}-{number}" / "outbox"

    def inbox(self, number: int, kind: str = ROUND) -> Path:
        """What came back."""
        return self.review / f"{kind}-{number}" / "inbox"

    @property
    def accepted(self) -> Path:
        """Flagged masks that a person looked at and accepted, by their hash."""
        return self.review / "accepted.json"

    def assignment(self, number: int, kind: str = ROUND) -> Path:
        """Who reads what; tells the hidden repeats and who is reader A, so it stays at home."""
        return self.review / f"{kind}-{number}" / "assignment.json"

    def checked(self, number: int, kind: str = ROUND) -> Path:
        """Verdicts on each return, so that one that did not change is not checked again."""
        return self.review / f"{kind}-{number}" / "checked.json"

    def review_log(self, number: int, kind: str = ROUND) -> Path:
        """Every verdict in the order they came; only grows."""
        return self.review / f"{kind}-{number}" / "state.jsonl"

    def numbers(self, kind: str = ROUND) -> list[int]:
        """Rounds of a kind that were packed, in order."""
        names = (path.parent.name.removeprefix(f"{kind}-") for path in self.review.glob(f"{kind}-*/assignment.json"))
        return sorted(int(name) for name in names if name.isdigit())

    def release(self, version: str) -> Path:
        """One version of the dataset."""
        return self.releases / version

    def case(self, case_id: str) -> Path:
        """Everything of one case."""
        return self.cases / case_id

    def image(self, case_id: str, phase: Phase) -> Path:
        """The volume in HU, uncropped."""
        return self.case(case_id) / phase / IMAGE_FILE

    def header(self, case_id: str, phase: Phase) -> Path:
        """Allow-listed facts of the series, pseudonymous."""
        return self.case(case_id) / phase / "header.json"

    def coarse(self, case_id: str, phase: Phase) -> Path:
        """The network's label."""
        return self.case(case_id) / phase / "coarse.nii.gz"

    def coarse_provenance(self, case_id: str, phase: Phase) -> Path:
        """How the network's label came about."""
        return self.case(case_id) / phase / "coarse.json"

    def ratings(self, case_id: str, phase: Phase) -> Path:
        """Returned masks, one a rater."""
        return self.case(case_id) / phase / "ratings"

    def rating(self, case_id: str, phase: Phase, rater: str) -> Path:
        """One rater's mask."""
        return self.ratings(case_id, phase) / f"{rater}.nii.gz"

    def repeat_rating(self, case_id: str, phase: Phase, rater: str) -> Path:
        """One rater's mask of a hidden repeat."""
        return self.ratings(case_id, phase) / "repeats" / f"{rater}.nii.gz"

    def earlier(self, case_id: str, phase: Phase, number: int) -> Path:
        """What was made of the image that a round handed out, before another one replaced it."""
        return self.case(case_id) / phase / EARLIER / f"{ROUND}-{number}"

    def earlier_rating(self, case_id: str, phase: Phase, number: int, rater: str) -> Path:
        """One rater's mask of the image that a round handed out, before another one replaced it."""
        return self.earlier(case_id, phase, number) / "ratings" / f"{rater}.nii.gz"

    def carried_over(self, number: int, rater: str, item_id: str) -> Path:
        """The mask that a round sent to a rater in place of the network's: an earlier one on the new image."""
        return self.review / f"{ROUND}-{number}" / CARRIED_OVER / rater / f"{item_id}.nii.gz"

    def made_of_ratings(self, case_id: str, phase: Phase) -> tuple[Path, ...]:
        """Everything of one volume that rests on masks of raters: all that neither conversion nor labelling made."""
        folder, places = self.case(case_id) / phase, (self.image, self.header, self.coarse, self.coarse_provenance)
        others = {place(case_id, phase) for place in places}
        files = {path for path in folder.rglob("*") if path.is_file()}
        return tuple(sorted(files - others - set((folder / EARLIER).rglob("*"))))

    def agreement(self, case_id: str, phase: Phase) -> Path:
        """How far the raters agree on this volume."""
        return self.case(case_id) / phase / "agreement.json"

    def consensus(self, case_id: str, phase: Phase) -> Path:
        """The voted mask."""
        return self.case(case_id) / phase / "consensus.nii.gz"

    def consensus_explanation(self, case_id: str, phase: Phase) -> Path:
        """Rule, raters, votes and ties behind the voted mask."""
        return self.case(case_id) / phase / "consensus.json"

    def adjudicated(self, case_id: str, phase: Phase) -> Path:
        """The lead radiologist's mask of a volume that the vote did not settle."""
        return self.case(case_id) / phase / "adjudicated.nii.gz"

    def adjudication(self, case_id: str, phase: Phase) -> Path:
        """Which vote the lead radiologist's mask is about, and who gave it."""
        return self.case(case_id) / phase / "adjudicated.json"

    def final_agreement(self, case_id: str, phase: Phase) -> Path:
        """How far each rater agrees with the mask that counts."""
        return self.case(case_id) / phase / "final.json"

    def coarse_agreement(self, case_id: str, phase: Phase) -> Path:
        """How far the network's label, as sent to the raters, agrees with the mask that counts."""
        return self.case(case_id) / phase / "coarse_final.json"

    def lesions(self, case_id: str, phase: Phase) -> Path:
        """Measures of each lesion of the voted mask."""
        return self.case(case_id) / phase / "lesions.json"

    def prepared_image(self, case_id: str, phase: Phase) -> Path:
        """The image as released: windowed, liver slices only."""
        return self.case(case_id) / phase / "prepared" / "ct.nii.gz"

    def prepared_labels(self, case_id: str, phase: Phase) -> Path:
        """The voted mask on the released image's grid."""
        return self.case(case_id) / phase / "prepared" / "labels.nii.gz"

    def enhancement(self, case_id: str) -> Path:
        """How each lesion of a case takes up contrast from phase to phase."""
        return self.case(case_id) / "enhancement.json"

    def preparation(self, case_id: str, phase: Phase) -> Path:
        """Which slices and which window the released image has."""
        return self.case(case_id) / phase / "prepared" / "preparation.json"

    def case_receipt(self, case_id: str, stage: str) -> Path:
        """What a stage did for a case."""
        return self.case(case_id) / f"{stage}.receipt.json"

    def dataset_receipt(self, stage: str) -> Path:
        """What a stage did for the whole dataset."""
        return self.reports / f"{stage}.receipt.json"


KIND_MASKS = "kind_mask_files"
"""Folder of the binary masks of lesion kinds inside a release that has any."""


def image_name(case_id: str, phase: Phase) -> str:
    """Path of an image inside a release, as PLC-CECT names it."""
    return f"ct_files/{case_id}_ct_{phase}.nii.gz"


def mask_name(case_id: str, phase: Phase) -> str:
    """Path of a binary lesion mask inside a release."""
    return f"mask_files/{case_id}_mask_{phase}.nii.gz"


def liver_mask_name(case_id: str, phase: Phase) -> str:
    """Path of a binary whole-liver mask inside a release."""
    return f"liver_mask_files/{case_id}-livermask_{phase}.nii.gz"


def kind_mask_name(case_id: str, phase: Phase, kind: Kind) -> str:
    """Path of a binary mask of the lesions of one kind inside a release."""
    spelled = re.sub(r"[^A-Za-z0-9]+", "-", kind.name).strip("-")
    return f"{KIND_MASKS}/{case_id}_mask_{phase}_{kind.value}-{spelled}.nii.gz"


def label_name(case_id: str, phase: Phase) -> str:
    """Path of the multi-label mask inside a release."""
    return f"label_files/{case_id}_label_{phase}.nii.gz"


@dataclass(frozen=True, slots=True)
class ReleaseLayout:
    """Paths of one release.

    Attributes:
        root: the folder named by the version.
    """

    root: Path

    @property
    def manifest(self) -> Path:
        """One row a patient and phase."""
        return self.root / "patient_data.csv"

    @property
    def manifest_parquet(self) -> Path:
        """The same rows with their types."""
        return self.root / "patient_data.parquet"

    @property
    def schema(self) -> Path:
        """What each column means, as JSON Schema."""
        return self.root / "schema.json"

    @property
    def splits(self) -> Path:
        """Where each patient stands."""
        return self.root / "splits.json"

    @property
    def nnunet_splits(self) -> Path:
        """The folds as nnU-Net reads them."""
        return self.root / NNUNET_SPLITS

    @property
    def table1(self) -> Path:
        """The cohort in figures."""
        return self.root / "table1.csv"

    @property
    def agreement(self) -> Path:
        """Every pair of raters on every volume."""
        return self.root / "agreement.csv"

    @property
    def coarse_agreement(self) -> Path:
        """The network's label against the final mask, every volume."""
        return self.root / "coarse.csv"

    @property
    def statistics(self) -> Path:
        """How patients and volumes are distributed."""
        return self.root / "statistics.csv"

    def agreement_summary(self, name: str) -> Path:
        """Agreement over all volumes, in the form that a publication prints."""
        return self.root / f"agreement_{name}.csv"

    @property
    def lesions(self) -> Path:
        """Every lesion of every volume."""
        return self.root / "lesions.csv"

    @property
    def classification(self) -> Path:
        """Classes of each patient."""
        return self.root / "classification.csv"

    @property
    def enhancement(self) -> Path:
        """How lesions take up contrast over the phases."""
        return self.root / "enhancement.csv"

    @property
    def detection(self) -> Path:
        """Boxes around lesions, slice by slice, as COCO."""
        return self.root / "detection" / "coco.json"

    @property
    def lesion_kinds(self) -> Path:
        """Values, names, colours and SNOMED CT codes of the lesion kinds; only where a mask tells any."""
        return self.root / "lesion_kinds.csv"

    @property
    def label_names(self) -> Path:
        """Names and colours of the labels, as ITK-SNAP reads them."""
        return self.root / LABEL_TABLE

    @property
    def datacard(self) -> Path:
        """What the dataset is, for people."""
        return self.root / "datacard.md"

    @property
    def croissant(self) -> Path:
        """What the dataset is, for machines."""
        return self.root / "croissant.json"

    @property
    def changes(self) -> Path:
        """What is new against the version before."""
        return self.root / "CHANGES.md"

    @property
    def provenance(self) -> Path:
        """What the release was made of."""
        return self.root / "PROVENANCE.json"

    @property
    def sums(self) -> Path:
        """SHA-256 of every other file, as `sha256sum --check` reads them."""
        return self.root / "SHA256SUMS"

    @property
    def qc_page(self) -> Path:
        """The page to look at."""
        return self.root / "qc" / "index.html"
