"""What stops an item, told so that a person can act on it.

    PipelineError                 anything of ours; only the case border catches it
    ├── ConfigError               dataset.toml or a command's words are wrong (exit code 2)
    ├── StorageError              a file of ours cannot be read or written: disk full, no permission, damaged
    ├── DicomError                a DICOM file or series cannot be used as an image
    ├── GeometryError             a grid is impossible, or two grids differ that must not
    ├── LabelError                a mask holds what the label scheme does not know
    ├── ModelError                a network's files are missing, unpinned, changed or unsafe
    ├── SegmentationError         the network could not label this case
    ├── ReviewError               a package or a returned mask cannot be used
    ├── PrivacyError              going on could reveal a patient; always fails closed
    │   └── LeakError             a source identifier was found in something that leaves the house
    ├── EvaluationError           predictions do not fit the release they are measured against
    └── ReleaseError              a release is incomplete, changed, or would break its own rules

A message says what was found, what was expected, where, and the fix. It never holds a patient's name, number,
date or source path: use the case id.
"""

from __future__ import annotations


class PipelineError(Exception):
    """Anything that keeps one item from going on."""

    exit_code = 1


class ConfigError(PipelineError):
    """The configuration or the command line is wrong; nothing was done."""

    exit_code = 2


class StorageError(PipelineError):
    """A file of ours cannot be read or written."""


class DicomError(PipelineError):
    """A DICOM file or series cannot be used as an image."""


class GeometryError(PipelineError):
    """A grid is impossible, or two grids differ that must be the same."""


class LabelError(PipelineError):
    """A mask holds values the label scheme does not know."""


class ModelError(PipelineError):
    """A network's files are missing, unpinned, changed or unsafe to load."""


class SegmentationError(PipelineError):
    """The network could not label this case."""


class ReviewError(PipelineError):
    """A review package or a returned mask cannot be used."""


class PrivacyError(PipelineError):
    """Going on could reveal a patient."""


class LeakError(PrivacyError):
    """A source identifier was found in something that leaves the house."""


class EvaluationError(PipelineError):
    """Predictions do not fit the release they are measured against; nothing was measured."""


class ReleaseError(PipelineError):
    """A release is incomplete, was changed, or would break its own rules."""
