"""Prefect flows over `pipeline.stages`: thin, replaceable, knowing no patient.

    session   the door: runs flows here and now, on a server that lives as long as the session
    deploy    the nightly flow by the clock
    build, review, release, nightly    the flows themselves
    tasks     stages as Prefect tasks, chained case by case
    server    Prefect's server as our child process, or one that is already there; server_process is that child
    history   what Prefect remembers, kept true
    lock      one run at a time in a dataset

Nothing here imports Prefect until a server has been chosen: its settings are read from the environment at import.
"""
