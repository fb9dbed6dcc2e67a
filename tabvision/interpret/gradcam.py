"""Grad-CAM: maps of the regions of an image that support a network's answer."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from tabvision.augment.normalize import normalize
from tabvision.checks import check_whole
from tabvision.errors import BadTypeError, BadValueError, UnknownNameError, speaking
from tabvision.inference.batches import Arrays, Inputs
from tabvision.inference.inputs import Source
from tabvision.inference.predictor import Predictor
from tabvision.interpret.rows import Model
from tabvision.plain import Label

Maps: TypeAlias = list[NDArray[np.float32]]

_BATCH_SIZE = 16  # images to keep a graph in memory for
_MAX_PREFIX = 16  # the most tokens before the patches: a class token, and registers
_REMEDY = "Pass as layer the name of a part with a spatial map, as in module.named_modules()"


@speaking("gradcam")
def gradcam(
    model: Model,
    images: Source | Inputs,
    *,
    layer: str | None = None,
    target: Label | None = None,
    batch_size: int = _BATCH_SIZE,
) -> Maps:
    """Return for each image a map of the regions that support the network's answer.

    The map weights each channel of the last spatial features by the mean gradient of the class's logit; for a transformer,
    each token's features by their own gradient. It is coarse, and shows what the answer rests on, not whether it is right.

    Args:
        model: A `Predictor`, a module in memory, or the path of a checkpoint.
        images: Anything that `Predictor.predict` takes: rows, if the model also reads columns.
        layer: The layer whose output to use, named as in `module.named_modules()`, such as "body.net.layer3"; None for
            the last one with a spatial map.
        target: The class, or which of several numbers, to explain; None for the predicted class, or the only number.
        batch_size: Images per batch.

    Returns:
        A map in [0, 1] for each image, as large as the network's input: 0 where nothing supports the answer, 1 where the
        support is greatest, NaN if the image is missing or cannot be read. For a model that also reads columns, the maps of
        each row's P images in the order of the schema, where 1 marks the greatest support in the whole row.

    Shape:
        - returns: N arrays (H, W) float32; (P, H, W) if the model also reads columns

    Raises:
        BadTypeError: The model reads no images.
        BadValueError: The network has no spatial map that the answer depends on, or predicts several numbers and no
            target is given.
        UnknownNameError: There is no such layer or target.

    Source:
        Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization".
    """
    check_whole("batch_size", batch_size)
    predictor = model if isinstance(model, Predictor) else Predictor(model)
    if predictor.schema.image is None:
        problem = "the model must read images, and it reads only columns"
        raise BadTypeError(problem, "Use importance and effects for columns")
    if layer is not None and layer not in dict(predictor.module.named_modules()):
        raise UnknownNameError("layer", layer, [name for name, _ in predictor.module.named_modules() if name])
    inputs = images if isinstance(images, Inputs) else predictor.read(images)
    size, columns = predictor.schema.image.size, predictor.schema.image.columns
    shape = size if predictor.schema.is_of_images else (len(columns), *size)
    maps = [np.full(shape, np.nan, dtype=np.float32) for _ in range(inputs.num_rows)]
    for arrays in inputs.batches(batch_size):
        if len(arrays["index"]):
            found = _maps(predictor, arrays, layer, target).cpu().numpy()
            for row, each in zip(arrays["index"].tolist(), found, strict=True):
                maps[row] = each
    return maps


def _maps(predictor: Predictor, arrays: Arrays, layer: str | None, target: Label | None) -> Tensor:
    """Return the maps of a batch, (B, H, W), or (B, P, H, W) for rows with P images."""
    image, module = predictor.schema.image, predictor.module
    assert image is not None
    with torch.inference_mode(mode=False), torch.enable_grad():
        batch = predictor.batch(arrays)
        rows = batch["image"].shape[:-3]
        is_there = batch.get("has_image", torch.ones(rows)).flatten() > 0  # the body sees only these
        found = torch.full((len(is_there), *image.size), torch.nan, device=predictor.device)
        if not is_there.any():
            return found.view(*rows, *image.size)
        pixels = normalize(batch["image"].flatten(0, -4), image.mean, image.std)
        # the pixels require a gradient so that a frozen network has a graph, too
        batch["image"] = pixels.view(*rows, *pixels.shape[1:]).requires_grad_()
        with _outputs_of(module, layer) as outputs:
            logits = module(batch).float()
        channels_first = layer == "body" or getattr(getattr(module, "body", None), "channels_first", True)
        score, num_images = _scores(predictor, logits, target).sum(), int(is_there.sum())
        coarse = _coarse(score, num_images, outputs, layer, channels_first=channels_first)
    resized = functional.interpolate(coarse.float().unsqueeze(1), image.size, mode="bilinear").squeeze(1).clamp(min=0)
    found[is_there] = resized
    found = found.view(len(logits), -1, *image.size)  # the images of each row
    top = found.nan_to_num(0).amax(dim=(1, 2, 3), keepdim=True)
    return (found / top.where(top > 0, 1)).clamp(max=1).view(*rows, *image.size)


@contextlib.contextmanager
def _outputs_of(module: nn.Module, layer: str | None) -> Iterator[dict[str, Tensor]]:
    """Collect the outputs of the body's layers, or of one layer, in this thread, by name in order of computation."""
    outputs: dict[str, Tensor] = {}
    thread = threading.get_ident()

    def keep(name: str, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim in (3, 4) and threading.get_ident() == thread:
            outputs.pop(name, None)
            outputs[name] = output

    parts = dict(module.named_modules())
    names = {name for name in parts if name.startswith("body.")} or set(parts)
    hooks = [
        part.register_forward_hook(lambda _part, _inputs, output, name=name: keep(name, output))
        for name, part in parts.items()
        if name in names or name == layer
    ]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def _scores(predictor: Predictor, logits: Tensor, target: Label | None) -> Tensor:
    """Return the logit to explain for each row, (B,)."""
    task, calibration = predictor.module.task, predictor.calibration
    names = list(task.names(predictor.schema.target))
    columns = torch.cat([-logits, logits], dim=1) if logits.shape[1] == 1 and len(names) == 2 else logits
    if target is not None:
        if target not in names:
            raise UnknownNameError("target", str(target), list(map(str, names)))
        return columns[:, names.index(target)]
    if not task.is_classes and logits.shape[1] > 1:
        problem = f"the model predicts {logits.shape[1]} numbers"
        raise BadValueError(problem, f"Pass the one to explain, such as target={names[0]!r}")
    predictions = task.activate(calibration.scale(logits.detach())).cpu().numpy()
    decoded = calibration.decode(task, predictions)
    codes = torch.from_numpy(decoded if decoded.ndim == 1 else predictions.argmax(axis=1)).to(logits.device)
    return columns.gather(1, codes.long().unsqueeze(1)).squeeze(1)


def _coarse(
    score: Tensor, num_images: int, outputs: dict[str, Tensor], layer: str | None, *, channels_first: bool
) -> Tensor:
    """Return maps from the last output, or a layer's, in which more than one position matters, (num_images, h, w)."""
    names = [name for name in reversed(outputs) if layer in (None, name)]
    # prefer tokens: a transformer has no other maps after its first
    tokens = [name for name in names if outputs[name].ndim == 3]
    for name in dict.fromkeys([*names[:1], *tokens, *names]):
        output = outputs[name]
        grid = _grid(name, outputs) if output.ndim == 3 else output.shape[2:] if channels_first else output.shape[1:3]
        if grid is None or len(output) != num_images or math.prod(grid) == 1:
            continue
        (gradient,) = torch.autograd.grad(score, output, retain_graph=True, allow_unused=True)
        if gradient is None:
            continue
        if output.ndim == 3:
            matters = gradient[:, -math.prod(grid) :]
            speaks = (matters * output[:, -math.prod(grid) :]).sum(dim=2).view(-1, *grid)
        else:
            across, channels = ((2, 3), 1) if channels_first else ((1, 2), 3)
            speaks = (gradient.mean(dim=across, keepdim=True) * output).sum(dim=channels)
            matters = gradient
        if matters.any():  # after a transformer's last block often only the class token does
            found: Tensor = speaks.detach().relu()
            return found
    problem = "the network has no spatial map that its answer depends on, and no tokens in a known grid"
    if layer:
        problem = f"the output of {layer!r} is not a spatial map that the answer depends on"
    raise BadValueError(problem, _REMEDY)


def _grid(tokens: str, outputs: dict[str, Tensor]) -> tuple[int, int] | None:
    """Return the (rows, columns) of the patches behind tokens: the size of the last map before them that fits."""
    names = list(outputs)
    num_tokens = outputs[tokens].shape[1]
    for name in reversed(names[: names.index(tokens)]):
        grid = outputs[name].shape[2:]
        if len(grid) == 2 and num_tokens - _MAX_PREFIX <= math.prod(grid) <= num_tokens:
            return grid[0], grid[1]
    return None
