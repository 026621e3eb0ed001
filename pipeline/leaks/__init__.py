"""The independent verifier: what the sources hold is harvested, and sought in every byte that leaves the house.

It shares no code with the de-identifier: what `dicom/deid` overlooks, this room must not. It reads DICOM by pydicom
alone, through no reader of ours.
"""

from pipeline.silence import silence_pydicom

silence_pydicom()
