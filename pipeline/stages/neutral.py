"""What the program writes when there is no patient: an invented cohort of boxes as packages and as a release.

The search for leaks holds every match against it: what stands there in the same words is the program's own.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.core.config import LEAD, Config, DatasetConfig
from pipeline.core.file_names import IMAGE_FILE
from pipeline.core.geometry import Geometry
from pipeline.core.labels import LabelScheme, Structure
from pipeline.core.records import Patient, Phase, Problem, Severity
from pipeline.core.volume import LabelMap, Volume
from pipeline.dataset.release_inputs import ReleaseInputs, ReleaseVolume, ReviewFacts, ScanFacts, Summaries

if TYPE_CHECKING:
    from pipeline.agreement.reasons import Doubt
    from pipeline.agreement.records import Agreement, FinalScores
    from pipeline.leaks.own import OwnText
    from pipeline.report.qc import QcVolume

PATIENTS = 6
MOST_KINDS = 10
"""Lesion kinds that fit one liver; further ones would be written like these."""

PACKED = 3
"""Volumes in a package: one is packed like another."""

SHAPE = (6, 20, 24)
SPACING_MM = (5.0, 2.0, 2.0)
OWN_IDS = r"[px]\d{4,}"
"""Cases and items, as `crosswalk` and `review.assignment` name them."""

_NO_TEXT_OF_OURS = ("leaks", "synth", "cli")
"""Rooms whose texts never go out: invented people, and what is said on the terminal."""

_PROGRAM = Path(__file__).resolve().parents[1]


def own_text(config: Config) -> OwnText:
    """The program's own words under a configuration; without what a person typed into it as free text."""
    from pipeline.leaks.own import OwnText

    return OwnText(_rendered(_neutral(config).model_dump_json()), _pieces(), _words(config), OWN_IDS)


def _neutral(config: Config) -> Config:
    """The configuration without free text, and without what invented patients could not meet."""
    return Config(
        dataset=DatasetConfig(name=config.dataset.name, modality=config.dataset.modality),
        inclusion=config.inclusion,
        phases=config.phases.model_copy(update={"sites": {}}),
        labels=config.labels,
        review=config.review,
        consensus=config.consensus,
        image=config.image,
    )


@cache
def _rendered(config_json: str) -> tuple[bytes, ...]:
    """All that is written without patients but voxels, stretch by stretch, and every file's name."""
    from pipeline.leaks.unpack import Texture, stretches

    config, rendered = Config.model_validate_json(config_json), set[bytes]()
    with TemporaryDirectory() as folder:
        for kinds in {(), tuple(config.labels.scheme.kind_names)}:
            out = _write(Path(folder, "kinds" if kinds else "plain"), config, kinds)
            for file in (path for path in out.rglob("*") if path.is_file()):
                rendered.update((file.relative_to(out).as_posix().encode(), file.name.encode()))
                found = stretches(file.read_bytes())
                rendered.update(bytes(one.content) for one in found if one.texture is not Texture.VOXELS)
    return tuple(sorted(rendered))


@cache
def _pieces() -> tuple[bytes, ...]:
    """Every text in the program's source of which it may make a sentence; not what explains the source."""
    found: set[str] = set()
    for path in sorted(_PROGRAM.rglob("*.py")):
        if path.relative_to(_PROGRAM).parts[0] not in _NO_TEXT_OF_OURS:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            explained = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
            found.update(
                node.value
                for node in ast.walk(tree)
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in explained
            )
    return tuple(text.encode() for text in sorted(found))


def _words(config: Config) -> frozenset[str]:
    """Words that tell nothing of a patient wherever they stand: of scanners, of the trade, of the configuration."""
    from pipeline.dicom.deid.allowlist import MAKERS
    from pipeline.dicom.deid.vocabulary import MODEL

    configured = (
        *(config.dataset.name.split("-")),
        *config.labels.kind_names,
        *(config.inclusion.diagnosis or ()),
        *config.review.raters,
        *Phase,
        LEAD,
    )
    return frozenset(
        part.casefold() for text in (*configured, *MAKERS, *MODEL) for part in text.replace("-", " ").split()
    )


def _write(folder: Path, config: Config, kinds: tuple[int, ...]) -> Path:
    """Packages of both kinds and a release, of boxes for livers; a mask tells these lesion kinds."""
    from pipeline.dataset.release import cut

    volumes = list(_volumes(folder, config, kinds))
    _write_packages(folder, config, volumes)
    inputs = _release_inputs(config, volumes)
    cut(inputs, folder / "out", leak_check=lambda _: ())
    return folder / "out"


@dataclass(frozen=True, slots=True)
class _Boxes:
    """One invented volume: its files, what its raters outlined, and how far they agree."""

    case_id: str
    phase: Phase
    number: int
    image: Path
    labels: Path
    ratings: Mapping[str, Path]
    agreement: Agreement
    against_final: tuple[FinalScores, ...]
    reasons: tuple[Doubt, ...]
    scheme: LabelScheme

    @property
    def manufacturer(self) -> str:
        """One of those that a header may name."""
        from pipeline.dicom.deid.allowlist import MAKERS

        return MAKERS[self.number % len(MAKERS)]


def _volumes(folder: Path, config: Config, kinds: tuple[int, ...]) -> Iterator[_Boxes]:
    from pipeline.agreement.agree import against_final, agree
    from pipeline.agreement.consensus import vote
    from pipeline.image.nifti import write_nifti

    scheme, phases = config.labels.scheme, config.phases.required or (Phase.PLAIN,)
    for number in range(1, PATIENTS + 1):
        for phase in phases[:1] if kinds else phases:  # what is written of kinds is the same for every phase
            case_id = f"P{number:04d}"
            home = folder / case_id / phase
            masks = {rater: _mask(number, place, kinds) for place, rater in enumerate(config.review.raters[:3])}
            files = {rater: home / f"{rater}.nii.gz" for rater in masks}
            labels = next(iter(masks.values()))
            for rater, mask in masks.items():
                write_nifti(files[rater], mask)
            write_nifti(home / IMAGE_FILE, _image(labels, 20 * number + list(Phase).index(phase)))
            agreement = agree(masks, scheme=scheme)
            reasons = vote(masks, config.consensus, scheme=scheme).explanation().needs_adjudication
            outlined, final = next(iter(files.values())), against_final(masks, labels, scheme=scheme)
            yield _Boxes(case_id, phase, number, home / IMAGE_FILE, outlined, files, agreement, final, reasons, scheme)


def _mask(number: int, place: int, kinds: tuple[int, ...]) -> LabelMap:
    """A liver with lesions: every second patient's raters say the same of their kinds."""
    voxels = np.zeros(SHAPE, np.uint8)
    voxels[1:5, 4:14, 6 : 18 + place] = 1
    voxels[2:4, 5:8, 7 : 7 + number % 3] = 2
    for index in range(min(len(kinds), MOST_KINDS)):
        down, across = divmod(index, MOST_KINDS // 2)
        voxels[3, 10 + 2 * down, 7 + 2 * across] = kinds[(index + place * (number % 2)) % len(kinds)]
    return LabelMap(voxels, Geometry.from_axes(SHAPE, spacing_mm=SPACING_MM))


def _image(labels: LabelMap, seed: int) -> Volume:
    noise = np.random.default_rng(seed).integers(-20, 20, labels.voxels.shape)
    return Volume((noise + 60 * (labels.voxels > 0)).astype(np.int16), labels.geometry)


def _write_packages(folder: Path, config: Config, volumes: Sequence[_Boxes]) -> None:
    from pipeline.review.adjudication import AdjudicationItem, build_adjudication_package
    from pipeline.review.assignment import item_id_of
    from pipeline.review.package import PackageItem, build_package

    scheme, name = config.labels.scheme, config.dataset.name
    volumes = volumes[:PACKED]
    names = [item_id_of(volume.case_id, volume.phase) for volume in volumes]
    items = [
        PackageItem(item_id, volume.case_id, volume.phase, volume.image, volume.labels, slices_to_look_at=(1, 3))
        for item_id, volume in zip(names, volumes, strict=True)
    ]
    items[-1] = replace(items[-1], item_id="X0001")
    build_package(folder / "out", config.review.raters[0], items, scheme, round_number=1, dataset=name)
    asked = [
        AdjudicationItem(
            item_id, volume.case_id, volume.phase, volume.image, volume.labels, volume.ratings, volume.reasons, (1, 3)
        )
        for item_id, volume in zip(names, volumes, strict=True)
    ]
    build_adjudication_package(folder / "out", asked, scheme, round_number=1, dataset=name)


def _release_inputs(config: Config, volumes: Sequence[_Boxes]) -> ReleaseInputs:
    from pipeline.agreement.tables import page_tables
    from pipeline.cohort.inclusion import FlowStep
    from pipeline.cohort.rules import RULE_ORDER
    from pipeline.report.qc import qc_page

    flow = tuple(
        FlowStep(of, rule, 1, 1, 9) for of in ("series", "patients") for rule in ("assessed", *RULE_ORDER, "kept")
    )
    return ReleaseInputs(
        version="1.0.0",
        config=config,
        patients=_patients(config),
        volumes=tuple(_release_volume(volume) for volume in volumes),
        flow=flow,
        agreement=[
            {"patient_id": volume.case_id, "phase": volume.phase, **pair.to_json(), "raters": " ".join(pair.raters)}
            for volume in volumes
            for pair in volume.agreement.pairs
        ],
        coarse=[
            {"patient_id": volume.case_id, "phase": volume.phase, **pair.to_json()}
            for volume in volumes
            for pair in volume.agreement.pairs
        ],
        enhancement=[row for volume in volumes for row in _enhancement(volume)],
        summaries=lambda rows: _summaries(volumes),
        pages={
            "qc/index.html": lambda rows, summaries: qc_page(
                config.dataset.name,
                [_qc_volume(volume) for volume in volumes],
                version="1.0.0",
                tables=page_tables(summaries),
                flow=flow,
                rows=rows,
            )
        },
    )


def _summaries(volumes: Sequence[_Boxes]) -> Summaries:
    """Every table of agreement, hidden repeats included."""
    from pipeline.agreement.summary import RatedVolume, grouped_by
    from pipeline.agreement.tables import coarse_table, dataset_tables, repeat_table, volume_groups
    from pipeline.dicom.deid.allowlist import MAKERS

    rated = [
        RatedVolume(
            volume.case_id,
            volume.phase,
            volume.agreement,
            grouped_by(volume.manufacturer, "5.0"),
            volume.against_final,
        )
        for volume in volumes
    ]
    repeats = [
        RatedVolume(volume.case_id, volume.phase, volume.agreement, {"rater": next(iter(volume.ratings))})
        for volume in volumes
    ]
    coarse = [replace(volume, groups=volume_groups(MAKERS[0], None, 5.0, 10.0)) for volume in rated]
    tables = {**dataset_tables(rated), "repeats": repeat_table(repeats), "coarse": coarse_table(coarse)}
    return {name: table for name, table in tables.items() if isinstance(table, list) and table}


def _patients(config: Config) -> dict[str, Patient]:
    kinds = (*config.labels.kind_names, *(config.inclusion.diagnosis or ()), "normal", None)
    return {
        f"P{number:04d}": Patient(50 + number, "MFO"[number % 3], kinds[number % len(kinds)])
        for number in range(1, PATIENTS + 1)
    }


def _release_volume(volume: _Boxes) -> ReleaseVolume:
    from pipeline.image.nifti import read_labels, read_volume
    from pipeline.lesions.measure import measure_lesions

    lesions = measure_lesions(read_labels(volume.labels), read_volume(volume.image), scheme=volume.scheme)
    return ReleaseVolume(
        case_id=volume.case_id,
        phase=volume.phase,
        image=volume.image,
        labels=volume.labels,
        scan=ScanFacts(
            series=f"2.25.{volume.number}{list(Phase).index(volume.phase)}",
            slices=10,
            phase_confidence=0.9,
            days_from_first_study=0,
            site="0",
            manufacturer=volume.manufacturer,
            kvp=120.0,
            slice_thickness_mm=5.0,
        ),
        review=ReviewFacts(
            tuple(volume.ratings),
            _dice(volume, Structure.WHOLE_LIVER),
            _dice(volume, Structure.LESION),
            adjudicator=LEAD if volume.reasons else None,
        ),
        coarse_model="demo",
        coarse_sha256="0" * 64,
        lesions=tuple(lesion.to_json() for lesion in lesions),
    )


def _dice(volume: _Boxes, structure: Structure) -> tuple[float, ...]:
    return tuple(dice for dice in volume.agreement.dice_by_pair(structure).values() if dice is not None)


def _enhancement(volume: _Boxes) -> list[dict[str, Any]]:
    from pipeline.image.nifti import read_labels, read_volume
    from pipeline.lesions.enhancement import PhaseReading, enhancement

    readings = {volume.phase: PhaseReading(read_labels(volume.labels), read_volume(volume.image))}
    return [{"patient_id": volume.case_id, **row.to_json()} for row in enhancement(readings, scheme=volume.scheme)]


def _qc_volume(volume: _Boxes) -> QcVolume:
    from pipeline.image.nifti import read_labels, read_volume
    from pipeline.report.qc import QcVolume

    return QcVolume(
        case_id=volume.case_id,
        phase=volume.phase,
        image=read_volume(volume.image),
        labels=read_labels(volume.labels),
        status="adjudicated" if volume.reasons else "voted",
        facts=dict.fromkeys(("diagnosis", "manufacturer", "model"), "unknown"),
        liver_dice=volume.agreement.dice_by_pair(Structure.WHOLE_LIVER),
        lesion_dice=volume.agreement.dice_by_pair(Structure.LESION),
        disagreement={2: volume.number} if volume.number % 2 else {},
        problems=tuple(Problem(one.rule, Severity.FLAG, one.sentence()) for one in volume.reasons),
        scheme=volume.scheme,
    )
