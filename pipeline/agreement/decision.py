"""Which label a voxel gets when raters disagree: rules on patterns of labels, not on voxels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

UNDECIDED = 255
"""Value of a tied voxel under the policy "undecided"; no label scheme knows it, so it can never be released."""

Ties: TypeAlias = Literal["down", "up", "undecided"]


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """What a rule makes of each pattern.

    Attributes:
        labels: (patterns), the label given.
        ties: (patterns), True where the votes alone did not decide.
    """

    labels: NDArray[np.uint8]
    ties: NDArray[np.bool_]


def nested_majority(patterns: NDArray[np.uint8], ties: Ties = "down") -> Decision:
    """The vote for labels that lie in one another: first who says liver or more, then who says lesion.

    Each level needs more than half of the raters. With an odd number it never ties, and is the median of the labels. A
    plain plurality errs here: of 0, 0, 1, 2, 2 three in five say liver, yet 0 and 2 tie.

    Args:
        patterns: (patterns, raters) labels; a higher label lies inside a lower one.
        ties: with exactly half for it a level is denied ("down"), granted ("up") or left open ("undecided").
    """
    levels = np.arange(1, int(patterns.max(initial=0)) + 1)
    votes = (patterns[:, :, np.newaxis] >= levels).sum(axis=1)
    lower = (2 * votes > patterns.shape[1]).sum(axis=1)
    upper = (2 * votes >= patterns.shape[1]).sum(axis=1)
    return settled(lower, upper, ties)


def plurality(patterns: NDArray[np.uint8], ties: Ties = "down") -> Decision:
    """The most frequent label, for labels that do not lie in one another.

    Args:
        patterns: (patterns, raters) labels.
        ties: labels equally frequent give the lowest ("down"), the highest ("up") or neither ("undecided").
    """
    labels = np.arange(int(patterns.max(initial=0)) + 1)
    votes = (patterns[:, :, np.newaxis] == labels).sum(axis=1)
    lower = votes.argmax(axis=1)
    upper = len(labels) - 1 - votes[:, ::-1].argmax(axis=1)
    return settled(lower, upper, ties)


def settled(lower: NDArray[np.integer], upper: NDArray[np.integer], ties: Ties) -> Decision:
    """What becomes of each pattern, given its label with ties denied and with ties granted."""
    tied = lower != upper
    chosen = {"down": lower, "up": upper, "undecided": np.where(tied, UNDECIDED, lower)}[ties]
    return Decision(chosen.astype(np.uint8), tied)


def entropy_bits(patterns: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(patterns) Shannon entropy of the labels given, in bits: 0 where all agree. Source: Shannon 1948."""
    labels = np.unique(patterns)
    shares = (patterns[:, :, np.newaxis] == labels).mean(axis=1)
    logs = np.log2(shares, out=np.zeros_like(shares), where=shares > 0)
    entropy: NDArray[np.float32] = (0.0 - (shares * logs).sum(axis=1)).astype(np.float32)
    return entropy
