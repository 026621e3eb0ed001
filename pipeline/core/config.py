"""One `dataset.toml` decides everything: read once, checked whole, frozen."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from pipeline.core.errors import ConfigError, LabelError
from pipeline.core.files import digest
from pipeline.core.kinds import KindEntry, completed
from pipeline.core.records import Phase
from pipeline.core.words import counted

if TYPE_CHECKING:
    from pipeline.core.labels import LabelScheme

CONFIG_NAME = "dataset.toml"

LEAD = "lead"
"""Code of the lead radiologist, who settles what the vote does not; no rater may have it."""


PATIENT_ID = "PatientID"
FOLDER = "folder"
PATIENT_MARK = "{patient}"
"""Where the patient of a file stands: in its header, in the first folder of its path, at this place of a pattern."""


class Section(BaseModel):
    """A table of `dataset.toml`: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


SectionT = TypeVar("SectionT", bound=Section)


class Modality(StrEnum):
    """What one dataset holds."""

    CT = "CT"
    MR = "MR"


class DatasetConfig(Section):
    """`[dataset]`: what it is called and under which licence it goes out."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    modality: Modality = Modality.CT
    license: str = "CC-BY-4.0"
    description: str = ""


class SourceConfig(Section):
    """`[source]`: where the exports lie, relative to the dataset folder, and what says whose files they are.

    `patient` is "PatientID", "folder" (the first folder below the source), or a pattern of the path below the source:
    `{patient}` is the patient, `*` any text within one level, `**` any number of levels, as in "*/{patient}/**".
    `settle_minutes` is how long all files of a patient must have rested. Until then, and until as many images are there
    as the headers promise, the patient waits. 0 takes up what is there.
    """

    paths: tuple[str, ...] = ("dicom/",)
    patient: str = PATIENT_ID
    clinical: str | None = None
    settle_minutes: Annotated[float, Field(ge=0)] = 0.0

    @property
    def without_places(self) -> SourceConfig:
        """What decides about the sources wherever they lie."""
        return self.model_copy(update={"paths": (), "clinical": None})

    @model_validator(mode="after")
    def _patient_is_named(self) -> Self:
        if self.patient not in (PATIENT_ID, FOLDER) and self.patient.count(PATIENT_MARK) != 1:
            raise ValueError(
                f'patient is "{self.patient}"; expected "{PATIENT_ID}", "{FOLDER}", or a pattern with {PATIENT_MARK} '
                f'in it once, such as "*/{PATIENT_MARK}/**"'
            )
        return self


class PhasesConfig(Section):
    """`[phases]`: which phases make a case complete, and how sites name them.

    `sites` maps an InstitutionName to patterns by phase; a pattern is text found in SeriesDescription or ProtocolName.
    """

    required: tuple[Phase, ...] = (Phase.PLAIN, Phase.ARTERIAL, Phase.PORTAL_VENOUS, Phase.DELAYED)
    missing: Literal["exclude", "allow"] = "exclude"
    sites: dict[str, dict[Phase, tuple[str, ...]]] = {}


class InclusionConfig(Section):
    """`[inclusion]`: rules a series or patient must meet; a rule that is absent is not applied.

    `one_frame_of_reference` asks that all phases of a patient were scanned in one coordinate system, so that the same
    position means the same place in each. `max_noise_hu` (in soft tissue), `max_metal_ml` and `max_motion_mm` (how far
    the skin jumps from slice to slice) read the pixels of every series that no other rule speaks against.
    `whole_liver` holds a case back from the raters while its coarse label touches the first or last slice of a scan and
    no person has decided that the series is to be used.
    """

    slice_thickness_mm: tuple[float, float] | None = (1.0, 5.0)
    slice_spacing_mm: tuple[float, float] | None = (0.5, 5.0)
    pixel_spacing_mm: tuple[float, float] | None = None
    matrix: tuple[int, int] | None = None
    min_slices: Annotated[int, Field(ge=1)] = 10
    min_coverage_mm: Annotated[float, Field(ge=0)] = 0.0
    kvp: tuple[float, float] | None = None
    kernels: tuple[str, ...] | None = None
    max_noise_hu: Annotated[float, Field(gt=0)] | None = None
    max_metal_ml: Annotated[float, Field(ge=0)] | None = None
    max_motion_mm: Annotated[float, Field(gt=0)] | None = None
    allow_tilt: bool = False
    one_frame_of_reference: bool = False
    whole_liver: bool = False
    min_age_years: Annotated[int, Field(ge=0)] | None = None
    diagnosis: tuple[str, ...] | None = None

    @property
    def reads_pixels(self) -> bool:
        """True when a rule asks what only the pixels tell."""
        return any(limit is not None for limit in (self.max_noise_hu, self.max_metal_ml, self.max_motion_mm))

    @model_validator(mode="after")
    def _ranges_rise(self) -> Self:
        for name in ("slice_thickness_mm", "slice_spacing_mm", "pixel_spacing_mm", "kvp"):
            bounds = getattr(self, name)
            if bounds is not None and bounds[0] > bounds[1]:
                raise ValueError(f"{name} runs from {bounds[0]} to {bounds[1]}; put the lower bound first")
        return self


class DeidentificationOption(StrEnum):
    """Options of the Basic Profile (PS3.15 Annex E) that a dataset may ask for."""

    MODIFIED_DATES = "modified_dates"
    PATIENT_CHARACTERISTICS = "patient_characteristics"
    CLEAN_DESCRIPTORS = "clean_descriptors"
    CLEAN_PIXELS = "clean_pixels"
    DEVICE_IDENTITY = "device_identity"
    INSTITUTION = "institution"


class DeidentificationConfig(Section):
    """`[deidentification]`: what may stay of a header besides what an image needs, and how alike patients must look.

    `min_k` is the smallest number of patients that may share age, sex, site and scan facts, in all files of a release
    together; 5 is usual, 11 where cells of small hospitals count (CMS cell size policy). None computes and prints it
    without changing anything.
    """

    options: frozenset[DeidentificationOption] = frozenset(
        {
            DeidentificationOption.MODIFIED_DATES,
            DeidentificationOption.PATIENT_CHARACTERISTICS,
            DeidentificationOption.CLEAN_DESCRIPTORS,
            DeidentificationOption.CLEAN_PIXELS,
        }
    )
    min_k: Annotated[int, Field(ge=2)] | None = None


class NetworkConfig(Section):
    """A network in nnU-Net's layout, and how its output is read.

    `model` is a registered name or a folder. `sha256` pins its checkpoints, plans and dataset.json together (a
    registered model has its own pin; the refusal of an unpinned one tells the value). `labels` gives a meaning to
    values or names in the model's dataset.json, such as `{ 5 = "liver" }`, where names do not speak for themselves.
    A label that is named "aorta" there is measured, to tell the contrast phase by, and never part of a mask.
    `orientation` is how the arrays of its training lay, where its dataset.json does not say it: "SAR" for
    TotalSegmentator's models.
    """

    model: str = "demo"
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    labels: dict[str, Literal["liver", "lesion"]] = {}
    orientation: Annotated[str, Field(pattern=r"^[LRPASI]{3}$")] | None = None


class LesionNetworkConfig(NetworkConfig):
    """`[coarse.lesions]`: a second network that looks for lesions in the liver the first one found.

    It sees the liver's box and `margin_mm` around it, as LiTS and LiMT labelled theirs first.
    """

    margin_mm: Annotated[float, Field(ge=0)] = 20.0


class CoarseConfig(NetworkConfig):
    """`[coarse]`: the network that labels first, and the limits it works within.

    Windows overlap by `1 - step_size`; mirroring costs eight times as much, and a liver is not symmetric. A volume
    whose network takes longer than `timeout_s`, or that has more than `max_voxels` as stored or on the network's grid
    (600 million are 512 x 512 x 2300), is set aside. Lesions below `min_lesion_mm3` are removed as dust.
    """

    lesions: LesionNetworkConfig | None = None
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    step_size: Annotated[float, Field(gt=0, le=1)] = 0.5
    mirroring: bool = False
    timeout_s: Annotated[float, Field(gt=0)] = 3600.0
    max_voxels: Annotated[int, Field(gt=0)] = 600_000_000
    min_lesion_mm3: Annotated[float, Field(ge=0)] = 50.0


ListedKind: TypeAlias = Annotated[
    Annotated[str, Tag("name")] | Annotated[KindEntry, Tag("table")],
    Discriminator(lambda listed: "name" if isinstance(listed, str) else "table"),
]
"""A lesion kind by its name alone, or by a table that says more."""


class LabelsConfig(Section):
    """`[labels]`: the lesion kinds that masks tell apart and a diagnosis may name.

    A kind is a name, or a table with `name` and any of `value`, `colour`, `chinese` and `snomed`. Values follow the
    list from 3 on where none is given, so new kinds belong at its end.
    """

    lesion_kinds: tuple[ListedKind, ...] = ()

    @model_validator(mode="after")
    def _kinds_apart(self) -> Self:
        if not self.lesion_kinds:
            return self
        try:
            self.scheme  # noqa: B018
        except LabelError as error:
            raise ValueError(str(error)) from None
        return self

    @property
    def scheme(self) -> LabelScheme:
        """Every label with its name, colour and code."""
        from pipeline.core.labels import LabelScheme  # not before it is asked for: help answers without numpy

        return LabelScheme(self.lesion_kinds)

    @property
    def kind_names(self) -> tuple[str, ...]:
        """The lesion kinds by name, in the order listed."""
        return tuple(kind.name for kind in completed(self.lesion_kinds))


class ReviewConfig(Section):
    """`[review]`: who reads, how many a case, and how many hidden repeats.

    `raters` are codes, never names: they stand in file names. "lead" is whoever settles what the vote does not.
    """

    raters: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9]{1,8}$")], ...] = ("R1", "R2", "R3")
    per_case: Annotated[int, Field(ge=1)] = 3
    repeats: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    seed: int = 7

    @model_validator(mode="after")
    def _enough_raters(self) -> Self:
        if self.per_case > len(self.raters):
            raise ValueError(f"per_case is {self.per_case}, but raters lists only {counted(len(self.raters), 'rater')}")
        if len({rater.casefold() for rater in (*self.raters, LEAD)}) <= len(self.raters):
            raise ValueError('two raters have the same code, or one is called "lead"; give each one its own')
        return self


class AdjudicateConfig(Section):
    """`[consensus.adjudicate]`: below or above these a case goes to the lead radiologist.

    `min_piece_mm3` is the smallest piece of a lesion, beyond its border, that the vote may not drop unseen, and the
    smallest hole it may not leave in the liver: 14 mm3 are a ball of 3 mm, the smallest nodule that the readers of
    LIDC-IDRI outlined (Armato et al. 2011).
    """

    min_dice: Annotated[float, Field(ge=0, le=1)] = 0.8
    max_tie_fraction: Annotated[float, Field(ge=0, le=1)] = 0.01
    max_volume_difference_ml: Annotated[float, Field(ge=0)] = 5.0
    min_piece_mm3: Annotated[float, Field(ge=0)] = 14.0


ConsensusMethod: TypeAlias = Literal["nested-majority", "instance-majority", "plurality", "staple"]
TiePolicy: TypeAlias = Literal["down", "up", "adjudicator", "undecided"]


class ConsensusConfig(Section):
    """`[consensus]`: how several ratings become one mask.

    `method` is a vote on liver, then on lesion, voxel by voxel ("nested-majority") or lesion by lesion
    ("instance-majority"), the most frequent label ("plurality"), or STAPLE's estimate ("staple").

    `ties` says what a tie becomes: denied ("down"), granted ("up"), denied until the lead radiologist has looked at any
    of them ("adjudicator"), or left open as 255, which no release takes ("undecided").
    """

    method: ConsensusMethod = "nested-majority"
    ties: TiePolicy = "down"
    adjudicate: AdjudicateConfig = AdjudicateConfig()


class WindowConfig(Section):
    """`[image.window]`: what is kept of the HU scale in released images."""

    level_hu: float = 0.0
    width_hu: Annotated[float, Field(gt=0)] = 400.0


class SlicesConfig(Section):
    """`[image.slices]`: which slices are released: those with liver and a margin, or all."""

    keep: Literal["liver", "all"] = "liver"
    margin_mm: Annotated[float, Field(ge=0)] = 5.0


class ImageConfig(Section):
    """`[image]`: how released images differ from the HU volumes kept in `cases/`."""

    window: WindowConfig | None = WindowConfig()
    slices: SlicesConfig = SlicesConfig()


class SplitsConfig(Section):
    """`[splits]`: five folds by patient; `out_of_distribution` names one manifest column and value held out whole."""

    seed: int = 7
    folds: Annotated[int, Field(ge=2)] = 5
    test_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.2
    stratify: tuple[str, ...] = ("site", "cancer_type")
    out_of_distribution: dict[str, str] = {}


class RunConfig(Section):
    """`[run]`: how the work is spread; changes no result."""

    runner: Literal["threads", "processes", "dask", "ray"] = "threads"
    jobs: Annotated[int, Field(ge=1)] = 2


class Config(Section):
    """Everything that decides a dataset; one field a table of `dataset.toml`."""

    dataset: DatasetConfig
    source: SourceConfig = SourceConfig()
    phases: PhasesConfig = PhasesConfig()
    inclusion: InclusionConfig = InclusionConfig()
    deidentification: DeidentificationConfig = DeidentificationConfig()
    coarse: CoarseConfig = CoarseConfig()
    labels: LabelsConfig = LabelsConfig()
    review: ReviewConfig = ReviewConfig()
    consensus: ConsensusConfig = ConsensusConfig()
    image: ImageConfig = ImageConfig()
    splits: SplitsConfig = SplitsConfig()
    run: RunConfig = RunConfig()


def load_config(path: Path) -> Config:
    """The configuration a file holds.

    Raises:
        ConfigError: when the file is missing or not TOML, or holds unknown keys or impossible values; all of them are
            named at once, each with its line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"no {path.name} in this folder; make one with `liverset init FOLDER`") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path.name} cannot be read ({type(error).__name__}); expected UTF-8 text") from None
    try:
        return Config.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path.name} is not valid TOML: {error}") from None
    except ValidationError as error:
        raise ConfigError(_all_faults(error, text, path.name)) from None


def checked(section: type[SectionT], **settings: Any) -> SectionT:
    """A section from plain values.

    Raises:
        ConfigError: when values are impossible; all of them are named.
    """
    try:
        return section(**settings)
    except ValidationError as error:
        faults = (": ".join(filter(None, (".".join(map(str, one["loc"])), _what(one)))) for one in error.errors())
        raise ConfigError("\n".join(faults)) from None


def config_digest(*sections: Section) -> str:
    """SHA-256 of the sections that decide a stage's result."""
    return digest([section_content(section) for section in sections])


def section_content(section: Section) -> Any:
    """A section as JSON-able values, sets in order, so that the same settings read the same."""
    return _ordered(section.model_dump(mode="json"), section.model_dump())


def _ordered(content: Any, original: Any) -> Any:
    if isinstance(content, dict):
        return {key: _ordered(value, original[key]) for key, value in content.items() if key in original}
    return sorted(content) if isinstance(original, frozenset | set) else content


_UNKNOWN_KEY = frozenset({"extra_forbidden", "unexpected_keyword_argument"})


def _all_faults(error: ValidationError, text: str, name: str) -> str:
    faults = []
    for fault in error.errors():
        keys = [str(part) for part in fault["loc"]]
        line = _line_of(keys, text)
        where = f"{name}, line {line}" if line else name
        faults.append(f"{where}: {'.'.join(keys) or 'file'}: {_what(fault)}")
    return "\n".join(faults)


def _what(fault: Mapping[str, Any]) -> str:
    return "unknown key" if fault["type"] in _UNKNOWN_KEY else str(fault["msg"]).removeprefix("Value error, ")


def _line_of(keys: list[str], text: str) -> int | None:
    """Line on which a key stands, found by its table's header and its own name; None if it is not written."""
    found = None
    depth = 0
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*\[+\s*(.+?)\s*\]+\s*(#.*)?$", line)
        if header:
            table = [part.strip().strip("\"'") for part in header.group(1).split(".")]
            depth = len(table) if table == keys[: len(table)] else -1
            found = number if depth == len(keys) else found
        elif 0 <= depth < len(keys) and re.match(rf"\s*[\"']?{re.escape(keys[depth])}[\"']?\s*=", line):
            found = number
    return found
