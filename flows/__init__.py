"""Prefect flows over `pipeline.stages`: thin, replaceable, knowing no patient."""
