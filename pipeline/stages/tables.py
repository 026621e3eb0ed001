"""Agreement over the dataset, as papers print it: from the agreement of each volume and of hidden repeats."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pipeline.agreement.records import Agreement, FinalScores
from pipeline.agreement.summary import RatedVolume, grouped_by
from pipeline.core.records import Phase
from pipeline.lesions.records import Lesion
from pipeline.stages.artefacts import ConvertedVolume, VolumeKey
from pipeline.stages.handed_out import assigned_raters
from pipeline.workspace import Workspace


def rated_volume(
    converted: ConvertedVolume, agreement: Agreement, against_final: tuple[FinalScores, ...] = ()
) -> RatedVolume:
    """A volume's agreement with what tables group it by, besides the phase."""
    groups = grouped_by(converted.text("Manufacturer"), converted.text("SliceThickness"))
    return RatedVolume(converted.case_id, str(converted.phase), agreement, groups, against_final)


def coarse_volume(converted: ConvertedVolume, coarse: Agreement, lesions: Sequence[Lesion]) -> RatedVolume:
    """The coarse label of a volume against its final mask, with what LiMT's Table VIII and ours group it by."""
    from pipeline.agreement.tables import volume_groups

    kernel, thickness = converted.text("ConvolutionKernel"), converted.number("SliceThickness")
    largest_mm = max((lesion.max_diameter_mm for lesion in lesions), default=None)
    groups = volume_groups(converted.text("Manufacturer"), kernel, thickness, largest_mm)
    return RatedVolume(converted.case_id, str(converted.phase), coarse, groups)


def agreement_tables(ws: Workspace, rated: Sequence[RatedVolume], volumes: Iterable[VolumeKey]) -> dict[str, Any]:
    """Every table of agreement, and of raters with themselves; none without a rated volume.

    Args:
        ws: the dataset.
        rated: what several raters outlined.
        volumes: where hidden repeats are looked for.
    """
    from pipeline.agreement.tables import dataset_tables, repeat_table

    if not rated:
        return {}
    repeats = [repeat for volume in volumes for repeat in _repeats(ws, *volume)]
    tables = dataset_tables(rated)
    return {**tables, "repeats": repeat_table(repeats)} if repeats else tables


def _repeats(ws: Workspace, case_id: str, phase: Phase) -> Iterator[RatedVolume]:
    """Both readings of each rater who read a volume twice without knowing."""
    from pipeline.agreement.agree import agree
    from pipeline.image.nifti import read_labels

    for rater in assigned_raters(ws, case_id, phase):
        first, again = ws.layout.rating(case_id, phase, rater), ws.layout.repeat_rating(case_id, phase, rater)
        if again.is_file():
            both = agree({"first": read_labels(first), "again": read_labels(again)}, scheme=ws.config.labels.scheme)
            yield RatedVolume(case_id, str(phase), both, {"rater": rater})
