"""The `liverset` command: thin over `pipeline.stages` and the pure functions; the only place that prints.

Nothing heavy is imported here or at the head of its modules, so that `liverset --help` answers at once.
Exit codes: 0 done, 1 problems found, 2 wrong use or configuration.
"""

from __future__ import annotations

import logging

import click

from pipeline import __version__
from pipeline.cli import agreement, dataset, demo, files, learn, release, review
from pipeline.cli.console import PipelineGroup


@click.group(cls=PipelineGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="liverset")
@click.option("-v", "--verbose", is_flag=True, help="Tell each step as it happens, on standard error.")
def main(verbose: bool) -> None:
    """From DICOM exports to a versioned, de-identified liver dataset with checked labels.

    A dataset lives in one folder: `liverset init FOLDER`, edit its dataset.toml, `liverset build FOLDER`.
    Or see it all at once: `liverset demo FOLDER`.
    """
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )


GROUPS = (dataset, review, release, learn, files, agreement, demo)

for command in (command for part in GROUPS for command in part.COMMANDS):
    main.add_command(command)
