"""Many images, one network: the next is read while this one is computed and the last one is written.

At most three volumes are in memory at a time. A case that fails is set aside with its reason and the rest goes on. What
a run before finished is kept when image, model, settings and label are all still the same; a label is finished when the
file that describes it is there, which is written last.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pipeline.core.config import CoarseConfig
from pipeline.core.errors import ConfigError, PipelineError, StorageError
from pipeline.core.files import read_json, sha256_of, write_json
from pipeline.core.volume import Volume
from pipeline.frames import Tabular
from pipeline.image.nifti import read_volume, write_nifti
from pipeline.segment.facts import label_facts
from pipeline.segment.models import Model
from pipeline.segment.nnunet import NnunetSegmenter, Prepared
from pipeline.segment.postprocess import postprocess
from pipeline.segment.segmenter import Segmentation

_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class SteppedSegmenter(Protocol):
    """A labeller whose steps may run in different threads: `NnunetSegmenter` or `chain.ChainedSegmenter`."""

    @property
    def config(self) -> CoarseConfig:
        """Limits and post-processing."""
        ...

    def load(self) -> object:
        """Read the networks."""
        ...

    def prepare(self, volume: Volume) -> Prepared:
        """The volume as the network wants it."""
        ...

    def infer(self, prepared: Prepared) -> Any:
        """What the network says, fit for `finish`."""
        ...

    def finish(self, inferred: Any) -> Segmentation:
        """Labels on the volume's grid."""
        ...

    def provenance(self) -> dict[str, Any]:
        """What decides a label."""
        ...


class Outcome(StrEnum):
    """What became of one image."""

    DONE = "done"
    KEPT = "kept"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One image of a batch.

    Attributes:
        name: of the image, without its ending.
        outcome: labelled now, kept from a run before, or set aside.
        reason: why it was set aside; empty otherwise.
        facts: what lies beside the label, see `facts.label_facts`; empty when set aside.
    """

    name: str
    outcome: Outcome
    reason: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, repr=False)
class BatchReport(Tabular):
    """What became of every image, in the order given."""

    columns = ("name", "outcome", "reason")

    images: tuple[LabelledImage, ...]
    seconds: float

    def rows(self) -> Sequence[Mapping[str, Any]]:
        """One row an image, with its facts."""
        return [{"name": row.name, "outcome": row.outcome, "reason": row.reason, **row.facts} for row in self.images]

    @property
    def failed(self) -> tuple[LabelledImage, ...]:
        """Images that were set aside."""
        return tuple(image for image in self.images if image.outcome is Outcome.FAILED)

    def to_json(self) -> dict[str, Any]:
        """The report as plain values."""
        return {"images": list(self.rows()), "failed": len(self.failed), "seconds": round(self.seconds, 2)}


@dataclass(frozen=True, slots=True)
class _Job:
    name: str
    image: Path
    label: Path
    facts: Path


@dataclass(frozen=True, slots=True, eq=False)
class _Read:
    """`content` is the facts of a run before where they still hold."""

    image_sha256: str
    seconds: float
    content: Prepared | Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class _Inferred:
    """`content` is what `finish` takes, or the facts of a run before."""

    image_sha256: str
    read_seconds: float
    content: Any


@dataclass(frozen=True, slots=True, eq=False)
class _Written:
    outcome: Outcome
    facts: Mapping[str, Any]


def segment_files(
    images: Sequence[Path],
    out: Path,
    model: Model,
    device: str = "auto",
    *,
    config: CoarseConfig | None = None,
    on_image: Callable[[LabelledImage], None] = lambda image: None,
) -> BatchReport:
    """`OUT/<name>.nii.gz` and `OUT/<name>.json` for every image that could be labelled.

    Args:
        images: NIfTI files.
        out: folder of the labels.
        model: see `models.find_model`.
        device: "cpu", "cuda", "cuda:1"; "auto" takes all CUDA devices there are, one worker each, else the CPU.
        config: limits and post-processing; the defaults where absent.
        on_image: told of each image as it is finished.

    Raises:
        ConfigError: when two images have the same name, or a label would overwrite an image.
        ModelError: when the network cannot be loaded.
    """
    from pipeline.segment.network import device_names

    settings = config or CoarseConfig()
    workers = [NnunetSegmenter(model, name, settings) for name in device_names(device)]
    return label_files(images, out, workers, on_image=on_image)


def label_files(
    images: Sequence[Path],
    out: Path,
    workers: Sequence[SteppedSegmenter],
    *,
    on_image: Callable[[LabelledImage], None] = lambda image: None,
) -> BatchReport:
    """The same as `segment_files`, by labellers of any kind.

    Args:
        images: NIfTI files.
        out: folder of the labels.
        workers: alike, one a device; each takes the next image when it is free.
        on_image: told of each image as it is finished, from the worker's thread.

    Raises:
        ConfigError: when two images have the same name, or a label would overwrite an image.
        ModelError: when a network cannot be loaded.
    """
    start = time.perf_counter()
    jobs = _jobs(images, out)
    if jobs:
        for worker in workers:
            worker.load()
    waiting = _Shared(jobs)
    done: dict[str, LabelledImage] = {}

    def work(worker: SteppedSegmenter) -> None:
        for image in _labelled(waiting, worker):
            done[image.name] = image
            on_image(image)

    for future in [_in_background(partial(work, worker)) for worker in workers]:
        future.result()
    return BatchReport(tuple(done[job.name] for job in jobs), time.perf_counter() - start)


class _Shared(Iterator[_Job]):
    """Jobs in order, each handed to whichever thread asks first."""

    def __init__(self, jobs: Iterable[_Job]) -> None:
        self._jobs, self._lock = iter(jobs), threading.Lock()

    def __next__(self) -> _Job:
        with self._lock:
            return next(self._jobs)


def _jobs(images: Sequence[Path], out: Path) -> list[_Job]:
    jobs = [_job(image, out) for image in images]
    names = [job.name for job in jobs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"several images are called {', '.join(twice)}; choose a separate output folder for each")
    overwritten = {job.label.resolve() for job in jobs} & {job.image.resolve() for job in jobs}
    if overwritten:
        raise ConfigError("the labels would overwrite the images; choose another folder with -o")
    return jobs


def _job(image: Path, out: Path) -> _Job:
    name = image.name.removesuffix(".gz").removesuffix(".nii")
    return _Job(name, image, out / f"{name}.nii.gz", out / f"{name}.json")


def _labelled(jobs: Iterable[_Job], segmenter: SteppedSegmenter) -> Iterator[LabelledImage]:
    """The pipeline. A step that fails hands its error on, so that only the end has to look."""
    timeout_s = segmenter.config.timeout_s
    behind: tuple[_Job, Future[_Written]] | None = None
    for job, read in _one_ahead(jobs, partial(_read, segmenter)):
        inferred = _now(partial(_infer, segmenter, read, timeout_s))
        written = _in_background(partial(_write, job, inferred, segmenter))
        if behind is not None:
            yield _told(*behind, timeout_s)
        behind = job, written
    if behind is not None:
        yield _told(*behind, timeout_s)


def _read(segmenter: SteppedSegmenter, job: _Job) -> _Read:
    start = time.perf_counter()
    image_sha256 = sha256_of(job.image)
    kept = _kept(job, image_sha256, segmenter)
    if kept is not None:
        return _Read(image_sha256, 0.0, kept)
    volume = read_volume(job.image)
    seconds = time.perf_counter() - start
    return _Read(image_sha256, seconds, segmenter.prepare(volume))


def _kept(job: _Job, image_sha256: str, segmenter: SteppedSegmenter) -> Mapping[str, Any] | None:
    """What a run before says of this image; None unless it would be done the same and its label is whole."""
    try:
        facts = read_json(job.facts)
        asked = (image_sha256, segmenter.provenance(), segmenter.config.min_lesion_mm3)
        same = (facts["image_sha256"], facts["model"], facts["min_lesion_mm3"]) == asked
        return facts if same and sha256_of(job.label) == facts["label_sha256"] else None
    except (StorageError, KeyError, TypeError):
        return None


def _infer(segmenter: SteppedSegmenter, read: Future[_Read], timeout_s: float) -> _Inferred:
    done = read.result(timeout_s)
    content = done.content if isinstance(done.content, Mapping) else segmenter.infer(done.content)
    return _Inferred(done.image_sha256, done.seconds, content)


def _write(job: _Job, inferred: Future[_Inferred], segmenter: SteppedSegmenter) -> _Written:
    done = inferred.result()
    if isinstance(done.content, Mapping):
        return _Written(Outcome.KEPT, done.content)
    segmentation = segmenter.finish(done.content)
    start = time.perf_counter()
    cleaned = postprocess(segmentation.labels, segmenter.config)
    write_nifti(job.label, cleaned.labels)
    seconds = {**segmentation.seconds, "read": done.read_seconds, "write": time.perf_counter() - start}
    facts = {
        "image_sha256": done.image_sha256,
        "label_sha256": sha256_of(job.label),
        "min_lesion_mm3": segmenter.config.min_lesion_mm3,
        **label_facts(segmentation, cleaned).to_json(),
        "seconds": {step: round(value, 4) for step, value in seconds.items()},
    }
    write_json(job.facts, facts)
    return _Written(Outcome.DONE, facts)


def _told(job: _Job, written: Future[_Written], timeout_s: float) -> LabelledImage:
    """The border of a case: whatever went wrong with it becomes its reason."""
    try:
        done = written.result(timeout_s)
        return LabelledImage(job.name, done.outcome, facts=done.facts)
    except PipelineError as error:
        reason = str(error)
    except TimeoutError:
        reason = f"reading or writing took longer than {timeout_s:.0f} s; check the disk, or raise timeout_s"
    except (MemoryError, RuntimeError, ValueError, OSError) as error:
        _log.exception("an image could not be labelled")
        reason = f"{type(error).__name__} in the network's libraries; the log has the details"
    return LabelledImage(job.name, Outcome.FAILED, reason)


def _one_ahead(jobs: Iterable[_Job], work: Callable[[_Job], _T]) -> Iterator[tuple[_Job, Future[_T]]]:
    """Each job with its work, begun while the job before it was in hand."""
    waiting: tuple[_Job, Future[_T]] | None = None
    for job in jobs:
        begun = job, _in_background(partial(work, job))
        if waiting is not None:
            yield waiting
        waiting = begun
    if waiting is not None:
        yield waiting


def _in_background(work: Callable[[], _T]) -> Future[_T]:
    """Work in a thread of its own, which nobody has to wait for: one that hangs dies with the process."""
    future: Future[_T] = Future()
    threading.Thread(target=_settle, args=(future, work), daemon=True).start()
    return future


def _now(work: Callable[[], _T]) -> Future[_T]:
    future: Future[_T] = Future()
    _settle(future, work)
    return future


def _settle(future: Future[_T], work: Callable[[], _T]) -> None:
    try:
        future.set_result(work())
    except Exception as error:  # noqa: BLE001 - handed on, not swallowed: `_told` raises it again
        future.set_exception(error)
