"""`SHA256SUMS`: the digest of every file of a release, in the format of `sha256sum --check`."""

from __future__ import annotations

from pathlib import Path

from pipeline.core.errors import ReleaseError
from pipeline.core.files import sha256_of, write_text
from pipeline.dataset.layout import ReleaseLayout


def write_sums(release: Path) -> None:
    """Record every file as it lies; call it last."""
    sums = ReleaseLayout(release).sums
    digests = {path: sha256_of(path) for path in files_of(release) if path != sums}
    write_text(sums, "".join(f"{digest}  {path.relative_to(release).as_posix()}\n" for path, digest in digests.items()))


def read_sums(release: Path) -> dict[str, str]:
    """SHA-256 of each recorded file by its path in the release.

    Raises:
        ReleaseError: when the record is missing or damaged.
    """
    sums = ReleaseLayout(release).sums
    try:
        lines = [line.split("  ", 1) for line in sums.read_text(encoding="utf-8").splitlines()]
        return {name: digest for digest, name in lines}
    except (OSError, ValueError):
        raise ReleaseError(f"{sums.name} is missing or damaged; copy the release again from its source") from None


def files_of(release: Path) -> list[Path]:
    """Every file of a release, links too, in order of their names."""
    return sorted(path for path in release.rglob("*") if path.is_file() or path.is_symlink())
