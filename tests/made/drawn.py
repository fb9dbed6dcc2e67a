"""Images for the sweeps, drawn from the rows of a table: each channel's brightness is one of its columns."""

from dataclasses import replace
from pathlib import Path
from typing import Any, final

import pandas as pd
import torch
from PIL import Image as PilImage
from torch import Tensor

from tabvision.data import TabularDataModule
from tabvision.data.base import DataPart, TensorDataModule
from tabvision.schema import Image, Schema

SIDE = 32  # one such image ends in a map of one pixel


@final
class ImageTensors(TensorDataModule):
    """The targets and parts of a table, with an image in place of each row's columns."""

    def __init__(self, table: TabularDataModule, schema: Schema | None = None) -> None:
        super().__init__(batch_size=table.batch_size, seed=table.seed)
        self.schema = schema or Schema(target=table.schema.target, image=Image(size=(SIDE, SIDE)))
        self.frame: pd.DataFrame = table.frame
        self.parts = {name: _drawn(part) for name, part in table.parts.items()}


def _drawn(part: DataPart) -> DataPart:
    kept = {name: tensor for name, tensor in part.tensors.items() if name in ("target", "weight")}
    return DataPart({"image": draw(part.tensors), **kept}, part.rows)


@final
class FusedTensors(TensorDataModule):
    """A table, with two images beside each row's columns, of which every fifth row lacks the second."""

    def __init__(self, table: TabularDataModule, schema: Schema | None = None) -> None:
        super().__init__(batch_size=table.batch_size, seed=table.seed)
        image = Image(name="file", others=("back",), size=(SIDE, SIDE), optional=True)
        self.schema = schema or replace(table.schema, image=image)
        self.frame: pd.DataFrame = table.frame
        self.parts = {name: _with_images(part) for name, part in table.parts.items()}


def _with_images(part: DataPart) -> DataPart:
    front = draw(part.tensors)
    has_image = torch.ones(len(front), 2)
    has_image[::5, 1] = 0
    images = torch.stack([front, front.flip(3) * has_image[:, 1:, None, None].to(torch.uint8)], dim=1)
    return DataPart({**part.tensors, "image": images, "has_image": has_image}, part.rows)


def draw(columns: Any) -> Tensor:
    """(R, 3, SIDE, SIDE) uint8, channels last in memory: two numbers and a category as brightness, over a fixed pattern."""
    job = columns["categorical"][:, :1].float() - 2
    brightness = torch.cat([columns["continuous"][:, :2].float(), job], dim=1)
    pattern = torch.linspace(-1, 1, SIDE)[:, None] * torch.linspace(-1, 1, SIDE)
    values = 128 + 40 * brightness[:, :, None, None] + 30 * pattern
    return values.clamp(0, 255).to(torch.uint8).contiguous(memory_format=torch.channels_last)


def with_files(frame: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """The frame with a column `file`: an image of each row, written to the folder."""
    numbers = frame[["x", "z"]].sub([0.0, 100.0]).div([1.0, 50.0]).fillna(0.0)
    jobs = pd.Categorical(frame["job"], ["cook", "nurse", "pilot"]).codes + 1
    columns = {"continuous": torch.tensor(numbers.to_numpy()), "categorical": torch.tensor(jobs)[:, None]}
    folder.mkdir(exist_ok=True)
    files = [folder / f"{row}.png" for row in range(len(frame))]
    for file, pixels in zip(files, draw(columns).permute(0, 2, 3, 1), strict=True):
        PilImage.fromarray(pixels.numpy()).save(file)
    return frame.assign(file=[str(file) for file in files])
