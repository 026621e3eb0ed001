"""The README and the docs tell the truth: commands exist, settings load, snippets run, every command is told."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import click
import pytest
from pydicom.dataset import Dataset

from pipeline.cli import main
from pipeline.cli.dataset import TEMPLATE
from pipeline.core.config import load_config
from pipeline.dataset.release import cut
from pipeline.stages import CONVERT, SCAN, SCREEN, case_ids
from pipeline.workspace import Workspace
from tests.dataset.conftest import inputs_in
from tests.dicom.scanner import Scan, body, expose
from tests.places import ROOT

SETTINGS = """
[dataset]
name = "my-liver"
[phases]
required = ["C1", "C2"]
[inclusion]
min_slices = 5
"""
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


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages' examples find beside them: `dicom/` of one patient, `my-dataset` of it, `releases/1.0.0`."""
    home = tmp_path_factory.mktemp("docs")
    for number, phase in enumerate(("arterial", "portal venous")):
        scan = Scan(body(seed=number), study_uid="1.2.3", series_uid=f"1.2.3.{number}")
        expose(home / "dicom" / f"series-{number}", scan, lambda dataset, _, phase=phase: _name(dataset, phase))
    shutil.copytree(home / "dicom", home / "my-dataset" / "dicom")
    (home / "my-dataset" / "dataset.toml").write_text(SETTINGS, encoding="utf-8")
    ws = Workspace.open(home / "my-dataset")
    outcomes = [SCAN(ws), SCREEN(ws), *(CONVERT(ws, case_id) for case_id in case_ids(ws))]
    assert [outcome.problems for outcome in outcomes] == [()] * 3
    cut(inputs_in(home / "sources"), home / "releases", leak_check=lambda _: [])
    return home


def _name(dataset: Dataset, phase: str) -> None:
    dataset.PatientID, dataset.PatientName, dataset.SeriesDescription = "4711", "NOWAK^ANNA", phase
    dataset.SliceThickness = 2.5


@pytest.mark.parametrize(("name", "code"), blocks("python"), ids=lambda value: value[:30] if "\n" not in value else "")
def test_python_in_the_docs_runs_and_prints_what_it_says(
    name: str,
    code: str,
    folders: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    shutil.copytree(folders, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    exec(compile(code, name, "exec"), {"__name__": "__docs__"})
    expected = [line.removeprefix("# > ") for line in code.splitlines() if line.startswith("# > ")]
    assert capsys.readouterr().out.splitlines() == expected


@pytest.mark.parametrize(("name", "code"), blocks("python"), ids=lambda value: value[:30] if "\n" not in value else "")
def test_python_in_the_docs_uses_public_names_only(name: str, code: str):
    assert not re.findall(r"\b(?:pipeline|flows)\b", code)


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
