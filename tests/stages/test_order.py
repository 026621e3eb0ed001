"""Paths, file names and names of patients order nothing that leaves `private/`."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from pipeline import stages
from pipeline.workspace import Workspace
from tests.stages.awkward import Person, build, write_dataset

SURNAMES = ("Adler", "Berger", "Cermak", "Dorfer", "Egger", "Fuchs")


CONFLICT = {"SeriesDescription": "arterial, portal venous"}
"""Of two phases: a person must decide."""


def built(folder: Path, surnames: tuple[str, ...], layout: str) -> Workspace:
    """The same patients, by their numbers; called and filed otherwise. All but two need a person's decision."""
    people = tuple(
        Person(f"{surname}^Jo", f"9{(7 * n) % 10}{n}41", CONFLICT if n > 1 else {})
        for n, surname in enumerate(surnames)
    )
    ws = write_dataset(folder / "order", people)
    filed = folder / "filed"
    for n, surname in enumerate(surnames):
        for image in sorted((ws.root / "dicom" / f"{n:02d}").iterdir()):
            place = filed / layout.format(surname=surname, number=5 - n, image=image.name)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(image, place)
    shutil.rmtree(ws.root / "dicom")
    shutil.move(filed, ws.root / "dicom")
    build(ws)
    assert stages.PACK(ws).is_well
    assert stages.REPORT(ws).is_well
    return ws


def outside_private(ws: Workspace) -> dict[str, bytes]:
    """Every file that may be shown to others; not the sources, nor what the dataset's owner keeps."""
    files = (path for path in sorted(ws.root.rglob("*")) if path.is_file())
    names = {path.relative_to(ws.root).as_posix(): path for path in files}
    return {
        name: path.read_bytes()
        for name, path in names.items()
        if name.partition("/")[0] not in ("private", "dicom") and not name.endswith(".receipt.json")
    }


@pytest.mark.slow
def test_other_names_and_paths_change_no_byte_outside_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LIVERSET_SECRET", "5a" * 32)
    one = outside_private(built(tmp_path / "one", SURNAMES, "{surname}_Jo/{image}"))
    two = outside_private(built(tmp_path / "two", SURNAMES[::-1], "export/{number}/{surname}/{image}.dcm"))
    assert one.keys() == two.keys()
    assert len(one) > 20
    for name in ("problems", "exclusions"):
        listed = re.findall(rb"S[0-9a-f]{12}", one[f"reports/{name}.csv"])
        assert len(set(listed)) == 4
        assert listed == sorted(listed), f"{name} is in the order of pseudonyms"
    assert [name for name in one if one[name] != two[name]] == []
