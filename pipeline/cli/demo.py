"""`liverset demo`: the whole way at once, on a synthetic cohort."""

from __future__ import annotations

import click

COMMANDS: tuple[click.Command, ...] = ()
