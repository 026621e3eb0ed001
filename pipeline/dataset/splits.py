"""Train, test and folds by patient, frozen: whoever was once assigned never moves, newcomers fill what lacks most.

Newcomers are taken stratum by stratum, inside a stratum by a salted hash, and each goes where the dataset and its
stratum together are furthest below their share. So the numbers come out even, also in small strata, and nobody can
tell a patient's place from its number.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from pipeline.core.config import SplitsConfig
from pipeline.core.errors import ReleaseError
from pipeline.core.files import read_json

SplitName = Literal["train", "test", "test-ood"]
Bin = tuple[SplitName, int | None]

TEST: Bin = ("test", None)
OUT_OF_DISTRIBUTION: Bin = ("test-ood", None)


@dataclass(frozen=True, slots=True)
class Splits:
    """Where each patient stands.

    Attributes:
        seed: the salt.
        folds: number of folds.
        places: case_id to split and fold; only training patients have a fold.
    """

    seed: int
    folds: int
    places: Mapping[str, Bin]

    def to_json(self) -> dict[str, Any]:
        """What `splits.json` holds."""
        patients = {case_id: {"split": split, "fold": fold} for case_id, (split, fold) in self.places.items()}
        return {"seed": self.seed, "folds": self.folds, "patients": dict(sorted(patients.items()))}

    @classmethod
    def read(cls, path: Path) -> Splits:
        """What a `splits.json` holds.

        Raises:
            StorageError: when it is missing or no JSON.
        """
        return cls.from_json(read_json(path))

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Splits:
        """Back from `splits.json`."""
        places = {case_id: (place["split"], place["fold"]) for case_id, place in content["patients"].items()}
        return cls(content["seed"], content["folds"], MappingProxyType(places))


def held_out(
    patients: Mapping[str, Mapping[str, str | None]], config: SplitsConfig, previous: Splits | None = None
) -> frozenset[str]:
    """Who is a test patient because of a fact that `config.out_of_distribution` names; arguments as `assign_splits`."""
    kept = previous.places if previous else {}
    return frozenset(
        case_id
        for case_id, facts in patients.items()
        if (kept[case_id] == OUT_OF_DISTRIBUTION if case_id in kept else _is_held_out(facts, config))
    )


def assign_splits(
    patients: Mapping[str, Mapping[str, str | None]],
    config: SplitsConfig,
    previous: Splits | None = None,
    *,
    outside: Collection[str] | None = None,
) -> Splits:
    """A place for every patient; those of an earlier version keep theirs.

    Args:
        patients: manifest facts of each patient by case_id; `config.stratify` and `config.out_of_distribution` name
            some of them. Facts as published make strata of which the splits tell nothing more.
        config: seed, number of folds, test share, strata and what is held out whole.
        previous: the version before.
        outside: from `held_out`, where the facts given here no longer tell it.

    Raises:
        ReleaseError: when the number of folds or the seed changed, which would move patients.
    """
    if previous and (previous.seed, previous.folds) != (config.seed, config.folds):
        raise ReleaseError(
            f"[splits] asks for seed {config.seed} and {config.folds} folds, the version before has seed "
            f"{previous.seed} and {previous.folds}; patients never move, so keep these or start a new dataset"
        )
    strata = {case_id: tuple(facts.get(name) or "" for name in config.stratify) for case_id, facts in patients.items()}
    kept = {case_id: place for case_id, place in (previous.places if previous else {}).items() if case_id in patients}
    places: dict[str, Bin] = dict(kept)
    out = held_out(patients, config, previous) if outside is None else outside
    tally = _Tally(config)
    for case_id, place in kept.items():
        tally.add(strata[case_id], place)
    newcomers = sorted(patients.keys() - kept.keys(), key=lambda case_id: _lot(config.seed, strata[case_id], case_id))
    for case_id in newcomers:
        places[case_id] = OUT_OF_DISTRIBUTION if case_id in out else tally.neediest(strata[case_id])
        tally.add(strata[case_id], places[case_id])
    return Splits(config.seed, config.folds, MappingProxyType(dict(sorted(places.items()))))


def nnunet_folds(splits: Splits, volumes: Sequence[tuple[str, str]]) -> list[dict[str, list[str]]]:
    """What nnU-Net's `splits_final.json` holds: one entry a fold, volumes named case_id and phase, without test.

    Args:
        splits: where each patient stands.
        volumes: (case_id, phase) of every released volume.
    """
    fold_of = {f"{case_id}_{phase}": splits.places[case_id][1] for case_id, phase in sorted(volumes)}
    training = {name: fold for name, fold in fold_of.items() if fold is not None}
    return [
        {
            "train": [name for name, own in training.items() if own != fold],
            "val": [name for name, own in training.items() if own == fold],
        }
        for fold in range(splits.folds)
    ]


class _Tally:
    """How many patients each bin holds, in all and by stratum."""

    def __init__(self, config: SplitsConfig) -> None:
        share = (1.0 - config.test_fraction) / config.folds
        self.shares: dict[Bin, float] = {("train", fold): share for fold in range(config.folds)}
        if config.test_fraction:
            self.shares[TEST] = config.test_fraction
        self.counts: dict[tuple[str, ...], Counter[Bin]] = {(): Counter()}

    def add(self, stratum: tuple[str, ...], place: Bin) -> None:
        if place in self.shares:
            self.counts[()][place] += 1
            self.counts.setdefault(("stratum", *stratum), Counter())[place] += 1

    def neediest(self, stratum: tuple[str, ...]) -> Bin:
        """The bin that is furthest below its share, counted in patients of the dataset plus of the stratum."""
        totals = (self.counts[()], self.counts.get(("stratum", *stratum), Counter()))

        def need(place: Bin) -> float:
            return round(sum(self.shares[place] * (total.total() + 1) - total[place] for total in totals), 9)

        return max(self.shares, key=need)


def _is_held_out(facts: Mapping[str, str | None], config: SplitsConfig) -> bool:
    wanted = config.out_of_distribution
    return bool(wanted) and all(facts.get(column) == value for column, value in wanted.items())


def _lot(seed: int, stratum: tuple[str, ...], case_id: str) -> tuple[tuple[str, ...], str]:
    return stratum, hashlib.sha256(f"{seed}:{case_id}".encode()).hexdigest()
