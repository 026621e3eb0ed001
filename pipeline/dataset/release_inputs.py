"""What a release is made of, in plain records: whoever cuts one needs to know nothing of raters or networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pipeline.cohort.inclusion import FlowStep
from pipeline.core.config import Config, LabelsConfig, section_content
from pipeline.core.labels import LabelScheme
from pipeline.core.records import Patient, Phase
from pipeline.dataset.manifest import ManifestRow

Row = Mapping[str, Any]
"""One line of a table: column to a number, a text, None, or lists and mappings of these."""

Summaries = Mapping[str, Sequence[Row]]
"""Tables by a short name."""


@dataclass(frozen=True, slots=True)
class ScanFacts:
    """What is told of the scan a volume comes from, all of it pseudonymous.

    Attributes:
        series: pseudonymous SeriesInstanceUID.
        slices: of the whole scan.
        phase_confidence: 0.0 to 1.0.
        days_from_first_study: in place of a date.
        site: pseudonymous hospital.
        manufacturer: of the scanner.
        model: of the scanner.
        kernel: of the reconstruction.
        kvp: tube voltage in kV.
        slice_thickness_mm: SliceThickness.
    """

    series: str
    slices: int
    phase_confidence: float | None = None
    days_from_first_study: int | None = None
    site: str | None = None
    manufacturer: str | None = None
    model: str | None = None
    kernel: str | None = None
    kvp: float | None = None
    slice_thickness_mm: float | None = None


@dataclass(frozen=True, slots=True)
class ReviewFacts:
    """Who drew the labels and how the drawings became one.

    Attributes:
        raters: codes of those whose masks were counted.
        liver_dice: whole liver, one value a pair of raters; pairs with nothing to compare are left out.
        lesion_dice: lesions, likewise.
        method: rule of the vote.
        undecided_voxels: ties that nobody has settled.
        open_reasons: why the volume must still go to the lead radiologist; empty when it need not, or did.
        adjudicator: code of who settled it.
    """

    raters: tuple[str, ...]
    liver_dice: tuple[float, ...] = ()
    lesion_dice: tuple[float, ...] = ()
    method: str = "nested-majority"
    undecided_voxels: int = 0
    open_reasons: tuple[str, ...] = ()
    adjudicator: str | None = None


@dataclass(frozen=True, slots=True)
class ReleaseVolume:
    """One volume as it goes out.

    Attributes:
        case_id: "P0001"...
        phase: of the volume.
        image: the prepared image (window, liver slices).
        labels: the consensus on the same grid: 0 background, 1 liver, 2 lesion, from 3 on lesion kinds.
        scan: where it comes from.
        review: how its labels were checked.
        first_slice: index in the scan of the image's first slice.
        window_hu: (level, width) of the HU kept; None where all are.
        text_mask: boxes that were masked because text stood there, as people write them; None where none were.
        coarse_model: network that drew first.
        coarse_sha256: of its weights.
        lesions: one row a lesion, largest first, with `max_diameter_mm` and `volume_ml`.
    """

    case_id: str
    phase: Phase
    image: Path
    labels: Path
    scan: ScanFacts
    review: ReviewFacts
    first_slice: int = 0
    window_hu: tuple[float, float] | None = None
    text_mask: str | None = None
    coarse_model: str | None = None
    coarse_sha256: str | None = None
    lesions: tuple[Row, ...] = ()

    @property
    def name(self) -> str:
        """How messages call it."""
        return f"{self.case_id} {self.phase}"


@dataclass(frozen=True, slots=True)
class ReleaseInputs:
    """Everything of one version.

    Attributes:
        version: "1.0.0": major when a meaning changes or a case goes, minor when cases or columns come, patch when
            labels or facts are corrected.
        config: what decided the dataset; only the parts that `public_config` names are published.
        patients: age, sex and diagnosis by case_id.
        volumes: every volume.
        min_raters: fewer drawings than this refuse the release.
        flow: the CONSORT table.
        agreement: one row a volume, structure and pair of raters.
        enhancement: one row a lesion and phase.
        coarse: the network's label against the final mask, one row a volume and structure.
        summaries: further tables of agreement by a short name, such as "plc" and "limt", from the manifest's rows:
            what they group by stands as it does there.
        accepted_leaks: how many matches of each kind a person accepted as no leak.
        provenance: packages, program, models and input hashes; nothing of a machine, no clock.
        pages: further texts by their path in the release, such as the quality page, from the manifest's rows and the
            summaries.
    """

    version: str
    config: Config
    patients: Mapping[str, Patient]
    volumes: tuple[ReleaseVolume, ...]
    min_raters: int = 1
    flow: tuple[FlowStep, ...] = ()
    agreement: Sequence[Row] = ()
    enhancement: Sequence[Row] = ()
    coarse: Sequence[Row] = ()
    summaries: Callable[[Sequence[ManifestRow]], Summaries] = lambda rows: {}
    accepted_leaks: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    provenance: Row = field(default_factory=lambda: MappingProxyType({}))
    pages: Mapping[str, Callable[[Sequence[ManifestRow], Summaries], str]] = field(
        default_factory=lambda: MappingProxyType({})
    )


def released_scheme(provenance: Mapping[str, Any]) -> LabelScheme:
    """The labels that the masks of a release may hold, as its provenance tells them."""
    return LabelsConfig.model_validate(provenance["config"]["labels"]).scheme


_OF_ONE_MACHINE = frozenset({"device", "timeout_s", "max_voxels"})
"""Settings of the network that fit a computer and change no label."""


def public_config(config: Config) -> dict[str, Any]:
    """What of `dataset.toml` is published: all that decides the result, without paths and the names of hospitals."""
    sections = ("dataset", "inclusion", "deidentification", "coarse", "labels", "consensus", "image", "splits")
    public = {name: section_content(getattr(config, name)) for name in sections}
    public["coarse"] = {key: value for key, value in public["coarse"].items() if key not in _OF_ONE_MACHINE}
    public["coarse"]["model"] = Path(config.coarse.model).name
    phases = section_content(config.phases)
    public["phases"] = {key: phases[key] for key in ("required", "missing")}
    public["review"] = {key: section_content(config.review)[key] for key in ("per_case", "repeats")}
    return public
