"""pydicom kept from quoting what it reads.

Its warnings quote the values they complain about, and values name patients. Each of its doors calls this once, for
every thread, before anything reads a file.
"""

from __future__ import annotations

import logging
import warnings

from pydicom import config


def silence_pydicom() -> None:
    """Let pydicom neither warn nor log from here on."""
    config.settings.reading_validation_mode = config.IGNORE
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module="pydicom")
