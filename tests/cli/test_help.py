"""Help: each line fits 80 columns whole, each example parses, and every dataset command takes its folder alike."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from pipeline.cli import main
from tests.places import ROOT

WIDTH = 80
HEAVY = ("numpy", "pandas", "torch", "pydicom", "SimpleITK", "prefect")
GROUPS = [(), ("review",), ("release",)]
MAKES_ITS_FOLDER = {"init", "demo"}
"""These two make the folder that they are given."""


def leaves(group: click.Group, *words: str) -> list[tuple[tuple[str, ...], click.Command]]:
    found: list[tuple[tuple[str, ...], click.Command]] = []
    for name, command in sorted(group.commands.items()):
        path = (*words, name)
        found += leaves(command, *path) if isinstance(command, click.Group) else [(path, command)]
    return found


LEAVES = leaves(main)
OF_A_DATASET = [
    (words, command)
    for words, command in LEAVES
    if any(parameter.name == "folder" for parameter in command.params) and words[-1] not in MAKES_ITS_FOLDER
]


def help_lines(*words: str) -> list[str]:
    result = CliRunner(env={"COLUMNS": str(WIDTH)}).invoke(main, [*words, "--help"], terminal_width=WIDTH)
    assert result.exit_code == 0
    return result.output.splitlines()


@pytest.mark.parametrize("words", GROUPS, ids=["liverset", "review", "release"])
def test_the_list_of_commands_shows_every_line_uncut(words: tuple[str, ...]):
    page = help_lines(*words)
    lines = page[page.index("Commands:") :]
    assert max(map(len, lines)) <= WIDTH
    assert not [line for line in lines if line.rstrip().endswith("...")]
    listed = {match[1]: match[2] for line in lines if (match := re.fullmatch(r"  ([a-z]+)  +(\S.*)", line))}
    own = {path[len(words)] for path, _ in LEAVES if path[: len(words)] == words}
    assert own <= set(listed)
    assert all(text.endswith(".") for name, text in listed.items() if name in own)


@pytest.mark.parametrize("words", [words for words, _ in LEAVES], ids=" ".join)
def test_the_help_of_each_command_fits_the_terminal(words: tuple[str, ...]):
    assert max(map(len, help_lines(*words))) <= WIDTH


@pytest.mark.parametrize(("words", "command"), LEAVES, ids=[" ".join(words) for words, _ in LEAVES])
def test_the_example_of_each_command_parses(
    words: tuple[str, ...], command: click.Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    example = shlex.split(re.fullmatch(r"Example: `([^`]+)`.*", command.epilog or "", re.S)[1])  # type: ignore[index]
    assert tuple(example[1 : 1 + len(words)]) == words
    for word in example:
        if word.endswith("/"):
            Path(word).mkdir(parents=True, exist_ok=True)
        elif word.endswith(".nii.gz"):
            Path(word).parent.mkdir(parents=True, exist_ok=True)
            Path(word).touch()
    command.make_context(example[0], example[1 + len(words) :])


def is_needed(parameter: click.Parameter) -> bool:
    return parameter.required and isinstance(parameter, click.Option)


def value_of(option: click.Parameter) -> str:
    return option.type.choices[0] if isinstance(option.type, click.Choice) else "1.0.0"


def test_most_commands_work_on_a_dataset():
    assert len(OF_A_DATASET) >= 18


@pytest.mark.parametrize(("words", "command"), OF_A_DATASET, ids=[" ".join(words) for words, _ in OF_A_DATASET])
def test_every_dataset_command_takes_its_folder_as_the_first_argument(
    words: tuple[str, ...], command: click.Command, tmp_path: Path
):
    arguments = [parameter for parameter in command.params if isinstance(parameter, click.Argument)]
    others = [f"x{number}" for number, _ in enumerate(arguments[1:])]
    needed = [f"{option.opts[-1]}={value_of(option)}" for option in command.params if is_needed(option)]
    for given, expected in (([], Path()), ([str(tmp_path)], tmp_path)):
        context = command.make_context("x", [*needed, *given, *others])
        assert context.params["folder"] == expected
        assert [context.params[one.name] for one in arguments[1:]] == others
    assert arguments[0].name == "folder"
    assert arguments[0].metavar == "[FOLDER]"


def test_two_folders_are_wrong_use(tmp_path: Path):
    result = CliRunner().invoke(main, ["build", str(tmp_path), str(tmp_path)])
    assert result.exit_code == 2
    assert "expected one dataset folder, found 2" in result.stderr


def test_help_loads_no_numerical_library():
    code = (
        "import sys, click; from click.testing import CliRunner; from pipeline.cli import main; "
        "assert CliRunner().invoke(main, ['--help']).exit_code == 0; "
        f"print(*(name for name in {HEAVY} if name in sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
