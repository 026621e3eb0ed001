"""The demo network, loaded once, on one thread: the machine that runs the tests may be shared."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.core.config import CoarseConfig
from pipeline.segment.models import Model, find_model
from pipeline.segment.nnunet import NnunetSegmenter


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def demo_model() -> Model:
    return find_model(CoarseConfig(model="demo"), Path())


@pytest.fixture(scope="session")
def segmenter(demo_model: Model) -> NnunetSegmenter:
    return NnunetSegmenter(demo_model, "cpu")
