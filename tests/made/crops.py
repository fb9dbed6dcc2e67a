"""Crops of two photos in batches, the facts of them, and a small body of a user's own."""

from typing import Any

import torch
from sklearn.datasets import load_sample_image
from torch import Tensor, nn
from torch.utils.data import DataLoader

from tabvision.schema import Image, Schema, Target
from tabvision.tasks import Multiclass, Task

LITE0 = "efficientnet_lite0"
HALF = (0.5, 0.5, 0.5)


def schema_of(task: Task | None = None, side: int = 64, **image: Any) -> Schema:
    """The facts of square images with some target."""
    task = Multiclass(2) if task is None else task
    classes = (
        tuple(f"class {place}" for place in range(getattr(task, "num_classes", 2) or 2)) if task.is_classes else ()
    )
    return Schema(
        target=Target(columns=("label",), task=task, classes=classes), image=Image(size=(side, side), **image)
    )


def own_body() -> nn.Sequential:
    """A small network of a user's own."""
    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3, stride=2))


def photos(num: int, side: int = 64) -> tuple[Tensor, Tensor]:
    """Crops of scikit-learn's two photos, uint8 and channels last, with the number of the photo."""
    crops, labels = [], torch.arange(num) % 2
    for label in labels.tolist():
        photo = torch.from_numpy(load_sample_image(("china.jpg", "flower.jpg")[label]).copy())
        top, left = (int(torch.randint(0, size - side, ())) for size in photo.shape[:2])
        crops.append(photo[top : top + side, left : left + side])
    return torch.stack(crops).permute(0, 3, 1, 2), labels


def loader(num: int = 32, side: int = 64) -> Any:
    """Batches of sixteen `photos`."""
    images, labels = photos(num, side)
    rows = [torch.arange(start, start + 16) for start in range(0, num, 16)]
    batches = [{"image": images[places], "target": labels[places], "index": places} for places in rows]
    return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]  # a list is a data set
