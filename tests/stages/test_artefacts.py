"""Every file that one stage leaves for another comes back equal, and refuses what it is not."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from pipeline.agreement.agree import against_final, agree, coarse_against_final
from pipeline.agreement.consensus import vote
from pipeline.core.artefacts import Artefact
from pipeline.core.config import ConsensusConfig
from pipeline.core.errors import StorageError
from pipeline.core.geometry import Geometry
from pipeline.core.records import Phase
from pipeline.core.volume import LabelMap, Volume
from pipeline.lesions.enhancement import PhaseReading, enhancement
from pipeline.lesions.measure import measure_lesions
from pipeline.stages import artefacts
from pipeline.stages.artefacts import (
    CoarseAgreement,
    FinalAgreement,
    MeasuredEnhancement,
    MeasuredLesions,
    RatedAgreement,
    VotedMask,
)

GRID = Geometry.from_axes((6, 16, 16), spacing_mm=(5.0, 2.0, 2.0))


def outlined(columns: int, lesion: bool) -> LabelMap:
    voxels = np.zeros(GRID.shape, np.uint8)
    voxels[1:5, 2:12, 2 : 2 + columns] = 1
    if lesion:
        voxels[2:4, 4:7, 4:7] = 2
    return LabelMap(voxels, GRID)


def image() -> Volume:
    return Volume(np.full(GRID.shape, 60, np.int16), GRID)


def assert_survives(artefact: Artefact, folder: Path) -> None:
    """Loaded, it holds the same values to the last bit; as texts, since NaN equals nothing, and keys in any order."""
    artefact.save(folder / "artefact.json")
    again = type(artefact).load(folder / "artefact.json")
    assert in_order(again) == in_order(artefact)


def in_order(artefact: Artefact) -> str:
    return json.dumps(artefact.model_dump(mode="json"), sort_keys=True)


MASKS = {"R1": outlined(10, True), "R2": outlined(9, True), "R3": outlined(10, False)}
NO_LIVER = {"R1": outlined(0, False), "R2": outlined(0, False)}


@pytest.mark.parametrize("masks", [MASKS, NO_LIVER, {"R1": MASKS["R1"]}], ids=["three", "empty", "one"])
def test_agreement_and_vote_come_back_as_they_were(tmp_path: Path, masks: dict[str, LabelMap]):
    rated = RatedAgreement(agreement=agree(masks))
    consensus = vote(masks, ConsensusConfig())
    voted = VotedMask(explanation=consensus.explanation())
    assert_survives(FinalAgreement(scores=against_final(masks, consensus.labels)), tmp_path)
    coarse = coarse_against_final(masks["R1"], consensus.labels)
    assert_survives(CoarseAgreement(agreement=coarse), tmp_path)
    assert_survives(rated, tmp_path)
    assert_survives(voted, tmp_path)


def test_lesions_and_enhancement_come_back_as_they_were(tmp_path: Path):
    labels = MASKS["R1"]
    masks = {Phase.ARTERIAL: labels, Phase.DELAYED: MASKS["R3"]}
    rows = enhancement({phase: PhaseReading(mask, image()) for phase, mask in masks.items()})
    assert math.isnan(rows[0].enhancement)  # there is no plain phase to compare with
    lesions = measure_lesions(labels, image())
    assert_survives(MeasuredLesions(case_id="P0001", phase=Phase.ARTERIAL, lesions=lesions), tmp_path)
    assert_survives(MeasuredEnhancement(rows=rows), tmp_path)


KINDS = [kind for kind in vars(artefacts).values() if isinstance(kind, type) and issubclass(kind, Artefact)]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not Artefact], ids=lambda kind: kind.__name__)
def test_a_file_of_the_version_before_is_refused_by_every_reader(tmp_path: Path, kind: type[Artefact]):
    path = tmp_path / "of_0_1.json"
    path.write_text('{"pairs": [], "raters": []}')
    with pytest.raises(StorageError, match="no format number"):
        kind.load(path)
