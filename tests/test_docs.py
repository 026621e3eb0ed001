"""The README and the docs tell the truth: commands exist, settings load, snippets run, every command is told."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from pipeline.cli import main
from pipeline.cli.dataset import TEMPLATE
from pipeline.core.config import load_config
from tests.places import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language: str) -> list[tuple[str, str]]:
    """Every fenced block of a language with a name for the test's report."""
    found = []
    for page in PAGES:
        for number, match in enumerate(
            re.finditer(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
        ):
            found.append((f"{page.name}-{number}", match.group(1)))
    return found


def shell_lines() -> list[str]:
    lines = [line.strip().removeprefix("$ ") for _, block in blocks("sh") for line in block.splitlines()]
    return sorted({line.split("  #")[0].strip() for line in lines if line.startswith("liverset ")})


def resolve(words: list[str]) -> click.Context:
    """The context of a command line, its options and arguments parsed, nothing run."""
    context = main.make_context("liverset", list(words), resilient_parsing=False)
    while isinstance(context.command, click.Group):
        name, command, rest = context.command.resolve_command(context, [*context._protected_args, *context.args])
        assert command is not None
        context = command.make_context(name, rest, parent=context)
    return context


@pytest.mark.parametrize("line", shell_lines())
def test_command_line_in_the_docs_parses(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    words = shlex.split(line)[1:]
    for word in words:
        if word.endswith("/"):
            Path(word).mkdir(parents=True, exist_ok=True)
        elif "." in word:
            Path(word).parent.mkdir(parents=True, exist_ok=True)
            Path(word).touch()
    if words[0] not in ("--help", "--version"):
        assert resolve(words).command.callback is not None


@pytest.mark.parametrize(("name", "text"), blocks("toml"), ids=lambda value: value[:30] if "\n" not in value else "")
def test_settings_in_the_docs_load(name: str, text: str, tmp_path: Path):
    path = tmp_path / "dataset.toml"
    path.write_text(text if "[dataset]" in text else f'[dataset]\nname = "x"\n{text}', encoding="utf-8")
    load_config(path)


def test_template_of_init_loads_and_stands_in_the_readme():
    assert load_config(TEMPLATE).dataset.name == "my-liver"
    assert TEMPLATE.read_text(encoding="utf-8") in [text for _, text in blocks("toml")]


@pytest.mark.parametrize(("name", "code"), blocks("python"), ids=lambda value: value[:30] if "\n" not in value else "")
def test_python_in_the_docs_runs(name: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, name, "exec"), {"__name__": "__docs__"})


def leaf_commands(group: click.Group, prefix: str = "liverset") -> list[tuple[str, click.Command]]:
    found: list[tuple[str, click.Command]] = []
    for name, command in sorted(group.commands.items()):
        words = f"{prefix} {name}"
        found += leaf_commands(command, words) if isinstance(command, click.Group) else [(words, command)]
    return found


@pytest.mark.parametrize(("words", "command"), leaf_commands(main), ids=lambda value: str(value)[:40])
def test_every_command_is_told_in_the_docs_and_has_help(words: str, command: click.Command):
    assert command.help
    assert any(words in page.read_text(encoding="utf-8") for page in PAGES), f"`{words}` stands in no page"


def test_links_to_files_of_the_repository_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
