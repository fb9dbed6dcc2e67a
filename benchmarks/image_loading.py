"""Compare loaders of augmented, normalized images: same files, batch and threads; alternating, each in its own process.

    python benchmarks/image_loading.py PHOTOS --fastai-python peers/bin/python --out benchmarks/results/image_loading.json

Speed is images per second over whole epochs. The first epoch, which imports and warms up, is dropped without a cache and
listed separately with one; `--copies` makes an epoch of a few photos as long as one of many. Each library augments as its
documentation recommends: fastai presizes to 460 and applies `aug_transforms`; torchvision and timm take a random resized
crop and a flip, which is less work. `decode` is the upper limit: decode the same whole JPEG files with the fastest decoder
in as many threads, and do nothing else.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import describe_run, last_json, make_parser, run_facts, table, tell

PACKAGES = ("tabvision", "torch", "torchvision", "timm", "opencv-python-headless", "simplejpeg", "pillow")
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
EPOCHS = 4
FASTAI_EPOCHS = 2  # few, since it is the slowest; its first epoch is as fast as its second

Epoch = Callable[[], int]
"""Read every image once and return how many there are."""


def main(words: Sequence[str] | None = None) -> None:
    options = parse(words)
    if options.loader:
        print(json.dumps(measured(options)))
        return
    pythons = dict.fromkeys(LOADERS, sys.executable) | {"fastai": options.fastai_python}
    found: dict[str, list[list[float]]] = {name: [] for name in options.loaders}
    with tempfile.TemporaryDirectory() as scratch:
        options.photos = copied(training_folder(options.photos), options.copies, Path(scratch))
        for turn in range(options.rounds):
            for name, runs in found.items():
                speeds = one_process(name, pythons[name], options)
                print(f"round {turn + 1}: {name} {[round(speed) for speed in speeds]}", file=sys.stderr)
                runs.append(speeds)
    result = {
        **run_facts(options.workers, PACKAGES),
        "rounds": options.rounds,
        "size": options.size,
        "batch_size": options.batch_size,
        "copies": options.copies,
        "loaders": {name: summary(name, runs) for name, runs in found.items()},
    }
    tell(result, to_markdown(result), options.out)


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("photos", type=Path, help="a folder of class folders")
    parser.add_argument("--fastai-python", default=sys.executable, help="a Python that has fastai")
    parser.add_argument("--loaders", type=lambda text: text.split(","), default=list(LOADERS))
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--copies", type=int, default=4, help="of each photo in an epoch")
    parser.add_argument("--workers", type=int, default=2, help="threads or processes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--loader", help=argparse.SUPPRESS)  # run one loader in this process
    return parser.parse_args(words)


def copied(folder: Path, copies: int, scratch: Path) -> Path:
    """Return a folder that has each photo of another folder several times, as links."""
    for number in range(copies):
        for photo in folder.glob("*/*"):
            link = scratch / photo.parent.name / f"{number}_{photo.name}"
            link.parent.mkdir(exist_ok=True)
            link.symlink_to(photo.resolve())
    return scratch


def one_process(name: str, python: str, options: argparse.Namespace) -> list[float]:
    """Return images per second for each epoch, in a new process; empty if the library is not installed."""
    facts = {"size": options.size, "batch-size": options.batch_size, "workers": options.workers}
    settings = [word for key, value in facts.items() for word in (f"--{key}", str(value))]
    command = [python, __file__, str(options.photos), "--loader", name, *settings]
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.workers), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        print(done.stderr[-2000:], file=sys.stderr)
        return []
    return list(last_json(done.stdout)["speeds"])


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Return images per second for each epoch, in this process."""
    epoch = LOADERS[options.loader](options)
    speeds = []
    for _ in range(FASTAI_EPOCHS if options.loader == "fastai" else EPOCHS):
        start = time.perf_counter()
        num = epoch()
        speeds.append(num / (time.perf_counter() - start))
    return {"speeds": speeds}


def tabvision(options: argparse.Namespace, *, cache: str | None = None) -> Epoch:
    import torch

    from tabvision.data import ImageDataModule

    torch.set_num_threads(options.workers)
    data = ImageDataModule(
        files_of(options.photos),
        "label",
        size=options.size,
        batch_size=options.batch_size,
        num_workers=options.workers,
        cache=cache,
        split=None,
        verbose=False,
    )
    loader = data.train_dataloader()
    return lambda: sum(len(data.on_after_batch_transfer(batch, 0)["image"]) for batch in loader)


def tabvision_cached(options: argparse.Namespace) -> Epoch:
    return tabvision(options, cache="memory")


def decode(options: argparse.Namespace) -> Epoch:
    from tabvision.data.images.decode import open_image
    from tabvision.data.images.reader import single_threaded_cv2

    files = files_of(options.photos)["image"].tolist()
    threads = ThreadPoolExecutor(options.workers)

    def epoch() -> int:
        with single_threaded_cv2():
            return len(list(threads.map(lambda file: open_image(file).decode().pixels.shape, files)))

    return epoch


def torchvision(options: argparse.Namespace) -> Epoch:
    import torch

    v2: Any = importlib.import_module("torchvision.transforms.v2")
    io: Any = importlib.import_module("torchvision.io")
    files = files_of(options.photos)
    labels = sorted(set(files["label"]))
    change = v2.Compose(
        [
            v2.RandomResizedCrop(options.size, scale=(0.75, 1.0), antialias=True),
            v2.RandomHorizontalFlip(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, SPREAD),
        ]
    )

    class Photos(torch.utils.data.Dataset[Any]):
        def __len__(self) -> int:
            return len(files)

        def __getitem__(self, row: int) -> Any:  # noqa: ANN401 - a pair of tensors
            image = io.decode_image(io.read_file(files["image"].iloc[row]), io.ImageReadMode.RGB)
            return change(image), labels.index(files["label"].iloc[row])

    return epochs_of(torch_loader(Photos(), options))


def timm(options: argparse.Namespace) -> Epoch:
    data: Any = importlib.import_module("timm.data")
    dataset = data.ImageDataset(str(training_folder(options.photos)))
    loader = data.create_loader(
        dataset,
        input_size=(3, options.size, options.size),
        batch_size=options.batch_size,
        is_training=True,
        use_prefetcher=False,
        scale=(0.75, 1.0),
        color_jitter=None,
        num_workers=options.workers,
        persistent_workers=options.workers > 0,
        device=importlib.import_module("torch").device("cpu"),
    )
    return epochs_of(loader)


def fastai(options: argparse.Namespace) -> Epoch:
    vision: Any = importlib.import_module("fastai.vision.all")
    block = vision.DataBlock(
        blocks=(vision.ImageBlock, vision.CategoryBlock),
        get_items=vision.get_image_files,
        get_y=vision.parent_label,
        splitter=vision.RandomSplitter(0.01, seed=0),
        item_tfms=vision.Resize(460),
        batch_tfms=[
            *vision.aug_transforms(size=options.size, min_scale=0.75),
            vision.Normalize.from_stats(MEAN, SPREAD),
        ],
    )
    loaders = block.dataloaders(training_folder(options.photos), bs=options.batch_size, num_workers=options.workers)
    return epochs_of(loaders.train)


def torch_loader(dataset: Any, options: argparse.Namespace) -> Iterable[Any]:  # noqa: ANN401 - a Dataset
    data: Any = importlib.import_module("torch.utils.data")
    loader: Iterable[Any] = data.DataLoader(
        dataset,
        batch_size=options.batch_size,
        shuffle=True,
        num_workers=options.workers,
        persistent_workers=options.workers > 0,
    )
    return loader


def epochs_of(loader: Iterable[Any]) -> Epoch:
    """Return an epoch function for a loader whose batches have the images first."""
    return lambda: sum(len(batch[0]) for batch in loader)


def training_folder(photos: Path) -> Path:
    """Return the folder that holds the class folders."""
    return photos / "train" if (photos / "train").is_dir() else photos


def files_of(photos: Path) -> Any:  # noqa: ANN401 - a frame
    """Return the training files and their labels."""
    from tabvision.data.images.folders import class_folders

    return class_folders(training_folder(photos)).frame


LOADERS: dict[str, Callable[[argparse.Namespace], Epoch]] = {
    "tabvision": tabvision,
    "tabvision_cached": tabvision_cached,
    "decode": decode,
    "torchvision": torchvision,
    "timm": timm,
    "fastai": fastai,
}


def summary(name: str, runs: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Return the median of the rounds' medians, with the first epoch separate if there is a cache."""
    worked = [run for run in runs if run]
    if not worked:
        return {"missing": name}
    later = [statistics.median(run[1:]) for run in worked]
    return {
        "images_per_second": statistics.median(later),
        "first_epoch": statistics.median(run[0] for run in worked),
        "rounds": [list(run) for run in worked],
    }


def to_markdown(result: Mapping[str, Any]) -> str:
    """Return the figures as a table.

    Example:
        >>> found = {"loaders": {"fastai": {"missing": "fastai"}}, "size": 224, "batch_size": 64}
        >>> to_markdown({**run_facts(2), **found}).splitlines()[2]
        '| fastai | not installed |  |  |'
    """
    ours = result["loaders"].get("tabvision", {}).get("images_per_second")
    rows = []
    for name, found in result["loaders"].items():
        if "missing" in found:
            rows.append([name, "not installed", "", ""])
            continue
        speed = found["images_per_second"]
        ratio = f"{ours / speed:.2f}" if ours else ""
        rows.append([name, f"{speed:,.0f}", f"{found['first_epoch']:,.0f}", ratio])
    title = f"loader, {result['size']} px, batch {result['batch_size']}"
    headers = [title, "images/s", "in the first epoch", "tabvision is … times as fast"]
    return f"{table(headers, rows)}\n\n{describe_run(dict(result))}."


if __name__ == "__main__":
    main()
