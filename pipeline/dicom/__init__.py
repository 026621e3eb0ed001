"""The door to pydicom: scan, group, recognise, convert, de-identify, verify."""

import logging

logging.getLogger("pydicom").setLevel(logging.CRITICAL)  # its warnings quote values, and values name patients
