"""What of the configuration is published: all that decides the result, nothing of a hospital or a computer."""

from __future__ import annotations

import json

from pipeline.core.config import Config
from pipeline.dataset.release_inputs import public_config

PRIVATE = {
    "dataset": {"name": "liver"},
    "source": {"paths": ["/archive/ward7"], "clinical": "people.csv"},
    "phases": {"sites": {"Hospital X": {"C1": ["ART"]}}},
    "coarse": {"model": "/models/liver-v3", "device": "cuda:1", "sha256": "a" * 64},
    "review": {"raters": ["R1", "R2"], "per_case": 2},
    "run": {"jobs": 7},
}


def test_no_path_no_hospital_and_no_machine_is_published():
    text = json.dumps(public_config(Config.model_validate(PRIVATE)))
    assert not [word for word in ("ward7", "people", "Hospital", "models/", "cuda", "jobs", "timeout") if word in text]
    assert "liver-v3" in text


def test_whatever_decides_the_result_changes_what_is_published():
    public = public_config(Config.model_validate(PRIVATE))
    for change in (
        {"inclusion": {"min_slices": 33}},
        {"consensus": {"ties": "up"}},
        {"image": {"window": {"width_hu": 350.0}}},
        {"splits": {"seed": 8}},
        {"review": {"raters": ["R1", "R2"], "per_case": 1}},
        {"deidentification": {"min_k": 5}},
    ):
        assert public_config(Config.model_validate(PRIVATE | change)) != public


def test_another_computer_publishes_the_same():
    other = PRIVATE | {"coarse": PRIVATE["coarse"] | {"device": "cpu"}, "run": {"jobs": 1}, "source": {}}
    assert public_config(Config.model_validate(other)) == public_config(Config.model_validate(PRIVATE))
