"""Measures of lesions: volumes, diameters, enhancement."""
