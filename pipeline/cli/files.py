"""Commands on plain files: in, out, and nothing else; each usable without a dataset."""

from __future__ import annotations

from pathlib import Path

import click

source_argument = click.argument("source", type=click.Path(path_type=Path))
out_argument = click.argument("out", type=click.Path(path_type=Path))


COMMANDS: tuple[click.Command, ...] = ()
