"""From settled masks back to the network: train the next round's model, and measure a model on test patients."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.config import CoarseConfig, NetworkConfig
from pipeline.core.errors import ModelError, ReleaseError
from pipeline.core.file_names import nnunet_labels
from pipeline.core.files import read_json
from pipeline.core.records import Phase
from pipeline.core.volume import LabelMap, Volume
from pipeline.stages.artefacts import ConvertedVolume, VolumeKey
from pipeline.stages.case import screened_cases
from pipeline.stages.settle import settled_volume
from pipeline.stages.tables import rated_volume
from pipeline.workspace import Workspace

if TYPE_CHECKING:
    from pipeline.agreement.summary import RatedVolume
    from pipeline.dataset.reading import Release
    from pipeline.dataset.splits import Bin
    from pipeline.evaluate.evaluation import Evaluation
    from pipeline.segment.models import Model
    from pipeline.segment.training import Lesson
    from pipeline.segment.trainset import LabelledVolume

DATASET_NUMBER = 501
"""nnU-Net's own datasets stay below 500."""


def train_model(
    ws: Workspace,
    version: str,
    out: Path,
    work: Path,
    *,
    device: str,
    pretrained: str | None = None,
    full: bool = False,
    with_coarse: bool = False,
) -> Model:
    """A network trained on the training patients of a release, ready to be named in `dataset.toml`.

    Args:
        ws: the dataset.
        version: whose training patients are used; no test patient is.
        out: where the model goes.
        work: for nnU-Net's intermediate files; may be deleted afterwards. With `full`, an interrupted training
            resumes from what lies there.
        device: "cpu" or "cuda".
        pretrained: name or folder of a model to start from; not with `full`.
        full: nnU-Net's own full-size plans, one network a fold, from settled masks alone, instead of a small one.
        with_coarse: learn from coarse labels too, of cases that are not in the release, as LiQA's winner did; each
            label's origin stays recorded beside the training set.

    Raises:
        ModelError: when the pretrained model cannot be used, or there is no training patient.
        ReleaseError: when there is no such version.
    """
    from pipeline.segment.models import find_model
    from pipeline.segment.training import train_full, train_small
    from pipeline.segment.trainset import write_raw_dataset

    _require_alone(full=full, others=bool(pretrained) or with_coarse)
    training_volumes = chain(_reviewed_volumes(ws, version), _coarse_volumes(ws, version) if with_coarse else ())
    raw = write_raw_dataset(work / "raw", _training_name(ws), training_volumes)
    if full:
        folds = read_json(_release(ws, version).nnunet_splits)
        train_full(raw, work, out, splits=folds, device=device)
    else:
        model = _named_model(ws, pretrained) if pretrained else None
        train_small(raw, work, out, pretrained=model, device=device)
    return find_model(CoarseConfig(model=str(out.resolve())), ws.root, allow_unpinned=True)


def train_folds(
    ws: Workspace,
    version: str,
    out: Path,
    work: Path,
    *,
    device: str,
    pretrained: str | None = None,
    full: bool = False,
    lessons: Sequence[Lesson] | None = None,
) -> Evaluation:
    """One network a fold of a release, each measured on the patients it never saw: the cross-validation of a paper.

    Images and masks are those of the release, so that whoever has a copy can repeat it with any network. Networks go to
    `out/models`, their masks to `out/predictions`, the tables beside them.

    Args:
        ws: the dataset; its `[coarse]` says how masks are cleaned.
        version: whose folds; no test patient is used.
        out: where everything goes.
        work: as of `train_model`.
        device: "cpu" or "cuda".
        pretrained: name or folder of a model that each fold starts from; not with `full`.
        full: nnU-Net's own full-size plans instead of a small network.
        lessons: how long a small network learns; see `train_small`.

    Raises:
        ModelError: when the pretrained model cannot be used.
        ReleaseError: when there is no such version, or no patient of it has a fold.
    """
    from pipeline.dataset.reading import open_release
    from pipeline.evaluate.evaluation import evaluate
    from pipeline.evaluate.tables import write_evaluation
    from pipeline.image.nifti import write_nifti

    _require_alone(full=full, others=bool(pretrained))
    layout = _release(ws, version)
    folds = _Folds(open_release(layout.root), read_json(layout.nnunet_splits), _training_name(ws), work, device)
    folds.require_patients()
    start = _named_model(ws, pretrained) if pretrained else None
    models = folds.full(out / "models") if full else folds.small(out / "models", start, lessons)
    for folder, split in zip(models, folds.splits, strict=True):
        config = coarse_of(ws, str(folder.resolve()), device)
        for name in split["val"]:
            labels = _labelled_by(ws, config, folds.release.image(*name.split("_", 1)))
            write_nifti(out / "predictions" / nnunet_labels(name), labels)
    evaluation = evaluate(layout.root, out / "predictions")
    write_evaluation(evaluation, out)
    return evaluation


@dataclass(frozen=True, slots=True)
class _Folds:
    """The folds of a release, by the names that nnU-Net gives volumes, and how networks are trained on them."""

    release: Release
    splits: Sequence[Mapping[str, Sequence[str]]]
    name: str
    work: Path
    device: str

    def require_patients(self) -> None:
        """Raise a `ReleaseError` when a fold has nobody to train on or to be measured on."""
        if not all(split["train"] and split["val"] for split in self.splits):
            raise ReleaseError(
                f"version {self.release.version} has fewer training patients than folds; cut a version with more cases"
            )

    def small(self, out: Path, pretrained: Model | None, lessons: Sequence[Lesson] | None) -> Iterator[Path]:
        """The folder of each fold's small network, trained when it is asked for."""
        from pipeline.segment.training import train_small

        for number, split in enumerate(self.splits):
            model, work = out / f"fold_{number}", self.work / f"fold_{number}"
            raw = self._written(work, split["train"])
            train_small(raw, work, model, pretrained=pretrained, device=self.device, lessons=lessons)
            yield model

    def full(self, out: Path) -> Iterator[Path]:
        """The folder of each fold's full-size network, taken out of the ensemble that nnU-Net trains."""
        from pipeline.segment.models import single_folds
        from pipeline.segment.training import train_full

        raw = self._written(self.work, sorted({name for split in self.splits for name in split["val"]}))
        train_full(raw, self.work, out / "ensemble", splits=self.splits, device=self.device)
        yield from single_folds(out / "ensemble", out)

    def _written(self, folder: Path, names: Iterable[str]) -> Path:
        from pipeline.segment.trainset import LabelledVolume, Origin, write_raw_dataset

        volumes = ((name, name.split("_", 1)) for name in names)
        cases = (
            LabelledVolume(name, self.release.image(*volume), self.release.labels(*volume), Origin.REVIEWED)
            for name, volume in volumes
        )
        return write_raw_dataset(folder / "raw", self.name, cases)


def _training_name(ws: Workspace) -> str:
    """What nnU-Net calls the dataset."""
    return f"Dataset{DATASET_NUMBER}_{''.join(part.capitalize() for part in ws.config.dataset.name.split('-'))}"


def _require_alone(*, full: bool, others: bool) -> None:
    if full and others:
        raise ModelError("--full trains from settled masks alone; remove --pretrained and --with-coarse")


def evaluate_model(ws: Workspace, version: str, name: str | None, *, device: str) -> list[dict[str, Any]]:
    """How near a model comes to the settled masks of a release's test patients, as LiMT's Tables VIII and IX tell it.

    One row a group (all, phase, vendor, slice thickness), structure and measure, with mean and standard deviation.

    Args:
        ws: the dataset, whose `[coarse]` says how a network's output is read and cleaned.
        version: whose test patients.
        name: registered name or folder of a model that takes the place of all networks of `[coarse]`; None for these.
        device: "cpu" or "cuda".

    Raises:
        ModelError: when the model cannot be used.
        ReleaseError: when there is no such version, or it has no test patient.
    """
    from pipeline.agreement.summary import summarise
    from pipeline.agreement.tables import COARSE_MEASURES

    config = coarse_of(ws, name, device)
    rated = [_against_model(ws, config, case_id, phase) for case_id, phase in _volumes(ws, version, is_test=True)]
    if not rated:
        raise ReleaseError(
            f"version {version} has no test patients; set test_fraction in [splits] and cut a new version"
        )
    rows = (row.to_json() for row in summarise(rated))
    return [row for row in rows if row["measure"] in COARSE_MEASURES]


def coarse_of(ws: Workspace, name: str | None, device: str) -> CoarseConfig:
    """The dataset's `[coarse]` on a device; for another model its limits and post-processing alone."""
    own = {"device": device}
    if name is None or name == ws.config.coarse.model:
        return ws.config.coarse.model_copy(update=own)
    of_networks = {*NetworkConfig.model_fields, "lesions"}
    return CoarseConfig(**ws.config.coarse.model_dump(exclude=of_networks) | own | {"model": name})


def _release(ws: Workspace, version: str) -> Any:
    from pipeline.dataset.layout import ReleaseLayout

    folder = ws.layout.release(version)
    if not folder.is_dir():
        raise ReleaseError(f"version {version} does not exist; cut it with `liverset release cut`")
    return ReleaseLayout(folder)


def _volumes(ws: Workspace, version: str, *, is_test: bool) -> Iterator[VolumeKey]:
    """Volumes of the test patients of a version, or of all others."""
    cases = screened_cases(ws)
    for case_id, (split, _) in sorted(_places(ws, version).items()):
        if (split != "train") == is_test:
            yield from ((case_id, phase) for phase in cases[case_id].series)


def _places(ws: Workspace, version: str) -> Mapping[str, Bin]:
    """Split and fold of each patient of a version."""
    from pipeline.dataset.splits import Splits

    return Splits.read(_release(ws, version).splits).places


def _reviewed_volumes(ws: Workspace, version: str) -> Iterator[LabelledVolume]:
    from pipeline.review.assignment import item_id_of
    from pipeline.segment.trainset import LabelledVolume, Origin

    for case_id, phase in _volumes(ws, version, is_test=False):
        labels, image = settled_volume(ws, case_id, phase)
        yield LabelledVolume(item_id_of(case_id, phase), image, labels.levels, Origin.REVIEWED)


def _coarse_volumes(ws: Workspace, version: str) -> Iterator[LabelledVolume]:
    """Network labels of cases that are not in this version."""
    from pipeline.image.nifti import read_labels, read_volume
    from pipeline.review.assignment import item_id_of
    from pipeline.segment.trainset import LabelledVolume, Origin

    settled = _places(ws, version)
    for case_id, case in screened_cases(ws).items():
        for phase in case.series if case_id not in settled else ():
            image, coarse = ws.layout.image(case_id, phase), ws.layout.coarse(case_id, phase)
            if coarse.is_file():
                volume, labels = read_volume(image, ws.unit), read_labels(coarse)
                yield LabelledVolume(item_id_of(case_id, phase), volume, labels, Origin.PSEUDO)


def _named_model(ws: Workspace, name: str) -> Model:
    from pipeline.segment.models import find_model

    return find_model(CoarseConfig(model=name), ws.root, allow_unpinned=True)


def _against_model(ws: Workspace, config: CoarseConfig, case_id: str, phase: Phase) -> RatedVolume:
    from pipeline.agreement.agree import agree

    labels, image = settled_volume(ws, case_id, phase)
    found = agree({"model": _labelled_by(ws, config, image), "reviewed": labels.levels})
    return rated_volume(ConvertedVolume.load(ws.layout.header(case_id, phase)), found)


def _labelled_by(ws: Workspace, config: CoarseConfig, image: Volume) -> LabelMap:
    from pipeline.segment.postprocess import postprocess
    from pipeline.stages.label import segmenter_of

    return postprocess(segmenter_of(config, ws.root, allow_unpinned=True).segment(image).labels, config).labels
