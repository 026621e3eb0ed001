"""Agreement and consensus of mask files: any usual format, any orientation of one grid, nothing resampled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.agreement.agree import agree
from pipeline.agreement.consensus import Consensus, vote
from pipeline.agreement.joint import LIVER_STRUCTURES, Structures
from pipeline.core.config import ConsensusConfig
from pipeline.core.files import write_json
from pipeline.core.geometry import Geometry
from pipeline.core.labels import LabelScheme, Structure
from pipeline.core.volume import LabelMap, Unit, Volume
from pipeline.image.loading import (
    AXIAL,
    MaskMeaning,
    MaskReader,
    axial_grid,
    labels_in,
    placed_exactly,
    without_lesion,
)
from pipeline.image.masks import Placement, mask_suffix, read_mask
from pipeline.image.nifti import write_nifti
from pipeline.image.orientation import reoriented


@dataclass(frozen=True, slots=True, eq=False)
class RatingFiles:
    """Masks of several raters, brought onto one axial grid.

    Attributes:
        ratings: name to mask; a name is the file's own, or its folder's where all files are called alike.
        repairs: name to what had to be done, one short phrase each.
        warnings: what a person should know before believing the numbers.
    """

    ratings: dict[str, LabelMap]
    repairs: dict[str, tuple[str, ...]]
    warnings: tuple[str, ...] = ()


def load_ratings(
    paths: Sequence[Path],
    *,
    grid: Geometry | None = None,
    meaning: MaskMeaning = "labels",
    scheme: LabelScheme | None = None,
    read: MaskReader = read_mask,
) -> RatingFiles:
    """Masks of one volume, each voxel at its place on one axial grid: the image's, or the box that holds all masks.

    Programs crop a mask to what it holds, so that none may cover the others.

    Args:
        paths: one file a rater.
        grid: the image's, axial; slices are counted on it.
        meaning: what the values of all masks mean.
        scheme: the labels that may occur.
        read: what reads a file.

    Raises:
        StorageError: when a file is missing, damaged or of another format.
        GeometryError: when a mask lies on another grid, or outside the image.
        LabelError: when a mask holds other labels than the scheme's, or several where it should be binary.
    """
    scheme = scheme or LabelScheme()
    found = {
        name: labels_in(read(path), scheme, meaning, what=path.name)
        for name, path in zip(rater_names(paths), paths, strict=True)
    }
    if not found:
        return RatingFiles({}, {})
    masks = {name: reading.labels for name, reading in found.items()}
    placed = placed_on(masks, grid or _common_grid(list(masks.values())))
    ratings = {name: placement.labels for name, placement in placed.items()}
    return RatingFiles(
        ratings,
        {name: found[name].repairs + placement.repairs for name, placement in placed.items()},
        without_lesion(ratings),
    )


def placed_on(masks: Mapping[str, LabelMap], grid: Geometry) -> dict[str, Placement]:
    """Masks of raters on one grid, as `placed_exactly` brings each there.

    Raises: as `placed_exactly`.
    """
    return {name: _placed(labels, grid, f"the mask {name}") for name, labels in masks.items()}


def structures_of(meaning: MaskMeaning) -> Structures:
    """What masks say something about: those of lesions alone say nothing of the liver."""
    return LIVER_STRUCTURES if meaning == "labels" else {str(Structure.LESION): Structure.LESION.values}


def rater_names(paths: Sequence[Path]) -> list[str]:
    """A short name for each file: its own without the ending, its folder's where that is not unique, else a number."""
    own = [path.name[: -len(mask_suffix(path.name) or path.suffix) or None] for path in paths]
    folders = [path.parent.name for path in paths]
    numbers = [f"mask-{number}" for number in range(1, len(paths) + 1)]
    return next(names for names in (own, folders, numbers) if len(set(names)) == len(paths))


def agree_files(
    paths: Sequence[Path],
    *,
    tolerance_mm: float = 2.0,
    image: Path | None = None,
    meaning: MaskMeaning = "labels",
    scheme: LabelScheme | None = None,
    read: MaskReader = read_mask,
) -> dict[str, Any]:
    """How far the masks in some files agree, as `Agreement.to_json` has it, what was done to read them, and warnings.

    Lesion kinds of the scheme are structures of their own, where any mask shows them.

    Raises: as `load_ratings` and `agree`.
    """
    loaded = load_ratings(paths, grid=_grid_of(image), meaning=meaning, scheme=scheme, read=read)
    found = agree(loaded.ratings, tolerance_mm=tolerance_mm, structures=structures_of(meaning), scheme=scheme)
    return found.to_json() | {"repairs": loaded.repairs, "warnings": loaded.warnings}


def consensus_files(
    paths: Sequence[Path],
    out: Path,
    *,
    config: ConsensusConfig | None = None,
    image: Path | None = None,
    meaning: MaskMeaning = "labels",
    scheme: LabelScheme | None = None,
    read: MaskReader = read_mask,
) -> dict[str, Any]:
    """The explanation of the vote over some files; mask, explanation and maps of ties, entropy and votes are written.

    Args:
        paths: one file a rater.
        out: the voted mask, `.nii` or `.nii.gz`; the others lie beside it under its name and what they are.
        config: rule and tie policy.
        image: the volume, whose grid the voted mask gets; without it, the box that holds all masks.
        meaning: what the values of all masks mean; a lesion is written as label 2 all the same.
        scheme: the labels that may occur.
        read: what reads a file.

    Raises: as `load_ratings` and `vote`, and `StorageError` when a file cannot be written.
    """
    loaded = load_ratings(paths, grid=_grid_of(image), meaning=meaning, scheme=scheme, read=read)
    consensus = vote(loaded.ratings, config or ConsensusConfig(), scheme=scheme)
    explanation = consensus.explanation().to_json() | {"repairs": loaded.repairs, "warnings": loaded.warnings}
    _write_maps(out, consensus)
    write_json(_beside(out, ".json"), explanation)
    return explanation


def _grid_of(image: Path | None) -> Geometry | None:
    return axial_grid(image) if image else None


def _common_grid(masks: Sequence[LabelMap]) -> Geometry:
    """The axial grid that holds all masks."""
    said = [labels for labels in masks if not _is_nothing(labels)] or masks
    largest = max(said, key=lambda labels: labels.voxels.size)
    return reoriented(largest, AXIAL).geometry.spanning(labels.geometry for labels in said)


def _placed(labels: LabelMap, grid: Geometry, what: str) -> Placement:
    """A mask on the grid."""
    if _is_nothing(labels):
        return Placement(LabelMap(np.zeros(grid.shape, np.uint8), grid), ("empty, filled up to the grid",), 0.0, 0)
    return placed_exactly(labels, grid, what=what)


def _is_nothing(labels: LabelMap) -> bool:
    """True for the single empty voxel that 3D Slicer saves of an empty segmentation; its place means nothing."""
    return labels.voxels.size == 1 and not labels.voxels.any()


def _write_maps(out: Path, consensus: Consensus) -> None:
    geometry = consensus.labels.geometry
    write_nifti(out, consensus.labels)
    write_nifti(_beside(out, "_ties.nii.gz"), LabelMap(consensus.ties.astype(np.uint8), geometry))
    write_nifti(_beside(out, "_entropy.nii.gz"), Volume(consensus.entropy, geometry, Unit.INTENSITY))
    for structure in (Structure.WHOLE_LIVER, Structure.LESION):
        votes = LabelMap(consensus.votes(structure), geometry)
        write_nifti(_beside(out, f"_votes_{structure}.nii.gz"), votes)


def _beside(out: Path, ending: str) -> Path:
    return out.with_name(out.name.removesuffix(".gz").removesuffix(".nii") + ending)
