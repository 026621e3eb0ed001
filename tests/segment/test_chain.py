"""A liver network and a lesion network in turn; here both are the demo network, asked for different labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.config import CoarseConfig, LesionNetworkConfig
from pipeline.core.errors import ModelError
from pipeline.core.labels import Label
from pipeline.core.records import Phase
from pipeline.core.volume import Volume
from pipeline.image.nifti import write_nifti
from pipeline.segment.batch import Outcome, label_files
from pipeline.segment.chain import ChainedSegmenter, open_segmenter
from pipeline.segment.nnunet import NnunetSegmenter
from pipeline.synth.phantom import make_phantom

CHAIN = CoarseConfig(device="cpu", lesions=LesionNetworkConfig(margin_mm=30.0))


@pytest.fixture(scope="module")
def chain() -> ChainedSegmenter:
    opened = open_segmenter(CHAIN, Path())
    assert isinstance(opened, ChainedSegmenter)
    return opened


@pytest.fixture(scope="module")
def volume() -> Volume:
    rng = np.random.default_rng(6)
    return make_phantom(rng, shape=(38, 76, 76), spacing_mm=(6.0, 5.0, 5.0), phase=Phase.PORTAL_VENOUS).volume


def test_liver_comes_from_the_first_and_lesions_from_the_second_network(
    chain: ChainedSegmenter, segmenter: NnunetSegmenter, volume: Volume
):
    chained = chain.segment(volume).labels.voxels
    first = segmenter.segment(volume).labels.voxels
    assert np.array_equal((chained > 0) | (first > 0), chained > 0)
    liver = np.argwhere(first > 0)
    reach = np.ceil(30.0 / np.array(volume.geometry.spacing_mm))
    lesions = np.argwhere(chained == Label.LESION)
    assert (lesions >= liver.min(0) - reach).all()
    assert (lesions <= liver.max(0) + reach).all()


def test_provenance_names_both_networks(chain: ChainedSegmenter, volume: Volume):
    model = chain.segment(volume).model
    assert model["lesions"]["sha256"] == chain.lesions.model.sha256
    assert model["margin_mm"] == 30.0


def test_volume_without_a_liver_needs_no_second_network(chain: ChainedSegmenter, volume: Volume):
    blind = NnunetSegmenter(replace(chain.liver.model, labels={}), "cpu", CHAIN)
    done = ChainedSegmenter(blind, chain.lesions, 30.0).segment(volume)
    assert not done.labels.voxels.any()


def test_a_batch_takes_a_chain_and_keeps_its_labels(tmp_path: Path, chain: ChainedSegmenter, volume: Volume):
    write_nifti(tmp_path / "case.nii.gz", volume)
    for expected in (Outcome.DONE, Outcome.KEPT):
        report = label_files([tmp_path / "case.nii.gz"], tmp_path / "out", [chain])
        assert report.images[0].outcome is expected


def test_second_network_is_pinned_too(tmp_path: Path):
    with pytest.raises(ModelError, match="pinned is"):
        open_segmenter(CoarseConfig(lesions=LesionNetworkConfig(sha256="0" * 64)), tmp_path)
