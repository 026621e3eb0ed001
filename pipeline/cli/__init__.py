"""The `liverset` command: thin over `pipeline.stages` and the pure functions; the only place that prints.

Nothing heavy is imported here or at the head of its modules, so that `liverset --help` answers at once.
Exit codes: 0 done, 1 problems found, 2 wrong use or configuration.
"""

from __future__ import annotations

import logging

import click

from pipeline import __version__
from pipeline.cli import agreement, dataset, demo, files, leaks, learn, release, review
from pipeline.cli.console import PipelineGroup


@click.group(
    cls=PipelineGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Examples: `liverset init my-dataset`, `liverset build my-dataset`, `liverset demo demo`.",
)
@click.version_option(__version__, prog_name="liverset")
@click.option("-v", "--verbose", is_flag=True, help="Log each step on standard error.")
def main(verbose: bool) -> None:
    """Turn DICOM exports into a versioned, de-identified liver dataset with checked labels.

    A dataset is one folder. Make it with `init`, edit its dataset.toml, then run `build`. Every command on a dataset
    takes its FOLDER as the first argument; without one it uses the current folder. Or watch everything run on
    invented patients: `demo`.
    """
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )


GROUPS = (dataset, review, release, learn, files, leaks, agreement, demo)

for command in (command for part in GROUPS for command in part.COMMANDS):
    main.add_command(command)
