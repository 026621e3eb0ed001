"""Work on plain files and arrays, without a dataset: what the commands and the Python face have in common.

Without an output folder results stay in memory; with one, files are written as the command of the same name writes
them. Each function imports what it needs when it is called.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, get_args, overload

from pipeline.core.config import (
    PATIENT_ID,
    CoarseConfig,
    Config,
    ConsensusConfig,
    ConsensusMethod,
    DatasetConfig,
    DeidentificationConfig,
    LabelsConfig,
    Modality,
    PhasesConfig,
    TiePolicy,
    WindowConfig,
    checked,
    load_config,
)
from pipeline.core.decisions import read_decisions
from pipeline.core.errors import ConfigError, DicomError, PrivacyError
from pipeline.core.file_names import DECISIONS, SECRET
from pipeline.core.pseudonyms import MIN_SECRET_BYTES, Pseudonyms
from pipeline.core.volume import ColorImage, LabelMap, Unit, Volume
from pipeline.core.words import counted
from pipeline.frames import Tabular

if TYPE_CHECKING:
    from pipeline.agreement.consensus import Consensus
    from pipeline.agreement.records import Agreement
    from pipeline.core.geometry import Geometry
    from pipeline.core.labels import LabelScheme
    from pipeline.core.records import Series
    from pipeline.dicom.deid.clean_tree import CleanTreeReport
    from pipeline.dicom.tree import ConvertReport
    from pipeline.image.loading import MaskMeaning
    from pipeline.image.masks import StoredMask
    from pipeline.leaks.search import Leak
    from pipeline.lesions.records import Lesion
    from pipeline.segment.batch import BatchReport

StrPath: TypeAlias = str | PathLike[str]
"""A path, as text or as `pathlib.Path`."""

LesionKinds: TypeAlias = Iterable[str | Mapping[str, Any]]
"""Names of lesion kinds, or tables that say more, as `dataset.toml` lists them; values follow the list from 3 on."""

NIFTI_SUFFIXES = (".nii", ".nii.gz")


class Lesions(Tabular, tuple["Lesion", ...]):
    """Every lesion of a mask, largest first."""

    columns = ("number", "volume_ml", "max_diameter_mm", "axial_diameter_mm", "first_slice", "last_slice")

    def rows(self) -> Sequence[Mapping[str, Any]]:
        """One row a lesion."""
        return [lesion.to_json() | _by_axis(lesion) for lesion in self]


class Leaks(Tabular, tuple["Leak", ...]):
    """Every place where an identifier of the source was found; empty, and so false, when nothing was found.

    Attributes:
        unreadable: source files that could not be read: what only they hold was not searched for.
    """

    columns = ("where", "kind")
    unreadable: int = 0

    def rows(self) -> Sequence[Mapping[str, Any]]:
        """One row a place."""
        return [{"where": leak.where, "kind": leak.kind} for leak in self]


def convert(
    source: StrPath,
    out: StrPath | None = None,
    *,
    key: StrPath | None = None,
    config: StrPath | None = None,
    keep_tilt: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> ConvertReport:
    """Volumes in HU of all DICOM below a folder, file or archive, and what became of every series, file and slice.

    The table that leads back to the source, and the key where none is given, go to the folder OUT-private.

    Args:
        source: a folder, file, zip or tar.
        out: folder for the volumes and tables; without one the volumes stay in memory, in `ConvertReport.volumes`.
        key: file with the project secret; the same one gives the same pseudonyms.
        config: a `dataset.toml` that says how sites name their phases, and where the patient stands.
        keep_tilt: keep tilted series with their true, sheared grid, instead of refusing them.
        progress: called with the number of slices done, and of all.

    Raises:
        ConfigError: when there is no such source, or it does not tell its patients.
        DicomError: when the source holds no DICOM image.
        PrivacyError: when the key cannot be used.
        StorageError: when a file cannot be written.
    """
    from pipeline.dicom.tree import convert_tree, read_tree
    from pipeline.image.nifti import content_sha256, write_nifti

    settings = load_config(Path(config)) if config else None
    src, home = [_existing(source)], None if out is None else _private_home(Path(out))
    how: dict[str, Any] = {
        "content_sha256": content_sha256,
        "phases": settings.phases if settings else PhasesConfig(),
        "patient": settings.source.patient if settings else PATIENT_ID,
        "allow_tilt": keep_tilt,
        "progress": progress,
    }
    if out is None or home is None:
        images: dict[str, Volume] = {}
        report = read_tree(src, _passing_pseudonyms(key), keep=partial(_in_memory, images), **how)
        report = replace(report, volumes=images)
    else:
        write = partial(write_nifti, durable=False)
        report = convert_tree(src, Path(out), _pseudonyms(home, key), write=write, private=home, **how)
    if not report.series:
        found = counted(len(report.files), "file")
        raise DicomError(f"found {found} but no DICOM image; expected a DICOM export")
    return report


def _in_memory(images: dict[str, Volume], row: Mapping[str, str], _series: Series, image: Volume | ColorImage) -> str:
    """Keep a volume under its series' name; it has no path."""
    if isinstance(image, Volume):
        images[row["series"]] = image
    return ""


def deidentify(
    source: StrPath,
    out: StrPath,
    *,
    key: StrPath | None = None,
    config: StrPath | None = None,
    allow_faces: bool = False,
) -> CleanTreeReport:
    """What became of every file below a source: a clean, renamed copy of each image that may enter a dataset.

    Montages of series that look as if they held text, and the key where none is given, go to the folder OUT-private.
    What a person who looked at them decided is read from `decisions.csv` in that folder.

    Args:
        source: a folder, file, zip or tar.
        out: folder for the clean copies.
        key: file with the project secret; the same one gives the same pseudonyms.
        config: a `dataset.toml` whose settings apply.
        allow_faces: write series that show a head too.

    Raises:
        ConfigError: when there is no such source, or `decisions.csv` cannot be understood.
        PrivacyError: when the key cannot be used, or a box to mask does not lie within its series.
        StorageError: when a file cannot be written.
    """
    from pipeline.dicom.deid.clean_tree import deidentify_tree

    settings = load_config(Path(config)) if config else None
    options = settings.deidentification if settings else DeidentificationConfig()
    modality = settings.dataset.modality if settings else Modality.CT
    src, home = [_existing(source)], _private_home(Path(out))
    return deidentify_tree(
        *(src, Path(out), _pseudonyms(home, key), options),
        modality=modality,
        private=home,
        decisions=read_decisions(home / DECISIONS),
        allow_faces=allow_faces,
    )


def find_leaks(source: StrPath, copy: StrPath) -> Leaks:
    """Every place below a copy that holds an identifier of the source: where it is, never what it is.

    Args:
        source: the original DICOM files or tables.
        copy: what is to leave the house.

    Raises:
        ConfigError: when source or copy is not there.
        PrivacyError: when the source holds no identifier, so that nothing was searched for.
        StorageError: when a file cannot be read.
    """
    from pipeline.leaks.search import harvest, search
    from pipeline.stages.neutral import own_text

    identifiers = harvest([_existing(source)])
    if not identifiers.texts:
        raise PrivacyError("the source holds no identifier, so nothing was searched for; give the folder of originals")
    settings = Config(dataset=DatasetConfig(name="dataset"))
    found = Leaks(search(identifiers, [_existing(copy)], own=partial(own_text, settings)))
    found.unreadable = identifiers.unreadable
    return found


def read_volume(path: StrPath, unit: Unit = Unit.HU) -> Volume:
    """The image in a file, in its own orientation: NIfTI, NRRD or MetaImage.

    Args:
        path: `.nii`, `.nii.gz`, `.nrrd` or `.mha`.
        unit: what the numbers mean, which no such file says: "HU" for CT, "intensity" for MR.

    Raises:
        StorageError: when the file is missing, damaged or of another format.
        GeometryError: when it is not three-dimensional, or has no place in space.
    """
    from pipeline.image import nifti
    from pipeline.image.loading import read_image

    file = Path(path)
    return nifti.read_volume(file, unit) if _is_nifti(file) else replace(read_image(file), unit=unit)


def read_labels(path: StrPath, *, lesion_kinds: LesionKinds = ()) -> LabelMap:
    """The mask in a file, in its own orientation: NIfTI, NRRD, a 3D Slicer segmentation, MetaImage or DICOM SEG.

    Args:
        path: the file.
        lesion_kinds: as `lesion_kinds` of `[labels]` lists them; segments may bear their names.

    Raises:
        ConfigError: when two kinds share a name or a value.
        StorageError: when the file is missing, damaged or of another format.
        GeometryError: when it is not three-dimensional, or has no place in space.
        LabelError: when it holds values or segments that are no labels.
    """
    return _labels(path, "labels", _scheme(lesion_kinds))


def write(image: Volume | LabelMap, path: StrPath) -> None:
    """Write a volume or a mask as NIfTI; the same image always gives the same bytes.

    Args:
        image: what to write.
        path: `.nii` or `.nii.gz`.

    Raises:
        ConfigError: when the name has another ending.
        StorageError: when the file cannot be written.
    """
    from pipeline.image.nifti import write_nifti

    if not _is_nifti(Path(path)):
        raise ConfigError(f"{Path(path).name} is not the name of a NIfTI file; end it in .nii or .nii.gz")
    write_nifti(Path(path), image)


def window(volume: Volume, *, level_hu: float = 0.0, width_hu: float = 400.0) -> Volume:
    """The volume with values outside a window of the HU scale moved to its bounds.

    Args:
        volume: a CT.
        level_hu: centre.
        width_hu: from the lowest value kept to the highest.

    Raises:
        ConfigError: when the width is not above 0.
        GeometryError: for an MR volume, whose intensities are no HU.
    """
    from pipeline.image.window import apply_window

    return apply_window(volume, checked(WindowConfig, level_hu=level_hu, width_hu=width_hu))


@overload
def segment(
    images: Volume | StrPath,
    out: None = None,
    *,
    model: StrPath = "demo",
    sha256: str | None = None,
    allow_unpinned: bool = False,
    device: str = "auto",
) -> LabelMap: ...
@overload
def segment(
    images: Iterable[StrPath],
    out: StrPath,
    *,
    model: StrPath = "demo",
    sha256: str | None = None,
    allow_unpinned: bool = False,
    device: str = "auto",
) -> BatchReport: ...
def segment(
    images: Volume | StrPath | Iterable[StrPath],
    out: StrPath | None = None,
    *,
    model: StrPath = "demo",
    sha256: str | None = None,
    allow_unpinned: bool = False,
    device: str = "auto",
) -> LabelMap | BatchReport:
    """Liver and lesions by nnU-Net: the labels of one image, or of many files in a folder.

    Args:
        images: one volume or file; with `out`, NIfTI files.
        out: folder for `NAME.nii.gz` and `NAME.json` of every image.
        model: a registered model's name, or a folder in nnU-Net's layout.
        sha256: pin of a model that is not registered.
        allow_unpinned: take a folder without a pin, this once.
        device: "auto", "cpu", "cuda" or "cuda:N".

    Raises:
        ConfigError: when two images have the same name, or a setting is impossible.
        ModelError: when the model is missing, not pinned, or cannot be loaded.
        SegmentationError: when the one image cannot be labelled; of many, each tells its own reason.
    """
    from pipeline.segment.batch import segment_files
    from pipeline.segment.chain import open_segmenter
    from pipeline.segment.models import find_model
    from pipeline.segment.postprocess import postprocess

    config = checked(CoarseConfig, model=str(model), sha256=sha256, device=device)
    if out is not None:
        files = [Path(image) for image in _several(images)]
        found = find_model(config, Path.cwd(), allow_unpinned=allow_unpinned)
        return segment_files(files, Path(out), found, device, config=config)
    volume = _one_volume(images)
    segmenter = open_segmenter(config, Path.cwd(), allow_unpinned=allow_unpinned)
    return postprocess(segmenter.segment(volume).labels, config).labels


def agree(
    masks: Mapping[str, LabelMap | StrPath] | Iterable[StrPath],
    *,
    tolerance_mm: float = 2.0,
    image: Volume | StrPath | None = None,
    as_: MaskMeaning = "labels",
    lesion_kinds: LesionKinds = (),
) -> Agreement:
    """How far the raters of one volume agree: every pair, all together, each against the vote.

    Args:
        masks: rater to mask; or one file a rater, in any orientation of one grid.
        tolerance_mm: largest surface distance that still counts as touching.
        image: the volume they belong to; masks are brought onto its grid, axial slices from the feet.
        as_: what the values mean: "labels", or "lesion" where all that is marked is lesion.
        lesion_kinds: as `lesion_kinds` of `[labels]` lists them.

    Raises:
        ConfigError: when `as_` is neither, or two kinds share a name or a value.
        GeometryError: when two masks lie on different grids, or one outside the image.
        LabelError: when there is no mask, or one does not fit what its values mean.
        StorageError: when a file is missing, damaged or of another format.
    """
    from pipeline.agreement.agree import agree as measure
    from pipeline.agreement.files import structures_of

    scheme = _scheme(lesion_kinds)
    ratings = _ratings(masks, image, as_, scheme)
    return measure(ratings, tolerance_mm=tolerance_mm, structures=structures_of(as_), scheme=scheme)


def vote(
    masks: Mapping[str, LabelMap | StrPath] | Iterable[StrPath],
    *,
    method: ConsensusMethod = "nested-majority",
    ties: TiePolicy = "down",
    image: Volume | StrPath | None = None,
    as_: MaskMeaning = "labels",
    lesion_kinds: LesionKinds = (),
) -> Consensus:
    """One mask from several: the vote, and everything it does not settle.

    Args:
        masks: rater to mask; or one file a rater, in any orientation of one grid.
        method: the rule.
        ties: what a tie becomes: no label, the label, no label until the lead radiologist has looked, or 255.
        image: as in `agree`; the voted mask gets its grid.
        as_: as in `agree`; a lesion is label 2 in the voted mask all the same.
        lesion_kinds: as in `agree`.

    Raises: as `agree`, and
        ConfigError: when there is no such method or tie policy.
    """
    from pipeline.agreement.consensus import vote as decide

    config, scheme = checked(ConsensusConfig, method=method, ties=ties), _scheme(lesion_kinds)
    return decide(_ratings(masks, image, as_, scheme), config, scheme=scheme)


def measure_lesions(
    labels: LabelMap | StrPath,
    image: Volume | StrPath | None = None,
    *,
    as_: MaskMeaning = "labels",
    lesion_kinds: LesionKinds = (),
) -> Lesions:
    """Every lesion of a mask: volume, diameters, place, kinds, and how it looks on an image.

    Args:
        labels: liver and lesions.
        image: for intensities; on the mask's grid.
        as_: as in `agree`.
        lesion_kinds: as in `agree`.

    Raises:
        ConfigError: when `as_` is neither, or two kinds share a name or a value.
        LabelError: when the mask does not fit what its values mean.
        GeometryError: when mask and image lie on different grids.
        StorageError: when a file is missing, damaged or of another format.
    """
    from pipeline.lesions.measure import measure_lesions as measure
    from pipeline.lesions.measure import without_liver

    scheme = _scheme(lesion_kinds)
    mask = _labels(labels, as_, scheme)
    lesions = measure(mask, None if image is None else _one_volume(image), scheme=scheme)
    return Lesions(without_liver(lesions) if as_ == "lesion" else lesions)


def read_any_mask(path: Path) -> StoredMask:
    """The mask a file holds, DICOM SEG included.

    Raises: as `read_mask` and `read_seg`.
    """
    from pipeline.dicom.seg import is_dicom, read_seg
    from pipeline.image.masks import StoredMask, read_mask
    from pipeline.image.nrrd import Segment

    if not is_dicom(path):
        return read_mask(path)
    found = read_seg(path)
    named = enumerate(zip(found.names, found.snomed, strict=True))
    segments = tuple(Segment(name, 1, layer, code) for layer, (name, code) in named)
    return StoredMask(found.layers, found.geometry, segments)


def _by_axis(lesion: Lesion) -> dict[str, Any]:
    """Its place with a name for each number."""
    start, shape = (dict(zip(("slice", "row", "column"), part, strict=True)) for part in lesion.box)
    centroid = dict(zip("xyz", lesion.centroid_lps_mm, strict=True))
    return {"centroid_lps_mm": centroid, "box": {"start": start, "shape": shape}}


def _ratings(
    masks: Mapping[str, LabelMap | StrPath] | Iterable[StrPath],
    image: Volume | StrPath | None,
    as_: MaskMeaning,
    scheme: LabelScheme,
) -> dict[str, LabelMap]:
    """The masks of raters: files on one axial grid, others on the image's, or as they lie where there is none."""
    from pipeline.agreement.files import load_ratings, placed_on

    grid = None if image is None else _axial_grid(image)
    if not isinstance(masks, Mapping):
        files = [Path(mask) for mask in _several(masks)]
        return load_ratings(files, grid=grid, meaning=_meaning(as_), scheme=scheme, read=read_any_mask).ratings
    ratings = {rater: _labels(mask, as_, scheme, what=f"the mask {rater}") for rater, mask in masks.items()}
    return ratings if grid is None else {name: found.labels for name, found in placed_on(ratings, grid).items()}


def _labels(mask: LabelMap | StrPath, as_: MaskMeaning, scheme: LabelScheme, *, what: str = "the mask") -> LabelMap:
    """A mask as it is meant, in its own orientation; values of plain labels are not checked."""
    from pipeline.image import nifti
    from pipeline.image.loading import labels_in
    from pipeline.image.masks import StoredMask

    is_lesion = _meaning(as_) == "lesion"
    if isinstance(mask, LabelMap):
        stored = StoredMask(mask.voxels[None], mask.geometry)
        return labels_in(stored, scheme, as_, what=what).labels if is_lesion else mask
    file = Path(mask)
    if _is_nifti(file) and not is_lesion:
        return nifti.read_labels(file)
    return labels_in(read_any_mask(file), scheme, as_, what=file.name).labels


def _axial_grid(image: Volume | StrPath) -> Geometry:
    from pipeline.image.loading import AXIAL
    from pipeline.image.orientation import reoriented

    return reoriented(_one_volume(image), AXIAL).geometry


def _meaning(as_: MaskMeaning) -> MaskMeaning:
    from pipeline.image.loading import MaskMeaning

    if as_ not in get_args(MaskMeaning):
        raise ConfigError(f"as_ is {as_!r}, expected one of {', '.join(get_args(MaskMeaning))}")
    return as_


def _scheme(lesion_kinds: LesionKinds) -> LabelScheme:
    return checked(LabelsConfig, lesion_kinds=lesion_kinds).scheme


def _several(paths: Volume | StrPath | Iterable[StrPath]) -> Iterable[StrPath]:
    """Paths; a single one is none of several, though text can be iterated too."""
    if isinstance(paths, str | PathLike | Volume):
        raise ConfigError("several files are needed here; give a list of paths")
    return paths


def _one_volume(image: Volume | StrPath | Iterable[StrPath]) -> Volume:
    if not isinstance(image, Volume | str | PathLike):
        raise ConfigError("one volume or one path is needed here; for many files say where `out` is")
    return image if isinstance(image, Volume) else read_volume(image)


def _existing(path: StrPath) -> Path:
    if not Path(path).exists():
        raise ConfigError("the file or folder does not exist; check the path")
    return Path(path)


def _is_nifti(path: Path) -> bool:
    return path.name.lower().endswith(NIFTI_SUFFIXES)


def _private_home(out: Path) -> Path:
    """Beside what may be handed on, never in it."""
    whole = out.resolve()
    return whole.with_name(f"{whole.name}-private")


def _pseudonyms(home: Path, key: StrPath | None = None) -> Pseudonyms:
    from pipeline.core.files import make_private_folder
    from pipeline.dataset.crosswalk import secret_of

    if key is not None:
        return Pseudonyms(_given_secret(key))
    return Pseudonyms(secret_of(make_private_folder(home) / SECRET))


def _passing_pseudonyms(key: StrPath | None) -> Pseudonyms:
    """Under a secret that nobody keeps, unless one is given: what is only in memory needs no name tomorrow."""
    return Pseudonyms(secrets.token_bytes(MIN_SECRET_BYTES) if key is None else _given_secret(key))


def _given_secret(key: StrPath) -> bytes:
    from pipeline.dataset.crosswalk import read_secret

    return read_secret(Path(key))
