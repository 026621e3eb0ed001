"""liverset: DICOM exports in, a versioned, de-identified liver imaging dataset with checked labels out."""

__version__ = "0.2.0"
