"""The door to pydicom: scan, group, recognise, convert, de-identify, verify."""
