"""The door to pydicom: files are read, grouped into series, converted, and their headers rebuilt.

read     every file of a folder, archive or DICOMDIR as indexed headers; pixels of one slice
group    series split, sorted and checked; contrast phases recognised
deid     headers rebuilt from an allow-list
convert  a series as a volume in HU;  tree, colour and seg stand beside it
"""

from pipeline.silence import silence_pydicom

silence_pydicom()
