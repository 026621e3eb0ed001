"""Packages for radiologists, and the checked way back."""
