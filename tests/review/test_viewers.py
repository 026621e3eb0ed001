"""The start files do what they promise: ITK-SNAP and Slicer, played by stand-ins, are handed files that are there."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from unittest.mock import MagicMock

import pytest

from tests.review.rounds import make_round


@pytest.fixture
def unpacked(tmp_path) -> Path:
    """A package as a rater unpacks it, in a folder with a blank and a bracket in its name."""
    folder = tmp_path / "my review (2)"
    with zipfile.ZipFile(make_round(tmp_path).package()) as package:
        package.extractall(folder)
    return folder


def stand_in(folder: Path, name: str) -> Path:
    """A program that writes down where it was started and with what."""
    folder.mkdir(exist_ok=True)
    program = folder / name
    program.write_text('#!/bin/sh\npwd > "$OUT"\nfor word in "$@"; do echo "$word" >> "$OUT"; done\n')
    program.chmod(0o755)
    return program


def started(unpacked: Path, programs: Path) -> list[str]:
    out = unpacked.parent / "started.txt"
    script = unpacked / "cases" / "P0002_C1" / "open.sh"
    environment = {"PATH": f"{programs}{os.pathsep}/usr/bin{os.pathsep}/bin", "OUT": str(out)}
    result = subprocess.run(["/bin/sh", str(script)], env=environment, capture_output=True, text=True, timeout=20)
    return out.read_text().splitlines() if result.returncode == 0 else [result.stdout]


@pytest.mark.skipif(os.name != "posix", reason="open.sh is for Linux and macOS")
def test_open_sh_hands_itksnap_the_image_the_mask_and_the_colours(unpacked):
    stand_in(unpacked.parent / "bin", "itksnap")
    folder, *words = started(unpacked, unpacked.parent / "bin")
    given = dict(zip(words[::2], words[1::2], strict=True))
    assert set(given) == {"-g", "-s", "-l"}
    assert all((Path(folder) / name).is_file() for name in given.values())
    assert Path(given["-s"]).name == "P0002_C1_mask.nii.gz"


@pytest.mark.skipif(os.name != "posix", reason="open.sh is for Linux and macOS")
def test_open_sh_takes_slicer_where_there_is_no_itksnap_and_says_so_where_there_is_neither(unpacked):
    stand_in(unpacked.parent / "bin", "Slicer")
    folder, *words = started(unpacked, unpacked.parent / "bin")
    assert words == ["--python-script", "open_in_slicer.py"]
    assert (Path(folder) / words[1]).is_file()
    (told,) = started(unpacked, unpacked.parent / "nothing")
    assert "www.itksnap.org" in told


@pytest.mark.parametrize("was_saved", [False, True])
def test_the_slicer_script_loads_files_that_are_there_and_saves_under_the_name_we_read(
    unpacked, monkeypatch, was_saved
):
    slicer = MagicMock()
    monkeypatch.setitem(sys.modules, "slicer", slicer)
    script = unpacked / "cases" / "P0001_C1" / "open_in_slicer.py"
    saved = script.with_name("P0001_C1_mask.seg.nrrd")
    if was_saved:
        saved.touch()
    exec(compile(script.read_text(), str(script), "exec"), {"__file__": str(script)})
    for load in (slicer.util.loadVolume, slicer.util.loadColorTable, slicer.util.loadSegmentation):
        (call,) = load.call_args_list
        assert Path(call.args[0]).is_file()
    (loaded,) = slicer.util.loadSegmentation.call_args_list
    assert Path(loaded.args[0]).name == (saved.name if was_saved else "P0001_C1_mask.nii.gz")
    segmentation = slicer.util.loadSegmentation.return_value
    named = segmentation.GetStorageNode.return_value.SetFileName.call_args_list
    assert [Path(call.args[0]) for call in named] == ([] if was_saved else [saved])
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode.assert_called_once()


def test_open_bat_is_plain_ascii_and_names_files_that_are_there(unpacked):
    script = unpacked / "cases" / "P0001_C1" / "open.bat"
    text = script.read_bytes().decode("ascii")
    (line,) = [line for line in text.splitlines() if "%SNAP%" in line and "-g" in line]
    words = line.split('"')
    names = [word.replace("\\", "/") for word in words if word.endswith((".gz", ".label"))]
    assert len(names) == 3
    assert all((script.parent / name).is_file() for name in names)
