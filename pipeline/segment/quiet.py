"""nnU-Net prints where others log."""

from __future__ import annotations

import logging
import sys

_log = logging.getLogger(__name__)


def quiet_nnunet() -> None:
    """Send what the nnU-Net modules imported so far print to the log instead of the terminal."""
    for name, module in list(sys.modules.items()):
        if name.startswith("nnunetv2."):
            vars(module)["print"] = _to_log


def _to_log(*words: object, **_: object) -> None:
    _log.debug("%s", " ".join(map(str, words)).strip())
