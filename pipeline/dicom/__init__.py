"""The door to pydicom: scan, group, recognise, convert, de-identify, verify.

pydicom's warnings quote the values they complain about, and values name patients. They are silenced here, once and for
every thread, before anything of this package reads a file.
"""

import logging
import warnings

from pydicom import config

config.settings.reading_validation_mode = config.IGNORE
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", module="pydicom")
