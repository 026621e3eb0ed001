"""`liverset leaks`: search files for what a source holds, and accept what is no leak."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import click

from pipeline.cli.console import EXIT_PROBLEMS, as_json_option, folder_argument, show, table_lines
from pipeline.core.words import counted

existing_path = click.Path(path_type=Path, exists=True)


class SearchUnlessNamed(click.Group):
    """A group whose command `search` needs no name: `leaks SOURCE OUT` searches."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """The command that the first word names, else the search with all words."""
        return super().resolve_command(ctx, args if args[0] in self.commands else ["search", *args])


@click.group(cls=SearchUnlessNamed)
def leaks() -> None:
    """Search a folder for identifiers of a source.

    `leaks SOURCE OUT` searches, like `leaks search SOURCE OUT`.
    """


@leaks.command(epilog="Example: `liverset leaks search export/ clean/`")
@click.argument("source", type=existing_path)
@click.argument("out", type=existing_path)
@as_json_option
def search(source: Path, out: Path, *, as_json: bool) -> None:
    """Search a folder for identifiers that the source holds.

    Collects names, numbers, dates and UIDs from SOURCE and searches every byte of OUT for them, in archives and file
    names too. Prints where each one was found, never what it is.
    """
    from pipeline import standalone

    found = standalone.find_leaks(source, out)
    rows = [(leak.where, leak.kind) for leak in found]
    lines = [
        *table_lines(("where", "kind"), rows),
        counted(len(rows), "leak") if rows else "no identifier of the source was found",
    ]
    if found.unreadable:
        files = counted(found.unreadable, "source file")
        lines.append(f"{files} cannot be read; the search does not cover identifiers that only they contain")
    show({"leaks": [{"where": where, "kind": kind} for where, kind in rows]}, lines, as_json=as_json)
    if rows:
        click.get_current_context().exit(EXIT_PROBLEMS)


EXAMPLE = 'Example: `liverset leaks accept my-dataset "qc/index.html: content" --kind name --by R9 --why "a page word"`'


@leaks.command(epilog=EXAMPLE)
@folder_argument
@click.argument("place")
@click.option("--kind", required=True, help="Kind of identifier, as the refusal names it.")
@click.option("--by", required=True, help="Code of the person who looked at the place.")
@click.option("--why", required=True, help="What it is instead of an identifier.")
def accept(folder: Path, place: str, kind: str, by: str, why: str) -> None:
    """Accept a refused match that you looked at and that is no leak.

    PLACE is as the refusal printed it; "*" stands for any part of it. The row in leak_exceptions.csv is signed, and
    holds for this place, this kind and this identifier only.
    """
    from pipeline import stages
    from pipeline.workspace import Workspace

    ws = Workspace.open(folder)
    rows = stages.accept_leaks(ws, place, kind, by=by, why=why, when=date.today().isoformat())
    lines = [*dict.fromkeys(f"{row.place} ({row.kind})" for row in rows)]
    click.echo(
        "\n".join([*lines, f"accepted in {ws.layout.leak_exceptions.name}", "Next: run the refused command again"])
    )


COMMANDS = (leaks,)
