"""Files are whole or not there at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.core.errors import StorageError
from pipeline.core.files import json_text, make_private_folder, read_json, sha256_of, write_atomically, write_json
from tests.places import ROOT


def test_error_while_writing_leaves_the_old_file_and_no_other(tmp_path: Path):
    path = tmp_path / "a.json"
    write_json(path, {"kept": True})
    chunks = (b"half", 7)
    with pytest.raises(TypeError):
        write_atomically(path, chunks)  # type: ignore[arg-type]
    assert read_json(path) == {"kept": True}
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_kill_while_writing_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    script = (
        "import os, signal\nfrom pathlib import Path\nfrom pipeline.core.files import atomic_writer\n"
        f"with atomic_writer(Path({str(path)!r})) as file:\n"
        "    file.write(b'new' * 100000)\n    file.flush()\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = ROOT
    assert subprocess.run([sys.executable, "-c", script], cwd=root, check=False).returncode == -9
    assert path.read_bytes() == b"old"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full to play a full disk")
def test_full_disk_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    real_open = os.open
    monkeypatch.setattr(os, "open", lambda path, flags, mode=0o777: real_open("/dev/full", os.O_WRONLY))
    with pytest.raises(StorageError, match=r"^cannot write a\.json: disk full; free some space"):
        write_json(tmp_path / "a.json", {"content": "x" * 100_000})


def test_json_is_the_same_bytes_for_any_key_order():
    assert json_text({"b": 1, "a": "肝"}) == json_text({"a": "肝", "b": 1}) == '{\n  "a": "肝",\n  "b": 1\n}\n'


def test_unreadable_json_is_named_without_its_folder(tmp_path: Path):
    path = tmp_path / "state.json"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(StorageError, match=r"^state\.json is not readable JSON"):
        read_json(path)
    with pytest.raises(StorageError, match=r"^gone\.json is missing"):
        read_json(tmp_path / "gone.json")


def test_private_folder_is_closed_to_others(tmp_path: Path):
    assert make_private_folder(tmp_path / "private").stat().st_mode & 0o777 == 0o700


def test_sha256_is_the_known_one_of_abc(tmp_path: Path):
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    assert sha256_of(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-4
