"""What `liverset doctor` checks: everything that was seen to break an installation."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

MIN_FREE_GB = 5.0
"""Space for a demo with its reports; a real dataset needs about twice its DICOM."""

UPPER_BOUNDS = {"fastapi": (0, 155), "sqlalchemy": (2, 1)}
"""From these versions on Prefect 3.8 breaks: at import, and in the scheduler."""

NEEDED = ("pydicom", "simpleitk", "numpy", "nnunetv2", "torch", "prefect", "pandas", "scikit-image", "rapidocr")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at: what, whether it is right, what was found, and the fix."""

    what: str
    ok: bool
    found: str
    fix: str = ""


def checks() -> tuple[Check, ...]:
    """Everything worth checking on this machine."""
    return tuple(_checks())


def _checks() -> Iterator[Check]:
    python = ".".join(map(str, sys.version_info[:3]))
    yield Check("Python", (3, 11) <= sys.version_info[:2] <= (3, 13), python, "use Python 3.11 to 3.13")
    for name in NEEDED:
        found = _version(name)
        yield Check(name, found is not None, found or "not installed", "install liverset again with constraints.txt")
    for name, bound in UPPER_BOUNDS.items():
        found = _version(name) or "not installed"
        low_enough = found != "not installed" and tuple(int(part) for part in found.split(".")[:2]) < bound
        yield Check(
            name,
            low_enough,
            found,
            f"install {name} below {bound[0]}.{bound[1]}: Prefect does not work with newer versions",
        )
    yield _demo_model()
    yield _device()
    free_gb = shutil.disk_usage(Path.cwd()).free / 1e9
    yield Check("free disk", free_gb >= MIN_FREE_GB, f"{free_gb:.0f} GB", f"free at least {MIN_FREE_GB:.0f} GB")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _demo_model() -> Check:
    from pipeline.core.config import CoarseConfig
    from pipeline.core.errors import ModelError
    from pipeline.segment.models import find_model

    try:
        find_model(CoarseConfig(), Path.cwd())
    except ModelError as error:
        return Check("demo model", ok=False, found=str(error), fix="install liverset again")
    return Check("demo model", ok=True, found="complete, checksum correct")


def _device() -> Check:
    if importlib.util.find_spec("torch") is None:
        return Check(
            "device", ok=False, found="torch is not installed", fix="install liverset again with constraints.txt"
        )
    from pipeline.segment.network import device_names

    return Check("device", ok=True, found=", ".join(device_names("auto")))
