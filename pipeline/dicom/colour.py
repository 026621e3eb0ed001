"""Colour pictures with a place, as red, green and blue: fused and colour-coded maps that scanners save."""

from __future__ import annotations

import numpy as np
import pydicom
from numpy.typing import NDArray

from pipeline.core.errors import DicomError
from pipeline.core.records import Instance, Series, Severity
from pipeline.core.volume import ColorImage
from pipeline.dicom.group.series import COLOUR
from pipeline.dicom.read.by_pydicom import READ_FAULTS
from pipeline.dicom.read.pixels import SliceError
from pipeline.dicom.read.sources import opened


def is_colour_image(series: Series) -> bool:
    """True when nothing speaks against a series but that it is colour."""
    refused = {problem.code for problem in series.problems if problem.severity is Severity.REFUSE}
    return refused == {COLOUR} and series.geometry is not None


def read_colour(series: Series) -> ColorImage:
    """The colour image of a series.

    Raises:
        DicomError: when something else speaks against the series, or pixels cannot be read.
    """
    if series.geometry is None or not is_colour_image(series):
        raise DicomError("the slices do not form a colour image")
    slices = [_rgb(slice_) for slice_ in series.instances]
    if {plane.shape for plane in slices} != {(*series.geometry.shape[1:], 3)}:
        raise DicomError("the slices are not all of one size and three colours")
    return ColorImage(np.stack(slices), series.geometry)


def _rgb(slice_: Instance) -> NDArray[np.uint8]:
    """(rows, columns, 3); other ways to write colour are turned into red, green and blue."""
    try:
        with opened(slice_.source) as file:
            pixels = pydicom.dcmread(file, force=True).pixel_array
    except READ_FAULTS as error:
        raise SliceError(f"its colours cannot be read ({type(error).__name__})", slice_.source) from None
    if pixels.dtype != np.uint8:
        raise SliceError(f"its colours have {pixels.dtype.itemsize * 8} bits, expected 8", slice_.source)
    return pixels
