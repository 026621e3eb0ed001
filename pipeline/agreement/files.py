"""Agreement and consensus of mask files: any usual format, any orientation of one grid, nothing resampled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.agreement.agree import agree
from pipeline.agreement.consensus import Consensus, vote
from pipeline.agreement.joint import FIRST_KIND, structures_with_kinds
from pipeline.core.config import ConsensusConfig
from pipeline.core.files import write_json
from pipeline.core.labels import LabelScheme, Structure
from pipeline.core.volume import LabelMap, Unit, Volume
from pipeline.image.loading import AXIAL, MaskReader, placed_exactly
from pipeline.image.masks import LabelReading, StoredMask, mask_suffix, read_labels_of, read_mask
from pipeline.image.nifti import write_nifti
from pipeline.image.orientation import reoriented


@dataclass(frozen=True, slots=True, eq=False)
class RatingFiles:
    """Masks of several raters, brought onto one axial grid.

    Attributes:
        ratings: name to mask; a name is the file's own, or its folder's where all files are called alike.
        repairs: name to what had to be done, one short phrase each.
    """

    ratings: dict[str, LabelMap]
    repairs: dict[str, tuple[str, ...]]


def load_ratings(
    paths: Sequence[Path],
    *,
    scheme: LabelScheme | None = None,
    read: MaskReader = read_mask,
    kinds_apart: bool = False,
) -> RatingFiles:
    """Masks of one volume, each voxel at its place on the grid of the largest of them.

    Args:
        paths: one file a rater.
        scheme: the labels that may occur.
        read: what reads a file.
        kinds_apart: give segments named after a lesion kind values of their own, see `structures_with_kinds`.

    Raises:
        StorageError: when a file is missing, damaged or of another format.
        GeometryError: when a mask lies on another grid.
        LabelError: when a mask holds other labels than the scheme's.
    """
    scheme = scheme or LabelScheme()
    kinds = scheme.lesion_kinds if kinds_apart else ()
    found = {
        name: _labels(read(path), scheme, kinds, path.name)
        for name, path in zip(rater_names(paths), paths, strict=True)
    }
    if not found:
        return RatingFiles({}, {})
    largest = max((reading.labels for reading in found.values()), key=lambda labels: labels.voxels.size)
    reference = reoriented(largest, AXIAL).geometry
    placed = {
        name: placed_exactly(reading.labels, reference, what=f"the mask {name}") for name, reading in found.items()
    }
    return RatingFiles(
        {name: placement.labels for name, placement in placed.items()},
        {name: found[name].repairs + placement.repairs for name, placement in placed.items()},
    )


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
    scheme: LabelScheme | None = None,
    read: MaskReader = read_mask,
) -> dict[str, Any]:
    """How far the masks in some files agree, as `Agreement.to_json` tells it, and what was done to read them.

    Lesion kinds of the scheme are structures of their own, found in segments that bear their names.

    Raises: as `load_ratings` and `agree`.
    """
    loaded = load_ratings(paths, scheme=scheme, read=read, kinds_apart=True)
    structures = structures_with_kinds(scheme.lesion_kinds if scheme else ())
    found = agree(loaded.ratings, tolerance_mm=tolerance_mm, structures=structures)
    return found.to_json() | {"repairs": loaded.repairs}


def consensus_files(
    paths: Sequence[Path],
    out: Path,
    *,
    config: ConsensusConfig | None = None,
    scheme: LabelScheme | None = None,
    read: MaskReader = read_mask,
) -> dict[str, Any]:
    """The explanation of the vote over some files; mask, explanation and maps of ties, entropy and votes are written.

    Args:
        paths: one file a rater.
        out: the voted mask, `.nii` or `.nii.gz`; the others lie beside it under its name and what they are.
        config: rule and tie policy.
        scheme: the labels that may occur.
        read: what reads a file.

    Raises: as `load_ratings` and `vote`, and `StorageError` when a file cannot be written.
    """
    loaded = load_ratings(paths, scheme=scheme, read=read)
    consensus = vote(loaded.ratings, config or ConsensusConfig())
    explanation = consensus.explanation().to_json() | {"repairs": loaded.repairs}
    _write_maps(out, consensus)
    write_json(_beside(out, ".json"), explanation)
    return explanation


def _labels(stored: StoredMask, scheme: LabelScheme, kinds: Sequence[str], what: str) -> LabelReading:
    """A mask's labels, segments named after a kind with the kind's own value."""
    reading = read_labels_of(stored, scheme, what=what)
    values = {kind.casefold(): value for value, kind in enumerate(kinds, start=FIRST_KIND)}
    voxels = reading.labels.voxels.copy()
    for segment in stored.segments:
        value = values.get(segment.name.strip().casefold())
        if value is not None:
            voxels[stored.layers[segment.layer] == segment.value] = value
    return replace(reading, labels=LabelMap(voxels, reading.labels.geometry))


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
