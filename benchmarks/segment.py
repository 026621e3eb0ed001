"""Coarse labels side by side with nnU-Net's own command: same machine, model, images and settings.

    python benchmarks/segment.py small       many small images: wall and CPU seconds, and whether the labels are equal
    python benchmarks/segment.py large       one 512 x 512 x 300 image
    python benchmarks/segment.py memory      peak memory for 512 x 512 x 1000
    python benchmarks/segment.py priority    rank correlation of the queue with true error, on bodies never seen
    python benchmarks/segment.py quality     Dice of the demo network on bodies never seen, by phase
    python benchmarks/segment.py flywheel    what a round of reviewed cases from a noisier hospital makes of the network
    python benchmarks/segment.py gpu         a full-size network of random weights on a CUDA GPU, nnU-Net's defaults

Everything is made on the spot from the repository alone; a run leaves nothing behind.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.core.config import CoarseConfig
from pipeline.core.files import atomic_writer, read_json, write_json
from pipeline.core.geometry import Geometry
from pipeline.core.records import Phase
from pipeline.core.volume import LabelMap, Volume
from pipeline.image.nifti import content_sha256, read_labels, read_volume, write_nifti
from pipeline.segment.facts import label_facts
from pipeline.segment.models import Model, find_model
from pipeline.segment.nnunet import NnunetSegmenter
from pipeline.segment.postprocess import postprocess
from pipeline.segment.priority import rank
from pipeline.segment.training import train_small
from pipeline.segment.trainset import LabelledVolume, Origin, write_raw_dataset
from pipeline.synth.phantom import CT_PHASES, Phantom, make_phantom
from pipeline.synth.training_set import phantoms

ROOT = Path(__file__).resolve().parents[1]
UNSEEN_SEED = 4242
SMALL_COUNT = 24
MANY = 96
GPU_COUNT = 8
REVIEWED_SEED = 77
REVIEWED_COUNT = 32
HOSPITAL_NOISE_HU = 60.0


@dataclass(frozen=True)
class Cost:
    """Of one command, its children included."""

    wall_s: float
    cpu_s: float


def main() -> None:
    benchmarks: dict[str, Callable[[], None]] = {
        "small": small,
        "large": lambda: side_by_side([large_image(300)]),
        "memory": memory,
        "priority": priority,
        "quality": quality,
        "flywheel": flywheel,
        "gpu": gpu,
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", nargs="+", choices=benchmarks)
    for name in parser.parse_args().which:
        print(f"## {name}", flush=True)
        benchmarks[name]()


def demo() -> Model:
    return find_model(CoarseConfig(), Path())


def small_images(count: int) -> list[Volume]:
    return [phantom.volume for phantom in phantoms(count, seed=UNSEEN_SEED)]


def small() -> None:
    """A few images, where starting up counts, and many."""
    for count in (SMALL_COUNT, MANY):
        side_by_side(small_images(count))


def large_image(slices: int) -> Volume:
    """A whole body part as a modern scanner stores it: a phantom, every voxel repeated."""
    rng = np.random.default_rng(UNSEEN_SEED)
    coarse = make_phantom(rng, shape=(slices // 5, 128, 128), spacing_mm=(5.0, 2.9, 2.9), phase=Phase.PORTAL_VENOUS)
    voxels = coarse.volume.voxels.repeat(5, 0).repeat(4, 1).repeat(4, 2)
    return Volume(voxels, Geometry.from_axes(voxels.shape, spacing_mm=(1.0, 0.725, 0.725)))


def side_by_side(
    volumes: Sequence[Volume], *, device: str = "cpu", model: Model | None = None, their_defaults: bool = False
) -> None:
    """Both commands, each in a process of its own, imports and all."""
    chosen = model or demo()
    with tempfile.TemporaryDirectory() as folder:
        images, ours, theirs = (Path(folder) / name for name in ("images", "ours", "theirs"))
        for index, volume in enumerate(volumes):
            write_nifti(images / f"case{index:03d}_0000.nii.gz", volume)
        our_cost = timed(our_command(images, ours, chosen, device))
        their_cost = timed(nnunet_command(images, theirs, chosen, device, mirroring=their_defaults))
        network_s = sum(read_json(facts)["seconds"]["network"] for facts in ours.glob("*.json"))
        segmenter = NnunetSegmenter(chosen, device)
        compared = [difference(image, ours, theirs, segmenter) for image in sorted(images.iterdir())]
    print(f"images               {len(volumes)} of {'x'.join(map(str, volumes[0].voxels.shape))}, device {device}")
    for name, cost in (("liverset", our_cost), ("nnUNetv2_predict", their_cost)):
        hourly = 3600 * len(volumes) / cost.wall_s
        print(f"{name:<20} {cost.wall_s:7.1f} s wall {cost.cpu_s:7.1f} s CPU {hourly:9.0f} an hour")
    wall, cpu = their_cost.wall_s / our_cost.wall_s, their_cost.cpu_s / our_cost.cpu_s
    print(f"ratio                {wall:7.1f}   wall {cpu:7.1f}   CPU")
    print(f"network at work      {100 * network_s / our_cost.wall_s:7.0f} % of liverset's wall time, start-up included")
    print(f"differing voxels     {sum(voxels for voxels, _ in compared)} (before post-processing)", end=", ")
    print(f"least Dice {min(score for _, score in compared):.4f}")


def difference(image: Path, ours: Path, theirs: Path, segmenter: NnunetSegmenter) -> tuple[int, float]:
    """Differing voxels and foreground Dice of our label before post-processing, whose hash is on record, and theirs."""
    name = image.name.removesuffix("_0000.nii.gz")
    volume = read_volume(image)
    label = LabelMap(read_labels(theirs / f"{name}.nii.gz").voxels, volume.geometry)
    if read_json(ours / f"{name}_0000.json")["raw_sha256"] == content_sha256(label):
        return 0, 1.0
    found = segmenter.segment(volume).labels.voxels
    return int(np.count_nonzero(found != label.voxels)), dice(found > 0, label.voxels > 0)


def our_command(images: Path, out: Path, model: Model, device: str) -> list[str]:
    code = (
        "import sys; from pathlib import Path; from pipeline.core.config import CoarseConfig\n"
        "from pipeline.segment.batch import segment_files; from pipeline.segment.models import find_model\n"
        "images, out, model, device = sys.argv[1:]\n"
        "found = find_model(CoarseConfig(model=model), Path(), allow_unpinned=True)\n"
        "report = segment_files(sorted(Path(images).iterdir()), Path(out), found, device)\n"
        "sys.exit(len(report.failed))\n"
    )
    return [sys.executable, "-c", code, str(images), str(out), str(model.folder), device]


def nnunet_command(images: Path, out: Path, model: Model, device: str, *, mirroring: bool) -> list[str]:
    command = Path(sys.executable).with_name("nnUNetv2_predict_from_modelfolder")
    folds = [path.parent.name.removeprefix("fold_") for path in model.checkpoints]
    where = ["-i", str(images), "-o", str(out), "-m", str(model.folder)]
    return [str(command), *where, "-f", *folds, *([] if mirroring else ["--disable_tta"]), "-device", device]


def timed(command: Sequence[str]) -> Cost:
    before, start = children_cpu_s(), time.perf_counter()
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return Cost(time.perf_counter() - start, children_cpu_s() - before)


def children_cpu_s() -> float:
    used = os.times()
    return used.children_user + used.children_system


def memory() -> None:
    """In a process of its own, so that the peak is the label's."""
    code = (
        "import resource, sys; sys.path.insert(0, 'benchmarks')\n"
        "from segment import demo, large_image; from pipeline.segment.nnunet import NnunetSegmenter\n"
        "from pipeline.segment.postprocess import postprocess; from pipeline.core.config import CoarseConfig\n"
        "def peak(step): print(step, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)\n"
        "segmenter = NnunetSegmenter(demo(), 'cpu'); segmenter.load(); peak('GiB with the network loaded')\n"
        "volume = large_image(1000); print('million voxels', volume.voxels.size / 1e6)\n"
        "peak('GiB with the image too'); done = segmenter.segment(volume); peak('GiB labelled')\n"
        "postprocess(done.labels, CoarseConfig()); peak('GiB post-processed'); print('seconds', dict(done.seconds))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return float(2 * np.count_nonzero(first & second) / max(1, np.count_nonzero(first) + np.count_nonzero(second)))


def quality() -> None:
    for phase, scores in dice_by_phase(demo(), phantoms(SMALL_COUNT, seed=UNSEEN_SEED)).items():
        liver, lesion = np.array(scores).T
        print(f"{phase:<3} liver Dice {liver.mean():.3f} (least {liver.min():.3f})", end="   ")
        print(f"lesion Dice {np.nanmean(lesion):.3f}")


def dice_by_phase(model: Model, bodies: Iterable[Phantom]) -> dict[Phase, list[tuple[float, float]]]:
    """Liver and lesion Dice; NaN where there is no lesion."""
    segmenter = NnunetSegmenter(model, "cpu")
    rows: dict[Phase, list[tuple[float, float]]] = {phase: [] for phase in CT_PHASES}
    for index, phantom in enumerate(bodies):
        truth = phantom.labels.voxels
        found = postprocess(segmenter.segment(phantom.volume).labels, CoarseConfig()).labels.voxels
        lesion = dice(found == 2, truth == 2) if (truth == 2).any() else np.nan
        rows[CT_PHASES[index % len(CT_PHASES)]].append((dice(found > 0, truth > 0), lesion))
    return rows


def flywheel() -> None:
    """Round 1 labels, people correct (here: the truth), the network learns from it, round 2 labels other bodies.

    The images come from a hospital whose noise the network has not met.
    """
    with tempfile.TemporaryDirectory() as folder:
        reviewed = (
            LabelledVolume(f"P{index:04d}", phantom.volume, phantom.labels, Origin.REVIEWED)
            for index, phantom in enumerate(noisier(REVIEWED_COUNT, seed=REVIEWED_SEED))
        )
        raw = write_raw_dataset(Path(folder) / "raw", "Dataset502_Reviewed", reviewed)
        trained = train_small(raw, Path(folder) / "work", Path(folder) / "round-2", pretrained=demo())
        second = find_model(CoarseConfig(model=str(trained.folder)), Path(), allow_unpinned=True)
        for name, model in (("round 1", demo()), ("round 2", second)):
            by_phase = dice_by_phase(model, noisier(SMALL_COUNT, seed=UNSEEN_SEED))
            scores = np.array([row for rows in by_phase.values() for row in rows])
            print(f"{name}   liver Dice {scores[:, 0].mean():.3f}   lesion Dice {np.nanmean(scores[:, 1]):.3f}")
        print(f"{REVIEWED_COUNT} reviewed volumes, CPU seconds {dict(trained.seconds)}")


def noisier(count: int, *, seed: int) -> Iterator[Phantom]:
    rng = np.random.default_rng(seed)
    for phantom in phantoms(count, seed=seed):
        yield replace(phantom, volume=with_noise(phantom.volume, HOSPITAL_NOISE_HU, rng))


def with_noise(volume: Volume, noise_hu: float, rng: np.random.Generator) -> Volume:
    noisy = volume.voxels + rng.normal(0, noise_hu, volume.voxels.shape)
    return Volume(noisy.astype(np.int16), volume.geometry)


def priority() -> None:
    """Bodies never seen, a fifth of them in heavy noise and a tenth cut through the liver."""
    segmenter = NnunetSegmenter(demo(), "cpu")
    rng = np.random.default_rng(1)
    facts, wrong_ml = {}, {}
    for index, phantom in enumerate(phantoms(60, seed=UNSEEN_SEED)):
        spoiled = spoil(phantom, index, rng)
        segmentation = segmenter.segment(spoiled.volume)
        cleaned = postprocess(segmentation.labels, CoarseConfig())
        differing = np.count_nonzero(cleaned.labels.voxels != spoiled.labels.voxels)
        facts[index] = label_facts(segmentation, cleaned)
        wrong_ml[index] = differing * spoiled.volume.geometry.voxel_volume_ml
    queue = {row.key: row.priority for row in rank(facts)}
    plain = [index for index in facts if not is_spoiled(index)]
    for name, chosen in (("all", list(facts)), ("unspoiled", plain)):
        found = spearmanr([queue[index] for index in chosen], [wrong_ml[index] for index in chosen])
        print(f"{name:<10} {len(chosen)} volumes   Spearman of priority and wrongly labelled ml {found.statistic:.2f}")


def is_spoiled(index: int) -> bool:
    return index % 5 == 4 or index % 10 == 7


def spoil(phantom: Phantom, index: int, rng: np.random.Generator) -> Phantom:
    volume, labels = phantom.volume, phantom.labels
    if index % 5 == 4:
        volume = with_noise(volume, 60, rng)
    elif index % 10 == 7:
        first, count = volume.voxels.shape[0] // 3, volume.voxels.shape[0] // 3
        grid = volume.geometry.cropped((first, 0, 0), (count, *volume.voxels.shape[1:]))
        volume = Volume(volume.voxels[first : first + count], grid)
        labels = LabelMap(labels.voxels[first : first + count], grid)
    return Phantom(volume, labels, phantom.lesion_voxels)


def gpu() -> None:
    """Throughput of a full-size network, whose random weights say nothing of quality; then labels of the demo's."""
    import torch

    if not torch.cuda.is_available():
        print("not measured: there is no CUDA device")
        return
    print(torch.cuda.get_device_name())
    with tempfile.TemporaryDirectory() as folder:
        model = full_size_model(Path(folder) / "model")
        side_by_side([large_image(300)] * GPU_COUNT, device="cuda", model=model, their_defaults=True)
    side_by_side(small_images(SMALL_COUNT), device="cuda", their_defaults=True)


def full_size_model(folder: Path) -> Model:
    """A network as nnU-Net plans it for liver CT at 1 mm, with weights as they are before training."""
    import torch
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    plans = read_json(demo().folder / "plans.json")
    (name, configuration), *_ = plans["configurations"].items()
    arguments = configuration["architecture"]["arch_kwargs"]
    arguments |= {"n_stages": 6, "features_per_stage": [32, 64, 128, 256, 320, 320], "kernel_sizes": [[3, 3, 3]] * 6}
    arguments |= {
        "strides": [[1, 1, 1], *[[2, 2, 2]] * 5],
        "n_conv_per_stage": [2] * 6,
        "n_conv_per_stage_decoder": [2] * 5,
    }
    configuration |= {"spacing": [1.0, 0.767, 0.767], "patch_size": [128, 128, 128]}
    write_json(folder / "plans.json", plans)
    write_json(folder / "dataset.json", read_json(demo().folder / "dataset.json"))
    importable = configuration["architecture"]["_kw_requires_import"]
    network_class = configuration["architecture"]["network_class_name"]
    network = get_network_from_plans(network_class, arguments, importable, 1, 3, deep_supervision=False)
    checkpoint = {
        "network_weights": network.state_dict(),
        "trainer_name": "nnUNetTrainer",
        "init_args": {"configuration": name, "fold": "all"},
        "inference_allowed_mirroring_axes": (0, 1, 2),
    }
    with atomic_writer(folder / "fold_all" / "checkpoint_final.pth") as file:
        torch.save(checkpoint, file)
    return find_model(CoarseConfig(model=str(folder)), Path(), allow_unpinned=True)


if __name__ == "__main__":
    main()
