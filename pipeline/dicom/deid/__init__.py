"""Headers rebuilt from an allow-list after PS3.15 Annex E; shares no code with the verifier in `pipeline/leaks`."""
