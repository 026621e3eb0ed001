"""`dataset.toml`: everything wrong is named at once, with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.core.config import Config, config_digest, load_config
from pipeline.core.errors import ConfigError
from pipeline.core.records import Phase

MINIMAL = '[dataset]\nname = "demo-liver"\n'


def config_from(folder: Path, text: str) -> Config:
    path = folder / "dataset.toml"
    path.write_text(text, encoding="utf-8")
    return load_config(path)


def test_minimal_file_gives_the_defaults(tmp_path: Path):
    config = config_from(tmp_path, MINIMAL)
    assert config.phases.required == (Phase.PLAIN, Phase.ARTERIAL, Phase.PORTAL_VENOUS, Phase.DELAYED)
    assert config.image.window is not None
    assert config.image.window.width_hu == 400


def test_missing_file_says_how_to_make_one(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"no dataset\.toml.*liverset init"):
        load_config(tmp_path / "dataset.toml")


def test_all_faults_are_named_at_once_with_their_lines(tmp_path: Path):
    text = MINIMAL + 'licence = "x"\n\n[review]\nraters = ["R1"]\nper_case = 3\n\n[image.window]\nwidth_hu = -5\n'
    with pytest.raises(ConfigError) as caught:
        config_from(tmp_path, text)
    faults = str(caught.value).splitlines()
    assert any("line 3" in fault and "dataset.licence: unknown key" in fault for fault in faults)
    assert any("line 5" in fault and "per_case is 3, but raters lists only 1 rater" in fault for fault in faults)
    assert any("line 10" in fault and "image.window.width_hu" in fault for fault in faults)
    assert len(faults) == 3


def test_broken_toml_names_the_place(tmp_path: Path):
    with pytest.raises(ConfigError, match="line 1"):
        config_from(tmp_path, "[dataset\n")


def test_range_upside_down_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"runs from 5\.0 to 1\.0"):
        config_from(tmp_path, MINIMAL + "[inclusion]\nslice_thickness_mm = [5.0, 1.0]\n")


def test_config_is_frozen(tmp_path: Path):
    config = config_from(tmp_path, MINIMAL)
    with pytest.raises(ValidationError, match="frozen"):
        config.run.jobs = 4  # type: ignore[misc]


def test_digest_hangs_on_content_not_on_order(tmp_path: Path):
    options = ["modified_dates", "clean_pixels", "clean_descriptors"]
    digests = {
        config_digest(config_from(tmp_path, f"{MINIMAL}[deidentification]\noptions = {order}\n").deidentification)
        for order in (options, options[::-1])
    }
    assert len(digests) == 1
    other = config_from(tmp_path, f"{MINIMAL}[deidentification]\noptions = {options[:2]}\n")
    assert config_digest(other.deidentification) not in digests
