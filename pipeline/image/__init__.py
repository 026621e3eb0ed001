"""The door to SimpleITK and scikit-image: NIfTI files, windows, slices, components."""
