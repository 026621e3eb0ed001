"""How unsure a network was, measured on its own grid before anything is resampled.

Needs torch; import it inside functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

SURE_BACKGROUND = 0.95
"""Voxels above this probability of background are left out: they are most of a volume and would hide the rest."""

_TINY = 1e-7


def doubtful_band(logits: torch.Tensor, probabilities_of: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """(channels, voxels) probabilities where background is not sure; one slice at a time, for the sake of memory.

    Args:
        logits: (channels, slices, rows, columns), any float type.
        probabilities_of: probabilities of a slice of them, float32; channel 0 is background and they sum to 1.
    """
    slices = map(probabilities_of, logits.unbind(1))
    return torch.cat([probabilities[:, probabilities[0] < SURE_BACKGROUND] for probabilities in slices], dim=1)


def doubt_signals(band: torch.Tensor, lesion_channels: list[int], voxel_ml: float) -> dict[str, float]:
    """Signs of doubt in one volume; each grows with doubt.

    Args:
        band: see `doubtful_band`.
        lesion_channels: which channels mean lesion.
        voxel_ml: volume of one voxel of the network's grid.

    Returns:
        entropy: mean normalised entropy where background is not sure, 0.0 to 1.0; 1.0 where everything is background,
            since a volume without a liver is the most doubtful of all.
        lesion_entropy: mean entropy in bits of "lesion or not" where a lesion is possible at all, 0.0 to 1.0.
        lesion_doubt_ml: volume that is neither clearly lesion nor clearly not, weighted by that entropy.
    """
    signals = {"entropy": 1.0, "lesion_entropy": 0.0, "lesion_doubt_ml": 0.0}
    if band.numel() == 0:
        return signals
    inside = band.clamp(_TINY, 1.0)
    signals["entropy"] = float(-(inside * inside.log()).sum(0).mean()) / math.log(len(band))
    if lesion_channels:
        lesion = inside[lesion_channels].sum(0).clamp(_TINY, 1 - _TINY)
        bits = -(lesion * lesion.log2() + (1 - lesion) * (1 - lesion).log2())
        possible = lesion > 1 - SURE_BACKGROUND
        signals["lesion_entropy"] = float(bits[possible].mean()) if bool(possible.any()) else 0.0
        signals["lesion_doubt_ml"] = float(bits.sum()) * voxel_ml
    return signals


def fold_disagreement(votes: Sequence[torch.Tensor]) -> float:
    """Share of the voxels that any fold calls foreground on which not all folds agree, 0.0 to 1.0.

    Fewer than two votes, or nothing but background, give 0.0.
    """
    if len(votes) < 2:
        return 0.0
    stacked = torch.stack(tuple(votes))
    found = (stacked > 0).any(0)
    differing = (stacked != stacked[0]).any(0)
    return float(differing.sum()) / max(1, int(found.sum()))
