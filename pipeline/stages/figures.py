"""What settled masks add up to: enhancement of a case over its phases, agreement of raters over the dataset."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.files import read_json
from pipeline.core.records import Phase
from pipeline.stages.intake import case_of
from pipeline.workspace import Workspace

if TYPE_CHECKING:
    from pipeline.agreement.summary import RatedVolume

RELEASED_TABLES = ("plc_cect", "limt", "raters", "rater_pairs", "rater_groups")
"""What a release and its data card show; the full summary stays among the reports."""


def enhancement_rows(ws: Workspace, case_id: str, masks: dict[Phase, Path]) -> list[dict[str, Any]]:
    """One row a lesion and phase of a case, from the mask of each phase."""
    from pipeline.image.nifti import read_labels, read_volume
    from pipeline.lesions.enhancement import PhaseReading, enhancement

    readings = {
        phase: PhaseReading(read_labels(mask), read_volume(ws.layout.image(case_id, phase), ws.unit))
        for phase, mask in masks.items()
    }
    return [{"patient_id": case_id, **row.to_json()} for row in enhancement(readings)]


def agreement_tables(ws: Workspace, case_ids: Iterable[str]) -> dict[str, Any]:
    """Agreement over the volumes of some cases that several raters marked, as `dataset_tables` gives it."""
    from pipeline.agreement.tables import dataset_tables

    return dataset_tables([volume for case_id in case_ids for volume in _rated_volumes(ws, case_id)])


def _rated_volumes(ws: Workspace, case_id: str) -> Iterator[RatedVolume]:
    from pipeline.agreement.summary import RatedVolume

    for phase in case_of(ws, case_id).series:
        agreement = ws.layout.agreement(case_id, phase)
        if agreement.is_file():
            header = read_json(ws.layout.header(case_id, phase))["header"]
            yield RatedVolume(case_id, phase, read_json(agreement), _groups(header))


def _groups(header: dict[str, Any]) -> dict[str, str]:
    """What papers report agreement by, where the header tells it."""
    thickness = header.get("SliceThickness")
    found = {
        "vendor": header.get("Manufacturer"),
        "slice_thickness": None if thickness is None else f"{float(thickness):g} mm",
    }
    return {name: str(value) for name, value in found.items() if value}
